package refresh_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// browse is an app behind authpihttp with one user signed in: it returns what the user's
// browser gets for a page, "login" where that is the way to sign in again.
func browse(t *testing.T, e *testkit.Env, resources []string) (get func() string, agent func() *authpi.Agent) {
	t.Helper()
	var seen *authpi.Agent
	client := e.NewClient(func(cfg *authpi.Config) { cfg.RedirectURI = "https://app.example/auth/callback" })
	app := authpihttp.New(client, nil, &authpihttp.Options{Resources: resources, Scopes: []string{"openid", "email", "offline_access"}, Error: authpihttp.WriteError})
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("/", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen, _ = authpihttp.AgentFrom(r.Context())
		_, _ = w.Write([]byte(seen.ID))
	})))
	e.Client = client
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func(path string) *http.Response {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://app.example"+path, nil)
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		for _, cookie := range jar.Cookies(r.URL) {
			r.AddCookie(cookie)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		jar.SetCookies(r.URL, w.Result().Cookies())
		return w.Result()
	}
	begin := send("/auth/login")
	callback, err := e.Issuer.SignIn(begin.Header.Get("Location"), testkit.Subject)
	if err != nil {
		t.Fatalf("SignIn: %v", err)
	}
	back, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	send(back.RequestURI())
	e.Issuer.ResetCounters()
	get = func() string {
		switch resp := send("/"); resp.StatusCode {
		case http.StatusOK:
			return "the page"
		case http.StatusFound, http.StatusSeeOther:
			return "login"
		default:
			return fmt.Sprint(resp.StatusCode)
		}
	}
	return get, func() *authpi.Agent { return seen }
}

// Behind authpihttp: whose session has ended can sign in again, and everybody else is
// still signed in once the trouble is over.
func TestWhatEndsASignIn(t *testing.T) {
	for _, tc := range verdicts {
		t.Run(fmt.Sprintf("%d %s, resources asked for %v", tc.status, tc.body, tc.asks), func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				var resources []string
				if tc.asks {
					resources = []string{api}
				}
				get, _ := browse(t, e, resources)
				if got := get(); got != "the page" {
					t.Fatalf("signed in: got %s; want the page", got)
				}
				time.Sleep(testkit.TokenLife + time.Second)
				e.Fault(authpitest.Fault{Status: tc.status, Body: tc.body})
				got := get()
				if (got == "login") != tc.ended || got == "the page" {
					t.Errorf("refused: got %s; want the way to the login: %v", got, tc.ended)
				}
				time.Sleep(10 * time.Second)
				want := "the page"
				if tc.ended {
					want = "login"
				}
				if got := get(); got != want {
					t.Errorf("later: got %s; want %s", got, want)
				}
			})
		})
	}
}

// Behind authpihttp: another caller's refusal and a sign-out in this process.
func TestSignInAndOtherCallers(t *testing.T) {
	t.Run("a refused grant beside it", func(t *testing.T) {
		for _, code := range []string{"access_denied", "invalid_scope", "invalid_target"} {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				get, agent := browse(t, e, nil)
				get()
				held := agent().Tokens
				time.Sleep(testkit.TokenLife + time.Second)
				e.Fault(refusal(403, code))
				other := testkit.After(func() {
					_, err := e.Create(held, &authpi.AgentOptions{Resources: []string{api}})
					testkit.WantError(t, err, code, false)
				})
				if got := get(); got != "the page" {
					t.Errorf("%s: got %s; want the page", code, got)
				}
				<-other
				if got := get(); got != "the page" || e.Spent() != 2 {
					t.Errorf("%s: got %s after %d requests; want the page, 2", code, got, e.Spent())
				}
			})
		}
	})
	t.Run("signed out while it refreshes", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			get, agent := browse(t, e, nil)
			get()
			held := agent().Tokens
			time.Sleep(testkit.TokenLife + time.Second)
			e.Fault(authpitest.Fault{DelayAnswer: 2 * time.Second})
			page := testkit.After(func() {
				if got := get(); got != "login" {
					t.Errorf("meanwhile: got %s; want the way to the login", got)
				}
			})
			revoke(e, held.RefreshToken)
			<-page
			if got := get(); got != "login" {
				t.Errorf("later: got %s; want the way to the login", got)
			}
		})
	})
	t.Run("signed out while the tokens are good", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			get, agent := browse(t, e, nil)
			get()
			e.Issuer.Inject(authpitest.Fault{Endpoint: "revoke", Drop: true})
			revoke(e, agent().Tokens.RefreshToken)
			if got := get(); got != "login" {
				t.Errorf("got %s; want the way to the login", got)
			}
		})
	})
	t.Run("keys that lag behind", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			get, agent := browse(t, e, nil)
			time.Sleep(testkit.TokenLife + time.Second)
			e.Fault(authpitest.Fault{IDToken: testkit.SetHeader("kid", "not-published-yet")})
			for range 2 {
				if got := get(); got != "the page" || agent().Email != testkit.Email {
					t.Errorf("got %s; want the page, and who is there", got)
				}
			}
			e.WantSpent(1)
		})
	})
	t.Run("an issuer that never brings an ID token", func(t *testing.T) {
		testkit.Bubble(t, &authpitest.Options{OmitIDTokenOnRefresh: true}, nil, func(t *testing.T, e *testkit.Env) {
			get, agent := browse(t, e, nil)
			get()
			signedIn := agent()
			for range 2 {
				time.Sleep(testkit.TokenLife + time.Second)
				e.Issuer.ResetCounters()
				for n := range 1000 {
					if n == 500 {
						e.Issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Status: 503, Times: -1})
					}
					if got := get(); got != "the page" {
						t.Fatalf("view %d: got %s; want the page", n, got)
					}
				}
				if got := agent(); got.SessionID != signedIn.SessionID || got.SessionID == "" || !got.AuthTime.Equal(signedIn.AuthTime) || got.Email != signedIn.Email {
					t.Errorf("got %v, session %q, signed in at %v; want what the login said", got, got.SessionID, got.AuthTime)
				}
				if got := e.Issuer.Requests("userinfo"); got != 1 || e.Spent() != 1 {
					t.Errorf("got %d user info requests, %d refreshes; want 1 each", got, e.Spent())
				}
				e.Issuer.ClearFaults()
			}
		})
	})
	t.Run("a page of a gateway's", func(t *testing.T) {
		testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
			get, _ := browse(t, e, nil)
			time.Sleep(testkit.TokenLife + time.Second)
			e.Fault(authpitest.Fault{Body: "<html>", ContentType: "text/html"})
			if got := get(); got == "login" || got == "the page" {
				t.Errorf("got %s; want an error page", got)
			}
			time.Sleep(5 * time.Second)
			if got := get(); got != "the page" {
				t.Errorf("later: got %s; want the page", got)
			}
		})
	})
}
