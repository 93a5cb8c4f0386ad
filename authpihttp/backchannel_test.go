package authpihttp_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// post sends a form to the back-channel logout handler.
func post(h http.Handler, form string) (status int, body string, header http.Header) {
	r, err := http.NewRequest(http.MethodPost, "/", strings.NewReader(form))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	w := newRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

func TestBackchannelLogout(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	var ended []authpi.LogoutToken
	h := authpihttp.BackchannelLogout(s.client, func(_ context.Context, token authpi.LogoutToken) error {
		ended = append(ended, token)
		return nil
	}, nil)
	token := func(claims map[string]any) string { return "logout_token=" + s.issuer.LogoutToken(claims) }
	used := token(map[string]any{"sid": "s_1", "jti": "j_1"})
	for _, tc := range []struct {
		name   string
		form   string
		status int
		text   string
	}{
		{"good", used, 200, ""},
		{"replayed", used, 400, "jti: the logout token was used before"},
		{"the same jti in another token", token(map[string]any{"sid": "s_2", "jti": "j_1"}), 400, "jti"},
		{"by subject", token(map[string]any{"sub": "usr_ada", "sid": nil}), 200, ""},
		{"none", "", 400, "one logout_token"},
		{"empty", "logout_token=", 400, "one logout_token"},
		{"two", token(nil) + "&" + token(nil), 400, "one logout_token"},
		{"too large", "x=" + strings.Repeat("x", 200<<10) + "&" + token(nil), 400, "too large"},
		{"large", "x=" + strings.Repeat("x", 64<<10) + "&" + token(nil), 200, ""},
		{"bad form", "logout_token=%zz", 400, "cannot be read"},
		{"no JWT", "logout_token=abc", 400, "format"},
		{"another client's", token(map[string]any{"aud": "c_other"}), 400, "aud"},
		{"another issuer's", token(map[string]any{"iss": "https://evil.test"}), 400, "iss"},
		{"expired", token(map[string]any{"exp": 1}), 400, "exp"},
		{"no event", token(map[string]any{"events": nil}), 400, "events"},
		{"with nonce", token(map[string]any{"nonce": "n"}), 400, "nonce"},
		{"no jti", token(map[string]any{"jti": nil}), 400, "jti"},
		{"nobody", token(map[string]any{"sub": nil}), 400, "sub"},
		{"ID token", "logout_token=" + s.issuer.AccessToken(nil), 400, "typ"},
	} {
		before := len(ended)
		status, body, header := post(h, tc.form)
		if status != tc.status || !strings.Contains(body, tc.text) {
			t.Errorf("%s: got %d %s; want %d with %q", tc.name, status, body, tc.status, tc.text)
		}
		if got := len(ended) - before; (got == 1) != (tc.status == 200) {
			t.Errorf("%s: ended sessions %d times", tc.name, got)
		}
		if header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got Cache-Control %q; want no-store", tc.name, header.Get("Cache-Control"))
		}
		if tc.status == 400 && !strings.HasPrefix(body, `{"error":"invalid_request","error_description":"`) {
			t.Errorf("%s: got %s; want JSON", tc.name, body)
		}
	}
	if len(ended) != 3 || ended[0].SessionID != "s_1" || ended[1].Subject != "usr_ada" || ended[1].SessionID != "" {
		t.Errorf("got %v", ended)
	}
}

func TestBackchannelLogoutRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	h := authpihttp.BackchannelLogout(s.client, func(context.Context, authpi.LogoutToken) error {
		t.Error("ended a session")
		return nil
	}, nil)
	token := s.issuer.LogoutToken(nil)
	for _, tc := range []struct {
		name, method, target, kind, body string
		status                           int
	}{
		{"GET", "GET", "/?logout_token=" + token, "", "", 405},
		{"in the query", "POST", "/?logout_token=" + token, "application/x-www-form-urlencoded", "", 400},
		{"JSON", "POST", "/", "application/json", `{"logout_token":"` + token + `"}`, 400},
		{"multipart", "POST", "/", "multipart/form-data; boundary=x", "--x--", 400},
		{"no type", "POST", "/", "", "logout_token=" + token, 400},
	} {
		r, err := http.NewRequest(tc.method, tc.target, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", tc.kind)
		w := newRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tc.status {
			t.Errorf("%s: got %d %s; want %d", tc.name, w.Code, w.Body, tc.status)
		}
	}
}

// A logout that failed is never called done, and may be sent again.
func TestBackchannelLogoutFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	fail := errors.New("no connection to secret.internal")
	h := authpihttp.BackchannelLogout(s.client, func(context.Context, authpi.LogoutToken) error { return fail }, nil)
	form := "logout_token=" + s.issuer.LogoutToken(nil)
	for range 2 {
		status, body, header := post(h, form)
		if status != 400 || !strings.Contains(body, `"error":"logout_failed"`) || strings.Contains(body, "secret") || header.Get("Retry-After") == "" {
			t.Errorf("got %d %s; want 400", status, body)
		}
	}
	fail = nil
	if status, body, _ := post(h, form); status != 200 {
		t.Errorf("got %d %s; want 200", status, body)
	}
	if status, _, _ := post(h, form); status != 400 {
		t.Errorf("got %d for a replay; want 400", status)
	}

	unknown := newSite(t, nil)
	unknown.issuer.Inject(authpitest.Fault{Times: -1, Status: 500})
	h = authpihttp.BackchannelLogout(unknown.client, nil, nil)
	status, body, _ := post(h, "logout_token="+unknown.issuer.LogoutToken(nil))
	if status != 400 || !strings.Contains(body, "temporarily_unavailable") {
		t.Errorf("without keys: got %d %s; want 400", status, body)
	}
}

// lossy are replays that remember a use whose answer is lost once.
type lossy struct {
	used map[string]bool
	lose func() error // nil: nothing is lost
}

func (l *lossy) Use(_ context.Context, id string, _ time.Time) (first bool, err error) {
	first = !l.used[id]
	l.used[id] = true
	if lose := l.lose; lose != nil {
		l.lose = nil
		return false, lose()
	}
	return first, nil
}

func (l *lossy) Forget(_ context.Context, id string) error {
	delete(l.used, id)
	return nil
}

// A logout token whose use was noted while nobody was told so may come again: its
// sessions go on.
func TestBackchannelLogoutWhoseUseIsLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func() error{
		"error": func() error { return errors.New("connection reset") },
		"panic": func() error { panic("the driver's mistake") },
	} {
		s := newSite(t, nil)
		ended := 0
		end := func(context.Context, authpi.LogoutToken) error { ended++; return nil }
		h := authpihttp.BackchannelLogout(s.client, end, &authpihttp.BackchannelOptions{Replays: &lossy{map[string]bool{}, lose}})
		form := "logout_token=" + s.issuer.LogoutToken(nil)
		func() {
			defer func() { _ = recover() }()
			if status, body, _ := post(h, form); status != 400 || !strings.Contains(body, `"error":"logout_failed"`) {
				t.Errorf("%s: got %d %s; want 400", name, status, body)
			}
		}()
		if status, body, _ := post(h, form); status != 200 || ended != 1 {
			t.Errorf("%s: sent again: got %d %s and %d ends; want 200 and one", name, status, body, ended)
		}
		if status, _, _ := post(h, form); status != 400 || ended != 1 {
			t.Errorf("%s: replay: got %d and %d ends; want 400 and one", name, status, ended)
		}
	}

	s := newSite(t, func(made *setup) { made.plain = true })
	b := s.browser()
	b.signIn("usr_ada")
	form := "logout_token=" + s.issuer.LogoutToken(map[string]any{"sub": "usr_ada"})
	s.store.set(func(st *store) { st.failsAt = map[int]error{st.finds + 2: errors.New("connection reset")} }) // the reading back
	for _, want := range []int{400, 200} {
		if status, body, _ := post(http.HandlerFunc(s.app.BackchannelLogout), form); status != want {
			t.Errorf("an App: got %d %s; want %d", status, body, want)
		}
	}
	b.wantUser("")
}

// The log says what was wrong with a logout, at Info where anybody could have sent it,
// and at Warn where sessions go on.
func TestRefusedBackchannelLogoutIsLogged(t *testing.T) {
	out := defaultLog(t, slog.LevelInfo)
	s := newSite(t, nil)
	var fail error
	h := authpihttp.BackchannelLogout(s.client, func(context.Context, authpi.LogoutToken) error { return fail }, nil)
	good := s.issuer.LogoutToken(nil)
	for _, tc := range []struct {
		name, token string
		before      func()
		want        []string // in the log; none: nothing
	}{
		{"good", good, nil, nil},
		{"used before", good, nil, []string{"level=INFO", "jti: the logout token was used before"}},
		{"no token", "", nil, []string{"level=INFO", "path=/back", "status=400", "the form must hold one logout_token"}},
		{"another client's", s.issuer.LogoutToken(map[string]any{"aud": "c_other"}), nil, []string{"level=INFO", "aud: is missing, or another client's"}},
		{"another issuer's", s.issuer.LogoutToken(map[string]any{"iss": "https://evil.test/" + strings.Repeat("x", 20<<10)}), nil, []string{"level=INFO", "iss: is 'https://evil.test/xxx"}},
		{"an ID token", s.issuer.Sign(map[string]any{"iss": s.issuer.URL, "nonce": "n"}, nil), nil, []string{"level=INFO"}},
		{"no JWT", "sesame.sesame", nil, []string{"level=INFO", "format: "}},
		{"sessions that go on", s.issuer.LogoutToken(nil), func() { fail = errors.New("no connection to the database") },
			[]string{"level=WARN", "the sessions could not be ended; send it again: no connection to the database"}},
	} {
		if tc.before != nil {
			tc.before()
		}
		out.Reset()
		r := httptest.NewRequest("POST", "/back", strings.NewReader("logout_token="+tc.token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := newRecorder()
		h.ServeHTTP(w, r)
		got := out.String()
		if want := min(len(tc.want), 1); strings.Count(got, "\n") != want || len(got) > 1<<10 || tc.token != "" && strings.Contains(got, tc.token) {
			t.Errorf("%s: got %d %s and log %q; want %d line", tc.name, w.Code, w.Body, got, want)
		}
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got log %q; want %s", tc.name, got, want)
			}
		}
	}
	out.Reset()
	away := newSite(t, nil)
	away.issuer.Inject(authpitest.Fault{Times: -1, Status: 500})
	post(authpihttp.BackchannelLogout(away.client, nil, nil), "logout_token="+away.issuer.LogoutToken(nil))
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=INFO") || !strings.Contains(got, "cannot be verified now: authpi: logout token: keys: ") {
		t.Errorf("without keys: got log %q", got)
	}
}

// replays is one for several processes.
type replays struct {
	mu  sync.Mutex // guards ids
	ids map[string]time.Time
	err error
}

func (r *replays) Use(_ context.Context, id string, until time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.ids[id]
	if r.err == nil && !known {
		r.ids[id] = until
	}
	return !known, r.err
}

func (r *replays) Forget(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, id)
	return nil
}

func TestBackchannelReplaysOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	shared := &replays{ids: map[string]time.Time{}}
	var mu sync.Mutex
	ended, accepted := 0, 0
	one := func() http.Handler {
		return authpihttp.BackchannelLogout(s.client, func(context.Context, authpi.LogoutToken) error {
			mu.Lock()
			defer mu.Unlock()
			ended++
			return nil
		}, &authpihttp.BackchannelOptions{Replays: shared})
	}
	processes := []http.Handler{one(), one(), one()}
	form := "logout_token=" + s.issuer.LogoutToken(nil)
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			if status, _, _ := post(processes[i%3], form); status == 200 {
				mu.Lock()
				defer mu.Unlock()
				accepted++
			}
		})
	}
	all.Wait()
	if ended != 1 || accepted != 1 {
		t.Errorf("ended %d times, accepted %d; want once", ended, accepted)
	}
	shared.err = errAway
	if status, body, _ := post(processes[0], "logout_token="+s.issuer.LogoutToken(nil)); status != 400 || strings.Contains(body, "internal") {
		t.Errorf("memory away: got %d %s; want 400", status, body)
	}
	if ended != 1 {
		t.Error("ended a session that may be a replay's")
	}
}

// One session or all sessions of a user end, and those of nobody else.
func TestAppBackchannelLogout(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	h := http.HandlerFunc(s.app.BackchannelLogout)
	ids := map[*browser]string{}
	in := func(user string) *browser {
		b := s.browser()
		b.signIn(user)
		ids[b] = b.get("/sid").body
		return b
	}
	phone, laptop, bob, visitor := in("usr_ada"), in("usr_ada"), in("usr_bob"), s.browser()
	visitor.start("/")
	end := func(claims map[string]any) {
		t.Helper()
		if status, body, _ := post(h, "logout_token="+s.issuer.LogoutToken(claims)); status != 200 {
			t.Fatalf("got %d %s", status, body)
		}
	}
	end(map[string]any{"sub": "usr_ada", "sid": ids[phone]})
	phone.wantUser("")
	laptop.wantUser("usr_ada")
	end(map[string]any{"sub": "usr_bob", "sid": ids[laptop]}) // contradicts itself
	laptop.wantUser("usr_ada")
	bob.wantUser("usr_bob")
	tablet := in("usr_ada")
	end(map[string]any{"sub": "usr_ada"})
	laptop.wantUser("")
	tablet.wantUser("")
	bob.wantUser("usr_bob")

	s.store.set(func(st *store) { st.full = true })
	if status, _, _ := post(h, "logout_token="+s.issuer.LogoutToken(map[string]any{"sub": "usr_bob"})); status != 400 {
		t.Errorf("store away: got %d; want 400", status)
	}
}

func TestFrontchannelLogout(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.mux.HandleFunc("GET /front", s.app.FrontchannelLogout)
	b := s.browser()
	b.signIn("usr_ada")
	sid := b.get("/sid").body
	iss := url.QueryEscape(s.issuer.URL)
	for _, query := range []string{"", "?sid=" + sid, "?iss=" + iss, "?iss=" + iss + "&sid=other", "?iss=https://evil.test&sid=" + sid, "?iss=" + iss + "&sid=" + sid + "&sid=" + sid} {
		if a := b.get("/front" + query); a.status != 200 || a.body != "" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %d %q", query, a.status, a.body)
		}
		b.wantUser("usr_ada")
	}
	before := len(s.store.copy())
	s.browser().get("/front?iss=" + iss + "&sid=unknown")
	if got := len(s.store.copy()); got != before {
		t.Errorf("a session that nobody has left %d entries", got-before)
	}
	s.browser().get("/front?iss=" + iss + "&sid=" + sid) // frames carry no cookie
	b.wantUser("")
	// A sid may hold a raw semicolon.
	s.issuer.Inject(authpitest.Fault{IDToken: func(_, c map[string]any) { c["sid"] = "s;1&2" }})
	b.signIn("usr_ada")
	b.get("/front?sid=s;1%262&iss=" + iss)
	b.wantUser("")
	if a := b.get("/front?iss=" + iss + "&sid=" + sid); a.status != 200 {
		t.Errorf("signed out: got %d; want 200", a.status)
	}
}

// A token is not taken twice while the client accepts it, after its end too.
func TestLogoutReplayWithinClockSkew(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		skew time.Duration
		exp  time.Duration // from now, at the first use
		wait time.Duration // until the second one
	}{
		{"used after its end", 15 * time.Minute, -12 * time.Minute, 0},
		{"replayed after its end", 59 * time.Minute, time.Minute, 59*time.Minute + 59*time.Second},
		{"used and replayed after its end", 59 * time.Minute, -30 * time.Minute, 28 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, func(m *setup) { m.client.ClockSkew = tc.skew })
			calls := 0
			h := authpihttp.BackchannelLogout(s.client, func(context.Context, authpi.LogoutToken) error { calls++; return nil }, nil)
			now := time.Now()
			form := "logout_token=" + s.issuer.LogoutToken(map[string]any{"exp": now.Add(tc.exp).Unix(), "iat": now.Add(tc.exp - 2*time.Minute).Unix()})
			if status, body, _ := post(h, form); status != 200 {
				t.Errorf("%s: got %d %s; want 200", tc.name, status, body)
			}
			time.Sleep(tc.wait)
			if status, body, _ := post(h, form); status != 400 || !strings.Contains(body, "used before") || calls != 1 {
				t.Errorf("%s: got %d %s for a replay, used %d times; want once", tc.name, status, body, calls)
			}
		})
	}
}

// A logout token for two clients is good once at each of them, on one store.
func TestLogoutTokenOfTwoClients(t *testing.T) {
	t.Parallel()
	keys := [][]byte{[]byte(strings.Repeat("k", 32))}
	one := newSite(t, func(made *setup) { made.options.Keys = keys })
	two := newSite(t, func(made *setup) {
		made.options.Keys = keys
		made.store = one.store
		made.issuer.ClientID, made.client.ClientID = "c_other", "c_other"
	})
	if err := two.issuer.ImportKeys(one.issuer.ExportKeys()); err != nil {
		t.Fatal(err)
	}
	b := two.browser()
	b.signIn("usr_ada")
	token := one.issuer.LogoutToken(map[string]any{"aud": []string{clientID, "c_other"}, "sub": "usr_ada"})
	for _, s := range []*site{one, two} {
		for _, want := range []int{http.StatusOK, http.StatusBadRequest} {
			if status, body, _ := post(http.HandlerFunc(s.app.BackchannelLogout), "logout_token="+token); status != want {
				t.Errorf("got %d %s; want %d", status, body, want)
			}
		}
	}
	b.wantUser("")
}
