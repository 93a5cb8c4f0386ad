package authpihttp_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestRequireRecent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		maxAge time.Duration
		acr    []string
		wait   time.Duration // since the sign-in
		ask    string        // what the issuer is asked for; empty: nothing
	}{
		{"recent enough", 5 * time.Minute, nil, 4 * time.Minute, ""},
		{"too old", 5 * time.Minute, nil, 6 * time.Minute, "max_age=300"},
		{"no context", 0, []string{"gold", "silver"}, 0, "acr_values=gold+silver"},
		{"always", -1, nil, 0, "max_age=0"},
		{"no whole seconds", time.Minute + 999*time.Millisecond, nil, 3 * time.Minute, "max_age=60"},
		{"a second", time.Second, nil, 3 * time.Minute, "max_age=1"},
		{"less than a second", time.Millisecond, nil, 3 * time.Minute, "max_age=0"},
		{"old, and no context", time.Minute, []string{"gold"}, 2 * time.Minute, "max_age=60"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			s.mux.Handle("/danger", s.app.RequireAgent(s.app.RequireRecent(tc.maxAge, tc.acr...)(http.HandlerFunc(s.whoami))))
			b := s.browser()
			b.signIn("usr_ada")
			s.advance(tc.wait)
			a := b.get("/danger?x=1")
			if tc.ask == "" {
				if a.status != http.StatusOK {
					t.Errorf("got %d to %q; want 200", a.status, a.location)
				}
				return
			}
			if program := b.json("/danger"); program.status != http.StatusUnauthorized || !strings.Contains(program.body, "insufficient_user_authentication") {
				t.Errorf("a program: got %d %s; want 401", program.status, program.body)
			}
			a = b.get(a.location)
			if !strings.Contains(a.location, tc.ask) {
				t.Fatalf("got %q; want %s", a.location, tc.ask)
			}
			if a = b.get(s.atIssuer(a.location, "usr_ada")); a.location != "/danger?x=1" {
				t.Fatalf("got %d to %q, %v", a.status, a.location, s.lastRefusal())
			}
			if a = b.get("/danger?x=1"); a.status != http.StatusOK {
				t.Errorf("after the step-up: got %d to %q, %v; want 200", a.status, a.location, s.lastRefusal())
			}
			if a = b.get("/"); a.status != http.StatusOK {
				t.Errorf("another page: got %d", a.status)
			}
		})
	}
}

// One attempt that does not bring what is wanted: 403, and no further login.
func TestStepUpThatFails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		maxAge time.Duration
		acr    []string
		token  func(header, claims map[string]any)
	}{
		{"an old sign-in", 5 * time.Minute, nil, func(_, c map[string]any) { c["auth_time"] = time.Now().Add(-2 * time.Hour).Unix() }},
		{"no auth_time", 5 * time.Minute, nil, func(_, c map[string]any) { delete(c, "auth_time") }},
		{"an old one where a fresh one is wanted", -1, nil, func(_, c map[string]any) { c["auth_time"] = time.Now().Add(-2 * time.Minute).Unix() }},
		{"another context", 0, []string{"gold"}, func(_, c map[string]any) { c["acr"] = "bronze" }},
		{"a context in other case", 0, []string{"gold"}, func(_, c map[string]any) { delete(c, "acr"); c["ACR"] = "gold" }},
		{"no context", 0, []string{"gold"}, func(_, c map[string]any) { delete(c, "acr") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			s.mux.Handle("/danger", s.app.RequireAgent(s.app.RequireRecent(tc.maxAge, tc.acr...)(http.HandlerFunc(s.whoami))))
			b := s.browser()
			s.issuer.Inject(authpitest.Fault{Times: -1, IDToken: tc.token})
			b.signIn("usr_ada")
			login := b.get("/danger")
			a := b.get(s.atIssuer(b.get(login.location).location, "usr_ada"))
			if a.location != "/danger" {
				t.Fatalf("got %d to %q, %v; want back to the page", a.status, a.location, s.lastRefusal())
			}
			for range 3 {
				if a = b.get("/danger"); a.status != http.StatusForbidden || !strings.Contains(a.body, "stronger sign-in") {
					t.Errorf("got %d to %q; want 403 and no further login", a.status, a.location)
				}
			}
			b.wantUser("usr_ada")
			// Signing in anew allows another attempt.
			s.issuer.ClearFaults()
			b.signIn("usr_ada")
			if a = b.get("/danger"); a.status == http.StatusForbidden {
				t.Error("another sign-in: got 403; want another attempt")
			}
		})
	}
}

// A sign-in that a guard has begun counts for its page, for a minute.
func TestFreshSignInCountsForItsPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	always := s.app.RequireRecent(-1)
	for _, path := range []string{"/danger", "/other"} {
		s.mux.Handle(path, s.app.RequireAgent(always(http.HandlerFunc(s.whoami))))
	}
	b := s.browser()
	b.signIn("usr_ada")
	b.get(s.atIssuer(b.get(b.get("/danger").location).location, "usr_ada"))
	for path, want := range map[string]int{"/danger": 200, "/danger?step=2": 200, "/other": 303} {
		if a := b.get(path); a.status != want {
			t.Errorf("%s: got %d; want %d", path, a.status, want)
		}
	}
	if a := b.send("POST", "/danger", map[string]string{"Referer": origin + "/danger"}); a.status != http.StatusOK {
		t.Errorf("a form of the page: got %d to %q; want 200", a.status, a.location)
	}
	s.advance(61 * time.Second)
	if a := b.get("/danger"); a.status != http.StatusSeeOther {
		t.Errorf("a minute later: got %d; want another sign-in", a.status)
	}
}

// What a guard asks for is not for the user to edit, nor does a wish of a stranger
// count.
func TestStepUpIsSealed(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	for _, guard := range []string{"", "x", strings.Repeat("A", 64)} {
		a := b.get("/auth/login?guard=" + guard)
		if param(t, a.location, "max_age") != "" || param(t, a.location, "acr_values") != "" {
			t.Errorf("%q: got %q", guard, a.location)
		}
	}
}

// A refresh that says nothing of the sign-in does not undo what it brought.
func TestStepUpOutlivesRefreshes(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.issuer.OmitIDTokenOnRefresh = true })
	s.mux.Handle("/gold", s.app.RequireAgent(s.app.RequireRecent(2*time.Hour, "gold")(http.HandlerFunc(s.whoami))))
	b := s.browser()
	b.signIn("usr_ada")
	b.get(s.atIssuer(b.get(b.get("/gold").location).location, "usr_ada"))
	for range 2 {
		s.expire()
		if a := b.get("/gold"); a.status != http.StatusOK {
			t.Errorf("got %d to %q, %v; want 200", a.status, a.location, s.lastRefusal())
		}
	}
	s.advance(41 * time.Minute) // two hours have passed
	if a := b.get("/gold"); a.status != http.StatusSeeOther {
		t.Errorf("got %d; want another sign-in", a.status)
	}
}

func TestBearerRequireRecent(t *testing.T) {
	t.Parallel()
	s, _ := newAPI(t, nil)
	api, err := authpihttp.NewBearer(s.client, &authpihttp.BearerOptions{AccessTokensCarryLoginTime: true})
	if err != nil {
		t.Fatal(err)
	}
	s.mux.Handle("/recent", api.Require(api.RequireRecent(5*time.Minute, "gold", "silver")(http.HandlerFunc(s.whoami))))
	now := time.Now()
	for _, tc := range []struct {
		name   string
		claims map[string]any
		want   int
	}{
		{"recent", map[string]any{"auth_time": now.Add(-4 * time.Minute).Unix(), "acr": "silver"}, 200},
		{"old", map[string]any{"auth_time": now.Add(-6 * time.Minute).Unix(), "acr": "gold"}, 401},
		{"no time", map[string]any{"auth_time": nil, "acr": "gold"}, 401},
		{"a time as text", map[string]any{"auth_time": "x", "acr": "gold"}, 401},
		{"another context", map[string]any{"auth_time": now.Unix(), "acr": "bronze"}, 401},
		{"a context in other case", map[string]any{"auth_time": now.Unix(), "Acr": "gold"}, 401},
	} {
		a := s.browser().send("GET", "/recent", map[string]string{"Authorization": "Bearer " + s.issuer.AccessToken(tc.claims)})
		if a.status != tc.want {
			t.Errorf("%s: got %d %s; want %d", tc.name, a.status, a.body, tc.want)
		}
		const want = `Bearer realm="api", error="insufficient_user_authentication", error_description="a more recent or a stronger sign-in is required", acr_values="gold silver", max_age="300"`
		if got := a.header.Get("WWW-Authenticate"); tc.want == 401 && got != want {
			t.Errorf("%s: got %s; want %s", tc.name, got, want)
		}
	}
}

func TestRequireRecentPanics(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	plain, _ := authpihttp.NewBearer(s.client, nil)
	carrying, _ := authpihttp.NewBearer(s.client, &authpihttp.BearerOptions{AccessTokensCarryLoginTime: true})
	for name, mistake := range map[string]func(){
		"App wants nothing":         func() { s.app.RequireRecent(0) },
		"Bearer wants nothing":      func() { plain.RequireRecent(0) },
		"an age without login time": func() { plain.RequireRecent(time.Minute) },
		"negative":                  func() { carrying.RequireRecent(-1) },
		"negative with context":     func() { plain.RequireRecent(-1, "gold") },
		"App, an empty context":     func() { s.app.RequireRecent(time.Minute, "gold", "") },
		"Bearer, an empty context":  func() { plain.RequireRecent(0, "") },
		"App, two in one":           func() { s.app.RequireRecent(0, "gold silver") },
		"Bearer, two in one":        func() { plain.RequireRecent(0, "gold silver") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: want a panic", name)
				}
			}()
			mistake()
		}()
	}
	plain.RequireRecent(0, "gold")
}

// prompt=none that brings nobody goes back, signed out, and does not start again.
func TestSilentLogin(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"login_required", "interaction_required", "consent_required", "account_selection_required"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(made *setup) {
				made.options.Authorize = func(*http.Request) *authpi.AuthorizationOptions {
					return &authpi.AuthorizationOptions{Prompt: []string{"none"}}
				}
			})
			b := s.browser()
			refused := func(authURL string) string {
				callback := s.atIssuer(authURL, "")
				return strings.Replace(callback, "error="+param(t, callback, "error"), "error="+code, 1)
			}
			login := b.get("/x")
			a := b.get(login.location)
			if param(t, a.location, "prompt") != "none" {
				t.Fatalf("got %q; want a silent login", a.location)
			}
			if a = b.get(refused(a.location)); a.status != http.StatusSeeOther || a.location != "/x" {
				t.Fatalf("got %d to %q, %v; want 303 to /x", a.status, a.location, s.lastRefusal())
			}
			// The page wants somebody: now the issuer may ask.
			a = b.get(b.get(a.location).location)
			if param(t, a.location, "prompt") != "" {
				t.Fatalf("got %q; want no loop", a.location)
			}
			if a = b.get(s.atIssuer(a.location, "usr_ada")); a.location != "/x" {
				t.Errorf("got %d to %q", a.status, a.location)
			}
		})
	}
	// What else the issuer says is an error, and Options.Error learns of the way
	// back.
	s := newSite(t, func(made *setup) {
		made.options.Authorize = func(*http.Request) *authpi.AuthorizationOptions {
			return &authpi.AuthorizationOptions{Prompt: []string{"none"}}
		}
		made.options.Error = func(w http.ResponseWriter, _ *http.Request, _ int, err error) {
			var way interface{ ReturnTo() string }
			if !asWay(err, &way) || way.ReturnTo() != "/x" {
				t.Errorf("got %v; want the way back", err)
			}
			w.WriteHeader(http.StatusTeapot)
		}
	})
	b := s.browser()
	callback := s.atIssuer(b.start("/x"), "")
	if a := b.get(strings.Replace(callback, "error="+param(t, callback, "error"), "error=access_denied", 1)); a.status != http.StatusTeapot {
		t.Errorf("got %d; want Options.Error to answer", a.status)
	}
}

// A third party may start a login, for this issuer and a page of this site.
func TestThirdPartyInitiatedLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	iss := s.issuer.URL
	for _, tc := range []struct {
		name, iss, target string
		back              string // empty: refused
	}{
		{"no target", iss, "", "/"},
		{"a slash behind the issuer", iss + "/", "", "/"},
		{"a page", iss, origin + "/x?y=z", "/x?y=z"},
		{"a path", iss, "/x", "/x"},
		{"the site itself", iss, origin, "/"},
		{"the site itself with a query", iss, origin + "?y=z", "/?y=z"},
		{"another issuer", "https://evil.test", origin + "/x", ""},
		{"no issuer", "", origin + "/x", ""},
		{"another site's page", iss, "https://evil.test/x", ""},
		{"a host like ours", iss, origin + ".evil.test/x", ""},
		{"a host like ours with a query", iss, origin + "evil.test?y=z", ""},
		{"a user like us", iss, origin + "@evil.test/x", ""},
		{"http", iss, "http://app.test/x", ""},
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(tc.name+" "+method, func(t *testing.T) {
				b := s.browser()
				a := b.form(method, "/auth/login", map[string]string{"iss": tc.iss, "login_hint": "ada@example.com", "target_link_uri": tc.target})
				if tc.back == "" {
					if a.status != http.StatusBadRequest || a.header.Get("Set-Cookie") != "" {
						t.Errorf("got %d to %q; want 400", a.status, a.location)
					}
					return
				}
				if param(t, a.location, "login_hint") != "ada@example.com" {
					t.Errorf("got %q; want the hint passed on", a.location)
				}
				if a = b.get(s.atIssuer(a.location, "usr_ada")); a.location != tc.back {
					t.Errorf("got %d to %q; want %q", a.status, a.location, tc.back)
				}
			})
		}
	}
}

// Behind http.CrossOriginProtection of the whole app, with the patterns of
// ExampleApp_Register, all that Register mounts works as without it, and nothing else
// is open to other sites.
func TestBehindCrossOriginProtection(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	protection := http.NewCrossOriginProtection()
	protection.AddInsecureBypassPattern("POST /auth/login")
	protection.AddInsecureBypassPattern("POST /auth/logout")
	s.handler = protection.Handler(s.mux)
	b := s.browser()
	post := func(path, from string, form url.Values) answer {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, origin+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"text/html"}, "Sec-Fetch-Site": {from}}
		return b.do(r)
	}
	third := url.Values{"iss": {s.issuer.URL}, "target_link_uri": {origin + "/x"}}
	a := post("/auth/login", "cross-site", third)
	if a = b.get(s.atIssuer(a.location, "usr_ada")); a.location != "/x" {
		t.Fatalf("a third party's login: got %d to %q", a.status, a.location)
	}
	const own = "That did not come from this site"
	for _, tc := range []struct {
		path, from string
		form       url.Values
		status     int
		body       string
	}{
		{"/auth/login", "cross-site", url.Values{"iss": {"https://evil.test"}}, 400, "is not for this site"},
		{"/auth/login", "cross-site", nil, 400, "is not for this site"},
		{"/auth/logout", "cross-site", nil, 403, own},
		{"/auth/logout", "same-site", nil, 403, own},
		{"/auth/callback", "cross-site", nil, 403, "cross-origin request detected"},
		{"/auth/login/", "cross-site", third, 403, "cross-origin request detected"},
		{"/x", "cross-site", nil, 403, "cross-origin request detected"},
		{"/x", "same-origin", nil, 200, "usr_ada"},
		{"/auth/backchannel-logout", "", url.Values{"logout_token": {s.issuer.LogoutToken(map[string]any{"sub": "usr_bob"})}}, 200, ""},
		{"/auth/logout", "same-origin", nil, 303, ""},
	} {
		if a := post(tc.path, tc.from, tc.form); a.status != tc.status || !strings.Contains(a.body, tc.body) {
			t.Errorf("%s from %q: got %d %s; want %d with %q", tc.path, tc.from, a.status, a.body, tc.status, tc.body)
		}
	}
	b.wantUser("")
}

// What the app demands of every sign-in holds under a guard too: a guard's part of the
// address is sealed, and good in any browser.
func TestGuardKeepsTheAgeOfTheApp(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.options.Authorize = func(*http.Request) *authpi.AuthorizationOptions {
			return &authpi.AuthorizationOptions{MaxAge: time.Minute}
		}
	})
	s.mux.Handle("GET /gold", s.app.RequireAgent(s.app.RequireRecent(0, "gold")(http.HandlerFunc(s.whoami))))
	other := s.browser()
	other.signIn("usr_ada")
	guard := param(t, other.get("/gold").location, "guard")
	for _, path := range []string{"/auth/login", "/auth/login?guard=" + url.QueryEscape(guard)} {
		b := s.browser()
		s.issuer.Inject(authpitest.Fault{Endpoint: "token", IDToken: func(_, claims map[string]any) {
			claims["auth_time"] = time.Now().Add(-2 * time.Hour).Unix()
		}})
		a := b.get(path)
		if got := param(t, a.location, "max_age"); got != "60" {
			t.Errorf("%.20s: asked for max_age %q; want 60", path, got)
		}
		if got := b.get(s.atIssuer(a.location, "usr_ada")); got.status != http.StatusBadRequest {
			t.Errorf("%.20s: got %d; want 400 for a sign-in of two hours ago", path, got.status)
		}
	}
}

// Guards that stand one behind the other, with an issuer that says only what it was
// asked for: each gets its turn, and those that exclude each other end in a refusal.
func TestNestedGuards(t *testing.T) {
	t.Parallel()
	type guard struct {
		maxAge time.Duration
		acr    []string
	}
	fresh, gold, silver, recent := guard{-1, nil}, guard{0, []string{"gold"}}, guard{0, []string{"silver"}}, guard{5 * time.Minute, nil}
	for _, tc := range []struct {
		name   string
		guards []guard
		want   int
	}{
		{"fresh, then gold", []guard{fresh, gold}, 200},
		{"gold, then fresh", []guard{gold, fresh}, 200},
		{"recent, then fresh, then gold", []guard{recent, fresh, gold}, 200},
		{"gold, then fresh with gold", []guard{gold, {-1, []string{"gold"}}}, 200},
		{"two fresh ones", []guard{fresh, {-1, []string{"gold"}}}, 200},
		{"gold, then silver", []guard{gold, silver}, 403},
		{"silver, then gold, then fresh", []guard{silver, gold, fresh}, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			var page http.Handler = http.HandlerFunc(s.whoami)
			for _, g := range slices.Backward(tc.guards) {
				page = s.app.RequireRecent(g.maxAge, g.acr...)(page)
			}
			s.mux.Handle("/danger", s.app.RequireAgent(page))
			b := s.browser()
			b.signIn("usr_ada")
			s.advance(10 * time.Minute)
			a, logins := b.get("/danger"), 0
			for ; a.status == http.StatusSeeOther && logins < 20; logins++ {
				if a = b.get(s.atIssuer(b.get(a.location).location, "usr_ada")); a.location != "/danger" {
					t.Fatalf("got %d to %q, %v; want back to the page", a.status, a.location, s.lastRefusal())
				}
				a = b.get("/danger")
			}
			if a.status != tc.want || logins > 2*len(tc.guards) {
				t.Errorf("got %d after %d logins; want %d after at most %d", a.status, logins, tc.want, 2*len(tc.guards))
			}
			b.wantUser("usr_ada")
		})
	}
}

// A guard of a short age asks as often as it must: nobody else's logins are between.
func TestGuardOfAShortAge(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.client.ClockSkew = time.Second })
	s.mux.Handle("/danger", s.app.RequireAgent(s.app.RequireRecent(5*time.Second)(http.HandlerFunc(s.whoami))))
	b := s.browser()
	b.signIn("usr_ada")
	for i := range 10 {
		s.advance(10 * time.Second)
		b.get(s.atIssuer(b.get(b.get("/danger").location).location, "usr_ada"))
		if a := b.get("/danger"); a.status != http.StatusOK {
			t.Fatalf("login %d: got %d to %q", i, a.status, a.location)
		}
	}
}

// The guard reads auth_time as the rest of the package does: any number that is a date,
// in whatever notation, and no other.
func TestRequireRecentReadsEveryDate(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	tokens, now := b.tokens(), s.issuer.Now().Unix()
	for name, tc := range map[string]struct {
		authTime string
		want     int
	}{
		"whole":          {fmt.Sprint(now), http.StatusOK},
		"a fraction":     {fmt.Sprintf("%d.75", now), http.StatusOK},
		"an exponent":    {fmt.Sprintf("%d.%09de9", now/1e9, now%1e9), http.StatusOK},
		"long ago":       {"1e9", http.StatusForbidden},
		"after all time": {"99999999999999", http.StatusForbidden},
		"negative":       {"-1", http.StatusForbidden},
		"text":           {`"` + fmt.Sprint(now) + `"`, http.StatusForbidden},
	} {
		tokens.IDToken = s.issuer.Sign(map[string]any{
			"iss": s.issuer.URL, "aud": clientID, "sub": "usr_ada", "iat": now, "exp": now + 600, "auth_time": json.RawMessage(tc.authTime),
		}, nil)
		agent, err := s.client.CreateAgent(t.Context(), tokens, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequestWithContext(authpihttp.WithAgent(t.Context(), agent), http.MethodGet, origin+"/danger", nil)
		r.RequestURI = "/danger"
		w := newRecorder()
		s.app.RequireRecent(5*time.Minute)(http.HandlerFunc(s.whoami)).ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("%s: got %d; want %d", name, w.Code, tc.want)
		}
	}
}

// An Agent of the app's own middleware is not what a login here changes: the guard sends
// nobody there.
func TestRequireRecentOfAnAgentFromElsewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	agent, err := s.client.CreateAgent(t.Context(), b.tokens(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		guard func(http.Handler) http.Handler
		want  int
	}{
		"recent enough": {s.app.RequireRecent(5 * time.Minute), http.StatusOK},
		"fresh":         {s.app.RequireRecent(-1), http.StatusForbidden},
		"gold":          {s.app.RequireRecent(0, "gold"), http.StatusForbidden},
	} {
		r, _ := http.NewRequestWithContext(authpihttp.WithAgent(t.Context(), agent), http.MethodGet, origin+"/danger", nil)
		r.RequestURI = "/danger"
		r.Header.Set("Accept", "text/html")
		w := newRecorder()
		tc.guard(http.HandlerFunc(s.whoami)).ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("%s: got %d to %q; want %d", name, w.Code, w.Header().Get("Location"), tc.want)
		}
	}
}
