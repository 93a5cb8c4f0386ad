package authpihttp_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

const (
	origin   = "https://app.test"
	clientID = "c_test"
)

// site is an application with its issuer, all of it in memory.
type site struct {
	t       testing.TB
	issuer  *authpitest.Server
	client  *authpi.IdpClient
	store   *store
	app     *authpihttp.App
	mux     *http.ServeMux
	handler http.Handler
	made    setup

	mu      sync.Mutex    // guards what follows
	ahead   time.Duration // of the client's clock
	refused []error
}

// setup changes what a site is made of.
type setup struct {
	issuer  authpitest.Options
	client  authpi.Config
	options authpihttp.Options
	store   *store // shared with another site; nil: its own
	plain   bool   // the store has no CommitIf
}

func newSite(t testing.TB, change func(*setup)) *site {
	t.Helper()
	s := &site{t: t, mux: http.NewServeMux()}
	made := setup{issuer: authpitest.Options{ClientID: clientID, ClientSecret: "hush", PostLogoutRedirectURIs: []string{origin + "/bye"}}}
	made.client = authpi.Config{
		ClientID: clientID, ClientSecret: "hush", RedirectURI: origin + "/auth/callback",
		Now: func() time.Time {
			s.mu.Lock()
			defer s.mu.Unlock()
			return time.Now().Add(s.ahead)
		},
	}
	s.store = newStore(made.client.Now)
	made.options.PostLogoutRedirectURI = origin + "/bye"
	made.options.Error = func(w http.ResponseWriter, r *http.Request, status int, err error) {
		s.mu.Lock()
		s.refused = append(s.refused, err)
		s.mu.Unlock()
		authpihttp.WriteError(w, r, status, err)
	}
	if change != nil {
		change(&made)
	}
	s.issuer = authpitest.NewInMemory(&made.issuer)
	t.Cleanup(s.issuer.Close)
	for _, name := range []string{"ada", "bob"} {
		s.issuer.AddUser(authpitest.User{ID: "usr_" + name, Email: name + "@example.com", EmailVerified: true})
	}
	s.issuer.SetOrganizations("usr_ada",
		authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}},
		authpitest.Organization{ID: "org_2", Scopes: []string{"owner", "projects:**"}})
	made.client.IssuerURL, made.client.HTTPClient = s.issuer.URL, s.issuer.Client()
	var err error
	if s.client, err = authpi.NewIdpClient(made.client); err != nil {
		t.Fatal(err)
	}
	if made.store != nil {
		s.store = made.store
	}
	s.made = made
	s.app = s.process(s.client)
	s.app.Register(s.mux)
	s.mux.Handle("/", s.app.RequireAgent(http.HandlerFunc(s.whoami)))
	s.mux.Handle("GET /tokens", s.app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		data, _ := agent.Tokens.MarshalJSON()
		_, _ = w.Write(data)
	})))
	s.mux.Handle("GET /sid", s.app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		fmt.Fprint(w, agent.SessionID)
	})))
	s.handler = s.mux
	return s
}

// process is an App of another process, on the same store.
func (s *site) process(client *authpi.IdpClient) *authpihttp.App {
	options := s.made.options
	if s.made.plain {
		return authpihttp.New(client, s.store, &options)
	}
	return authpihttp.New(client, conditional{s.store}, &options)
}

// anotherClient is the client of another process.
func (s *site) anotherClient() *authpi.IdpClient {
	s.t.Helper()
	client, err := authpi.NewIdpClient(s.made.client)
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

// whoami is every page of the site.
func (s *site) whoami(w http.ResponseWriter, r *http.Request) {
	agent, ok := authpihttp.AgentFrom(r.Context())
	if !ok {
		s.t.Error("no agent in the context")
		return
	}
	fmt.Fprint(w, agent.ID)
}

// advance lets time go by for the client and the issuer, but not for sessions.
func (s *site) advance(d time.Duration) {
	s.issuer.Advance(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// expire makes the access tokens of half an hour expire.
func (s *site) expire() { s.advance(40 * time.Minute) }

func (s *site) lastRefusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refused) == 0 {
		return nil
	}
	return s.refused[len(s.refused)-1]
}

// RoundTrip serves a request in the caller's goroutine, as a server would: a panic
// ends the connection, and nothing else.
func (s *site) RoundTrip(r *http.Request) (response *http.Response, err error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.Host, in.RemoteAddr = r.URL.RequestURI(), r.URL.Host, "192.0.2.1:1234"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("connection closed: %v", p)
		}
	}()
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, in)
	response = w.Result()
	response.Request = r
	return response, nil
}

// browser keeps cookies and follows no redirect.
type browser struct {
	*site
	http *http.Client
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s, &http.Client{
		Transport: s, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// forOrganization lets the request choose the organization of a login.
func forOrganization(r *http.Request) *authpi.AuthorizationOptions {
	return &authpi.AuthorizationOptions{Org: r.FormValue("org")}
}

// defaultLog returns what is written to slog.Default until the test ends. A test that
// calls it is not parallel: the default is everybody's.
func defaultLog(t *testing.T, level slog.Level) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &out
}

// twoTabs returns two tabs of a browser in which usr_ada has signed in: each has the
// cookie, and what one does to it afterwards the other does not see.
func (s *site) twoTabs() (b, same *browser) {
	b, same = s.browser(), s.browser()
	b.signIn("usr_ada")
	same.setCookie(b.cookie())
	return b, same
}

type answer struct {
	status   int
	location string
	header   http.Header
	body     string
}

// send makes a request as a browser opening a page, unless the header says
// otherwise: an empty value removes one.
func (b *browser) send(method, path string, header map[string]string) answer {
	b.t.Helper()
	a, err := b.try(context.Background(), method, path, header)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b *browser) try(ctx context.Context, method, path string, header map[string]string) (answer, error) {
	target := path
	if !strings.HasPrefix(path, "https://") {
		target = origin + path
	}
	r, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	response, err := b.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header.Get("Location"), response.Header, string(body)}, errors.Join(err, response.Body.Close())
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	return b.send(http.MethodGet, path, nil)
}

func (b *browser) json(path string) answer {
	b.t.Helper()
	return b.send(http.MethodGet, path, map[string]string{"Accept": "application/json"})
}

// start begins a login and gives the issuer's address.
func (b *browser) start(returnTo string) string {
	b.t.Helper()
	path := "/auth/login"
	if returnTo != "" {
		path += "?return_to=" + url.QueryEscape(returnTo)
	}
	a := b.get(path)
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, b.issuer.URL) {
		b.t.Fatalf("login: got %d to %q; want 303 to the issuer", a.status, a.location)
	}
	return a.location
}

// atIssuer signs somebody in there and gives the callback.
func (s *site) atIssuer(authURL, user string) string {
	s.t.Helper()
	callback, err := s.issuer.SignIn(authURL, user)
	if err != nil {
		s.t.Fatal(err)
	}
	return callback
}

// signIn does a whole login.
func (b *browser) signIn(user string) {
	b.t.Helper()
	a := b.get(b.atIssuer(b.start(""), user))
	if a.status != http.StatusSeeOther || a.location != "/" {
		b.t.Fatalf("callback: got %d to %q, %v; want 303 to /", a.status, a.location, b.lastRefusal())
	}
}

// wantUser checks who is signed in; nobody for an empty one.
func (b *browser) wantUser(user string) {
	b.t.Helper()
	a := b.get("/")
	switch {
	case user == "" && a.status != http.StatusSeeOther:
		b.t.Errorf("got %d %q; want 303 to the login", a.status, a.body)
	case user != "" && (a.status != http.StatusOK || a.body != user):
		b.t.Errorf("got %d %q, %v; want 200 %q", a.status, a.body, b.lastRefusal(), user)
	}
}

// tokens are those of the browser's sign-in; it must have one.
func (b *browser) tokens() authpi.TokenSet {
	b.t.Helper()
	a := b.get("/tokens")
	tokens, err := authpi.ParseTokenSet([]byte(a.body))
	if err != nil {
		b.t.Fatalf("got %d %q, %v, %v; want tokens", a.status, a.body, err, b.lastRefusal())
	}
	return tokens
}

func (b *browser) cookies() []*http.Cookie {
	u, _ := url.Parse(origin)
	return b.http.Jar.Cookies(u)
}

var signInName = regexp.MustCompile(`^__(Host|Secure)-authpi-[A-Za-z0-9_-]{8}$`)

// cookie is the sign-in's; nil where there is none.
func (b *browser) cookie() *http.Cookie {
	for _, c := range b.cookies() {
		if signInName.MatchString(c.Name) {
			return c
		}
	}
	return nil
}

// logins are the names of the cookies of logins under way.
func (b *browser) logins() (names []string) {
	login := regexp.MustCompile(`^__Host-authpi-[A-Za-z0-9_-]{22}-[A-Za-z0-9_-]{8}$`)
	for _, c := range b.cookies() {
		if login.MatchString(c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}

// setCookie gives the browser a cookie of another one; nil: it has none.
func (b *browser) setCookie(c *http.Cookie) {
	u, _ := url.Parse(origin)
	if c != nil {
		b.http.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/", Secure: true}})
	}
}

// setValue gives the browser's own sign-in cookie, or one like of's, another value.
func (b *browser) setValue(of *browser, value string) {
	c := of.cookie()
	b.setCookie(&http.Cookie{Name: c.Name, Value: value})
}

// recordKey is where the browser's sign-in lies in the store.
func (b *browser) recordKey() string {
	b.t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(b.cookie().Value)
	if err != nil || len(raw) != 32 {
		b.t.Fatalf("got the cookie %q; want 32 bytes in base64url", b.cookie().Value)
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// hasRecord tells whether the store has a sign-in under the key.
func (s *site) hasRecord(key string) bool {
	i, ok := s.store.copy()[key]
	return ok && string(i.data) != "ended"
}

// wantNoSecrets checks that a page shows nothing of a request or of what failed.
func wantNoSecrets(t *testing.T, a answer, secrets ...string) {
	t.Helper()
	for _, secret := range append(secrets, "redis", "secret", "internal:", "authpi:") {
		if secret != "" && strings.Contains(a.body, secret) {
			t.Errorf("the page shows %q:\n%s", secret, a.body)
		}
	}
}

func param(t *testing.T, rawURL, name string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// form sends parameters in the query or, by POST, in the body.
func (b *browser) form(method, path string, values map[string]string) answer {
	b.t.Helper()
	form := url.Values{}
	for name, value := range values {
		form.Set(name, value)
	}
	if method == http.MethodGet {
		return b.get(path + "?" + form.Encode())
	}
	r, err := http.NewRequest(method, origin+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	return b.do(r)
}

// do sends a request as it is.
func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	response, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header.Get("Location"), response.Header, string(body)}
}

func asWay(err error, way *interface{ ReturnTo() string }) bool { return errors.As(err, way) }
