// Command quickstart does a backend's whole job with package authpi once, step by
// step: sign a user in, ask what they may do, refresh, sign out.
//
// It runs against an issuer of its own unless AUTHPI_ISSUER_URL and AUTHPI_CLIENT_ID
// (and AUTHPI_CLIENT_SECRET, where the client has one) name a real one; then you sign
// in with a browser. AUTHPI_REDIRECT_URI replaces http://127.0.0.1:8765/callback.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run does every step and fails at the first one that does not hold.
func run(ctx context.Context, out io.Writer, getenv func(string) string) error {
	st, err := openStage(out, getenv)
	if err != nil {
		return err
	}
	defer st.close()
	client := st.client

	// Login: make the URL, keep auth in the user's session, redirect.
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email", "profile"}, nil)
	if err != nil {
		return err
	}
	endpoint, _, _ := strings.Cut(auth.URL, "?")
	st.say("authorization URL", "made without a request: %s", endpoint)

	// Callback: check it, trade the code for tokens, store the tokens.
	callback, err := st.signIn(ctx, auth)
	if err != nil {
		return err
	}
	_, err = client.ExchangeCallback(ctx, url.Values{"code": {"forged"}, "state": {"forged"}}, *auth)
	if !errors.Is(err, authpi.ErrInvalidState) {
		return fmt.Errorf("a forged callback was not refused: %v", err)
	}
	agent, err := client.ExchangeCallback(ctx, callback, *auth)
	if err != nil {
		return err
	}
	stored := &session{tokens: agent.Tokens}
	st.say("callback", "a forged one was refused, the real one brought tokens")
	st.say("agent", "%s <%s>, access token good for %s", agent.ID, agent.Email, agent.ExpiresIn())

	// Every later request: rebuild the agent, ask what it may do.
	for _, c := range st.checks(agent) {
		if got := agent.HasAccessIn(c.org, c.action, c.resource); got != c.want {
			return fmt.Errorf("HasAccessIn(%s, %s, %s) = %v", c.org, c.action, c.resource, got)
		}
		st.say("organization", "HasAccessIn(%q, %q, %q) = %v", c.org, c.action, c.resource, c.want)
	}

	// Expiry and refresh: CreateAgent does it, OnRefresh stores what came.
	old := stored.expire()
	st.say("expiry", "not awaited: the stored access token is marked as expired")
	agent, err = client.CreateAgent(ctx, old, stored.options())
	if err != nil {
		return err
	}
	if stored.saves != 1 || stored.tokens.RefreshToken == old.RefreshToken || agent.IsExpired() {
		return errors.New("the refresh did not store new tokens")
	}
	st.say("refresh", "OnRefresh stored a new set, good for %s; the old refresh token is spent", agent.ExpiresIn())

	if st.issuer == nil {
		st.skip("membership change, 50 requests at once", "they need an issuer of our own")
	} else if err := st.stampede(ctx, stored); err != nil {
		return err
	}

	// Logout: end the session at the issuer, then send the browser to its logout.
	if err := client.RevokeToken(ctx, stored.tokens.RefreshToken, "refresh_token"); err != nil {
		return err
	}
	_, err = client.CreateAgent(ctx, stored.expire(), stored.options())
	if !authpi.SessionEnded(err) {
		return fmt.Errorf("the revoked session goes on: %v", err)
	}
	st.say("revocation", "the next refresh says: %v", err)
	logout, err := client.CreateLogoutURL(&authpi.LogoutOptions{IDTokenHint: stored.tokens.IDToken})
	if err != nil {
		return err
	}
	address, hint, _ := strings.Cut(logout, "id_token_hint=")
	st.say("logout URL", "%sid_token_hint=... (%d letters)", address, len(hint))
	_, err = fmt.Fprintln(out, "\nEvery step held.")
	return err
}

// stampede changes a membership, lets the tokens expire and then has 50 requests
// come at once, each with the same stored tokens.
func (st *stage) stampede(ctx context.Context, stored *session) error {
	st.issuer.SetOrganizations("usr_ada",
		authpitest.Organization{ID: "org_engines", Title: "Reader", Scopes: []string{"projects:read"}},
		authpitest.Organization{ID: "org_poetry", Title: "Owner", Scopes: []string{"owner", "*:**"}},
	)
	before, savedBefore := st.issuer.Grants("refresh_token"), stored.saves
	old := stored.expire()
	agents, errs := make([]*authpi.Agent, 50), make([]error, 50)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range agents {
		wg.Go(func() { agents[i], errs[i] = st.client.CreateAgent(ctx, old, stored.options()) })
	}
	wg.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, a := range agents {
		if a.HasAccessIn("org_engines", "write", "projects") || !a.IsOwnerOf("org_poetry") {
			return errors.New("the membership change does not show after the refresh")
		}
	}
	st.say("membership change", "shows after the refresh: no write in org_engines any more, owner of org_poetry")
	requests := st.issuer.Grants("refresh_token") - before
	if requests != 1 || stored.saves-savedBefore != len(agents) {
		return fmt.Errorf("%d agents cost %d token requests", len(agents), requests)
	}
	st.say("50 at once", "50 CreateAgent with the same expired tokens: %d token request, %s", requests, took.Round(time.Millisecond))
	return nil
}
