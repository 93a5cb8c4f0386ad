package bench

import (
	"context"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"golang.org/x/oauth2"
)

// A SourceMaker makes a source that holds a good token.
type SourceMaker struct {
	Name string
	New  func(*Issuer) oauth2.TokenSource
}

// SourceMakers are the contenders for a valid token under contention.
func SourceMakers() []SourceMaker {
	return []SourceMaker{
		{Ours, func(is *Issuer) oauth2.TokenSource {
			client := NewClient(is)
			return client.TokenSource(agentOf(client, StoredSet(is.IDToken(1))), nil)
		}},
		{OAuth2, func(*Issuer) oauth2.TokenSource {
			return oauth2.ReuseTokenSource(&oauth2.Token{
				AccessToken: accessToken, TokenType: "Bearer", Expiry: time.Now().Add(24 * time.Hour),
			}, nil)
		}},
	}
}

func agentOf(client *authpi.IdpClient, text string) *authpi.Agent {
	tokens, err := authpi.ParseTokenSet([]byte(text))
	if err != nil {
		panic(err)
	}
	agent, err := client.CreateAgent(context.Background(), tokens, nil)
	if err != nil {
		panic(err)
	}
	return agent
}
