package authpihttp_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
	// The back button: somebody who is signed in sees the home page.
	if a := b.get(callback); a.status != http.StatusSeeOther || a.location != "/" {
		t.Errorf("again: got %d to %q; want 303 home", a.status, a.location)
	}
	b.wantUser("usr_ada")
	b.send(http.MethodPost, "/auth/logout", nil)
	a := b.get(callback)
	if a.status != http.StatusBadRequest || !strings.Contains(a.body, `href="/auth/login"`) {
		t.Errorf("signed out: got %d %s; want 400 with a way to sign in", a.status, a.body)
	}
	wantNoSecrets(t, a, param(t, callback, "code"), param(t, callback, "state"))
	if got := s.issuer.Grants("authorization_code"); got != exchanges {
		t.Errorf("got %d exchanges; want %d: a replay is never sent", got, exchanges)
	}
}

func TestCallbackOfAnotherBrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	mallory, victim := s.browser(), s.browser()
	callback := s.atIssuer(mallory.start("/x"), "usr_bob")
	victim.start("/y")
	if a := victim.get(callback); a.status != http.StatusBadRequest {
		t.Errorf("got %d; want 400", a.status)
	}
	victim.wantUser("")
	victim.signIn("usr_ada")
	if a := victim.get(callback); a.status != http.StatusSeeOther || a.location != "/" {
		t.Errorf("signed in: got %d to %q; want 303 home", a.status, a.location)
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
		{name: "no parameters", visitor: "usr_ada", change: func(string) string { return "/auth/callback" }, status: http.StatusBadRequest, text: "another browser"},
		{name: "empty state", visitor: "usr_ada", change: func(string) string { return "/auth/callback?code=sesame&state=" }, status: http.StatusBadRequest},
		{name: "long state", visitor: "usr_ada", change: func(string) string { return "/auth/callback?code=sesame&state=" + strings.Repeat("s", 100_000) }, status: http.StatusBadRequest},
		{name: "two codes", visitor: "usr_ada", change: func(c string) string { return c + "&code=other" }, status: http.StatusBadRequest},
		{name: "two states", visitor: "usr_ada", change: func(c string) string { return c + "&state=other" }, status: http.StatusBadRequest, is: authpi.ErrInvalidState},
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

// Whoever knew the session before the sign-in knows nothing afterwards.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	mallory, victim := s.browser(), s.browser()
	mallory.start("/")
	planted := mallory.cookie()
	victim.setCookie(planted)
	victim.signIn("usr_ada")
	if got := victim.cookie(); got == planted || got == "" {
		t.Errorf("got session %q after the sign-in; want a new one", got)
	}
	mallory.wantUser("")
	if _, left := s.store.copy()[planted]; left {
		t.Error("the planted session is still in the store")
	}
	// A second sign-in renews it once more.
	before := victim.cookie()
	victim.signIn("usr_ada")
	if victim.cookie() == before {
		t.Error("a second sign-in kept the session's ID")
	}
	victim.setCookie(before)
	victim.wantUser("")
}

// What one user left in the session is not for the next.
func TestAnotherUserSignsIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.mux.HandleFunc("GET /cart", func(w http.ResponseWriter, r *http.Request) {
		if put := r.FormValue("put"); put != "" {
			s.sessions.Put(r.Context(), "cart", put)
		}
		_, _ = w.Write([]byte(s.sessions.GetString(r.Context(), "cart")))
	})
	b := s.browser()
	b.get("/cart?put=book")
	b.signIn("usr_ada")
	if a := b.get("/cart"); a.body != "book" {
		t.Errorf("signed in: got cart %q; want book", a.body)
	}
	b.signIn("usr_ada")
	if a := b.get("/cart"); a.body != "book" {
		t.Errorf("signed in again: got cart %q; want book", a.body)
	}
	b.signIn("usr_bob")
	b.wantUser("usr_bob")
	if a := b.get("/cart"); a.body != "" {
		t.Errorf("another user: got cart %q; want none", a.body)
	}
	if got := len(s.signIns()); got != 1 {
		t.Errorf("got %d sign-ins in the store; want 1", got)
	}
}

func TestStoreAwayAtSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	s.store.set(func(st *store) { st.full = true })
	a := b.get("/auth/login")
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("login: got %d; want 503 with Retry-After", a.status)
	}
	wantNoSecrets(t, a)
	s.store.set(func(st *store) { st.full = false })
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	s.store.set(func(st *store) { st.full = true })
	if a = b.get(callback); a.status != http.StatusServiceUnavailable {
		t.Errorf("callback: got %d; want 503", a.status)
	}
	wantNoSecrets(t, a, param(t, callback, "code"))
	if got := s.issuer.Grants("authorization_code"); got != 0 {
		t.Errorf("got %d exchanges; want 0: the code is still good", got)
	}
	s.store.set(func(st *store) { st.full = false })
	if a = b.get(callback); a.location != "/x" {
		t.Errorf("reloaded: got %d to %q; want 303 to /x", a.status, a.location)
	}
}

// The store fails at some point after the code was spent: nobody is half signed in,
// and the tokens are given back.
func TestStoreFailsWithinSignIn(t *testing.T) {
	t.Parallel()
	for nth := 2; nth <= 4; nth++ { // the first change takes the login out
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
		if got := len(s.signIns()); got != 0 {
			t.Errorf("change %d: got %d sign-ins in the store; want 0", nth, got)
		}
		b.signIn("usr_ada")
		b.wantUser("usr_ada")
	}
}
