package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestTokenSource(t *testing.T) {
	t.Run("a good token costs nothing", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.SignIn()
			source := e.Client.TokenSource(e.MustCreate(tokens, nil), nil)
			token, err := source.Token()
			if err != nil || token.AccessToken != tokens.AccessToken || token.Type() != "Bearer" || !token.Expiry.Equal(tokens.ExpiresAt) {
				t.Fatalf("got another token, or %v", err)
			}
			if n := testing.AllocsPerRun(100, func() { _, _ = source.Token() }); n != 0 {
				t.Errorf("allocations: got %v; want 0", n)
			}
			if got := e.Issuer.Requests(""); got != 0 {
				t.Errorf("requests: got %d; want 0", got)
			}
			if text := fmt.Sprintf("%v %+v %#v", source, source, source); strings.Contains(text, tokens.AccessToken) {
				t.Error("printing the source shows the token")
			}
		})
	})
	t.Run("refreshes ahead of expiry for hours", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.SignIn()
			store := &testkit.Store{}
			source := e.Client.TokenSource(e.MustCreate(tokens, nil), store.Opts())
			const rounds = 10
			for i := range rounds {
				time.Sleep(testkit.TokenLife - time.Minute)
				token, err := source.Token()
				if err != nil || time.Until(token.Expiry) < testkit.TokenLife-time.Minute {
					t.Fatalf("round %d: got a token good for %s, or %v", i, time.Until(token.Expiry), err)
				}
				testkit.WantSame(t, "stored", store.Current, authpi.TokenSet{AccessToken: token.AccessToken, RefreshToken: token.RefreshToken})
			}
			store.WantCalls(t, rounds, 0)
			e.WantSpent(rounds)
			e.WantAlive(store.Current)
		})
	})
	t.Run("1,000 callers, one request", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			e.Fault(authpitest.Fault{DelayAnswer: 20 * time.Millisecond})
			source := e.Client.TokenSource(&authpi.Agent{ID: testkit.Subject, Tokens: tokens}, nil)
			var wg sync.WaitGroup
			for i := range 1000 {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * 60 * time.Microsecond)
					if _, err := source.Token(); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			e.WantSpent(1)
		})
	})
	t.Run("grace, then the failure", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(30 * time.Second)
			store := &testkit.Store{}
			source := e.Client.TokenSource(e.MustCreate(tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff}), store.Opts())
			e.Fault(authpitest.Fault{Status: 503, Times: -1})
			for range 29 {
				token, err := source.Token()
				if err != nil || token.AccessToken != tokens.AccessToken {
					t.Fatalf("got another token, or %v", err)
				}
				time.Sleep(time.Second)
			}
			e.WantSpent(6) // at 0, 5, 10, 15, 20, 25 s
			store.WantCalls(t, 0, 0)
			time.Sleep(time.Second)
			_, err := source.Token()
			e.Log.Error(err)
			testkit.WantError(t, err, "refresh_error", false)
			store.WantCalls(t, 0, 1)
			e.Issuer.ClearFaults()
			if _, err := source.Token(); err != nil {
				t.Errorf("the issuer is back: %v", err)
			}
		})
	})
	t.Run("tokens that live shorter than the buffer", func(t *testing.T) {
		testkit.Bubble(t, &authpitest.Options{AccessTokenLifetime: 40 * time.Second}, nil, func(t *testing.T, e *testkit.Env) {
			useForTwoMinutes(t, e, e.Client.TokenSource(agentOf(e.SignIn()), nil))
		})
	})
	t.Run("without refresh", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.InBuffer(30 * time.Second)
			off := e.Client.TokenSource(&authpi.Agent{ID: testkit.Subject, Tokens: tokens}, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
			bare := tokens
			bare.RefreshToken = ""
			none := e.Client.TokenSource(&authpi.Agent{ID: testkit.Subject, Tokens: bare}, nil)
			for _, source := range []oauth2.TokenSource{off, none} {
				if token, err := source.Token(); err != nil || token.AccessToken != tokens.AccessToken {
					t.Errorf("a token that is still good: got another, or %v", err)
				}
			}
			time.Sleep(30 * time.Second)
			for _, source := range []oauth2.TokenSource{off, none, e.Client.TokenSource(nil, nil)} {
				_, err := source.Token()
				testkit.WantError(t, err, "token_expired", true)
				var failed *authpi.RefreshError
				if errors.As(err, &failed) {
					t.Errorf("got %v as a RefreshError; want an OAuthError alone: nothing was tried", err)
				}
			}
			e.WantSpent(0)
		})
	})
	t.Run("OnRefresh is called once for all callers", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			store := &testkit.Store{}
			source := e.Client.TokenSource(agentOf(e.Expired()), store.Opts())
			e.Fault(authpitest.Fault{DelayAnswer: time.Second})
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					if _, err := source.Token(); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			store.WantCalls(t, 1, 0)
		})
	})
	t.Run("OnRefresh panics", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			source := e.Client.TokenSource(agentOf(tokens), &authpi.AgentOptions{
				OnRefresh: func(context.Context, authpi.TokenSet) error { panic(tokens.RefreshToken) },
			})
			_, err := source.Token()
			e.Log.Error(err)
			testkit.WantCode(t, err, "transport_error", "the refresh panicked with a string")
		})
	})
	t.Run("opaque tokens that live shorter than the buffer", func(t *testing.T) {
		issuer := &authpitest.Options{AccessTokenLifetime: 40 * time.Second, OmitIDTokenOnRefresh: true}
		testkit.Bubble(t, issuer, nil, func(t *testing.T, e *testkit.Env) {
			source := e.Client.TokenSource(agentOf(e.SignIn()), nil)
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Times: -1, Malform: member("access_token", `"opaque"`)})
			useForTwoMinutes(t, e, source)
		})
	})
	t.Run("OnRefresh fails, then works", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			tokens := e.Expired()
			store := &testkit.Store{SaveErr: errors.New("disk full")}
			source := e.Client.TokenSource(&authpi.Agent{ID: testkit.Subject, Tokens: tokens}, store.Opts())
			_, err := source.Token()
			testkit.Carried(t, err)
			store.WantCalls(t, 0, 1)
			store.SaveErr = nil
			if _, err := source.Token(); err != nil {
				t.Error(err)
			}
			store.WantCalls(t, 1, 1)
			e.WantSpent(1)
		})
	})
}

// useForTwoMinutes asks for a token each second, of a source whose tokens live for 40 s.
func useForTwoMinutes(t *testing.T, e *testkit.Env, source oauth2.TokenSource) {
	t.Helper()
	for range 120 {
		if token, err := source.Token(); err != nil || !token.Valid() {
			t.Fatalf("got an expired token, or %v", err)
		}
		time.Sleep(time.Second)
	}
	if got := e.Spent(); got > 8 {
		t.Errorf("refresh requests: got %d; want about one for each 20 s", got)
	}
}

// rtAPI is an API in memory on any number of hosts: it notes what it was sent, and
// redirects where redirect says.
type rtAPI struct {
	mu       sync.Mutex
	seen     []string // "host path Authorization"
	redirect map[string]string
	forget   string // "request" leaves Response.Request out, "URL" its URL
}

func (a *rtAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, r.URL.Host+r.URL.Path+" "+r.Header.Get("Authorization"))
	resp := testkit.Reply(r, http.StatusOK, nil, `{}`)
	if to := a.redirect[r.URL.Host+r.URL.Path]; to != "" {
		resp.StatusCode = http.StatusTemporaryRedirect
		resp.Header.Set("Location", to)
	}
	switch a.forget {
	case "request":
		resp.Request = nil
	case "URL":
		resp.Request = &http.Request{}
	}
	return resp, nil
}

// rtHosts sends requests for the issuer there, and all others to the API.
func rtHosts(e *testkit.Env, api *rtAPI) {
	e.Wire.Set(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(e.Issuer.URL, r.URL.Scheme+"://"+r.URL.Host) {
			return nil, nil
		}
		return api.RoundTrip(r)
	})
}

func TestHTTPClientKeepsTheTokenAtItsOrigin(t *testing.T) {
	const home = "https://api.example"
	for _, tc := range []struct {
		name     string
		start    string
		redirect map[string]string
		forget   string
		want     []bool // whether each request carries the token
	}{
		{"no redirect", home + "/a", nil, "", []bool{true}},
		{"same origin", home + "/a", map[string]string{"api.example/a": home + "/b"}, "", []bool{true, true}},
		{"same origin, port written", home + "/a", map[string]string{"api.example/a": home + ":443/b"}, "", []bool{true, true}},
		{"another host", home + "/a", map[string]string{"api.example/a": "https://evil.example/b"}, "", []bool{true, false}},
		{"a subdomain", home + "/a", map[string]string{"api.example/a": "https://x.api.example/b"}, "", []bool{true, false}},
		{"another port", home + "/a", map[string]string{"api.example/a": home + ":8443/b"}, "", []bool{true, false}},
		{"plain http", home + "/a", map[string]string{"api.example/a": "http://api.example/b"}, "", []bool{true, false}},
		{"there and back", home + "/a", map[string]string{
			"api.example/a": "https://evil.example/b", "evil.example/b": home + "/c",
		}, "", []bool{true, false, false}},
		{"there, back and on", home + "/a", map[string]string{
			"api.example/a": "https://evil.example/b", "evil.example/b": home + "/c", "api.example/c": home + "/d",
		}, "", []bool{true, false, false, false}},
		{"a transport that does not say where it was", home + "/a", map[string]string{"api.example/a": "https://evil.example/b"}, "request", []bool{true, false}},
		{"a transport that says nothing of where it was", home + "/a", map[string]string{"api.example/a": home + "/b"}, "URL", []bool{true, false}},
		{"loopback over http", "http://127.0.0.1:8080/a", nil, "", []bool{true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.SignIn()
				api := &rtAPI{redirect: tc.redirect, forget: tc.forget}
				rtHosts(e, api)
				resp, err := e.Client.HTTPClient(e.MustCreate(tokens, nil), nil).Get(tc.start)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if len(api.seen) != len(tc.want) {
					t.Fatalf("requests: got %d; want %d", len(api.seen), len(tc.want))
				}
				for i, want := range tc.want {
					if got := strings.HasSuffix(api.seen[i], " Bearer "+tokens.AccessToken); got != want {
						t.Errorf("request %d carries the token: got %v; want %v", i+1, got, want)
					}
				}
			})
		})
	}
}

// rtBody tells whether it was closed.
type rtBody struct {
	io.Reader
	closed atomic.Bool
}

func (b *rtBody) Close() error { b.closed.Store(true); return nil }

func TestHTTPClientRefusals(t *testing.T) {
	for _, tc := range []struct {
		name     string
		url      string
		insecure bool
		arm      func(e *testkit.Env)
		works    bool
	}{
		{"plain http", "http://api.example/a", false, nil, false},
		{"plain http to what looks like loopback", "http://localhost.evil.example/a", false, nil, false},
		{"plain http, allowed", "http://api.example/a", true, nil, true},
		{"no token to be had", "https://api.example/a", false, func(e *testkit.Env) { e.Issuer.EndSession(testkit.Subject) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, func(cfg *authpi.Config) { cfg.AllowInsecureHTTP = tc.insecure }, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				api := &rtAPI{}
				rtHosts(e, api)
				if tc.arm != nil {
					tc.arm(e)
				}
				body := &rtBody{Reader: strings.NewReader("payload")}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tc.url, body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := e.Client.HTTPClient(&authpi.Agent{ID: testkit.Subject, Tokens: tokens}, nil).Do(req)
				e.Log.Error(err)
				if (err == nil) != tc.works || (len(api.seen) == 1) != tc.works {
					t.Fatalf("got %v and %d requests; want success: %v", err, len(api.seen), tc.works)
				}
				if tc.works {
					_ = resp.Body.Close()
				} else if !body.closed.Load() {
					t.Error("the request's body was left open")
				}
				if req.Header.Get("Authorization") != "" {
					t.Error("the caller's own request was changed")
				}
			})
		})
	}
}

// Nothing is begun for a request whose context has ended already.
func TestHTTPClientWithAnEndedContext(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		withAPI(e)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := ways()[3].get(ctx, e.Client, e.Expired(), &authpi.AgentOptions{})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v; want context.Canceled", err)
		}
		synctest.Wait()
		e.WantSpent(0)
	})
}

// The context is each request's own: one that is cancelled leaves, the others stay.
func TestHTTPClientContext(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		withAPI(e)
		e.Fault(authpitest.Fault{DelayAnswer: 10 * time.Second})
		client := e.Client.HTTPClient(&authpi.Agent{ID: testkit.Subject, Tokens: tokens}, nil)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := callAPI(t.Context(), client); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := callAPI(ctx, client); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %s; want its own deadline after 1 s", err, time.Since(began))
		}
		wg.Wait()
		// Nothing was captured from the request whose context is over.
		if err := callAPI(t.Context(), client); err != nil {
			t.Error(err)
		}
		e.WantSpent(1)
	})
}

func TestClientCredentialsSource(t *testing.T) {
	const grant = "client_credentials"
	t.Run("one request for all, renewed near expiry", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 20 * time.Millisecond})
			source := e.Client.ClientCredentialsSource([]string{"jobs:run"}, "https://api.example/")
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					if _, err := source.Token(); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if got := e.Issuer.Grants(grant); got != 1 {
				t.Errorf("requests: got %d; want 1", got)
			}
			form := e.Issuer.LastForm()
			if form.Get("scope") != "jobs:run" || form.Get("resource") != "https://api.example/" {
				t.Errorf("got scope %q, resource %q", form.Get("scope"), form.Get("resource"))
			}
			first, _ := source.Token()
			if n := testing.AllocsPerRun(100, func() { _, _ = source.Token() }); n != 0 {
				t.Errorf("allocations: got %v; want 0", n)
			}
			req, _ := http.NewRequest(http.MethodGet, "https://api.example/", nil)
			first.SetAuthHeader(req)
			if got := req.Header.Get("Authorization"); got != "Bearer "+first.AccessToken {
				t.Error("SetAuthHeader set something else")
			}
			time.Sleep(4*time.Minute + time.Second) // 5 minutes, less the buffer
			second, err := source.Token()
			if err != nil || second.AccessToken == first.AccessToken {
				t.Errorf("near expiry: got the same token, or %v", err)
			}
			if text := fmt.Sprintf("%v %+v %#v", source, source, source); strings.Contains(text, second.AccessToken) {
				t.Error("printing the source shows the token")
			}
		})
	})
	t.Run("a good token outlives the issuer", func(t *testing.T) {
		for _, fault := range []authpitest.Fault{{Status: 503}, {Drop: true}, {Refuse: true}, {Delay: time.Hour}} {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				source := e.Client.ClientCredentialsSource(nil)
				first, err := source.Token()
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(4 * time.Minute)
				fault.Endpoint, fault.Times = "token", -1
				e.Issuer.Inject(fault)
				e.Issuer.ResetCounters()
				for range 5 {
					began := time.Now()
					token, err := source.Token()
					if err != nil || token.AccessToken != first.AccessToken {
						t.Fatalf("got another token, or %v", err)
					}
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("with a good token in hand a call took %s; want at most 5 s", took)
					}
				}
				if got := e.Issuer.Grants(grant); got > 1 {
					t.Errorf("requests in the pause: got %d; want at most 1", got)
				}
				time.Sleep(time.Minute)
				_, err = source.Token()
				e.Log.Error(err)
				code := "transport_error"
				if fault.Status != 0 {
					code = "token_error"
				}
				testkit.WantError(t, err, code, false)
				e.Issuer.ClearFaults()
				time.Sleep(11 * time.Second) // a hanging attempt ends
				if _, err := source.Token(); err != nil {
					t.Errorf("the issuer is back: %v", err)
				}
			})
		}
	})
	t.Run("a token that expires during the wait", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			source := e.Client.ClientCredentialsSource(nil)
			first, err := source.Token()
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(first.Expiry) - 2*time.Second)
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Delay: time.Hour})
			_, err = source.Token()
			e.Log.Error(err)
			testkit.WantError(t, err, "transport_error", false)
			time.Sleep(31 * time.Second) // the hanging attempt ends
		})
	})
	t.Run("final and odd failures", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			source := e.Client.ClientCredentialsSource(nil)
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 401, Body: `{"error":"invalid_client","error_description":"` + testkit.ClientSecret + `"}`})
			_, err := source.Token()
			e.Log.Error(err)
			testkit.WantError(t, err, "invalid_client", false)
			e.Wire.Set(func(r *http.Request) (*http.Response, error) { panic("sent " + testkit.Form(r).Encode()) })
			_, err = source.Token()
			e.Log.Error(err)
			testkit.WantError(t, err, "transport_error", false)
			e.Wire.Set(nil)
			if _, err := source.Token(); err != nil {
				t.Errorf("after a panic: %v", err)
			}
			public := e.NewClient(func(cfg *authpi.Config) { cfg.ClientSecret = "" })
			_, err = public.ClientCredentialsSource(nil).Token()
			testkit.WantField(t, err, "ClientSecret")
			var oauth *authpi.OAuthError
			if errors.As(err, &oauth) {
				t.Errorf("a public client: got %v; want a ConfigurationError alone", err)
			}
			time.Sleep(31 * time.Second) // net/http's timer goroutine of the panicking round tripper
		})
	})
}

// A caller that saw no token, and then was slower than another's whole request, makes
// no second request, and stores nothing again.
func TestSlowCallerOfASource(t *testing.T) {
	for _, tc := range []struct {
		name string
		open func(*testkit.Env, *testkit.Store) oauth2.TokenSource
		want func(*testing.T, *testkit.Env, *testkit.Store)
	}{
		{
			"a machine's", func(e *testkit.Env, _ *testkit.Store) oauth2.TokenSource {
				return e.Client.ClientCredentialsSource(nil)
			},
			func(t *testing.T, e *testkit.Env, _ *testkit.Store) {
				if got := e.Issuer.Grants("client_credentials"); got != 1 {
					t.Errorf("requests: got %d; want 1", got)
				}
			},
		},
		{
			"a user's", func(e *testkit.Env, store *testkit.Store) oauth2.TokenSource {
				return e.Client.TokenSource(agentOf(e.Expired()), store.Opts())
			},
			func(t *testing.T, e *testkit.Env, store *testkit.Store) {
				store.WantCalls(t, 1, 0)
				e.WantSpent(1)
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) { besideSlowCaller(t, tc.open, tc.want) })
	}
}

// besideSlowCaller calls a source while another caller is held up in the clock, after
// it has seen no token, and lets that one go on afterwards.
func besideSlowCaller(t *testing.T, open func(*testkit.Env, *testkit.Store) oauth2.TokenSource, check func(*testing.T, *testkit.Env, *testkit.Store)) {
	t.Helper()
	var hold atomic.Bool
	var held, goOn chan struct{}
	slowly := func(cfg *authpi.Config) {
		now := cfg.Now
		cfg.Now = func() time.Time {
			if hold.CompareAndSwap(true, false) {
				close(held)
				<-goOn
			}
			return now()
		}
	}
	testkit.Bubble(t, nil, slowly, func(t *testing.T, e *testkit.Env) {
		held, goOn = make(chan struct{}), make(chan struct{})
		store := &testkit.Store{}
		source := open(e, store)
		hold.Store(true)
		slow := make(chan error)
		go func() {
			_, err := source.Token()
			slow <- err
		}()
		<-held
		if _, err := source.Token(); err != nil {
			t.Error(err)
		}
		close(goOn)
		if err := <-slow; err != nil {
			t.Error(err)
		}
		check(t, e, store)
	})
}

// A round tripper that heeds no context keeps a machine waiting for no longer than a
// request may take, and a second.
func TestClientCredentialsSourceOverADeafTransport(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		e.Wire.Set(func(*http.Request) (*http.Response, error) {
			time.Sleep(deafFor)
			return nil, errors.New("too late")
		})
		wantWithin(t, "Token", 10*time.Second, 11*time.Second, func() {
			_, err := e.Client.ClientCredentialsSource(nil).Token()
			testkit.WantError(t, err, "transport_error", false)
		})
		time.Sleep(2 * deafFor)
	})
}

// A machine's token that is still good bridges what passes, for as long as it is good.
func TestClientCredentialsSourceInTrouble(t *testing.T) {
	held := func(t *testing.T, e *testkit.Env, left time.Duration) (oauth2.TokenSource, *oauth2.Token) {
		t.Helper()
		source := e.Client.ClientCredentialsSource(nil)
		first, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(first.Expiry) - left)
		return source, first
	}
	t.Run("waits longer where there is no token", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 7 * time.Second})
			if _, err := e.Client.ClientCredentialsSource(nil).Token(); err != nil {
				t.Errorf("got %v; want the token after 7 s", err)
			}
		})
	})
	t.Run("asks again when the pause is over", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			source, first := held(t, e, 30*time.Second)
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503})
			for i, wait := range []time.Duration{0, 5*time.Second - 1} {
				time.Sleep(wait)
				if token, err := source.Token(); err != nil || token.AccessToken != first.AccessToken {
					t.Errorf("call %d: got another token, or %v; want the good one", i, err)
				}
			}
			time.Sleep(time.Nanosecond)
			if token, err := source.Token(); err != nil || token.AccessToken == first.AccessToken {
				t.Errorf("after the pause: got the same token, or %v; want a new one", err)
			}
		})
	})
	t.Run("expires inside the pause", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			source, first := held(t, e, 3*time.Second)
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503})
			if token, err := source.Token(); err != nil || token.AccessToken != first.AccessToken {
				t.Fatalf("got another token, or %v; want the good one", err)
			}
			time.Sleep(3 * time.Second)
			if token, err := source.Token(); err != nil || token.AccessToken == first.AccessToken {
				t.Errorf("got the expired token, or %v; want a new one", err)
			}
		})
	})
	t.Run("a final refusal ends it at once", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			source, _ := held(t, e, 30*time.Second)
			e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 401, Body: `{"error":"invalid_client"}`})
			_, err := source.Token()
			testkit.WantError(t, err, "invalid_client", false)
		})
	})
}
