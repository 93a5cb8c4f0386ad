// Command peers signs somebody in with go-oidc and x/oauth2 and keeps the tokens
// fresh, as ../ours does with authpi.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

func main() {
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, os.Getenv("ISSUER_URL"))
	if err != nil {
		return // as it is when the program is only started, to be timed
	}
	config := oauth2.Config{
		ClientID: os.Getenv("CLIENT_ID"), RedirectURL: os.Getenv("REDIRECT_URI"),
		Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "email"},
	}
	codeVerifier, nonce := oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	fmt.Println(config.AuthCodeURL(oauth2.GenerateVerifier(), oauth2.S256ChallengeOption(codeVerifier), oidc.Nonce(nonce)))
	token, err := config.Exchange(ctx, os.Getenv("CODE"), oauth2.VerifierOption(codeVerifier))
	if err != nil {
		return
	}
	raw, _ := token.Extra("id_token").(string)
	verified, err := provider.Verifier(&oidc.Config{ClientID: config.ClientID}).Verify(ctx, raw)
	if err != nil {
		return
	}
	var claims struct {
		Email         string
		Organizations []struct {
			ID, Title string
			Scopes    []string
		}
	}
	err = verified.Claims(&claims)
	fmt.Println(claims, err)
	token, err = config.TokenSource(ctx, token).Token()
	fmt.Println(token.Valid(), err)
}
