package authpihttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
)

// Attacks on one handler stand beside it: TestSessionFixation, TestCallbackReplay,
// TestCallbackOfAnotherBrowser, TestNoOpenRedirect, TestLogoutOfAnotherSite,
// TestLoginsRace, TestStoreAway. Here are those on what several have in common.

// A browser sends one callback twice at once, and both requests have read the session
// before either writes it. The code goes to the issuer once, for a second use of it
// would end the sign-in there.
func TestCallbackTwiceAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	h := s.hook()
	b, same := s.browser(), s.browser()
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	same.setCookie(b.cookie())
	h.set(&h.written, func() {
		if a := same.get(callback); a.status != http.StatusSeeOther || a.location != "/x" || a.header.Get("Set-Cookie") != "" {
			t.Errorf("the second: got %d to %q; want 303 to /x, and the cookie left alone", a.status, a.location)
		}
	})
	if a := b.get(callback); a.status != http.StatusSeeOther || a.location != "/x" {
		t.Errorf("the first: got %d to %q; want 303 to /x", a.status, a.location)
	}
	if got := s.issuer.Grants("authorization_code"); got != 1 {
		t.Errorf("got %d exchanges; want 1", got)
	}
	s.expire()
	b.wantUser("usr_ada")
}

// Somebody sends more than any browser would. Nobody is signed in by it, nothing of it
// is kept, and the next request is answered as ever.
func TestOversizedCookiesAndHeaders(t *testing.T) {
	t.Parallel()
	s, _ := newAPI(t, nil)
	server := httptest.NewServer(s.handler)
	t.Cleanup(server.Close)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, tc := range []struct {
		name, path, header, value string
		want                      int
	}{
		{"long session cookie", "/page", "Cookie", "session=" + long(200<<10), 303},
		{"many cookies", "/page", "Cookie", strings.Repeat("session=x; ", 2000) + "y=z", 303},
		{"cookie of no session", "/page", "Cookie", `session="\"; session=é; =; session`, 303},
		{"cookies beyond all bounds", "/page", "Cookie", "session=" + long(2<<20), 431},
		{"headers beyond all bounds", "/page", "X-Long", long(2 << 20), 431},
		{"long path", "/" + long(100<<10), "X", "y", 303},
		{"long return_to", "/auth/login?return_to=/" + long(100<<10), "X", "y", 303},
		{"long state", "/auth/callback?code=c&state=" + long(100<<10), "X", "y", 400},
		{"long Accept", "/page", "Accept", "text/html, " + strings.Repeat("text/x;q=0.1,", 10_000), 303},
		{"long JWT", "/api/me", "Authorization", "Bearer eyJhbGciOiJFUzI1NiJ9." + long(600<<10) + ".x", 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "text/html")
			r.Header.Set(tc.header, tc.value)
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != tc.want {
				t.Errorf("got %d; want %d", response.StatusCode, tc.want)
			}
			size := 0
			for name, values := range response.Header {
				size += len(name) + len(strings.Join(values, ""))
			}
			if size > 4<<10 {
				t.Errorf("the answer's headers have %d bytes", size)
			}
		})
	}
	if len(s.signIns()) != 0 {
		t.Error("somebody is signed in")
	}
	for _, i := range s.store.copy() {
		if len(i.data) > 4<<10 {
			t.Errorf("a session of %d bytes was stored", len(i.data))
		}
	}
	b := s.browser()
	b.signIn("usr_ada")
	b.wantUser("usr_ada")
}

// What Authorize takes out of a request may be of any length; the session does not
// keep it.
func TestLongLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.options.Authorize = func(r *http.Request) *authpi.AuthorizationOptions {
			return &authpi.AuthorizationOptions{Org: r.FormValue("org")}
		}
	})
	b := s.browser()
	a := b.get("/auth/login?org=" + strings.Repeat("x", 8<<10))
	if a.status != http.StatusBadRequest || !strings.Contains(a.body, "too long") {
		t.Errorf("got %d %s; want 400", a.status, a.body)
	}
	if got := len(s.store.copy()); got != 0 {
		t.Errorf("got %d sessions in the store; want 0", got)
	}
	if a = b.get("/auth/login?org=" + strings.Repeat("x", 7<<10)); a.status != http.StatusSeeOther {
		t.Errorf("got %d; want 303", a.status)
	}
}

// Methods that no page of ours uses change nothing.
func TestOtherMethods(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	callback, err := url.Parse(s.atIssuer(b.start("/x"), "usr_ada"))
	if err != nil {
		t.Fatal(err)
	}
	before := s.store.copy()
	exchanges := s.issuer.Grants("authorization_code")
	for _, method := range []string{"OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", "post"} {
		for _, path := range []string{"/auth/login", callback.RequestURI(), "/auth/logout"} {
			a := b.send(method, path, nil)
			// The mux sends what it does not know on to the site's pages.
			if a.status != http.StatusMethodNotAllowed && a.body != "usr_ada" {
				t.Errorf("%s %s: got %d to %q", method, path, a.status, a.location)
			}
		}
	}
	for _, handler := range []http.HandlerFunc{s.app.Login, s.app.Callback, s.app.Logout, s.app.FrontchannelLogout} {
		for _, method := range []string{"OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "get", "post"} {
			w := httptest.NewRecorder()
			s.sessions.LoadAndSave(handler).ServeHTTP(w, httptest.NewRequest(method, callback.RequestURI(), nil))
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
				t.Errorf("%s: got %d, Allow %q; want 405", method, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	if got := s.issuer.Grants("authorization_code"); got != exchanges || s.issuer.Requests("revoke") != 0 {
		t.Errorf("got %d exchanges and %d revocations", got-exchanges, s.issuer.Requests("revoke"))
	}
	for token, i := range s.store.copy() {
		if string(i.data) != string(before[token].data) {
			t.Error("a session was changed")
		}
	}
	b.wantUser("usr_ada")
}

// A session that the browser shows after its sign-out, or that a planted cookie names,
// is nobody's, whatever bytes it is made of.
func TestForeignCookies(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	ada := s.browser()
	ada.signIn("usr_ada")
	record := slices.DeleteFunc(s.tokensInStore(), func(token string) bool { return token == ada.cookie() })
	for _, value := range append(record, "", "null", "../../x", "%00", "authpi.tokens", strings.Repeat("A", 43), "'; DROP TABLE sessions; --", "*") {
		b := s.browser()
		b.setCookie(value)
		b.wantUser("")
	}
	ada.wantUser("usr_ada")
}

func (s *site) tokensInStore() (all []string) {
	for token := range s.store.copy() {
		all = append(all, token)
	}
	return all
}

// A store that answers with what it held before the last rotation, as a replica that
// lags behind: the user stays signed in, and the spent token stays unspent.
func TestStaleStore(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	before := s.store.copy()
	s.expire()
	b.wantUser("usr_ada")
	fresh := s.signIns()[0]
	for range 2 {
		s.store.set(func(st *store) { st.items = before })
		b.wantUser("usr_ada")
		if got := s.issuer.Grants("refresh_token"); got != 1 {
			t.Errorf("got %d refreshes; want 1", got)
		}
		if got := s.signIns()[0]; got.RefreshToken != fresh.RefreshToken {
			t.Error("the store does not hold the rotated tokens again")
		}
	}
	b.send(http.MethodPost, "/auth/logout", nil)
	b.wantUser("")
	// After the sign-out it gives the sign-in once more: the tokens are revoked.
	s.store.set(func(st *store) { st.items = before })
	s.expire()
	b.wantUser("")
}

// What a page shows its user is not to be seen after the sign-out, by the back button
// or out of somebody's cache, whatever the site says elsewhere.
func TestPagesAreNotCached(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.mux.Handle("GET /open", s.app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=60")
		s.whoami(w, r)
	})))
	inner := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600") // a middleware's
		inner.ServeHTTP(w, r)
	})
	b := s.browser()
	b.signIn("usr_ada")
	for path, want := range map[string]string{"/": "no-store", "/open": "private, max-age=60"} {
		if a := b.get(path); a.header.Get("Cache-Control") != want {
			t.Errorf("%s: got Cache-Control %q; want %q", path, a.header.Get("Cache-Control"), want)
		}
	}
	b.send(http.MethodPost, "/auth/logout", nil)
	if a := b.get("/"); a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("signed out: got Cache-Control %q; want no-store", a.header.Get("Cache-Control"))
	}
}

// A request that is cancelled at the callback leaves nobody half signed in.
func TestCallbackCancelled(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, callback, nil)
	r.AddCookie(&http.Cookie{Name: "session", Value: b.cookie()})
	s.handler.ServeHTTP(httptest.NewRecorder(), r)
	b.wantUser("")
	if got := len(s.signIns()); got != 0 {
		t.Errorf("got %d sign-ins in the store; want 0", got)
	}
	if a := b.get(callback); a.status != http.StatusSeeOther {
		t.Errorf("the callback once more: got %d, %v; want 303, for nothing was sent", a.status, s.lastRefusal())
	}
}

// What remembers answered callbacks keeps the states alone. A request line may be a
// megabyte long, and anybody can start logins and answer them.
func TestAnsweredCallbacksTakeLittleMemory(t *testing.T) {
	s := newSite(t, nil)
	server := httptest.NewServer(s.handler)
	defer server.Close()
	grow := func(n, size int) uint64 {
		before := heapInUse()
		for range n {
			b := s.browser()
			state := param(t, b.start(""), "state")
			r, err := http.NewRequest(http.MethodGet, server.URL+"/auth/callback?error=access_denied&state="+url.QueryEscape(state)+"&x="+strings.Repeat("x", size), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Cookie", "session="+b.cookie())
			response, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode == http.StatusSeeOther {
				t.Fatal("the callback was answered by a redirect; want a refusal")
			}
		}
		return max(heapInUse(), before) - before
	}
	grow(1, 500<<10)
	if grown := grow(32, 500<<10); grown > 6<<20 {
		t.Errorf("the heap grew by %d KiB for 32 callbacks; want less than 6 MiB", grown>>10)
	}
	runtime.KeepAlive(s)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
