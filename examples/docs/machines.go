package docs

import (
	"context"
	"fmt"

	authpi "github.com/authpi/authpi-idp-go"
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
