package docs

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpiredis"
)

// once gets one token, for a job that runs and ends.
func once(ctx context.Context, client *authpi.IdpClient) error {
	agent, err := client.ClientCredentials(ctx, []string{"projects:read"}, "https://api.example.com")
	if err != nil {
		return err
	}
	fmt.Println(agent.ID, "may act until", agent.ExpiresAt())
	return nil
}

// sharing is a client of one of many processes.
func sharing(rdb redis.UniversalClient, issuerURL, clientID, clientSecret string) (*authpi.IdpClient, error) {
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuerURL, ClientID: clientID, ClientSecret: clientSecret,
		MachineTokens: authpiredis.NewStore(rdb, nil), // or any store with a Load and a Save
	})
	return client, err
}
