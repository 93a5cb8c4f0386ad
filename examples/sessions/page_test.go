package sessions

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
)

func newClient(t *testing.T, issuerURL string) *authpi.IdpClient {
	t.Helper()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuerURL, ClientID: "c_app", ClientSecret: "s3cret", RedirectURI: "https://app.example/auth/callback",
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestRedisApp(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	newRedisApp(newClient(t, "https://idp.example"), rdb, bytes.Repeat([]byte{7}, 32)).Register(http.NewServeMux())
}

// The page promises thirty lines.
func TestOwnStoreIsShort(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("own.go")
	if err != nil {
		t.Fatal(err)
	}
	_, store, found := strings.Cut(string(text), "\ntype ownStore ")
	lines := 0
	for line := range strings.Lines(store) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines++
		}
	}
	if !found || lines > 30 {
		t.Errorf("got %d lines; want thirty", lines)
	}
}

// memory is a [Store].
type memory map[string]authpi.TokenSet

func (m memory) Load(_ context.Context, id string) (authpi.TokenSet, error) { return m[id], nil }
func (m memory) Save(_ context.Context, id string, tokens authpi.TokenSet) error {
	m[id] = tokens
	return nil
}

func TestAgentOf(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	client := newClient(t, issuer.URL)
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := issuer.SignIn(auth.URL, "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	callback, err := authpi.ParseCallback(answer)
	if err != nil {
		t.Fatal(err)
	}
	signedIn, err := client.ExchangeCallback(t.Context(), callback, *auth)
	if err != nil {
		t.Fatal(err)
	}
	tokens := signedIn.Tokens
	tokens.ExpiresAt = time.Now().Add(-time.Hour)
	store := memory{"1": tokens}
	agent, err := agentOf(t.Context(), client, store, "1")
	if err != nil || agent.ID != "usr_ada" || store["1"].RefreshToken == tokens.RefreshToken {
		t.Errorf("got %v, %v", agent, err)
	}
	if _, err := agentOf(t.Context(), client, store, "2"); !authpi.SessionEnded(err) {
		t.Errorf("nobody: %v", err)
	}
}
