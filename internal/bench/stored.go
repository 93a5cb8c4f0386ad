package bench

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
)

// storedSet is a token set in the storage form.
type storedSet struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresAt    int64  `json:"expires_at"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	SubjectHint  string `json:"subject_hint"`
	Scope        string `json:"scope"`
}

// StoredReaders rebuild who somebody is from the session's JSON, on every request.
// The peers do less: they give the claims and keep no tokens with them.
func StoredReaders() []Reader {
	return []Reader{
		{Ours, func(is *Issuer) func(string) (any, error) {
			client := NewClient(is)
			return func(text string) (any, error) {
				tokens, err := authpi.ParseTokenSet([]byte(text))
				if err != nil {
					return nil, err
				}
				return client.CreateAgent(context.Background(), tokens, nil)
			}
		}},
		{Floor, stored(func(idToken string, into *Claims) error {
			_, rest, _ := strings.Cut(idToken, ".")
			payload, _, _ := strings.Cut(rest, ".")
			raw, err := base64.RawURLEncoding.DecodeString(payload)
			if err != nil {
				return err
			}
			return json.Unmarshal(raw, into)
		})},
		{GoJOSE, stored(func(idToken string, into *Claims) error {
			token, err := josejwt.ParseSigned(idToken, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				return err
			}
			return token.UnsafeClaimsWithoutVerification(into)
		})},
		{GolangJWT, func(*Issuer) func(string) (any, error) {
			parser := jwt.NewParser()
			return func(text string) (any, error) {
				idToken, err := usable(text)
				if err != nil {
					return nil, err
				}
				claims := &registeredClaims{}
				_, _, err = parser.ParseUnverified(idToken, claims)
				return claims, err
			}
		}},
	}
}

// stored reads the set with encoding/json, and what is in it with decode.
func stored(decode func(string, *Claims) error) func(*Issuer) func(string) (any, error) {
	return func(*Issuer) func(string) (any, error) {
		return func(text string) (any, error) {
			idToken, err := usable(text)
			if err != nil {
				return nil, err
			}
			claims := &Claims{}
			return claims, decode(idToken, claims)
		}
	}
}

// usable returns the ID token of a stored set that has not expired.
func usable(text string) (idToken string, err error) {
	var set storedSet
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return "", err
	}
	if time.Until(time.Unix(set.ExpiresAt, 0)) <= time.Minute {
		return "", errors.New("expired")
	}
	return set.IDToken, nil
}
