package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"golang.org/x/oauth2"
)

// An Exchanger trades a code for tokens and verifies the ID token that comes.
type Exchanger struct {
	Name string
	New  func(*Issuer) func(code, verifier string) (any, error)
}

// Exchangers are the contenders for a code exchange over loopback.
func Exchangers() []Exchanger {
	return []Exchanger{
		{Ours, func(is *Issuer) func(string, string) (any, error) {
			client := NewClient(is)
			return func(code, verifier string) (any, error) {
				return client.ExchangeCode(context.Background(), code, verifier, &authpi.ExchangeOptions{Nonce: Nonce})
			}
		}},
		{ByHand, func(is *Issuer) func(string, string) (any, error) {
			return exchangeByHand(is, newHTTPClient())
		}},
		{GoOIDC, func(is *Issuer) func(string, string) (any, error) {
			return exchangeGoOIDC(is, newHTTPClient())
		}},
		{Zitadel, func(is *Issuer) func(string, string) (any, error) {
			party := zitadelParty(is)
			return func(code, verifier string) (any, error) {
				tokens, err := rp.CodeExchange[*zitadelClaims](context.Background(), code, party, rp.WithCodeVerifier(verifier))
				if err != nil {
					return nil, err
				}
				return tokens.IDTokenClaims, nil
			}
		}},
	}
}

// exchangeByHand is the HTTP exchange with nothing but net/http and encoding/json,
// and then the floor's verification.
func exchangeByHand(is *Issuer, client *http.Client) func(string, string) (any, error) {
	f := newFloor(is)
	return func(code, verifier string) (any, error) {
		form := url.Values{
			"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {RedirectURI},
			"code_verifier": {verifier}, "client_id": {ClientID},
		}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, is.URL+"/token", strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("status %d", resp.StatusCode)
		}
		var answer storedSet
		if err := json.Unmarshal(body, &answer); err != nil {
			return nil, err
		}
		claims, err := f.verify(answer.IDToken)
		if err == nil && claims.Nonce != Nonce {
			err = errors.New("wrong nonce")
		}
		return claims, err
	}
}

// exchangeGoOIDC is x/oauth2 for the exchange and go-oidc for the ID token.
func exchangeGoOIDC(is *Issuer, client *http.Client) func(string, string) (any, error) {
	config, ctx := oauth2Config(is.URL), oidc.ClientContext(context.Background(), client)
	verifier := goOIDCVerifier(is)
	return func(code, codeVerifier string) (any, error) {
		token, err := config.Exchange(ctx, code, oauth2.VerifierOption(codeVerifier))
		if err != nil {
			return nil, err
		}
		raw, _ := token.Extra("id_token").(string)
		verified, err := verifier.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		if verified.Nonce != Nonce {
			return nil, errors.New("wrong nonce")
		}
		claims := &Claims{}
		return claims, verified.Claims(claims)
	}
}

// Crowds are exchangers as their users have them by default, connections and all,
// for the number of sockets that 1,000 exchanges at a time open.
func Crowds() []Exchanger {
	return []Exchanger{
		{Ours, Exchangers()[0].New},
		{GoOIDC, func(is *Issuer) func(string, string) (any, error) {
			transport := http.DefaultTransport.(*http.Transport).Clone()
			return exchangeGoOIDC(is, &http.Client{Transport: transport})
		}},
	}
}
