package refresh_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// api is a resource that a caller may ask for: another grant than the plain one.
const api = "https://api.example/"

// agentOf is the agent of tokens, for calls that take one.
func agentOf(tokens authpi.TokenSet) *authpi.Agent {
	return &authpi.Agent{ID: testkit.Subject, Tokens: tokens}
}

// way is a way to get new tokens. All of them go through one engine.
type way struct {
	name string
	get  func(context.Context, *authpi.IdpClient, authpi.TokenSet, *authpi.AgentOptions) error
	// hears: its failures go to OnRefreshError.
	hears bool
}

// ways are all ways to get new tokens. HTTPClient needs withAPI.
func ways() []way {
	return []way{
		{"CreateAgent", func(ctx context.Context, c *authpi.IdpClient, tokens authpi.TokenSet, opts *authpi.AgentOptions) error {
			_, err := c.CreateAgent(ctx, tokens, opts)
			return err
		}, true},
		{"Refresh", func(ctx context.Context, c *authpi.IdpClient, tokens authpi.TokenSet, opts *authpi.AgentOptions) error {
			_, err := c.Refresh(ctx, agentOf(tokens), &authpi.RefreshOptions{
				OnRefresh: opts.OnRefresh, Reload: opts.Reload, Resources: opts.Resources,
			})
			return err
		}, false},
		{"TokenSource", func(_ context.Context, c *authpi.IdpClient, tokens authpi.TokenSet, opts *authpi.AgentOptions) error {
			_, err := c.TokenSource(agentOf(tokens), opts).Token()
			return err
		}, true},
		{"HTTPClient", func(ctx context.Context, c *authpi.IdpClient, tokens authpi.TokenSet, opts *authpi.AgentOptions) error {
			return callAPI(ctx, c.HTTPClient(agentOf(tokens), opts))
		}, true},
	}
}

// callAPI sends a request to the API of withAPI.
func callAPI(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}

// withAPI answers what HTTPClient sends.
func withAPI(e *testkit.Env) { rtHosts(e, &rtAPI{}) }

// wantWithin fails the test unless do takes so long.
func wantWithin(t testing.TB, what string, least, most time.Duration, do func()) {
	t.Helper()
	start := time.Now()
	do()
	if took := time.Since(start); took < least || took > most {
		t.Errorf("%s: took %v; want %v to %v", what, took, least, most)
	}
}

// member is for Fault.Malform: it puts a raw value in place of a member of a token answer.
// An empty one leaves the member out.
func member(name, raw string) func([]byte) []byte {
	return func(body []byte) []byte {
		var answer map[string]json.RawMessage
		if err := json.Unmarshal(body, &answer); err != nil {
			panic(err)
		}
		delete(answer, name)
		if raw != "" {
			answer[name] = json.RawMessage(raw)
		}
		body, err := json.Marshal(answer)
		if err != nil {
			panic(err)
		}
		return body
	}
}
