package authpihttp_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Attacks on one handler stand beside it: TestSessionFixation, TestCallbackReplay,
// TestCallbackOfAnotherBrowser, TestNoOpenRedirect, TestLogoutOfAnotherSite,
// TestLoginsRace, TestStoreAway. Here are those on what several have in common.

// A browser sends one callback twice at once, as after a double click. The code goes
// to the issuer once, and whichever answer the browser takes, it is signed in.
func TestCallbackTwiceAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	var same []*browser
	for range 8 {
		one := s.browser()
		for _, c := range b.cookies() {
			one.setCookie(c)
		}
		same = append(same, one)
	}
	s.issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 50 * time.Millisecond})
	var all sync.WaitGroup
	for _, one := range same {
		all.Go(func() {
			if a := one.get(callback); a.status != http.StatusSeeOther || a.location != "/x" {
				t.Errorf("got %d to %q; want 303 to /x", a.status, a.location)
			}
		})
	}
	all.Wait()
	if got := s.issuer.Grants("authorization_code"); got != 1 {
		t.Errorf("got %d exchanges; want 1", got)
	}
	s.expire()
	for _, one := range same {
		one.wantUser("usr_ada")
	}
}

// The same at two processes: the code is sent once, and nobody sees an error.
func TestCallbackAtTwoProcesses(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b, same := s.browser(), s.browser()
	other := s.process(s.anotherClient())
	s.mux.HandleFunc("GET /other/callback", other.Callback)
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	for _, c := range b.cookies() {
		same.setCookie(c)
	}
	s.store.set(func(st *store) {
		st.onWrite = func() { b.get(callback) }
	})
	a := same.get(strings.Replace(callback, "/auth/", "/other/", 1))
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, "/auth/login?retry=1&return_to=%2Fx") {
		t.Errorf("the second: got %d to %q; want a new login for the same page", a.status, a.location)
	}
	if got := s.issuer.Grants("authorization_code"); got != 1 {
		t.Errorf("got %d exchanges; want 1", got)
	}
	b.wantUser("usr_ada")
}

// Somebody sends more than any browser would. Nobody is signed in by it, nothing of
// it is kept, and the next request is answered as ever.
func TestOversizedCookiesAndHeaders(t *testing.T) {
	t.Parallel()
	s, _ := newAPI(t, nil)
	server := httptest.NewServer(s.handler)
	t.Cleanup(server.Close)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	visitor := s.browser()
	visitor.signIn("usr_ada")
	signIn := visitor.cookie().Name
	before := s.store.copy()
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, tc := range []struct {
		name, path, header, value string
		want                      int
	}{
		{"long cookie", "/page", "Cookie", signIn + "=" + long(200<<10), 303},
		{"many cookies", "/page", "Cookie", strings.Repeat(signIn+"="+strings.Repeat("A", 43)+"; ", 2000) + "y=z", 303},
		{"cookie of no session", "/page", "Cookie", signIn + `="\"; ` + signIn + `=é; =; ` + signIn, 303},
		{"cookies beyond all bounds", "/page", "Cookie", signIn + "=" + long(2<<20), 431},
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
	if got := len(s.store.copy()); got != len(before) {
		t.Errorf("got %d entries in the store; want the %d of before", got, len(before))
	}
	b := s.browser()
	b.signIn("usr_ada")
	b.wantUser("usr_ada")
}

// What Authorize takes out of a request may be of any length; the session does not
// keep it.
func TestLongLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.options.Authorize = forOrganization })
	b := s.browser()
	a := b.get("/auth/login?org=" + strings.Repeat("x", 8<<10))
	if a.status != http.StatusBadRequest || !strings.Contains(a.body, "too long") {
		t.Errorf("got %d %s; want 400", a.status, a.body)
	}
	if got := len(s.store.copy()); got != 0 {
		t.Errorf("got %d sessions in the store; want 0", got)
	}
	if a = b.get("/auth/login?org=" + strings.Repeat("x", 2<<10)); a.status != http.StatusSeeOther {
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
		for _, path := range []string{"/auth/login", callback.RequestURI(), "/auth/logout", "/auth/signed-out", "/auth/backchannel-logout"} {
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
			handler(w, httptest.NewRequest(method, callback.RequestURI(), nil))
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

// Whatever bytes a planted cookie is made of, it is nobody's: not what the store
// shows of others, nor anything else.
func TestForeignCookies(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	ada := s.browser()
	ada.signIn("usr_ada")
	values := []string{"", "null", "../../x", "%00", strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", "'; DROP TABLE sessions; --", "*", ada.cookie().Value + "=", ada.cookie().Value[:42]}
	for key := range s.store.copy() {
		values = append(values, key)
	}
	for _, value := range values {
		b := s.browser()
		b.setValue(ada, value)
		b.wantUser("")
	}
	ada.wantUser("usr_ada")
}

// A stolen store signs nobody in and shows nothing: no cookie can be made of it, and
// under each cookie only what it was sealed for opens.
func TestStolenStore(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	ada, bob := s.browser(), s.browser()
	ada.signIn("usr_ada")
	bob.signIn("usr_bob")
	tokens := ada.tokens()
	for key, i := range s.store.copy() {
		for _, secret := range []string{tokens.AccessToken, tokens.RefreshToken, tokens.IDToken, ada.cookie().Value, "usr_ada", "usr_bob", "eyJ"} {
			if strings.Contains(string(i.data), secret) || strings.Contains(key, secret) {
				t.Errorf("the store shows %.20q", secret)
			}
		}
	}
	// Somebody who can write to it moves records about.
	mine, theirs := bob.recordKey(), ada.recordKey()
	s.store.set(func(st *store) { st.items[mine] = st.items[theirs] })
	bob.wantUser("")
	for key := range s.store.copy() {
		s.store.set(func(st *store) { st.items[mine] = st.items[key] })
		bob.wantUser("")
	}
	ada.wantUser("usr_ada")
	// Another App that has the cookie, but another key.
	other := newSite(t, func(made *setup) {
		made.store, made.options.Keys = s.store, [][]byte{[]byte(strings.Repeat("k", 32))}
	})
	thief := other.browser()
	thief.setCookie(ada.cookie())
	thief.wantUser("")
}

// A key that is on its way out opens what it has sealed, and the next write is under
// the new one.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	first, second := []byte(strings.Repeat("1", 32)), []byte(strings.Repeat("2", 32))
	keys := func(keys ...[]byte) func(*setup) {
		return func(made *setup) { made.options.Keys, made.options.IdleTimeout = keys, 2*time.Hour }
	}
	old := newSite(t, keys(first))
	b := old.browser()
	b.signIn("usr_ada")
	at := func(change func(*setup)) *browser {
		s := newSite(t, func(made *setup) { change(made); made.store = old.store })
		c := s.browser()
		c.setCookie(b.cookie())
		return c
	}
	at(keys(second, first)).wantUser("usr_ada")
	at(keys(second)).wantUser("")
	during := at(keys(second, first))
	during.advance(16 * time.Minute)
	during.get("/") // written again for idleness
	after := at(keys(second))
	after.wantUser("usr_ada")
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
	fresh := b.tokens()
	for range 2 {
		s.store.set(func(st *store) { st.items = maps.Clone(before) })
		b.wantUser("usr_ada")
		if got := s.issuer.Grants("refresh_token"); got != 1 {
			t.Errorf("got %d refreshes; want 1", got)
		}
		if got := b.tokens(); got.RefreshToken != fresh.RefreshToken {
			t.Error("the store does not hold the rotated tokens again")
		}
	}
	cookie := b.cookie()
	b.send(http.MethodPost, "/auth/logout", nil)
	b.wantUser("")
	// After the sign-out it gives the sign-in once more: the tokens are revoked.
	s.store.set(func(st *store) { st.items = maps.Clone(before) })
	s.expire()
	b.setCookie(cookie)
	b.wantUser("")
}

// What a page shows its user is not to be seen after the sign-out, by the back
// button or out of somebody's cache, whatever the site says elsewhere.
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
	for _, c := range b.cookies() {
		r.AddCookie(c)
	}
	s.handler.ServeHTTP(httptest.NewRecorder(), r)
	b.wantUser("")
	if got := len(s.store.copy()); got != 0 {
		t.Errorf("got %d entries in the store; want 0", got)
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
		before := testkit.Heap()
		for range n {
			b := s.browser()
			state := param(t, b.start(""), "state")
			r, err := http.NewRequest(http.MethodGet, server.URL+"/auth/callback?error=access_denied&state="+url.QueryEscape(state)+"&x="+strings.Repeat("x", size), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range b.cookies() {
				r.AddCookie(c)
			}
			response, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode == http.StatusSeeOther {
				t.Fatal("the callback was answered by a redirect; want a refusal")
			}
		}
		return max(testkit.Heap(), before) - before
	}
	grow(1, 60<<10)
	if grown := grow(64, 60<<10); grown > 2<<20 {
		t.Errorf("the heap grew by %d KiB for 64 callbacks; want less than 2 MiB", grown>>10)
	}
	runtime.KeepAlive(s)
}
