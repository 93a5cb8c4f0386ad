package authpihttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// The issuer's logout gets its hint whatever became of the sign-in.
func TestSignOutAlwaysWorks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		happens func(*site, *browser)
		hint    bool
	}{
		{"signed in", func(*site, *browser) {}, true},
		{"the access token died", func(s *site, _ *browser) { s.expire() }, true},
		{"all tokens died", func(s *site, _ *browser) { s.issuer.EndSession("usr_ada"); s.expire() }, true},
		{"a refused refresh", func(s *site, b *browser) {
			s.issuer.EndSession("usr_ada")
			s.expire()
			b.wantUser("")
		}, true},
		{"a back-channel logout", func(s *site, b *browser) {
			post(http.HandlerFunc(s.app.BackchannelLogout), "logout_token="+s.issuer.LogoutToken(map[string]any{"sub": "usr_ada"}))
			b.wantUser("")
		}, true},
		{"idle for long", func(s *site, _ *browser) { s.advance(13 * time.Hour) }, true},
		{"a front-channel logout", func(s *site, b *browser) {
			s.mux.HandleFunc("GET /front", s.app.FrontchannelLogout)
			s.browser().get("/front?iss=" + url.QueryEscape(s.issuer.URL) + "&sid=" + b.get("/sid").body)
			b.wantUser("")
		}, true},
		{"the store lost the record alone", func(s *site, b *browser) {
			key := b.recordKey()
			s.store.set(func(st *store) { delete(st.items, key) })
		}, true},
		{"the record is somebody else's bytes", func(s *site, b *browser) {
			key := b.recordKey()
			s.store.set(func(st *store) { st.items[key] = item{[]byte("x"), s.store.now().Add(time.Hour)} })
		}, true},
		{"the client's refresh token was revoked", func(s *site, b *browser) {
			if err := s.client.RevokeToken(t.Context(), b.tokens().RefreshToken, ""); err != nil {
				t.Error(err)
			}
			b.get("/")
		}, true},
		{"its seven days are over", func(s *site, _ *browser) { s.advance(8 * 24 * time.Hour) }, false},
		{"the store lost everything", func(s *site, _ *browser) { s.store.set(func(st *store) { clear(st.items) }) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			b := s.browser()
			b.signIn("usr_ada")
			idToken := b.tokens().IDToken
			tc.happens(s, b)
			a := b.send("POST", "/auth/logout", nil)
			if !strings.HasPrefix(a.location, s.issuer.URL+"/logout?") {
				t.Fatalf("got %d to %q, %v; want 303 to the issuer", a.status, a.location, s.lastRefusal())
			}
			hint, client := param(t, a.location, "id_token_hint"), param(t, a.location, "client_id")
			if tc.hint && hint != idToken || !tc.hint && (hint != "" || client != clientID) {
				t.Errorf("got a hint: %t, client_id %q; want a hint: %t", hint != "", client, tc.hint)
			}
			if b.cookie() != nil {
				t.Error("the cookie is still there")
			}
		})
	}
}

var inputs = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// An ID token of many organizations makes no long address: a page posts it.
func TestSignOutWithManyOrganizations(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 50, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			var orgs []authpitest.Organization
			for i := range n {
				orgs = append(orgs, authpitest.Organization{ID: fmt.Sprintf("org_%025d", i), Scopes: []string{"owner", "projects:**"}})
			}
			s.issuer.SetOrganizations("usr_ada", orgs...)
			b := s.browser()
			b.signIn("usr_ada")
			idToken := b.tokens().IDToken
			a := b.send("POST", "/auth/logout", nil)
			if len(a.location) > 6<<10 {
				t.Fatalf("got a Location of %d bytes", len(a.location))
			}
			if n == 1 {
				if a.status != http.StatusSeeOther {
					t.Errorf("got %d; want 303", a.status)
				}
				return
			}
			fields := url.Values{}
			for _, m := range inputs.FindAllStringSubmatch(a.body, -1) {
				fields.Set(m[1], m[2])
			}
			if a.status != http.StatusOK || fields.Get("id_token_hint") != idToken || fields.Get("post_logout_redirect_uri") != origin+"/bye" || fields.Get("client_id") != clientID {
				t.Errorf("got %d with the fields of %d bytes; want a form with the hint", a.status, len(fields.Encode()))
			}
			if !strings.Contains(a.body, `<form method="post" action="`+s.issuer.URL+`/logout">`) || !strings.Contains(a.body, "<button>Continue</button>") {
				t.Errorf("got %.500s; want a form with a button", a.body)
			}
			policy := a.header.Get("Content-Security-Policy")
			if strings.Contains(policy, "form-action") || !strings.Contains(policy, "script-src 'sha256-") || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("got the policy %q; want the script by its hash, and no form-action", policy)
			}
			// The issuer's own cookie is not sent along: the hint does.
			response, err := s.issuer.Client().PostForm(s.issuer.URL+"/logout", fields)
			if err != nil || response.StatusCode != http.StatusSeeOther || response.Header.Get("Location") != origin+"/bye" {
				t.Errorf("got %v, %v; want 303 to the app", response, err)
			}
			b.wantUser("")
		})
	}
}

// Only who has signed out is told so.
func TestSignedOutPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.options.PostLogoutRedirectURI = origin + "/auth/signed-out"
		made.issuer.PostLogoutRedirectURIs = []string{origin + "/auth/signed-out"}
	})
	b := s.browser()
	b.signIn("usr_ada")
	for _, path := range []string{"/auth/signed-out", "/auth/signed-out?state=x"} {
		if a := b.get(path); a.status != http.StatusSeeOther || a.location != "/" {
			t.Errorf("%s: got %d to %q; want 303 home", path, a.status, a.location)
		}
	}
	a := b.send("POST", "/auth/logout", nil)
	state := param(t, a.location, "state")
	if len(state) < 20 {
		t.Fatalf("got the state %q", state)
	}
	if wrong := b.get("/auth/signed-out?state=" + state + "x"); wrong.status != http.StatusSeeOther {
		t.Errorf("another state: got %d; want 303 home", wrong.status)
	}
	if other := s.browser().get("/auth/signed-out?state=" + state); other.status != http.StatusSeeOther {
		t.Errorf("another browser: got %d; want 303 home", other.status)
	}
	b.send("HEAD", "/auth/signed-out?state="+state, nil) // nobody has seen it yet
	b.send("GET", "/auth/signed-out?state="+state, map[string]string{"Sec-Purpose": "prefetch"})
	if a = b.get("/auth/signed-out?state=" + state); a.status != http.StatusOK || !strings.Contains(a.body, "You are signed out") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if a = b.get("/auth/signed-out?state=" + state); a.status != http.StatusSeeOther {
		t.Errorf("once more: got %d; want 303 home", a.status)
	}
}

func TestLogoutPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	a := b.get("/auth/logout")
	if a.status != http.StatusOK || !strings.Contains(a.body, `<form method="post" action="/auth/logout"><p><button>Sign out</button>`) {
		t.Errorf("got %d %s; want a page with the button", a.status, a.body)
	}
	b.wantUser("usr_ada")
}

// The app's own session follows, and its error undoes a sign-in.
func TestSignedInAndSignedOut(t *testing.T) {
	t.Parallel()
	var in, out []string
	var fails error
	s := newSite(t, func(made *setup) {
		made.options.SignedIn = func(w http.ResponseWriter, r *http.Request, agent *authpi.Agent) error {
			in = append(in, agent.ID)
			http.SetCookie(w, &http.Cookie{Name: "own", Value: "new", Path: "/"})
			return fails
		}
		made.options.SignedOut = func(w http.ResponseWriter, _ *http.Request) {
			out = append(out, "out")
			http.SetCookie(w, &http.Cookie{Name: "own", Path: "/", MaxAge: -1})
		}
	})
	s.mux.HandleFunc("POST /leave", func(w http.ResponseWriter, r *http.Request) {
		if err := s.app.SignOut(w, r); err != nil {
			t.Error(err)
		}
	})
	b := s.browser()
	b.signIn("usr_ada")
	if len(in) != 1 || in[0] != "usr_ada" {
		t.Errorf("got %v; want one call", in)
	}
	b.send("POST", "/leave", nil)
	b.wantUser("")
	if len(out) != 1 || s.issuer.Sessions("usr_ada") != 0 {
		t.Errorf("got %v and %d sessions at the issuer", out, s.issuer.Sessions("usr_ada"))
	}
	fails = errAway
	a := b.get(s.atIssuer(b.start("/x"), "usr_ada"))
	if a.status != http.StatusInternalServerError || b.cookie() != nil || s.issuer.Sessions("usr_ada") != 0 {
		t.Errorf("got %d, a cookie: %t, %d sessions; want the sign-in undone", a.status, b.cookie() != nil, s.issuer.Sessions("usr_ada"))
	}
	wantNoSecrets(t, a)
}

// A hook that panics has not let the user in: nothing is left of the sign-in, here or
// at the issuer, and the same callback brings it no second time.
func TestSignedInPanics(t *testing.T) {
	t.Parallel()
	panics := true
	s := newSite(t, func(made *setup) {
		made.options.SignedIn = func(http.ResponseWriter, *http.Request, *authpi.Agent) error {
			if panics {
				panic("the app's own mistake")
			}
			return nil
		}
	})
	b := s.browser()
	callback := s.atIssuer(b.start("/x"), "usr_ada")
	if _, err := b.try(t.Context(), http.MethodGet, callback, nil); err == nil {
		t.Error("the panic did not reach the server")
	}
	if got := s.issuer.Sessions("usr_ada"); got != 0 {
		t.Errorf("got %d sessions at the issuer; want 0", got)
	}
	panics = false
	if a := b.get(callback); a.status != http.StatusInternalServerError || b.cookie() != nil {
		t.Errorf("once more: got %d, a cookie: %t; want 500 and none", a.status, b.cookie() != nil)
	}
	b.signIn("usr_ada")
	b.wantUser("usr_ada")
}

// A login that the hook refuses changes nothing for who is signed in already.
func TestSignedInRefusesAnotherLogin(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"usr_ada", "usr_bob"} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			var fails error
			s := newSite(t, func(made *setup) {
				made.options.SignedIn = func(http.ResponseWriter, *http.Request, *authpi.Agent) error { return fails }
			})
			b := s.browser()
			b.signIn("usr_ada")
			fails = errAway
			if a := b.get(s.atIssuer(b.start("/x"), user)); a.status != http.StatusInternalServerError {
				t.Errorf("got %d; want 500", a.status)
			}
			b.wantUser("usr_ada")
			s.expire()
			b.wantUser("usr_ada")
			if a := b.send("POST", "/auth/logout", nil); param(t, a.location, "id_token_hint") == "" {
				t.Errorf("the logout went to %s; want the ID token with it", a.location)
			}
			if got := s.issuer.Sessions("usr_ada") + s.issuer.Sessions("usr_bob"); got != 0 {
				t.Errorf("got %d sessions at the issuer; want 0", got)
			}
		})
	}
}

// A sign-in that fails is taken back, and its refresh token revoked. Where the issuer has
// it in one session with the one that stays, that would end this one, too.
func TestFailedSignInOfOneSession(t *testing.T) {
	t.Parallel()
	for sid, revocations := range map[string]int{"s_same": 0, "": 1} {
		for name, breakIt := range map[string]func(s *site, fails *error){
			"hook":  func(_ *site, fails *error) { *fails = errAway },
			"store": func(s *site, _ *error) { s.store.set(func(st *store) { st.breaks = st.changes + 3 }) },
		} {
			t.Run(name+" "+sid, func(t *testing.T) {
				t.Parallel()
				var fails error
				s := newSite(t, func(made *setup) {
					made.options.SignedIn = func(http.ResponseWriter, *http.Request, *authpi.Agent) error { return fails }
				})
				if sid != "" {
					s.issuer.Inject(authpitest.Fault{Times: -1, IDToken: func(_, c map[string]any) { c["sid"] = sid }})
				}
				b := s.browser()
				b.signIn("usr_ada")
				callback := b.atIssuer(b.start("/x"), "usr_ada")
				breakIt(s, &fails)
				if a := b.get(callback); a.status < 500 {
					t.Errorf("got %d; want it to fail", a.status)
				}
				if got := s.issuer.Requests("revoke"); got != revocations {
					t.Errorf("got %d revocations; want %d", got, revocations)
				}
				b.wantUser("usr_ada")
			})
		}
	}
}

// A sign-in takes another one's place. Its refresh token is revoked, unless the
// issuer has both in one session; parallel tabs may read it for a minute.
func TestReplacedSignIn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		token   func(header, claims map[string]any)
		revoked int
	}{
		{"another session", nil, 1},
		{"the same session", func(_, c map[string]any) { c["sid"] = "s_same" }, 0},
		{"no session", func(_, c map[string]any) { delete(c, "sid") }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			if tc.token != nil {
				s.issuer.Inject(authpitest.Fault{Times: -1, IDToken: tc.token})
			}
			b, tab := s.twoTabs()
			b.signIn("usr_ada")
			if got := s.issuer.Requests("revoke"); got != tc.revoked {
				t.Errorf("got %d revocations; want %d", got, tc.revoked)
			}
			tab.wantUser("usr_ada")
			s.advance(59 * time.Second)
			tab.wantUser("usr_ada")
			s.advance(2 * time.Second)
			tab.wantUser("")
			b.wantUser("usr_ada")
		})
	}
	t.Run("signed out", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		b := s.browser()
		var tabs []*browser
		for range 4 {
			b.signIn("usr_ada")
			tab := s.browser()
			tab.setCookie(b.cookie())
			tabs = append(tabs, tab)
		}
		tabs[0].wantUser("usr_ada")
		b.send(http.MethodPost, "/auth/logout", nil)
		for _, tab := range tabs {
			tab.wantUser("")
		}
	})
	t.Run("signed out later", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		b := s.browser()
		signOut := func() (changes int) {
			s.store.set(func(st *store) { st.changes = 0 })
			b.send(http.MethodPost, "/auth/logout", nil)
			s.store.set(func(st *store) { changes = st.changes })
			return changes
		}
		b.signIn("usr_ada")
		b.signIn("usr_ada")
		want := signOut() // of one that has replaced one
		for range 3 {
			b.signIn("usr_ada")
		}
		s.advance(time.Minute) // nobody may read the first two any more
		b.signIn("usr_ada")
		if got := signOut(); got != want {
			t.Errorf("got %d changes of the store; want %d", got, want)
		}
	})
	t.Run("not refreshed", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, func(made *setup) { made.issuer.AccessTokenLifetime = 90 * time.Second })
		b, tab := s.twoTabs()
		s.advance(45 * time.Second) // within the buffer
		b.signIn("usr_ada")
		tab.wantUser("usr_ada")
		s.advance(50 * time.Second)
		tab.wantUser("")
		if got := s.issuer.Grants("refresh_token"); got != 0 {
			t.Errorf("got %d refreshes; want 0", got)
		}
	})
	t.Run("another user", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		b, tab := s.twoTabs()
		b.signIn("usr_bob")
		tab.wantUser("")
		b.wantUser("usr_bob")
	})
	t.Run("signed out meanwhile", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		b, tab := s.twoTabs()
		b.signIn("usr_ada")
		b.send("POST", "/auth/logout", nil)
		tab.wantUser("")
	})
}

// A login for one organization whose tokens say otherwise is refused.
func TestOrganizationThatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.options.Authorize = forOrganization })
	b := s.browser()
	login := b.get("/auth/login?org=org_1&return_to=/x").location
	for _, edited := range []string{"org=org_2", ""} {
		a := b.get(s.atIssuer(strings.Replace(login, "org=org_1", edited, 1), "usr_ada"))
		if a.status != http.StatusBadRequest || !strings.Contains(a.body, "another organization") {
			t.Errorf("%q: got %d %s; want 400", edited, a.status, a.body)
		}
		b.wantUser("")
		login = b.get("/auth/login?org=org_1&return_to=/x").location
	}
	if a := b.get(s.atIssuer(login, "usr_ada")); a.location != "/x" {
		t.Errorf("got %d to %q, %v", a.status, a.location, s.lastRefusal())
	}
}

// A WebSocket or stream asks again, and learns that the sign-in has ended.
func TestAgentInAStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	asked, answers := make(chan bool), make(chan error)
	s.mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush() // no cookie can be set any more
		for range asked {
			_, err := s.app.Agent(r)
			answers <- err
		}
	})
	b, same := s.twoTabs()
	go b.get("/stream")
	ask := func() error { asked <- true; return <-answers }
	if err := ask(); err != nil {
		t.Errorf("got %v; want the agent", err)
	}
	s.expire()
	if err := ask(); err != nil {
		t.Errorf("after a refresh: got %v; want the agent", err)
	}
	same.send("POST", "/auth/logout", nil)
	if err := ask(); !errors.Is(err, authpihttp.ErrNotSignedIn) {
		t.Errorf("signed out: got %v; want ErrNotSignedIn", err)
	}
	close(asked)
}

// Tests of handlers, and middleware of one's own, say by themselves who is there.
func TestWithAgent(t *testing.T) {
	t.Parallel()
	agent := &authpi.Agent{ID: "usr_x", Organizations: []authpi.Organization{{ID: "org_1", Scopes: []string{"projects:read"}}}}
	for org, want := range map[string]int{"org_1": 200, "org_2": 403} {
		h := authpihttp.RequireAccess("read", "projects", func(*http.Request) string { return org })(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got, ok := authpihttp.AgentFrom(r.Context()); !ok || got != agent {
				t.Errorf("got %v; want the agent", got)
			}
		}))
		r, _ := http.NewRequestWithContext(authpihttp.WithAgent(t.Context(), agent), "GET", "/", nil)
		w := newRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: got %d; want %d", org, w.Code, want)
		}
	}
}

// A middleware of somebody's own that found nobody has signed nobody in, not even
// where another guard did.
func TestWithoutAgent(t *testing.T) {
	t.Parallel()
	s, api := newAPI(t, nil)
	served := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request without an agent was served") })
	ctx := authpihttp.WithAgent(authpihttp.WithAgent(t.Context(), &authpi.Agent{ID: "usr_x"}), nil)
	if agent, ok := authpihttp.AgentFrom(ctx); ok || agent != nil {
		t.Errorf("got %v, %t; want nil, false", agent, ok)
	}
	for name, guarded := range map[string]http.Handler{
		"RequireAccess":        authpihttp.RequireAccess("read", "projects", orgOf)(served),
		"RequireRecent":        s.app.RequireRecent(time.Minute)(served),
		"Bearer.RequireRecent": api.RequireRecent(0, "strong")(served),
	} {
		w := newRecorder()
		guarded.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/orgs/org_1", nil))
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%s: got %d; want 500, as without a guard in front", name, w.Code)
		}
	}
}

// Options.IsPage decides who is sent to a login.
func TestIsPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) {
		made.options.IsPage = func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, "/api/") }
	})
	b := s.browser()
	if a := b.json("/x"); a.status != http.StatusSeeOther {
		t.Errorf("a page: got %d; want 303", a.status)
	}
	if a := b.get("/api/x"); a.status != http.StatusUnauthorized || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("a program: got %d %s; want 401 with JSON", a.status, a.header.Get("Content-Type"))
	}
}

func TestAudiences(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, tc := range []struct {
		name string
		opts authpihttp.BearerOptions
		aud  any
		want int
	}{
		{"the first", authpihttp.BearerOptions{Audiences: []string{"a", "b"}}, "a", 200},
		{"the second", authpihttp.BearerOptions{Audiences: []string{"a", "b"}}, "b", 200},
		{"one of several", authpihttp.BearerOptions{Audiences: []string{"a", "b"}}, []string{"x", "b"}, 200},
		{"beside Audience", authpihttp.BearerOptions{Audience: "c", Audiences: []string{"a"}}, "c", 200},
		{"none", authpihttp.BearerOptions{Audiences: []string{"a", "b"}}, "c", 401},
		{"not the client any more", authpihttp.BearerOptions{Audiences: []string{"a"}}, clientID, 401},
	} {
		api, err := authpihttp.NewBearer(s.client, &tc.opts)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+s.issuer.AccessToken(map[string]any{"aud": tc.aud}))
		w := newRecorder()
		api.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("%s: got %d; want %d", tc.name, w.Code, tc.want)
		}
	}
}

// Only a browser without cookies sees the error page of a lost login, and it says
// so.
func TestBrowserWithoutCookies(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	none := func(path string) answer { return s.browser().get(path) }
	login := none("/x")
	callback := s.atIssuer(none(login.location).location, "usr_ada")
	a := none(callback)
	if a.status != http.StatusSeeOther || a.location != "/auth/login?retry=1&return_to=%2Fx" {
		t.Fatalf("got %d to %q; want a new login", a.status, a.location)
	}
	if a = none(a.location); a.status != http.StatusBadRequest || !strings.Contains(a.body, "allow cookies") {
		t.Errorf("got %d %s; want a page that says what is wrong", a.status, a.body)
	}
	if got := s.issuer.Grants("authorization_code"); got != 0 {
		t.Errorf("got %d exchanges; want 0", got)
	}
}

// The store may refuse or change large records: the error at sign-in names the size.
func TestLargeRecords(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, plain bool) {
		for name, spoil := range map[string]func(*store){
			"cut":     func(st *store) { st.alter = func(b []byte) []byte { return b[:min(len(b), 64<<10-1)] } },
			"refused": func(st *store) { st.breaks = st.changes + 4 }, // the note of the callback, index, index, hint
		} {
			s := newSite(t, func(made *setup) { made.plain = plain })
			var orgs []authpitest.Organization
			for i := range 600 {
				orgs = append(orgs, authpitest.Organization{ID: fmt.Sprintf("org_%025d", i), Scopes: []string{"owner"}})
			}
			s.issuer.SetOrganizations("usr_ada", orgs...)
			b := s.browser()
			b.signIn("usr_ada")
			b.wantUser("usr_ada")
			s.store.set(spoil)
			c := s.browser()
			a := c.get(s.atIssuer(c.start("/x"), "usr_ada"))
			if err := s.lastRefusal(); a.status != http.StatusInternalServerError || !regexp.MustCompile(`\d{5,} bytes`).MatchString(fmt.Sprint(err)) {
				t.Errorf("%s: got %d, %v; want an error that names the size", name, a.status, err)
			}
			c.wantUser("")
		}
	})
}

// Two clicks on the button: the browser takes the second answer, which is as good.
func TestSignOutTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b, same := s.twoTabs()
	first := b.send("POST", "/auth/logout", nil)
	if second := same.send("POST", "/auth/logout", nil); second.location != first.location || param(t, first.location, "id_token_hint") == "" {
		t.Errorf("got %d to %.100q; want the first one's answer", second.status, second.location)
	}
}

// What a login of ours needs for itself is not Authorize's to change.
func TestAuthorizeMistakes(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*authpi.AuthorizationOptions{
		"state":         {State: "own"},
		"nonce":         {Nonce: "own"},
		"response_mode": {Extra: url.Values{"response_mode": {"form_post"}}},
		"fragment":      {Extra: url.Values{"response_mode": {"fragment"}}},
		"redirect":      {RedirectURI: "https://evil.test/callback"},
	} {
		s := newSite(t, func(made *setup) {
			made.options.Authorize = func(*http.Request) *authpi.AuthorizationOptions { return opts }
		})
		if a := s.browser().get("/auth/login"); a.status != http.StatusInternalServerError || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: got %d to %q; want 500", name, a.status, a.location)
		}
	}
}
