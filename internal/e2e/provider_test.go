package e2e

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	authpi "github.com/authpi/authpi-idp-go"
)

const (
	webID = "web app/1" // needs form-encoding in HTTP Basic
	// The secret has every character that the two encodings treat differently.
	webSecret   = "s3cr:et +/%&=?ä"
	nativeID    = "native"
	machineID   = "sid1" // the example storage's own service user
	machineKey  = "verysecret"
	redirectURI = "https://app.example/callback"
	byeURI      = "https://app.example/bye"
	username    = "test-user2"
	password    = "verysecure"
	subject     = "id2"
)

// provider is zitadel's example OpenID Provider, listening on loopback.
type provider struct {
	issuer string // as it states it
	base   string // the issuer without a trailing slash

	mu   sync.Mutex // guards seen
	seen []sent
}

// sent is a request that reached the provider.
type sent struct {
	path   string
	form   url.Values
	header http.Header
	user   string // of HTTP Basic, still encoded
	pass   string
}

// providerOptions choose what kind of provider it is.
type providerOptions struct {
	suffix    string // of the issuer after the origin: "", "/", "/a/tenant" or "/a/tenant/"
	newServer bool   // zitadel's newer server interface instead of its older one
	jwtAccess bool   // access tokens are JWTs
}

var quiet sync.Once

func newProvider(t *testing.T, opts providerOptions) *provider {
	t.Helper()
	// The example logs to the process's logger, and replaces it if given one.
	quiet.Do(func() { slog.SetDefault(slog.New(slog.DiscardHandler)) })
	p := &provider{}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.record(r)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.issuer = server.URL + opts.suffix
	p.base = strings.TrimSuffix(p.issuer, "/")
	clients := map[string]*storage.Client{}
	for _, c := range []*storage.Client{
		storage.WebClient(webID, webSecret, redirectURI),
		storage.NativeClient(nativeID, "http://127.0.0.1/callback", "com.example.app:/callback"),
	} {
		clients[c.GetID()] = c
	}
	store := registry{storage.NewStorageWithClients(storage.NewUserStore(p.issuer), clients), opts.jwtAccess}
	router := exampleop.SetupServer(p.issuer, store, nil, opts.newServer)
	mux := http.NewServeMux()
	mux.Handle("/", router) // the login page is always here
	if path := strings.TrimPrefix(p.base, server.URL); path != "" {
		mux.Handle(path+"/", http.StripPrefix(path, router))
	}
	handler = mux
	return p
}

// registry is the example's storage with clients that can say more than its own.
type registry struct {
	*storage.Storage
	jwtAccess bool
}

func (s registry) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return registered{c, s.jwtAccess}, nil
}

type registered struct {
	op.Client
	jwtAccess bool
}

func (c registered) PostLogoutRedirectURIs() []string { return []string{byeURI} }

func (c registered) AccessTokenType() op.AccessTokenType {
	if c.jwtAccess {
		return op.AccessTokenTypeJWT
	}
	return c.Client.AccessTokenType()
}

// record keeps a request, and leaves its body to the provider.
func (p *provider) record(r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	user, pass, _ := r.BasicAuth()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, sent{r.URL.Path, form, r.Header.Clone(), user, pass})
}

// requests gives those that reached a path below the issuer, of one grant type
// unless it is empty.
func (p *provider) requests(path, grant string) []sent {
	u, _ := url.Parse(p.base)
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []sent
	for _, r := range p.seen {
		if r.path == u.Path+path && (grant == "" || r.form.Get("grant_type") == grant) {
			found = append(found, r)
		}
	}
	return found
}

func (p *provider) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}

// Where the example provider has its endpoints: none but /userinfo and /revoke
// is AuthPI's.
const (
	pathToken      = "/oauth/token"
	pathIntrospect = "/oauth/introspect"
	pathKeys       = "/keys"
)

// config is a client's at this provider, its endpoints discovered.
func (p *provider) config(t *testing.T, id, secret string) authpi.Config {
	t.Helper()
	endpoints, err := authpi.DiscoverEndpoints(t.Context(), p.issuer, nil)
	if err != nil {
		t.Fatalf("DiscoverEndpoints: %v", err)
	}
	return authpi.Config{
		IssuerURL: p.issuer, ClientID: id, ClientSecret: secret, RedirectURI: redirectURI, Endpoints: endpoints,
	}
}

func newClient(t *testing.T, cfg authpi.Config) *authpi.IdpClient {
	t.Helper()
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatalf("NewIdpClient: %v", err)
	}
	return client
}

// web is the confidential client's, in a process of its own each time.
func (p *provider) web(t *testing.T) *authpi.IdpClient {
	t.Helper()
	return newClient(t, p.config(t, webID, webSecret))
}
