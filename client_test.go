package authpi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	const id, secret = "c:1/ä &+", `s:e%c/r=e&t +"ü`
	for _, tc := range []struct {
		name   string
		method authpi.AuthMethod
		secret string
		header string // Authorization
		form   url.Values
	}{
		{"post", authpi.AuthMethodPost, secret, "", url.Values{"client_id": {id}, "client_secret": {secret}}},
		// RFC 6749 section 2.3.1: both parts form-encoded before they are joined.
		{"basic", authpi.AuthMethodBasic, secret, "c%3A1%2F%C3%A4+%26%2B:s%3Ae%25c%2Fr%3De%26t+%2B%22%C3%BC", url.Values{}},
		{"public", authpi.AuthMethodPost, "", "", url.Values{"client_id": {id}}},
		{"public, basic", authpi.AuthMethodBasic, "", "", url.Values{"client_id": {id}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			client := testkit.Scripted(t, func(cfg *authpi.Config) {
				cfg.ClientID, cfg.ClientSecret, cfg.AuthMethod = id, tc.secret, tc.method
			}, func(r *http.Request) (*http.Response, error) {
				asked++
				if got := r.Header.Get("Content-Type"); got != "application/x-www-form-urlencoded" || r.Method != http.MethodPost {
					t.Errorf("got %s with %q; want a form by POST", r.Method, got)
				}
				user, password, ok := r.BasicAuth()
				if header := user + ":" + password; ok != (tc.header != "") || ok && header != tc.header {
					t.Errorf("%s: got Basic %q; want %q", r.URL.Path, header, tc.header)
				}
				for _, name := range []string{"client_id", "client_secret"} {
					testkit.WantEqual(t, r.URL.Path+" "+name, r.PostForm[name], tc.form[name])
				}
				if r.URL.RawQuery != "" {
					t.Errorf("got the query %q; want all in the form", r.URL.RawQuery)
				}
				return testkit.Reply(r, 400, nil, `{"error":"invalid_request"}`), nil
			})
			for name, call := range testkit.FormCalls(t.Context(), client) {
				err := call()
				if name == "machine" && tc.secret == "" {
					testkit.WantField(t, err, "ClientSecret")
					continue
				}
				testkit.WantCode(t, err, "invalid_request")
			}
			want := 5
			if tc.secret == "" {
				want = 4
			}
			if asked != want {
				t.Errorf("got %d requests; want %d: the method is never guessed by trying", asked, want)
			}
		})
	}
	for name, method := range map[string]authpi.AuthMethod{"post": authpi.AuthMethodPost, "basic": authpi.AuthMethodBasic} {
		t.Run("accepted by "+name, func(t *testing.T) {
			t.Parallel()
			issuer := testkit.NewSocketIssuer(t, &authpitest.Options{ClientID: id, ClientSecret: secret})
			client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) { cfg.AuthMethod = method })
			agent := testkit.SignIn(t, client, issuer, nil)
			if _, err := client.Refresh(t.Context(), agent, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryRequestNamesTheLibrary(t *testing.T) {
	t.Parallel()
	issuer := testkit.NewIssuer(t, &authpitest.Options{ClientSecret: "hush-hush"})
	var mu sync.Mutex
	seen := map[string]string{}
	client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
		next := cfg.HTTPClient.Transport
		cfg.HTTPClient = &http.Client{Transport: testkit.TransportFunc(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			seen[strings.TrimPrefix(r.URL.Path, "/i_test")] = r.Header.Get("User-Agent")
			want := "application/json"
			if strings.HasSuffix(r.URL.Path, "/userinfo") {
				want += ", application/jwt"
			}
			if got := r.Header.Get("Accept"); got != want {
				t.Errorf("%s: got Accept %q; want %q", r.URL.Path, got, want)
			}
			return next.RoundTrip(r)
		})}
	})
	agent := testkit.SignIn(t, client, issuer, nil)
	_, _ = client.UserInfo(t.Context(), agent)
	_, _ = client.Introspect(t.Context(), "x", "")
	_ = client.RevokeToken(t.Context(), "x", "")
	want := regexp.MustCompile(`^authpi-idp-go/\d+\.\d+\.\d+ Go/\d+\.\d+\S* \(` + runtime.GOOS + `; ` + runtime.GOARCH + `\)$`)
	for _, path := range []string{"/.well-known/openid-configuration", "/jwks.json", "/token", "/userinfo", "/introspect", "/revoke"} {
		if !want.MatchString(seen[path]) {
			t.Errorf("%s: got User-Agent %q; want %s", path, seen[path], want)
		}
	}
}

// A redirect of a request that carries secrets would hand them to whoever it names.
func TestRedirectsAreNeverFollowed(t *testing.T) {
	t.Parallel()
	var strayed atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		strayed.Add(1)
		_, _ = w.Write([]byte(`{"access_token":"at","active":true,"sub":"usr_1"}`))
	}))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			var own *httptest.Server
			own = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				target := elsewhere.URL
				if r.URL.Path == "/there" {
					strayed.Add(1)
				}
				if strings.HasSuffix(r.URL.Path, "/revoke") {
					target = own.URL + "/there" // the same host is no better
				}
				http.Redirect(w, r, target, status)
			}))
			t.Cleanup(own.Close)
			for name, hc := range map[string]*http.Client{"default client": nil, "own client": {}} {
				client, err := authpi.NewIdpClient(authpi.Config{
					IssuerURL: own.URL, ClientID: "c_1", ClientSecret: "hush-hush", RedirectURI: testkit.RedirectURI, HTTPClient: hc,
					Endpoints: authpi.Endpoints{
						Token: own.URL + "/token", UserInfo: own.URL + "/userinfo", Revocation: own.URL + "/revoke",
						Introspection: own.URL + "/introspect", JWKS: own.URL + "/keys",
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				calls := testkit.FormCalls(t.Context(), client)
				calls["user info"] = func() error {
					_, err := client.UserInfo(t.Context(), &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: "at"}})
					return err
				}
				for call, do := range calls {
					var e *authpi.OAuthError
					if err := do(); !errors.As(err, &e) || e.StatusCode != status {
						t.Errorf("%s, %s: got %v; want an error with status %d", name, call, err, status)
					}
				}
			}
			if got := strayed.Load(); got != 0 {
				t.Errorf("got %d requests where the redirect led; want 0", got)
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	for _, tc := range []struct {
		name string
		size int
		code string
	}{
		{"1 MiB", limit, "token_error"}, {"1 MiB and a byte", limit + 1, "invalid_response"}, {"10 MiB", 10 * limit, "invalid_response"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			read := 0
			client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.ClientSecret = "hush-hush" }, func(r *http.Request) (*http.Response, error) {
				const frame = `{"x":""}`
				answer := testkit.Reply(r, 400, nil, "")
				body := `{"x":"` + strings.Repeat("a", tc.size-len(frame)) + `"}`
				answer.Body = io.NopCloser(countingReader{strings.NewReader(body), &read})
				return answer, nil
			})
			_, err := client.ExchangeCode(t.Context(), "the-code", "the-verifier", nil)
			testkit.WantCode(t, err, tc.code)
			if read > limit+64<<10 {
				t.Errorf("got %d bytes read; want no more than about 1 MiB", read)
			}
			if tc.code != "invalid_response" {
				return
			}
			for name, call := range testkit.FormCalls(t.Context(), client) {
				if err := call(); !strings.Contains(err.Error(), "invalid_response") {
					t.Errorf("%s: got %v; want invalid_response", name, err)
				}
			}
			_, err = client.UserInfo(t.Context(), &authpi.Agent{ID: "u", Tokens: authpi.TokenSet{AccessToken: "at"}})
			testkit.WantCode(t, err, "invalid_response", "1 MiB")
		})
	}
}

type countingReader struct {
	io.Reader
	read *int
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.read += n
	return n, err
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock()
	date := func(d time.Duration) string { return clock.Now().Add(d).Format(http.TimeFormat) }
	for _, tc := range []struct {
		name, header string
		want         time.Duration
	}{
		{"none", "", 0},
		{"seconds", "7", 7 * time.Second},
		{"zero", "0", 0},
		{"negative", "-7", 0},
		{"with spaces", " 7 ", 7 * time.Second},
		{"date", date(90 * time.Second), 90 * time.Second},
		{"date that has passed", date(-time.Hour), 0},
		{"date of another format", clock.Now().Add(time.Minute).Format(time.RFC850), time.Minute},
		{"a year", "31536000", 24 * time.Hour},
		{"a date in a year", date(365 * 24 * time.Hour), 24 * time.Hour},
		{"too many digits", "99999999999999999999", 0},
		{"a fraction", "1.5", 0},
		{"words", "soon", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.Now, cfg.ClientSecret = clock.Now, "hush-hush" }, func(r *http.Request) (*http.Response, error) {
				header := http.Header{}
				if tc.header != "" {
					header.Set("Retry-After", tc.header)
				}
				return testkit.Reply(r, 429, header, `{"error":"slow_down"}`), nil
			})
			for name, call := range testkit.FormCalls(t.Context(), client) {
				err := call()
				var e *authpi.OAuthError
				if !errors.As(err, &e) || e.RetryAfter != tc.want || e.StatusCode != 429 || e.Code != "slow_down" {
					t.Errorf("%s: got %+v; want slow_down after %v", name, err, tc.want)
				}
				if authpi.SessionEnded(err) {
					t.Errorf("%s: got the session ended by a 429; want it to live", name)
				}
			}
		})
	}
}

func TestOnlyWhatNeverLeftIsSentAgain(t *testing.T) {
	t.Parallel()
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	reset := &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
	for _, tc := range []struct {
		name string
		err  error
		sent int
	}{
		{"dial error", dial, 2},
		{"dial error, wrapped", &net.OpError{Op: "socks connect", Err: dial}, 1},
		{"name not found", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}}, 2},
		{"reset after sending", reset, 1},
		{"write error", &net.OpError{Op: "write", Err: errors.New("broken pipe")}, 1},
		{"end of file", io.EOF, 1},
		{"unexpected end of file", io.ErrUnexpectedEOF, 1},
		{"timeout", context.DeadlineExceeded, 1},
		{"anything else", errors.New("the transport failed"), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for i, name := range []string{"exchange", "refresh", "machine", "revoke", "introspect"} {
				sent := 0
				client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.ClientSecret = "hush-hush" }, func(r *http.Request) (*http.Response, error) {
					sent++
					if len(r.PostForm) == 0 {
						t.Errorf("attempt %d: got an empty form; want it sent whole", sent)
					}
					return nil, tc.err
				})
				err := testkit.FormCalls(t.Context(), client)[name]()
				testkit.WantCode(t, err, "transport_error")
				if !errors.Is(err, tc.err) || authpi.SessionEnded(err) {
					t.Errorf("%s: got %v; want a passing failure that wraps its cause", name, err)
				}
				if sent != tc.sent {
					t.Errorf("%s (%d): got %d requests; want %d", name, i, sent, tc.sent)
				}
			}
		})
	}
	t.Run("the second attempt succeeds", func(t *testing.T) {
		t.Parallel()
		issuer, client := testkit.New(t, nil, nil)
		callback, auth := testkit.StartLogin(t, client, issuer, nil)
		issuer.Inject(authpitest.Fault{Endpoint: "token", Refuse: true})
		if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
			t.Errorf("got %v; want the exchange sent once more", err)
		}
		if got := issuer.Requests("token"); got != 1 {
			t.Errorf("got %d token requests; want 1", got)
		}
	})
	t.Run("an answer that was lost", func(t *testing.T) {
		t.Parallel()
		issuer := testkit.NewSocketIssuer(t, nil)
		client := testkit.NewClient(t, issuer, nil)
		callback, auth := testkit.StartLogin(t, client, issuer, nil)
		issuer.Inject(authpitest.Fault{Endpoint: "token", DropAnswer: true})
		_, err := client.ExchangeCallback(t.Context(), callback, auth)
		testkit.WantCode(t, err, "transport_error")
		testkit.WantHidden(t, err.Error(), callback.Get("code"), auth.CodeVerifier)
		if got := issuer.Requests("token"); got != 1 {
			t.Errorf("got %d token requests; want 1: the code is spent", got)
		}
	})
}

// What a foreign transport prints into its error does not reach ours.
func TestTransportErrorsAreMasked(t *testing.T) {
	t.Parallel()
	client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.ClientSecret = "hush-hush" }, func(r *http.Request) (*http.Response, error) {
		return nil, errors.New("dump: " + r.PostForm.Encode() + " " + r.Header.Get("Authorization"))
	})
	for name, call := range testkit.FormCalls(t.Context(), client) {
		err := call()
		e := testkit.WantCode(t, err, "transport_error", "[redacted]")
		testkit.WantHidden(t, name+err.Error()+e.Description, "hush-hush", "the-code", "the-verifier", "the-refresh-token", "the-token")
	}
	_, err := client.UserInfo(t.Context(), &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: "the-access-token"}})
	testkit.WantCode(t, err, "transport_error")
	testkit.WantHidden(t, err.Error(), "the-access-token")
}

func TestCancellation(t *testing.T) {
	t.Parallel()
	issuer := testkit.NewSocketIssuer(t, &authpitest.Options{ClientSecret: "hush-hush"})
	client := testkit.NewClient(t, issuer, nil)
	callback, auth := testkit.StartLogin(t, client, issuer, nil)
	agent := testkit.SignIn(t, client, issuer, nil)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	warm := client
	cold := testkit.NewClient(t, issuer, nil) // has neither keys nor discovery yet
	for name, call := range map[string]func(context.Context, *authpi.IdpClient) error{
		"ExchangeCallback": func(ctx context.Context, c *authpi.IdpClient) error {
			_, err := c.ExchangeCallback(ctx, callback, auth)
			return err
		},
		"UserInfo": func(ctx context.Context, c *authpi.IdpClient) error { _, err := c.UserInfo(ctx, agent); return err },
		"Refresh":  func(ctx context.Context, c *authpi.IdpClient) error { _, err := c.Refresh(ctx, agent, nil); return err },
		"ClientCredentials": func(ctx context.Context, c *authpi.IdpClient) error {
			_, err := c.ClientCredentials(ctx, nil)
			return err
		},
		"RevokeToken": func(ctx context.Context, c *authpi.IdpClient) error { return c.RevokeToken(ctx, "t", "") },
		"Introspect":  func(ctx context.Context, c *authpi.IdpClient) error { _, err := c.Introspect(ctx, "t", ""); return err },
		"DiscoverEndpoints": func(ctx context.Context, _ *authpi.IdpClient) error {
			_, err := authpi.DiscoverEndpoints(ctx, issuer.URL, nil)
			return err
		},
		"VerifyAccessToken, cold": func(ctx context.Context, _ *authpi.IdpClient) error {
			_, err := cold.VerifyAccessToken(ctx, agent.Tokens.AccessToken, "")
			return err
		},
	} {
		err := call(cancelled, warm)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v; want it to wrap context.Canceled", name, err)
		}
		if authpi.SessionEnded(err) {
			t.Errorf("%s: got the session ended by a cancellation", name)
		}
	}
	// Nothing was spent by all this.
	if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
		t.Errorf("the code afterwards: got %v; want it good", err)
	}
	if _, err := client.Refresh(t.Context(), agent, nil); err != nil {
		t.Errorf("the refresh token afterwards: got %v; want it good", err)
	}

	// Whether the request leaves before that or not, the deadline comes out.
	limited, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Delay: time.Hour})
	if _, err := client.UserInfo(limited, agent); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want it to wrap context.DeadlineExceeded", err)
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, &authpitest.Options{ClientSecret: "hush-hush"}, func(cfg *authpi.Config) { cfg.Resources = []string{"https://own.example"} })
	agent, err := client.ClientCredentials(t.Context(), []string{"machines:run", "x:y"}, "https://b.example", "https://a.example")
	if err != nil {
		t.Fatalf("ClientCredentials: %v", err)
	}
	if agent.ID != "c_test" || agent.Tokens.RefreshToken != "" || agent.Tokens.IDToken != "" || !agent.HasAccess("run", "machines") || agent.IsExpired() {
		t.Errorf("got %v; want the client's own access token", agent)
	}
	form := issuer.LastForm()
	testkit.WantEqual(t, "grant_type", form["grant_type"], []string{"client_credentials"})
	testkit.WantEqual(t, "scope", form["scope"], []string{"machines:run x:y"})
	testkit.WantEqual(t, "resource", form["resource"], []string{"https://b.example", "https://a.example"})
	if _, err := client.ClientCredentials(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	form = issuer.LastForm()
	if form.Has("scope") || form.Has("resource") {
		t.Errorf("got the form %v; want neither scope nor the client's resources", form)
	}

	// None is due, but an ID token that holds is kept, and any other is left out.
	key := testkit.NewRawKey(t)
	for name, tc := range map[string]struct {
		token string
		kept  bool
	}{
		"good":     {key.Sign(testkit.RawHeader, `{"iss":"https://idp.example/i_1","aud":"c_1","sub":"c_1","exp":4000000000,"iat":1700000000}`), true},
		"expired":  {key.Sign(testkit.RawHeader, `{"iss":"https://idp.example/i_1","aud":"c_1","sub":"c_1","exp":1700000001,"iat":1700000000}`), false},
		"unsigned": {testkit.Unsigned(`{"sub":"usr_admin"}`), false},
	} {
		client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.ClientSecret = "hush-hush" }, func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "jwks.json") {
				return testkit.Reply(r, 200, nil, key.JWKS()), nil
			}
			return testkit.Reply(r, 200, nil, `{"access_token":"at","expires_in":60,"id_token":"`+tc.token+`"}`), nil
		})
		agent, err := client.ClientCredentials(t.Context(), nil)
		if err != nil || agent.ID != "c_1" || (agent.Tokens.IDToken != "") != tc.kept {
			t.Errorf("%s: got %v, %v; want the ID token kept %t", name, agent, err, tc.kept)
		}
	}
}

func TestRevokeToken(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	agent := testkit.SignIn(t, client, issuer, nil)
	if err := client.RevokeToken(t.Context(), agent.Tokens.RefreshToken, "refresh_token"); err != nil {
		t.Fatalf("RevokeToken: %v", err)
	}
	if issuer.SessionAlive(agent.Tokens.RefreshToken) {
		t.Error("got the session alive; want it ended")
	}
	testkit.WantEqual(t, "token_type_hint", issuer.LastForm()["token_type_hint"], []string{"refresh_token"})
	if err := client.RevokeToken(t.Context(), "unknown", ""); err != nil {
		t.Errorf("got %v; want no error for a token that is not valid any more", err)
	}
	if issuer.LastForm().Has("token_type_hint") {
		t.Error("got an empty hint sent; want it left out")
	}
	issuer.Inject(authpitest.Fault{Endpoint: "revoke", Status: 503, Body: "busy", RetryAfter: "3"})
	e := testkit.WantCode(t, client.RevokeToken(t.Context(), "the-token", ""), "revocation_error", "503")
	if e.StatusCode != 503 || e.RetryAfter != 3*time.Second {
		t.Errorf("got %+v; want status and Retry-After", e)
	}
	issuer.Inject(authpitest.Fault{Endpoint: "revoke", Status: 400, Body: `{"error":"unsupported_token_type"}`})
	testkit.WantCode(t, client.RevokeToken(t.Context(), "the-token", "x"), "unsupported_token_type")
}

func TestCreateLogoutURL(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, &authpitest.Options{TrailingSlash: true}, nil)
	base := "https://idp.authpi.test/i_test/logout"
	for _, tc := range []struct {
		name string
		opts *authpi.LogoutOptions
		want url.Values
	}{
		{"nil", nil, url.Values{}},
		{"empty", &authpi.LogoutOptions{}, url.Values{}},
		{"hint", &authpi.LogoutOptions{IDTokenHint: "a.b.c"}, url.Values{"id_token_hint": {"a.b.c"}}},
		{"all", &authpi.LogoutOptions{IDTokenHint: "a.b.c", PostLogoutRedirectURI: "https://app.example/?a=b&c", State: "s t&"}, url.Values{
			"id_token_hint": {"a.b.c"}, "post_logout_redirect_uri": {"https://app.example/?a=b&c"}, "state": {"s t&"},
		}},
	} {
		got, err := client.CreateLogoutURL(tc.opts)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(got)
		place, _, _ := strings.Cut(got, "?")
		if err != nil || place != base || u.Query().Encode() != tc.want.Encode() {
			t.Errorf("%s: got %s; want %s with %v", tc.name, got, base, tc.want)
		}
	}
	agent := testkit.SignIn(t, client, issuer, nil)
	logout, err := client.CreateLogoutURL(&authpi.LogoutOptions{IDTokenHint: agent.Tokens.IDToken, PostLogoutRedirectURI: "https://app.example/bye", State: "s_1"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := issuer.Client().Get(logout)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if got := answer.Header.Get("Location"); got != "https://app.example/bye?state=s_1" || issuer.SessionAlive(agent.Tokens.RefreshToken) {
		t.Errorf("got a redirect to %q; want the session ended and the browser sent back", got)
	}
}

// One client serves any number of goroutines: the race detector is the judge.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, &authpitest.Options{ClientSecret: "hush-hush"}, nil)
	agent := testkit.SignIn(t, client, issuer, nil)
	token := issuer.AccessToken(nil)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if _, err := client.VerifyAccessToken(t.Context(), token, ""); err != nil {
				t.Errorf("VerifyAccessToken: %v", err)
			}
			if _, err := client.CreateAgent(t.Context(), agent.Tokens, nil); err != nil {
				t.Errorf("CreateAgent: %v", err)
			}
			if _, err := client.UserInfo(t.Context(), agent); err != nil {
				t.Errorf("UserInfo: %v", err)
			}
			if _, err := client.ClientCredentials(t.Context(), nil); err != nil {
				t.Errorf("ClientCredentials: %v", err)
			}
			callback, auth := testkit.StartLogin(t, client, issuer, nil)
			if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
				t.Errorf("ExchangeCallback: %v", err)
			}
			_ = client.String()
		})
	}
	group.Wait()
	if got := issuer.Requests("jwks"); got != 1 {
		t.Errorf("got %d key requests; want 1", got)
	}
}

func TestIntrospect(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock()
	issuer, client := testkit.New(t, &authpitest.Options{Now: clock.Now}, func(cfg *authpi.Config) { cfg.Now = clock.Now })
	agent := testkit.SignIn(t, client, issuer, nil)
	got, err := client.Introspect(t.Context(), agent.Tokens.AccessToken, "access_token")
	if err != nil {
		t.Fatalf("Introspect: %v", err)
	}
	if !got.Active || got.Subject != testkit.Subject || got.ClientID != "c_test" || got.TokenType != "Bearer" || !strings.Contains(got.Scope, "openid") ||
		!got.IssuedAt.Equal(clock.Now()) || !got.ExpiresAt.Equal(clock.Now().Add(30*time.Minute)) {
		t.Errorf("got %+v; want the token's", got)
	}
	if form := issuer.LastForm(); form.Get("token_type_hint") != "access_token" || form.Get("token") != agent.Tokens.AccessToken {
		t.Errorf("got the form %v", form)
	}
	var own struct{ Jti string }
	if err := got.Claims(&own); err != nil || own.Jti == "" {
		t.Errorf("Claims: got %+v, %v; want jti", own, err)
	}
	if got, err := client.Introspect(t.Context(), "unknown", ""); err != nil || got.Active || got.Subject != "" {
		t.Errorf("got %+v, %v; want not active", got, err)
	}
	if issuer.LastForm().Has("token_type_hint") {
		t.Error("got an empty hint sent; want it left out")
	}
	for _, tc := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"active missing", `{}`, 200, "invalid_response"},
		{"active a text", `{"active":"true"}`, 200, "invalid_response"},
		{"active twice", `{"active":false,"active":true}`, 200, "invalid_response"},
		{"Active", `{"Active":true}`, 200, "invalid_response"},
		{"empty", ``, 200, "invalid_response"},
		{"401", `{"error":"invalid_client"}`, 401, "invalid_client"},
		{"500", `oops`, 500, "introspection_error"},
	} {
		client := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) { return testkit.Reply(r, tc.status, nil, tc.body), nil })
		_, err := client.Introspect(t.Context(), "the-token", "")
		var e *authpi.OAuthError
		if !errors.As(err, &e) || e.Code != tc.code || e.StatusCode != tc.status {
			t.Errorf("%s: got %v; want %s with status %d", tc.name, err, tc.code, tc.status)
		}
	}
}

// Check names what is wrong, and tells it from an issuer that is unreachable for
// now.
func TestCheck(t *testing.T) {
	t.Parallel()
	replaced := func(old, text string) authpitest.Fault {
		return authpitest.Fault{Malform: func(body []byte) []byte { return []byte(strings.ReplaceAll(string(body), old, text)) }}
	}
	on := func(endpoint string, fault authpitest.Fault) *authpitest.Fault {
		fault.Endpoint, fault.Times = endpoint, -1
		return &fault
	}
	status := func(status int) authpitest.Fault { return authpitest.Fault{Status: status, Body: "no"} }
	given := func(change func(*authpi.Endpoints)) func(*authpi.Config, authpi.Endpoints) {
		return func(cfg *authpi.Config, found authpi.Endpoints) {
			cfg.Endpoints = found
			change(&cfg.Endpoints)
		}
	}
	tests := []struct {
		name        string
		fault       *authpitest.Fault
		config      func(cfg *authpi.Config, found authpi.Endpoints) // nil: none
		field, says string                                           // field "": nothing is wrong
		code        string                                           // of a passing failure
	}{
		{name: "all is well"},
		{name: "endpoints given", config: given(func(*authpi.Endpoints) {})},
		{name: "an endpoint that the document leaves out", fault: on("discovery", replaced("userinfo_endpoint", "x"))},
		{name: "no document", fault: on("discovery", status(404)), field: "IssuerURL", says: "404"},
		{name: "forbidden", fault: on("discovery", status(403)), field: "IssuerURL", says: "403"},
		{name: "moved", fault: on("discovery", status(301)), field: "IssuerURL", says: "301"},
		{name: "a page", fault: on("discovery", authpitest.Fault{Body: "<html>", ContentType: "text/html"}), field: "IssuerURL", says: "JSON"},
		{name: "another issuer", fault: on("discovery", replaced("/i_test\"", "/i_other\"")), field: "IssuerURL", says: "i_other"},
		{name: "plain http", fault: on("discovery", replaced("https://idp.authpi.test/i_test/jwks", "http://idp.authpi.test/i_test/jwks")),
			field: "IssuerURL", says: "jwks_uri"},
		{name: "another token endpoint", fault: on("discovery", replaced("/i_test/token", "/i_test/oauth/token")), field: "Endpoints.Token", says: "/oauth/token"},
		{name: "another logout", fault: on("discovery", replaced("/i_test/logout", "/i_test/bye")), field: "Endpoints.EndSession", says: "/bye"},
		{name: "busy", fault: on("discovery", status(503)), code: "invalid_response"},
		{name: "too many requests", fault: on("discovery", status(429)), code: "invalid_response"},
		{name: "unreachable", fault: on("discovery", authpitest.Fault{Refuse: true}), code: "transport_error"},
		{name: "no keys there", fault: on("jwks", status(404)), field: "IssuerURL", says: "404"},
		{name: "no keys there, given", fault: on("jwks", status(404)), config: given(func(*authpi.Endpoints) {}), field: "Endpoints.JWKS", says: "404"},
		{name: "no keys given", config: given(func(e *authpi.Endpoints) { e.JWKS = "" }), field: "Endpoints.JWKS", says: "empty"},
		{name: "no key", fault: on("jwks", authpitest.Fault{Body: `{"keys":[]}`}), field: "IssuerURL", says: "without a key"},
		{name: "no key set", fault: on("jwks", authpitest.Fault{Body: `[]`}), field: "IssuerURL", says: "cannot be read"},
		{name: "no such algorithm", config: func(cfg *authpi.Config, _ authpi.Endpoints) { cfg.SigningAlgorithms = []string{"ES512"} },
			field: "SigningAlgorithms", says: "no algorithm"},
		{name: "keys busy", fault: on("jwks", status(502)), code: "invalid_response"},
		{name: "keys unreachable", fault: on("jwks", authpitest.Fault{Refuse: true}), code: "transport_error"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer := testkit.NewIssuer(t, nil)
			found, err := authpi.DiscoverEndpoints(t.Context(), issuer.URL, issuer.Client())
			if err != nil {
				t.Fatal(err)
			}
			if tc.fault != nil {
				issuer.Inject(*tc.fault)
			}
			client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
				if tc.config != nil {
					tc.config(cfg, found)
				}
			})
			err = client.Check(t.Context())
			switch {
			case tc.field != "":
				testkit.WantField(t, err, tc.field)
				if !strings.Contains(err.Error(), tc.says) {
					t.Errorf("got %v; want it to say %q", err, tc.says)
				}
			case tc.code != "":
				testkit.WantCode(t, err, tc.code)
				if authpi.SessionEnded(err) {
					t.Errorf("got %v; want a passing failure", err)
				}
			case err != nil:
				t.Errorf("got %v; want nothing wrong", err)
			}
		})
	}
}

func TestCheckNoSuchHost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err   net.DNSError
		field string
	}{
		"no such host":            {net.DNSError{Err: "no such host", Name: "idp.exmaple", IsNotFound: true}, "IssuerURL"},
		"the resolver is no help": {net.DNSError{Err: "server misbehaving", Name: "idp.example", IsTemporary: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.Endpoints = authpi.Endpoints{} },
				func(*http.Request) (*http.Response, error) {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &tc.err}
				})
			err := client.Check(t.Context())
			if tc.field == "" {
				testkit.WantCode(t, err, "transport_error", "misbehaving")
				return
			}
			testkit.WantField(t, err, tc.field)
			if !strings.Contains(err.Error(), "idp.exmaple") {
				t.Errorf("got %v; want the host named", err)
			}
		})
	}
}

// A readiness probe asks as often as it likes: it makes no request while good copies
// are at hand, and the issuer may be away for hours.
func TestCheckAsProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer, client := testkit.New(t, nil, nil)
		probe := func() {
			t.Helper()
			if err := client.Check(t.Context()); err != nil {
				t.Errorf("got %v; want the client ready", err)
			}
		}
		for range 100 {
			probe()
		}
		if got := issuer.Requests("discovery") + issuer.Requests("jwks"); got != 2 {
			t.Errorf("got %d requests for 100 probes; want 2", got)
		}
		issuer.Inject(authpitest.Fault{Times: -1, Status: 503})
		for range 23 * 60 {
			time.Sleep(time.Minute)
			probe()
		}
		time.Sleep(time.Hour)
		testkit.WantCode(t, client.Check(t.Context()), "invalid_response", "503")
		left, cancel := context.WithCancel(t.Context())
		cancel()
		if err := client.Check(left); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v; want the caller's leaving", err)
		}
	})
}

// KeySet verifies signatures as the client does: by accepted algorithms, with keys
// that are fetched once, within the budget.
func TestKeySet(t *testing.T) {
	t.Parallel()
	issuer := testkit.NewIssuer(t, nil)
	keys := testkit.NewClient(t, issuer, func(cfg *authpi.Config) { cfg.SigningAlgorithms = []string{"ES256"} }).KeySet()
	token := issuer.AccessToken(map[string]any{"x": "y"})
	for range 3 {
		payload, err := keys.VerifySignature(t.Context(), token)
		if err != nil || !strings.Contains(string(payload), `"x":"y"`) {
			t.Fatalf("got %s, %v; want the payload", payload, err)
		}
		payload[0] = 'x' // the caller's own
	}
	for range 10 {
		_, err := keys.VerifySignature(t.Context(), issuer.Sign(map[string]any{}, map[string]any{"kid": "forged"}))
		testkit.WantCode(t, err, "invalid_token", "kid")
	}
	if got := issuer.Requests("jwks"); got > 3 {
		t.Errorf("got %d key fetches; want 3 at most", got)
	}
	_, err := keys.VerifySignature(t.Context(), issuer.Sign(map[string]any{}, map[string]any{"alg": "RS256"}))
	testkit.WantCode(t, err, "invalid_token", "alg")
	_, err = keys.VerifySignature(t.Context(), token+"A")
	testkit.WantCode(t, err, "invalid_token", "signature")
}
