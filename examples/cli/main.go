// Command cli signs a person in on their own machine (RFC 8252), keeps the tokens in
// a file that several processes may share, and tells who is signed in:
//
//	go run ./examples/cli login
//	go run ./examples/cli whoami
//	go run ./examples/cli logout
//
// AUTHPI_ISSUER_URL and AUTHPI_CLIENT_ID name the issuer and a public client: examples/api
// prints those of an issuer to try it with. The redirect URI is
// http://127.0.0.1:PORT/callback with any free port; AUTHPI_CLI_PORT fixes it, for
// issuers that compare it exactly. AUTHPI_CLI_DIR is where the file is kept, if not with
// the user's configuration; AUTHPI_CLI_BROWSER=none opens no browser.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, strings.Join(os.Args[1:], " "))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cli:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command string) error {
	cfg := authpi.Config{
		IssuerURL: os.Getenv("AUTHPI_ISSUER_URL"),
		ClientID:  os.Getenv("AUTHPI_CLIENT_ID"),
		// A server refreshes ahead of time and goes on if that takes long. This process
		// may end a moment later, and the answer would be lost: wait until it is due.
		RefreshBuffer: -1,
	}
	file, err := openTokenFile(os.Getenv("AUTHPI_CLI_DIR"), cfg.IssuerURL, cfg.ClientID)
	if err != nil {
		return err
	}
	if command == "login" {
		return login(ctx, cfg, file)
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		return err
	}
	switch command {
	case "whoami":
		return whoami(ctx, client, file)
	case "logout":
		return logout(ctx, client, file)
	}
	return errors.New("usage: cli login | whoami | logout")
}

func whoami(ctx context.Context, client *authpi.IdpClient, file *tokenFile) error {
	agent, err := file.agent(ctx, client)
	if authpi.SessionEnded(err) {
		return fmt.Errorf("you are not signed in, run login: %w", err)
	}
	if err != nil {
		return err
	}
	fmt.Println(agent.ID, agent.Email)
	for _, org := range agent.Organizations {
		fmt.Printf("  %s: %s\n", org.ID, cmp.Or(strings.Join(org.Scopes, " "), "nothing"))
	}
	fmt.Println("The access token is good until", agent.ExpiresAt().Local().Format(time.TimeOnly))
	return nil
}

// logout ends the session here even if the issuer cannot be told.
func logout(ctx context.Context, client *authpi.IdpClient, file *tokenFile) error {
	last, err := file.remove(ctx)
	if err != nil {
		return err
	}
	if last.RefreshToken != "" {
		if err := client.RevokeToken(ctx, last.RefreshToken, "refresh_token"); err != nil {
			return fmt.Errorf("signed out here, but the issuer does not know: %w", err)
		}
	}
	fmt.Println("You are signed out.")
	return nil
}
