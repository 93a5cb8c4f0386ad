package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
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

// NewSocketEnv is an issuer on a loopback port, for real concurrency. Its time is real;
// advance moves both clocks.
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

// SignIn gives the tokens of a new session, and forgets the requests it took.
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

func (e *Env) WantSpent(want int) {
	e.T.Helper()
	if got := e.Spent(); got != want {
		e.T.Errorf("refresh requests: got %d; want %d", got, want)
	}
}

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

// Wire passes requests on to the issuer, or to hook where that is set, and notes
// every token that comes back as a secret.
type Wire struct {
	Base http.RoundTripper
	log  *Log
	hook atomic.Pointer[func(*http.Request) (*http.Response, error)]
}

func (w *Wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if hook := w.hook.Load(); hook != nil {
		if resp, err := (*hook)(r); resp != nil || err != nil {
			return resp, err
		}
	}
	resp, err := w.Base.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/token") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	w.log.secretsOf(body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (w *Wire) Set(hook func(*http.Request) (*http.Response, error)) {
	if hook == nil {
		w.hook.Store(nil)
		return
	}
	w.hook.Store(&hook)
}

// Form reads a request's form and puts the body back.
func Form(r *http.Request) url.Values {
	if r.Body == nil {
		return nil
	}
	body, _ := io.ReadAll(r.Body)
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	return form
}

// Answer is a JSON answer.
func Answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

// Log is a slog.Handler that keeps every record, and knows what none may hold.
type Log struct {
	mu      sync.Mutex // guards all below
	lines   []string   // JSON
	Secrets map[string]bool
	errs    []string
	hook    func(message string) // called without the lock
}

func newLog() *Log { return &Log{Secrets: map[string]bool{}} }

func (l *Log) Enabled(context.Context, slog.Level) bool { return true }
func (l *Log) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *Log) WithGroup(string) slog.Handler            { return l }

func (l *Log) Handle(_ context.Context, r slog.Record) error {
	var line bytes.Buffer
	_ = slog.NewJSONHandler(&line, &slog.HandlerOptions{Level: slog.LevelDebug}).Handle(context.Background(), r)
	l.mu.Lock()
	l.lines = append(l.lines, line.String())
	hook := l.hook
	l.mu.Unlock()
	if hook != nil {
		hook(r.Message)
	}
	return nil
}

func (l *Log) OnMessage(hook func(string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// With gives the lines that hold text.
func (l *Log) With(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// Secret notes what no line and no error may hold. Of a JWT the signature alone is
// one too.
func (l *Log) Secret(s string) {
	if len(s) < 8 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Secrets[s] = true
	if parts := strings.Split(s, "."); len(parts) == 3 && len(parts[2]) > 20 {
		l.Secrets[parts[2]] = true
	}
}

func (l *Log) secretsOf(body []byte) {
	var answer map[string]any
	if json.Unmarshal(body, &answer) != nil {
		return
	}
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if text, ok := answer[name].(string); ok {
			l.Secret(text)
		}
	}
}

// Error keeps every way of printing err for the check.
func (l *Log) Error(err error) {
	if err == nil {
		return
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range ErrorChain(err) { // reporters print whole chains
		l.errs = append(l.errs, fmt.Sprintf("%v %+v %#v %q %s", one, one, one, one, one)+logged.String())
	}
}

// Knows tells whether text holds a secret.
func (l *Log) Knows(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.Secrets {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func (l *Log) check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Join(l.lines, "")
	errs := strings.Join(l.errs, "\n")
	for s := range l.Secrets {
		if i := strings.Index(lines, s); i >= 0 {
			t.Errorf("a log line holds a secret near %q", lines[max(0, i-120):i])
		}
		if i := strings.Index(errs, s); i >= 0 {
			t.Errorf("an error holds a secret near %q", errs[max(0, i-120):i])
		}
	}
}

// Store is a session store with what its callbacks heard.
type Store struct {
	Mu       sync.Mutex // guards all below
	Current  authpi.TokenSet
	Saved    []authpi.TokenSet
	failures []error
	Loads    int
	SaveErr  error
	LoadErr  error
}

func (s *Store) Opts() *authpi.AgentOptions {
	return &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			s.Mu.Lock()
			defer s.Mu.Unlock()
			if s.SaveErr != nil {
				return s.SaveErr
			}
			s.Current = tokens
			s.Saved = append(s.Saved, tokens)
			return nil
		},
		OnRefreshError: func(_ context.Context, err error) {
			s.Mu.Lock()
			defer s.Mu.Unlock()
			s.failures = append(s.failures, err)
		},
	}
}

func (s *Store) Reloading() *authpi.AgentOptions {
	opts := s.Opts()
	opts.Reload = func(context.Context) (authpi.TokenSet, error) {
		s.Mu.Lock()
		defer s.Mu.Unlock()
		s.Loads++
		return s.Current, s.LoadErr
	}
	return opts
}

func (s *Store) Set(t authpi.TokenSet) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	s.Current = t
}

// WantCalls checks how often OnRefresh succeeded and OnRefreshError was called.
func (s *Store) WantCalls(t testing.TB, saved, failures int) {
	t.Helper()
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if len(s.Saved) != saved || len(s.failures) != failures {
		t.Errorf("OnRefresh %d times, OnRefreshError %d times (%v); want %d and %d",
			len(s.Saved), len(s.failures), s.failures, saved, failures)
	}
}

// WantSame compares tokens without printing them.
func WantSame(t testing.TB, what string, got, want authpi.TokenSet) {
	t.Helper()
	if got.AccessToken != want.AccessToken || got.RefreshToken != want.RefreshToken {
		t.Errorf("%s: got another token set than wanted (expiries %s and %s)", what, got.ExpiresAt, want.ExpiresAt)
	}
}

// WantError checks an error's code, status and whether the session has ended.
func WantError(t testing.TB, err error, code string, ended bool) {
	t.Helper()
	var e *authpi.OAuthError
	if !errors.As(err, &e) {
		t.Fatalf("got %v; want an OAuthError with code %s", err, code)
	}
	if e.Code != code || authpi.SessionEnded(err) != ended {
		t.Errorf("got %q (%v), session ended %v; want %s, %v", e.Code, err, authpi.SessionEnded(err), code, ended)
	}
}

// Carried gives the tokens that a refresh error carries.
func Carried(t testing.TB, err error) authpi.TokenSet {
	t.Helper()
	var failed *authpi.RefreshError
	if !errors.As(err, &failed) {
		t.Fatalf("got %T %v; want a RefreshError", err, err)
	}
	tokens, ok := failed.Tokens()
	if !ok || tokens.AccessToken == "" || tokens.RefreshToken == "" {
		t.Fatal("the error carries no tokens")
	}
	return tokens
}

// ownCode is a line of a stack in the SDK itself, its tests and this package aside.
var ownCode = regexp.MustCompile(`authpi-idp-go(\.\(\*|/internal/[^t]|/internal/t[^e])`)

// WantNoGoroutines waits for every goroutine of the package's own to end. It is for
// tests with sockets that do not run in parallel; a bubble checks by itself.
func WantNoGoroutines(t testing.TB) {
	t.Helper()
	stacks := ""
	for range 200 {
		buf := make([]byte, 4<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		ours := false
		for _, one := range strings.Split(stacks, "\n\n") {
			ours = ours || ownCode.MatchString(one)
		}
		if !ours {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("goroutines left behind:\n%s", stacks)
}
