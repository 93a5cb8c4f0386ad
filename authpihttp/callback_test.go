package authpihttp_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func TestCallbackReplay(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	if a := b.get(callback); a.location != "/x" {
		t.Fatalf("got %d to %q, %v", a.status, a.location, s.lastRefusal())
	}
	exchanges := s.issuer.Grants("authorization_code")
	// The back button: somebody who is signed in sees where they wanted.
	if a := b.get(callback); a.status != http.StatusSeeOther || a.location != "/x" {
		t.Errorf("again: got %d to %q; want 303 to /x", a.status, a.location)
	}
	b.wantUser("usr_ada")
	b.send(http.MethodPost, "/auth/logout", nil)
	a := b.get(callback)
	if a.status != http.StatusSeeOther || a.location != "/auth/login?retry=1&return_to=%2Fx" {
		t.Errorf("signed out: got %d to %q; want 303 to a new login", a.status, a.location)
	}
	wantNoSecrets(t, a, param(t, callback, "code"), param(t, callback, "state"))
	if got := s.issuer.Grants("authorization_code"); got != exchanges {
		t.Errorf("got %d exchanges; want %d: a replay is never sent", got, exchanges)
	}
}

// Tokens that have expired when they come, and cannot be refreshed, are no sign-in: the
// page would send the user to the issuer again, which knows them, and so on for ever.
func TestCallbackWithExpiredTokens(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		refreshes bool
		location  string
	}{
		"without refresh token": {false, ""},
		"with refresh token":    {true, "/x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(made *setup) { made.issuer.AccessTokenLifetime = -time.Minute })
			if !tc.refreshes {
				s.issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: func(body []byte) []byte {
					return bytes.Replace(body, []byte("refresh_token"), []byte("none"), 1)
				}})
			}
			b := s.browser()
			a := b.get(s.atIssuer(b.start("/x"), "usr_ada"))
			if a.location != tc.location {
				t.Errorf("got %d to %q, %v; want it to lead to %q", a.status, a.location, s.lastRefusal(), tc.location)
			}
			if !tc.refreshes && a.status != http.StatusBadRequest {
				t.Errorf("got %d; want 400", a.status)
			}
		})
	}
}

func TestCallbackOfAnotherBrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	mallory, victim := s.browser(), s.browser()
	callback := s.atIssuer(mallory.start("/x"), "usr_bob")
	victim.start("/y")
	if a := victim.get(callback); a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, "/auth/login?") {
		t.Errorf("got %d to %q; want 303 to a login of their own", a.status, a.location)
	}
	victim.wantUser("")
	victim.signIn("usr_ada")
	if a := victim.get(callback); a.status != http.StatusSeeOther || a.location != "/x" {
		t.Errorf("signed in: got %d to %q; want 303 to the page", a.status, a.location)
	}
	victim.wantUser("usr_ada")
}

func TestCallbackRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, tc := range []struct {
		name    string
		visitor string
		prepare func()
		change  func(callback string) string
		status  int
		text    string
		is      error
	}{
		{name: "cancelled", status: http.StatusForbidden, text: "cancelled"},
		{name: "blocked", visitor: "usr_bob", prepare: func() { s.issuer.BlockUser("usr_bob") }, status: http.StatusForbidden, text: "blocked", is: authpi.ErrUserBlocked},
		{name: "long state", visitor: "usr_ada", change: func(string) string { return "/auth/callback?code=sesame&state=" + strings.Repeat("s", 100_000) }, status: http.StatusBadRequest},
		{name: "two codes", visitor: "usr_ada", change: func(c string) string { return c + "&code=other" }, status: http.StatusBadRequest},
		{name: "wrong code", visitor: "usr_ada", change: func(c string) string { return strings.Replace(c, "code=", "code=x", 1) }, status: http.StatusBadRequest, is: authpi.ErrInvalidGrant},
		{name: "script in the error", visitor: "", change: func(c string) string {
			return strings.Replace(c, "access_denied", "%3Cscript%3Ealert(1)%3C/script%3E", 1)
		}, status: http.StatusInternalServerError},
		{name: "issuer away", visitor: "usr_ada", prepare: func() { s.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503, RetryAfter: "7"}) }, status: http.StatusServiceUnavailable},
		{name: "forged ID token", visitor: "usr_ada", prepare: func() {
			s.issuer.Inject(authpitest.Fault{Endpoint: "token", IDToken: func(_, claims map[string]any) { claims["nonce"] = "other" }})
		}, status: http.StatusBadRequest, is: authpi.ErrInvalidNonce},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := s.browser()
			if tc.prepare != nil {
				tc.prepare()
			}
			callback := s.atIssuer(b.start("/x"), tc.visitor)
			if tc.change != nil {
				callback = tc.change(callback)
			}
			a := b.get(callback)
			if a.status != tc.status || !strings.Contains(a.body, tc.text) {
				t.Errorf("got %d %s; want %d with %q", a.status, a.body, tc.status, tc.text)
			}
			if tc.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "7" {
				t.Errorf("got Retry-After %q; want the issuer's", a.header.Get("Retry-After"))
			}
			if tc.is != nil && !errors.Is(s.lastRefusal(), tc.is) {
				t.Errorf("got %v; want %v", s.lastRefusal(), tc.is)
			}
			if !strings.Contains(a.body, `href="/auth/login`) || strings.Contains(a.body, "<script") {
				t.Errorf("got %s; want a plain page with a way to try again", a.body)
			}
			wantNoSecrets(t, a, param(t, callback, "code"), param(t, callback, "state"), "alert(1)")
			b.wantUser("")
		})
	}
}

func TestCallbackMethod(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	// A HEAD request, as scanners of links send it, spends no login.
	if a := b.send(http.MethodHead, callback, nil); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET" {
		t.Errorf("got %d, Allow %q; want 405", a.status, a.header.Get("Allow"))
	}
	if a := b.get(callback); a.location != "/x" {
		t.Errorf("got %d to %q; want 303 to /x", a.status, a.location)
	}
}

// Callbacks that answer no login of this browser are never sent to the issuer.
func TestCallbackOfNoLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, tc := range []struct {
		name   string
		change func(callback, state string) string
	}{
		{"no parameters", func(string, string) string { return "/auth/callback" }},
		{"empty state", func(string, string) string { return "/auth/callback?code=sesame&state=" }},
		{"two states", func(c, _ string) string { return c + "&state=other" }},
		{"the same state twice", func(c, state string) string { return c + "&state=" + state }},
		{"the start of the state", func(c, state string) string { return strings.Replace(c, state, state[:22], 1) }},
		{"a state cut", func(c, state string) string { return strings.Replace(c, state, state[:len(state)-4], 1) }},
		{"a state with another tail", func(c, state string) string { return strings.Replace(c, state, state+"AAAA", 1) }},
		{"the tail of another login", func(c, state string) string {
			other := param(t, s.browser().start("/other"), "state")
			return strings.Replace(c, state, state[:22]+other[22:], 1)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := s.browser()
			callback := s.atIssuer(b.start("/x"), "usr_ada")
			before := s.issuer.Grants("authorization_code")
			a := b.get(tc.change(callback, param(t, callback, "state")))
			if a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, "/auth/login?retry=1") {
				t.Errorf("got %d to %q; want 303 to a new login", a.status, a.location)
			}
			if got := s.issuer.Grants("authorization_code"); got != before {
				t.Errorf("got %d exchanges; want 0", got-before)
			}
			b.wantUser("")
		})
	}
}

// Whoever knew a cookie before the sign-in knows nothing afterwards.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	mallory, victim := s.browser(), s.browser()
	mallory.signIn("usr_bob")
	planted := mallory.cookie()
	victim.setCookie(planted)
	for _, c := range mallory.cookies() {
		victim.setCookie(c)
	}
	victim.signIn("usr_ada")
	if got := victim.cookie(); got.Value == planted.Value {
		t.Error("the sign-in kept the planted cookie")
	}
	mallory.wantUser("") // bob's sign-in was replaced by ada's in this browser
	before := victim.cookie()
	victim.signIn("usr_ada")
	if victim.cookie().Value == before.Value {
		t.Error("a second sign-in kept the cookie")
	}
	s.advance(2 * time.Minute)
	victim.setCookie(before)
	victim.wantUser("")
}

// Logins need no store; a callback that finds it away keeps its code.
func TestStoreAwayAtSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	s.store.set(func(st *store) { st.away = true })
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	a := b.get(callback)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("callback: got %d; want 503 with Retry-After", a.status)
	}
	wantNoSecrets(t, a, param(t, callback, "code"))
	if got := s.issuer.Grants("authorization_code"); got != 0 {
		t.Errorf("got %d exchanges; want 0: the code is still good", got)
	}
	s.store.set(func(st *store) { st.away = false })
	if a = b.get(callback); a.location != "/x" {
		t.Errorf("reloaded: got %d to %q; want 303 to /x", a.status, a.location)
	}
	b.wantUser("usr_ada")
}

// The store fails at some point after the code was spent: nobody is half signed in,
// and the tokens are given back.
func TestStoreFailsWithinSignIn(t *testing.T) {
	t.Parallel()
	for nth := 2; nth <= 5; nth++ { // the first change notes the callback; then index, index, hint, record
		s := newSite(t, nil)
		b := s.browser()
		callback := s.atIssuer(b.start("/x"), "usr_ada")
		s.store.set(func(st *store) { st.breaks = st.changes + nth })
		a := b.get(callback)
		if a.status != http.StatusServiceUnavailable {
			t.Errorf("change %d: got %d; want 503", nth, a.status)
		}
		wantNoSecrets(t, a, param(t, callback, "code"))
		if got := s.issuer.Sessions("usr_ada"); got != 0 {
			t.Errorf("change %d: got %d sessions at the issuer; want 0", nth, got)
		}
		b.wantUser("")
		b.signIn("usr_ada")
		b.wantUser("usr_ada")
	}
}
