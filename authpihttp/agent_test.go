package authpihttp_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestNobodySignedIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	for _, tc := range []struct {
		name     string
		method   string
		path     string
		header   map[string]string
		status   int
		location string
	}{
		{"page", "GET", "/a?b=c", nil, 303, "/auth/login?return_to=%2Fa%3Fb%3Dc"},
		{"home page", "GET", "/", nil, 303, "/auth/login"},
		{"head", "HEAD", "/a", nil, 303, "/auth/login?return_to=%2Fa"},
		{"form", "POST", "/a", nil, 303, "/auth/login"},
		{"form of a page", "POST", "/a", map[string]string{"Referer": origin + "/edit?x=1"}, 303, "/auth/login?return_to=%2Fedit%3Fx%3D1"},
		{"form of another site", "POST", "/a", map[string]string{"Referer": "https://evil.test/edit"}, 303, "/auth/login"},
		{"callback of another service", "GET", "/github?code=sesame&state=theirs", nil, 303, "/auth/login?return_to=%2Fgithub%3Fcode%3Dsesame%26state%3Dtheirs"},
		{"navigation", "GET", "/a", map[string]string{"Sec-Fetch-Mode": "navigate"}, 303, "/auth/login?return_to=%2Fa"},
		{"long page", "GET", "/" + strings.Repeat("x", 4000), nil, 303, "/auth/login"},
		{"long query", "GET", "/a?" + strings.Repeat("x", 4000), nil, 303, "/auth/login?return_to=%2Fa"},
		{"JSON", "GET", "/a", map[string]string{"Accept": "application/json"}, 401, ""},
		{"anything", "GET", "/a", map[string]string{"Accept": "*/*"}, 401, ""},
		{"no HTML", "GET", "/a", map[string]string{"Accept": "text/html;q=0, application/json"}, 401, ""},
		{"no HTML by its last digit", "GET", "/a", map[string]string{"Accept": "text/html;q=0.0"}, 401, ""},
		{"no HTML of a level", "GET", "/a", map[string]string{"Accept": "text/html;level=1; Q=0.00"}, 401, ""},
		{"hardly HTML", "GET", "/a", map[string]string{"Accept": "text/html;q=0.001"}, 303, "/auth/login?return_to=%2Fa"},
		{"HTML but for a level", "GET", "/a", map[string]string{"Accept": "text/html;level=1;q=0, text/html"}, 303, "/auth/login?return_to=%2Fa"},
		{"fetch", "GET", "/a", map[string]string{"Sec-Fetch-Mode": "cors"}, 401, ""},
		{"XMLHttpRequest", "GET", "/a", map[string]string{"X-Requested-With": "XMLHttpRequest"}, 401, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := b.send(tc.method, tc.path, tc.header)
			if a.status != tc.status || a.location != tc.location {
				t.Errorf("got %d to %q; want %d to %q", a.status, a.location, tc.status, tc.location)
			}
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("got Cache-Control %q; want no-store", got)
			}
			if a.status == 401 && (!strings.Contains(a.body, `"error":"login_required"`) || a.header.Get("Content-Type") != "application/json") {
				t.Errorf("got %s %s; want JSON", a.header.Get("Content-Type"), a.body)
			}
		})
	}
}

func TestExpiredSessionRefreshesOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	before := b.tokens()
	s.expire()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { b.wantUser("usr_ada") })
	}
	all.Wait()
	if got := s.issuer.Grants("refresh_token"); got != 1 {
		t.Errorf("got %d refreshes; want 1", got)
	}
	after := b.tokens()
	if after.RefreshToken == before.RefreshToken || !s.issuer.SessionAlive(after.RefreshToken) {
		t.Errorf("the store does not hold the rotated tokens: %v", after)
	}
}

// Rotated tokens are stored whatever becomes of the request.
func TestRotationOutlivesTheRequest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		do   func(*site, *browser)
	}{
		{"the handler panics", func(s *site, b *browser) {
			if _, err := b.try(context.Background(), "GET", "/panic", nil); err == nil {
				s.t.Error("want an error")
			}
		}},
		{"the client has left", func(s *site, b *browser) {
			ctx, cancel := context.WithCancel(context.Background())
			s.issuer.Inject(authpitest.Fault{Grant: "refresh_token", DelayAnswer: time.Second})
			time.AfterFunc(time.Second/2, cancel)
			_, _ = b.try(ctx, "GET", "/", nil)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, nil)
				s.mux.Handle("GET /panic", s.app.RequireAgent(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					panic(http.ErrAbortHandler)
				})))
				b := s.browser()
				b.signIn("usr_ada")
				before := b.tokens()
				s.expire()
				tc.do(s, b)
				if after := b.tokens(); after.RefreshToken == before.RefreshToken {
					t.Error("the rotated tokens are not in the store")
				}
				b.wantUser("usr_ada")
				if got := s.issuer.Grants("refresh_token"); got != 1 {
					t.Errorf("got %d refreshes; want 1", got)
				}
			})
		})
	}
}

func TestIssuerAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	s.issuer.Inject(authpitest.Fault{Times: -1, Status: 502, RetryAfter: "9"})
	b.wantUser("usr_ada") // the token is still good
	s.expire()
	for _, accept := range []string{"text/html", "application/json"} {
		a := b.send("GET", "/x", map[string]string{"Accept": accept})
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "9" {
			t.Errorf("got %d, Retry-After %q; want 503 and 9", a.status, a.header.Get("Retry-After"))
		}
		wantNoSecrets(t, a)
	}
	s.issuer.ClearFaults()
	s.advance(10 * time.Second) // the issuer asked for 9
	b.wantUser("usr_ada")
}

// A gateway may answer with a page of its own, and with status 200.
func TestGatewayAnswersWithAPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	s.expire()
	s.issuer.Inject(authpitest.Fault{Endpoint: "token", Refuse: true, Times: 2}) // sent again once
	s.issuer.Inject(authpitest.Fault{Endpoint: "token", Body: "<html>Maintenance</html>"})
	for range 2 {
		if a := b.get("/x"); a.status != http.StatusServiceUnavailable {
			t.Errorf("got %d; want 503", a.status)
		}
	}
	s.advance(10 * time.Second)
	b.wantUser("usr_ada")
}

func TestStoreAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	cookie := b.cookie()
	want503 := func(name string) {
		t.Helper()
		a := b.get("/x")
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: got %d, Retry-After %q; want 503", name, a.status, a.header.Get("Retry-After"))
		}
		wantNoSecrets(t, a)
	}
	s.store.set(func(st *store) { st.away = true })
	want503("away")
	if a := b.get("/auth/callback?code=c&state=unknown"); a.status != http.StatusServiceUnavailable {
		t.Errorf("callback: got %d; want 503", a.status)
	}
	s.store.set(func(st *store) { st.away = false; st.full = true })
	if a := b.send("POST", "/auth/logout", nil); a.status != http.StatusServiceUnavailable {
		t.Errorf("logout: got %d; want 503", a.status)
	}
	s.store.set(func(st *store) { st.full = false })
	s.expire()
	s.store.set(func(st *store) { st.failsAt = map[int]error{st.finds + 2: errAway} })
	want503("away for Reload")
	if got := s.issuer.Grants("refresh_token"); got != 0 {
		t.Errorf("got %d refreshes; want 0: nothing is spent without the store", got)
	}
	s.store.set(func(st *store) { st.full = true })
	want503("away for OnRefresh")
	s.store.set(func(st *store) { st.full = false })
	b.wantUser("usr_ada")
	if got := s.issuer.Grants("refresh_token"); got != 1 {
		t.Errorf("got %d refreshes; want 1", got)
	}
	if b.cookie().Value != cookie.Value {
		t.Error("the session's cookie was changed")
	}
}

func TestSessionEndedAtIssuer(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	s.issuer.EndSession("usr_ada")
	b.wantUser("usr_ada") // nobody asks while the access token is good
	s.expire()
	if a := b.json("/x"); a.status != http.StatusUnauthorized {
		t.Errorf("got %d; want 401", a.status)
	}
	if !errors.Is(s.lastRefusal(), authpihttp.ErrNotSignedIn) || !errors.Is(s.lastRefusal(), authpi.ErrInvalidGrant) {
		t.Errorf("got %v; want ErrNotSignedIn and ErrInvalidGrant", s.lastRefusal())
	}
	if s.hasRecord(b.recordKey()) {
		t.Error("the dead sign-in is still in the store")
	}
	if a := b.get("/x"); a.location != "/auth/login?return_to=%2Fx" {
		t.Errorf("got %d to %q; want 303 to the login", a.status, a.location)
	}
	b.signIn("usr_ada")
	b.wantUser("usr_ada")
}

// An app may ask who is there without requiring it, and refresh by hand.
func TestAgentAndAgentOptions(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.mux.HandleFunc("GET /public", func(w http.ResponseWriter, r *http.Request) {
		agent, err := s.app.Agent(r)
		switch {
		case errors.Is(err, authpihttp.ErrNotSignedIn):
			fmt.Fprint(w, "hello, stranger")
		case err != nil:
			t.Error(err)
		default:
			opts := s.app.AgentOptions(r)
			renewed, err := s.client.Refresh(r.Context(), agent, &authpi.RefreshOptions{OnRefresh: opts.OnRefresh, Reload: opts.Reload})
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprintf(w, "hello, %s of %d", renewed.ID, len(renewed.Organizations))
		}
	})
	b := s.browser()
	if a := b.get("/public"); a.body != "hello, stranger" {
		t.Errorf("got %q", a.body)
	}
	b.signIn("usr_ada")
	s.issuer.SetOrganizations("usr_ada")
	before := b.tokens()
	if a := b.get("/public"); a.body != "hello, usr_ada of 0" {
		t.Errorf("got %q", a.body)
	}
	if after := b.tokens(); after.RefreshToken == before.RefreshToken {
		t.Error("the refreshed tokens are not in the store")
	}
	b.wantUser("usr_ada")
}

// A sign-in ends after IdleTimeout without a request, and after Lifetime at the
// latest. It is written again for that at most every eighth of IdleTimeout.
func TestIdleTimeoutAndLifetime(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, plain bool) {
		synctest.Test(t, func(t *testing.T) { // its time stands still
			s := newSite(t, func(made *setup) {
				made.plain = plain
				made.issuer.AccessTokenLifetime = 48 * time.Hour
				made.options.IdleTimeout, made.options.Lifetime = 80*time.Minute, 24*time.Hour
			})
			idle, busy := s.browser(), s.browser()
			idle.signIn("usr_ada")
			busy.signIn("usr_ada")
			writes := s.store.writes
			s.advance(10 * time.Minute)
			busy.wantUser("usr_ada")
			if got := s.store.writes - writes; got != 0 {
				t.Errorf("got %d writes after an eighth; want 0", got)
			}
			s.advance(time.Second)
			busy.wantUser("usr_ada")
			busy.wantUser("usr_ada")
			if got := s.store.writes - writes; got != 1 {
				t.Errorf("got %d writes after more than an eighth; want 1", got)
			}
			s.advance(70*time.Minute - time.Second)
			idle.wantUser("")
			busy.wantUser("usr_ada")
			for range 19 {
				s.advance(70 * time.Minute)
				busy.wantUser("usr_ada")
			}
			s.advance(31 * time.Minute) // 24 hours and a minute
			busy.wantUser("")
		})
	})
}

// The user signs out while the issuer renews the tokens: they are given back, and
// nobody is signed in again by them.
func TestSignOutDuringRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		b, same := s.twoTabs()
		hint, key := b.tokens().IDToken, b.recordKey()
		s.expire()
		s.issuer.Inject(authpitest.Fault{Grant: "refresh_token", DelayAnswer: time.Second})
		var all sync.WaitGroup
		all.Go(func() {
			if a := same.json("/x"); a.status != http.StatusUnauthorized {
				t.Errorf("got %d, %v; want 401", a.status, s.lastRefusal())
			}
		})
		synctest.Wait() // the answer is on its way
		b.send("POST", "/auth/logout", nil)
		all.Wait()
		same.wantUser("")
		if s.hasRecord(key) {
			t.Error("the sign-in is in the store")
		}
		if s.issuer.SessionAlive(hint) {
			t.Error("the session lives on at the issuer")
		}
	})
}

// The record is gone when the tokens come, as after a sign-out in a process that
// could not reach the issuer: they are given back.
func TestTokensOfNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browser()
		b.signIn("usr_ada")
		s.expire()
		s.issuer.Inject(authpitest.Fault{Grant: "refresh_token", DelayAnswer: time.Second})
		var all sync.WaitGroup
		all.Go(func() { b.wantUser("") })
		synctest.Wait() // the answer is on its way
		s.store.set(func(st *store) { clear(st.items) })
		all.Wait()
		if got := s.issuer.Sessions("usr_ada"); got != 0 {
			t.Errorf("got %d sessions at the issuer; want 0", got)
		}
	})
}

// A cookie of a sign-in that has ended may stand before the good one.
func TestAgentOptionsOfTheSignInThatLives(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	good := *b.cookie()
	dead := good
	dead.Value = base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	r := httptest.NewRequest(http.MethodGet, origin+"/", nil)
	r.AddCookie(&dead)
	r.AddCookie(&good)
	stored, err := s.app.AgentOptions(r).Reload(t.Context())
	if err != nil || stored.AccessToken == "" {
		t.Errorf("got %v, %v; want the set of the good cookie", stored, err)
	}
}
