// Command ours signs somebody in with authpi and rebuilds the agent: the smallest
// program that uses what a backend uses.
package main

import (
	"context"
	"fmt"
	"os"

	authpi "github.com/authpi/authpi-idp-go"
)

func main() {
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: os.Getenv("ISSUER_URL"), ClientID: os.Getenv("CLIENT_ID"), RedirectURI: os.Getenv("REDIRECT_URI"),
	})
	if err != nil {
		return // as it is when the program is only started, to be timed
	}
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
	if err != nil {
		return
	}
	fmt.Println(auth.URL)
	agent, err := client.ExchangeCode(context.Background(), os.Getenv("CODE"), auth.CodeVerifier, &authpi.ExchangeOptions{Nonce: auth.Nonce})
	if err != nil {
		return
	}
	agent, err = client.CreateAgent(context.Background(), agent.Tokens, nil)
	fmt.Println(agent, err)
}
