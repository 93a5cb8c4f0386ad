package testkit

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// What the issuer of an Env knows, beside Subject.
const (
	Email        = "ada@example.com"
	ClientSecret = "rt-client-secret-0123456789"
	TokenLife    = 30 * time.Minute // of authpitest's access tokens
)

// Env is one issuer with one client, everything that was said on the wire, and
// everything that was logged. When its test ends, no log line may hold a secret.
type Env struct {
	T      testing.TB
	Issuer *authpitest.Server
	Config authpi.Config
	Client *authpi.IdpClient
	Wire   *Wire
	Log    *Log
	Ahead  atomic.Int64 // how far advance put both clocks forward
}

// Bubble runs test with an issuer in memory inside a synctest bubble, which also
// fails where a goroutine is left behind.
func Bubble(t *testing.T, issuer *authpitest.Options, edit func(*authpi.Config), test func(*testing.T, *Env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, NewEnv(t, issuer, edit)) })
}

// NewEnv is an issuer in memory: call it inside a bubble.
func NewEnv(t testing.TB, issuer *authpitest.Options, edit func(*authpi.Config)) *Env {
	t.Helper()
	return start(t, authpitest.NewInMemory(withSecret(issuer)), edit)
}

// NewSocketEnv is an issuer on a loopback port, for real concurrency. Its time is
// real; advance moves both clocks.
func NewSocketEnv(t testing.TB, issuer *authpitest.Options, edit func(*authpi.Config)) *Env {
	t.Helper()
	srv := authpitest.NewServer(withSecret(issuer))
	t.Cleanup(srv.Close)
	return start(t, srv, edit)
}

func withSecret(opts *authpitest.Options) *authpitest.Options {
	o := authpitest.Options{}
	if opts != nil {
		o = *opts
	}
	o.ClientSecret = ClientSecret
	return &o
}

func start(t testing.TB, srv *authpitest.Server, edit func(*authpi.Config)) *Env {
	t.Helper()
	srv.AddUser(authpitest.User{ID: Subject, Email: Email, EmailVerified: true, Name: "Ada"})
	srv.SetOrganizations(Subject, authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}})
	e := &Env{T: t, Issuer: srv, Log: newLog()}
	e.Wire = &Wire{Base: srv.Client().Transport, log: e.Log}
	e.Log.Secret(ClientSecret)
	e.Config = authpi.Config{
		IssuerURL:    srv.URL,
		ClientID:     srv.ClientID(),
		ClientSecret: srv.ClientSecret(),
		RedirectURI:  "https://app.example/callback",
		HTTPClient:   &http.Client{Transport: e.Wire},
		Logger:       slog.New(e.Log),
		Now:          func() time.Time { return time.Now().Add(time.Duration(e.Ahead.Load())) },
	}
	if edit != nil {
		edit(&e.Config)
	}
	e.Client = e.NewClient(nil)
	t.Cleanup(func() { e.Log.check(t) })
	return e
}

// NewClient is another client of the same configuration: another process.
func (e *Env) NewClient(edit func(*authpi.Config)) *authpi.IdpClient {
	e.T.Helper()
	cfg := e.Config
	if edit != nil {
		edit(&cfg)
	}
	c, err := authpi.NewIdpClient(cfg)
	if err != nil {
		e.T.Fatalf("NewIdpClient: %v", err)
	}
	return c
}

// SignIn returns the tokens of a new session, and forgets the requests it took.
func (e *Env) SignIn() authpi.TokenSet {
	e.T.Helper()
	callback, auth := e.Login()
	agent, err := e.Client.ExchangeCallback(context.Background(), callback, auth)
	if err != nil {
		e.T.Fatalf("ExchangeCallback: %v", err)
	}
	e.Issuer.ResetCounters()
	return agent.Tokens
}

// Login is the user's way to the callback.
func (e *Env) Login() (url.Values, authpi.AuthorizationURL) {
	e.T.Helper()
	auth, err := e.Client.CreateAuthorizationURL([]string{"openid", "email", "profile", "offline_access"}, nil)
	if err != nil {
		e.T.Fatalf("CreateAuthorizationURL: %v", err)
	}
	e.Log.Secret(auth.CodeVerifier)
	e.Log.Secret(auth.State)
	e.Log.Secret(auth.Nonce)
	raw, err := e.Issuer.SignIn(auth.URL, Subject)
	if err != nil {
		e.T.Fatalf("SignIn: %v", err)
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		e.T.Fatalf("ParseCallback: %v", err)
	}
	e.Log.Secret(callback.Get("code"))
	return callback, *auth
}

// Expired signs in and lets the access token expire. Inside a bubble only.
func (e *Env) Expired() authpi.TokenSet {
	e.T.Helper()
	tokens := e.SignIn()
	time.Sleep(TokenLife + time.Second)
	return tokens
}

// InBuffer signs in and waits until the access token is good for left only.
func (e *Env) InBuffer(left time.Duration) authpi.TokenSet {
	e.T.Helper()
	tokens := e.SignIn()
	time.Sleep(TokenLife - left)
	return tokens
}

// Advance puts the clocks of client and issuer forward.
func (e *Env) Advance(d time.Duration) {
	e.Ahead.Add(int64(d))
	e.Issuer.Advance(d)
}

// Spent is how many refresh requests arrived at the issuer.
func (e *Env) Spent() int { return e.Issuer.Grants("refresh_token") }

// WantSpent fails the test unless so many refresh requests arrived.
func (e *Env) WantSpent(want int) {
	e.T.Helper()
	if got := e.Spent(); got != want {
		e.T.Errorf("refresh requests: got %d; want %d", got, want)
	}
}

// WantAlive fails the test if the session of tokens has ended.
func (e *Env) WantAlive(tokens authpi.TokenSet) {
	e.T.Helper()
	if !e.Issuer.SessionAlive(tokens.RefreshToken) {
		e.T.Error("the session is dead; want alive")
	}
}

// Fault injects f for refresh requests.
func (e *Env) Fault(f authpitest.Fault) {
	f.Endpoint, f.Grant = "token", "refresh_token"
	e.Issuer.Inject(f)
}

// Create is CreateAgent; the error, if any, is checked for secrets.
func (e *Env) Create(tokens authpi.TokenSet, opts *authpi.AgentOptions) (*authpi.Agent, error) {
	e.T.Helper()
	return e.CreateBy(context.Background(), e.Client, tokens, opts)
}

// CreateBy is Create by another client.
func (e *Env) CreateBy(ctx context.Context, c *authpi.IdpClient, tokens authpi.TokenSet, opts *authpi.AgentOptions) (*authpi.Agent, error) {
	e.T.Helper()
	agent, err := c.CreateAgent(ctx, tokens, opts)
	e.Log.Error(err)
	return agent, err
}

// MustCreate is CreateAgent where it has to work.
func (e *Env) MustCreate(tokens authpi.TokenSet, opts *authpi.AgentOptions) *authpi.Agent {
	e.T.Helper()
	agent, err := e.Create(tokens, opts)
	if err != nil {
		e.T.Fatalf("CreateAgent: %v", err)
	}
	return agent
}
