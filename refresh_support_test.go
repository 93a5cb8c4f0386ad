package authpi_test

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

const (
	rtUser   = "usr_ada"
	rtEmail  = "ada@example.com"
	rtSecret = "rt-client-secret-0123456789"
	rtLife   = 30 * time.Minute // of authpitest's access tokens
)

// rtEnv is one issuer with one client, everything that was said on the wire, and
// everything that was logged. When its test ends, no log line may hold a secret.
type rtEnv struct {
	t      testing.TB
	srv    *authpitest.Server
	cfg    authpi.Config
	client *authpi.IdpClient
	wire   *rtWire
	log    *rtLog
	ahead  atomic.Int64 // how far advance put both clocks forward
}

// rtBubble runs test with an issuer in memory inside a synctest bubble, which also
// fails where a goroutine is left behind.
func rtBubble(t *testing.T, issuer *authpitest.Options, edit func(*authpi.Config), test func(*testing.T, *rtEnv)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, rtMemory(t, issuer, edit)) })
}

// rtMemory is an issuer in memory: call it inside a bubble.
func rtMemory(t testing.TB, issuer *authpitest.Options, edit func(*authpi.Config)) *rtEnv {
	t.Helper()
	return rtStart(t, authpitest.NewInMemory(rtIssuer(issuer)), edit)
}

// rtSocket is an issuer on a loopback port, for real concurrency. Its time is real;
// advance moves both clocks.
func rtSocket(t testing.TB, issuer *authpitest.Options, edit func(*authpi.Config)) *rtEnv {
	t.Helper()
	srv := authpitest.NewServer(rtIssuer(issuer))
	t.Cleanup(srv.Close)
	return rtStart(t, srv, edit)
}

func rtIssuer(opts *authpitest.Options) *authpitest.Options {
	o := authpitest.Options{}
	if opts != nil {
		o = *opts
	}
	o.ClientSecret = rtSecret
	return &o
}

func rtStart(t testing.TB, srv *authpitest.Server, edit func(*authpi.Config)) *rtEnv {
	t.Helper()
	srv.AddUser(authpitest.User{ID: rtUser, Email: rtEmail, EmailVerified: true, Name: "Ada"})
	srv.SetOrganizations(rtUser, authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}})
	e := &rtEnv{t: t, srv: srv, log: newRTLog()}
	e.wire = &rtWire{base: srv.Client().Transport, log: e.log}
	e.log.secret(rtSecret)
	e.cfg = authpi.Config{
		IssuerURL:    srv.URL,
		ClientID:     srv.ClientID(),
		ClientSecret: srv.ClientSecret(),
		RedirectURI:  "https://app.example/callback",
		HTTPClient:   &http.Client{Transport: e.wire},
		Logger:       slog.New(e.log),
		Now:          func() time.Time { return time.Now().Add(time.Duration(e.ahead.Load())) },
	}
	if edit != nil {
		edit(&e.cfg)
	}
	e.client = e.newClient(nil)
	t.Cleanup(func() { e.log.check(t) })
	return e
}

// newClient is another client of the same configuration: another process.
func (e *rtEnv) newClient(edit func(*authpi.Config)) *authpi.IdpClient {
	e.t.Helper()
	cfg := e.cfg
	if edit != nil {
		edit(&cfg)
	}
	c, err := authpi.NewIdpClient(cfg)
	if err != nil {
		e.t.Fatalf("NewIdpClient: %v", err)
	}
	return c
}

// signIn gives the tokens of a new session, and forgets the requests it took.
func (e *rtEnv) signIn() authpi.TokenSet {
	e.t.Helper()
	callback, auth := e.login()
	agent, err := e.client.ExchangeCallback(context.Background(), callback, auth)
	if err != nil {
		e.t.Fatalf("ExchangeCallback: %v", err)
	}
	e.srv.ResetCounters()
	return agent.Tokens
}

// login is the user's way to the callback.
func (e *rtEnv) login() (url.Values, authpi.AuthorizationURL) {
	e.t.Helper()
	auth, err := e.client.CreateAuthorizationURL([]string{"openid", "email", "profile", "offline_access"}, nil)
	if err != nil {
		e.t.Fatalf("CreateAuthorizationURL: %v", err)
	}
	e.log.secret(auth.CodeVerifier)
	e.log.secret(auth.State)
	e.log.secret(auth.Nonce)
	raw, err := e.srv.SignIn(auth.URL, rtUser)
	if err != nil {
		e.t.Fatalf("SignIn: %v", err)
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		e.t.Fatalf("ParseCallback: %v", err)
	}
	e.log.secret(callback.Get("code"))
	return callback, *auth
}

// expired signs in and lets the access token expire. Inside a bubble only.
func (e *rtEnv) expired() authpi.TokenSet {
	e.t.Helper()
	tokens := e.signIn()
	time.Sleep(rtLife + time.Second)
	return tokens
}

// inBuffer signs in and waits until the access token is good for left only.
func (e *rtEnv) inBuffer(left time.Duration) authpi.TokenSet {
	e.t.Helper()
	tokens := e.signIn()
	time.Sleep(rtLife - left)
	return tokens
}

// advance puts the clocks of client and issuer forward.
func (e *rtEnv) advance(d time.Duration) {
	e.ahead.Add(int64(d))
	e.srv.Advance(d)
}

// spent is how many refresh requests arrived at the issuer.
func (e *rtEnv) spent() int { return e.srv.Grants("refresh_token") }

func (e *rtEnv) wantSpent(want int) {
	e.t.Helper()
	if got := e.spent(); got != want {
		e.t.Errorf("refresh requests: got %d; want %d", got, want)
	}
}

func (e *rtEnv) wantAlive(tokens authpi.TokenSet) {
	e.t.Helper()
	if !e.srv.SessionAlive(tokens.RefreshToken) {
		e.t.Error("the session is dead; want alive")
	}
}

// fault injects f for refresh requests.
func (e *rtEnv) fault(f authpitest.Fault) {
	f.Endpoint, f.Grant = "token", "refresh_token"
	e.srv.Inject(f)
}

// create is CreateAgent; the error, if any, is checked for secrets.
func (e *rtEnv) create(tokens authpi.TokenSet, opts *authpi.AgentOptions) (*authpi.Agent, error) {
	e.t.Helper()
	return e.createBy(context.Background(), e.client, tokens, opts)
}

func (e *rtEnv) createBy(ctx context.Context, c *authpi.IdpClient, tokens authpi.TokenSet, opts *authpi.AgentOptions) (*authpi.Agent, error) {
	e.t.Helper()
	agent, err := c.CreateAgent(ctx, tokens, opts)
	e.log.error(err)
	return agent, err
}

// mustCreate is CreateAgent where it has to work.
func (e *rtEnv) mustCreate(tokens authpi.TokenSet, opts *authpi.AgentOptions) *authpi.Agent {
	e.t.Helper()
	agent, err := e.create(tokens, opts)
	if err != nil {
		e.t.Fatalf("CreateAgent: %v", err)
	}
	return agent
}

// rtWire passes requests on to the issuer, or to hook where that is set, and notes
// every token that comes back as a secret.
type rtWire struct {
	base http.RoundTripper
	log  *rtLog
	hook atomic.Pointer[func(*http.Request) (*http.Response, error)]
}

func (w *rtWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if hook := w.hook.Load(); hook != nil {
		if resp, err := (*hook)(r); resp != nil || err != nil {
			return resp, err
		}
	}
	resp, err := w.base.RoundTrip(r)
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

func (w *rtWire) set(hook func(*http.Request) (*http.Response, error)) {
	if hook == nil {
		w.hook.Store(nil)
		return
	}
	w.hook.Store(&hook)
}

// rtForm reads a request's form and puts the body back.
func rtForm(r *http.Request) url.Values {
	if r.Body == nil {
		return nil
	}
	body, _ := io.ReadAll(r.Body)
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	return form
}

// rtAnswer is a JSON answer.
func rtAnswer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

// rtLog is a slog.Handler that keeps every record, and knows what none may hold.
type rtLog struct {
	mu      sync.Mutex // guards all below
	lines   []string   // JSON
	secrets map[string]bool
	errs    []string
	hook    func(message string) // called without the lock
}

func newRTLog() *rtLog { return &rtLog{secrets: map[string]bool{}} }

func (l *rtLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *rtLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *rtLog) WithGroup(string) slog.Handler            { return l }

func (l *rtLog) Handle(_ context.Context, r slog.Record) error {
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

func (l *rtLog) onMessage(hook func(string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// with gives the lines that hold text.
func (l *rtLog) with(text string) []string {
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

// secret notes what no line and no error may hold. Of a JWT the signature alone is
// one too.
func (l *rtLog) secret(s string) {
	if len(s) < 8 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets[s] = true
	if parts := strings.Split(s, "."); len(parts) == 3 && len(parts[2]) > 20 {
		l.secrets[parts[2]] = true
	}
}

func (l *rtLog) secretsOf(body []byte) {
	var answer map[string]any
	if json.Unmarshal(body, &answer) != nil {
		return
	}
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if text, ok := answer[name].(string); ok {
			l.secret(text)
		}
	}
}

// error keeps every way of printing err for the check.
func (l *rtLog) error(err error) {
	if err == nil {
		return
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range errorChain(err) { // reporters print whole chains
		l.errs = append(l.errs, fmt.Sprintf("%v %+v %#v %q %s", one, one, one, one, one)+logged.String())
	}
}

// knows tells whether text holds a secret.
func (l *rtLog) knows(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.secrets {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func (l *rtLog) check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Join(l.lines, "")
	errs := strings.Join(l.errs, "\n")
	for s := range l.secrets {
		if i := strings.Index(lines, s); i >= 0 {
			t.Errorf("a log line holds a secret near %q", lines[max(0, i-120):i])
		}
		if i := strings.Index(errs, s); i >= 0 {
			t.Errorf("an error holds a secret near %q", errs[max(0, i-120):i])
		}
	}
}

// rtStore is a session store with what its callbacks heard.
type rtStore struct {
	mu       sync.Mutex // guards all below
	current  authpi.TokenSet
	saved    []authpi.TokenSet
	failures []error
	loads    int
	saveErr  error
	loadErr  error
}

func (s *rtStore) opts() *authpi.AgentOptions {
	return &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.saveErr != nil {
				return s.saveErr
			}
			s.current = tokens
			s.saved = append(s.saved, tokens)
			return nil
		},
		OnRefreshError: func(_ context.Context, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.failures = append(s.failures, err)
		},
	}
}

func (s *rtStore) reloading() *authpi.AgentOptions {
	opts := s.opts()
	opts.Reload = func(context.Context) (authpi.TokenSet, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.loads++
		return s.current, s.loadErr
	}
	return opts
}

func (s *rtStore) set(t authpi.TokenSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = t
}

// wantCalls checks how often OnRefresh succeeded and OnRefreshError was called.
func (s *rtStore) wantCalls(t testing.TB, saved, failures int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.saved) != saved || len(s.failures) != failures {
		t.Errorf("OnRefresh %d times, OnRefreshError %d times (%v); want %d and %d",
			len(s.saved), len(s.failures), s.failures, saved, failures)
	}
}

// rtSame compares tokens without printing them.
func rtSame(t testing.TB, what string, got, want authpi.TokenSet) {
	t.Helper()
	if got.AccessToken != want.AccessToken || got.RefreshToken != want.RefreshToken {
		t.Errorf("%s: got another token set than wanted (expiries %s and %s)", what, got.ExpiresAt, want.ExpiresAt)
	}
}

// rtWantError checks an error's code, status and whether the session has ended.
func rtWantError(t testing.TB, err error, code string, ended bool) {
	t.Helper()
	var e *authpi.OAuthError
	if !errors.As(err, &e) {
		t.Fatalf("got %v; want an OAuthError with code %s", err, code)
	}
	if e.Code != code || authpi.SessionEnded(err) != ended {
		t.Errorf("got %q (%v), session ended %v; want %s, %v", e.Code, err, authpi.SessionEnded(err), code, ended)
	}
}

// rtCarried gives the tokens that a refresh error carries.
func rtCarried(t testing.TB, err error) authpi.TokenSet {
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

// rtNoGoroutines waits for every goroutine of the package's own to end. It is for
// tests with sockets that do not run in parallel; a bubble checks by itself.
func rtNoGoroutines(t testing.TB) {
	t.Helper()
	stacks := ""
	for range 200 {
		buf := make([]byte, 4<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		ours := false
		for _, one := range strings.Split(stacks, "\n\n") {
			if strings.Contains(one, "authpi-idp-go.(*") || strings.Contains(one, "authpi-idp-go/internal/") {
				ours = true
			}
		}
		if !ours {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("goroutines left behind:\n%s", stacks)
}
