package page

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// What the pages' programs share, beside the helpers of testing_test.go.

// development returns an issuer with the people of the pages: Ada, and the Night worker.
func development(t *testing.T) *authpitest.Server {
	t.Helper()
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_worker", ClientSecret: "s3cret", IDTokenLifetime: 2 * time.Hour})
	t.Cleanup(issuer.Close)
	issuer.AddClient(authpitest.Client{ID: "c_app"})
	issuer.AddUser(authpitest.User{ID: "usr_ada", Name: "Ada Lovelace", Email: "ada@example.com"})
	issuer.AddUser(authpitest.User{ID: "usr_charles", Email: "charles@example.com"})
	issuer.SetOrganizations("usr_ada",
		authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**", "members:read"}},
		authpitest.Organization{ID: "org_poetry", Title: "Owner", Scopes: []string{"owner", "*:**"}})
	issuer.SetOrganizations("agt_worker", authpitest.Organization{ID: "org_engines", Title: "Reader", Scopes: []string{"projects:read"}})
	return issuer
}

func newClient(t *testing.T, cfg authpi.Config) *authpi.IdpClient {
	t.Helper()
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// appClient is a public client's, for an app that no browser opens.
func appClient(t *testing.T, issuer *authpitest.Server) *authpi.IdpClient {
	t.Helper()
	return newClient(t, authpi.Config{
		IssuerURL: issuer.URL, ClientID: "c_app", RedirectURI: "https://app.example/auth/callback", Now: issuer.Now,
	})
}

// newAgent signs usr_ada in, without an app.
func newAgent(t *testing.T, client *authpi.IdpClient, issuer *authpitest.Server) *authpi.Agent {
	t.Helper()
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email", "profile"}, nil)
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
	agent, err := client.ExchangeCallback(t.Context(), callback, *auth)
	if err != nil {
		t.Fatal(err)
	}
	return agent
}

// transport answers for a host that is not there, and leads to the others.
type transport map[string]http.Handler

func (hosts transport) RoundTrip(r *http.Request) (*http.Response, error) {
	handler, ok := hosts[r.URL.Host]
	if !ok {
		return http.DefaultTransport.RoundTrip(r)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// newRedis returns a client of the Redis that all programs share, and a hook that
// notes the keys of its commands.
func newRedis(t *testing.T) (*redis.Client, *commands) {
	t.Helper()
	opts, err := redis.ParseURL(os.Getenv("PAGES_REDIS"))
	if err != nil {
		t.Skip("skipped: there is no Redis")
	}
	rdb, noted := redis.NewClient(opts), &commands{}
	rdb.AddHook(noted)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb, noted
}

type commands struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (c *commands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.note(cmd)
		return next(ctx, cmd)
	}
}

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.note(cmds...)
		return next(ctx, cmds)
	}
}

func (c *commands) note(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		_, _ = fmt.Fprintln(&c.text, cmd.Args()...)
	}
}

// wantKey wants a command to have had a key that begins like this.
func (c *commands) wantKey(t *testing.T, begin string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !strings.Contains(c.text.String(), begin) {
		t.Errorf("Redis was not asked for %s...", begin)
	}
}

// ask sends a request, with an access token if there is one.
func ask(handler http.Handler, method, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader("{}"))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// says is a page that names who is signed in.
func says(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	_, _ = fmt.Fprint(w, agent.ID)
}

// wantPage visits a page that answers with a status and, unless it is empty, a text.
func wantPage(t *testing.T, browser *http.Client, url string, status int, text string) {
	t.Helper()
	if got, _, body := visit(t, browser, url); got != status || text != "" && !strings.Contains(body, text) {
		t.Errorf("%s: got %d %s; want %d %s", url, got, body, status, text)
	}
}

// printed returns what f writes to standard output.
func printed(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, done := os.Stdout, make(chan string)
	os.Stdout = w
	go func() {
		text, _ := io.ReadAll(r)
		done <- string(text)
	}()
	f()
	os.Stdout = stdout
	_ = w.Close()
	return <-done
}

// must takes a call's results: must(call())(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
