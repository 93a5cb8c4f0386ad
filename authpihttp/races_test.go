package authpihttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// refreshBy mounts a page that refreshes by hand, with the options that app returns.
func (s *site) refreshBy(app *authpihttp.App) {
	s.mux.Handle("GET /refresh", app.RequireAgent(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		opts := app.AgentOptions(r)
		if _, err := s.client.Refresh(r.Context(), agent, &authpi.RefreshOptions{OnRefresh: opts.OnRefresh, Reload: opts.Reload}); err != nil {
			s.t.Errorf("Refresh: %v", err)
		}
	})))
}

var expiresIn = regexp.MustCompile(`"expires_in":\s*\d+`)

// shorten has the next refresh give an access token that lives that many seconds.
func (s *site) shorten(seconds string) {
	s.issuer.Inject(authpitest.Fault{Endpoint: "token", Grant: "refresh_token", Malform: func(body []byte) []byte {
		return expiresIn.ReplaceAll(body, []byte(`"expires_in":`+seconds))
	}})
}

// both runs a test with either kind of store.
func both(t *testing.T, test func(t *testing.T, plain bool)) {
	t.Helper()
	for name, plain := range map[string]bool{"with CommitIf": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, plain)
		})
	}
}

// The issuer shortens its access tokens' life: the new set expires before the one
// that it replaces, whose refresh token is spent all the same.
func TestShorterLivedTokensAreStored(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, plain bool) {
		s := newSite(t, func(made *setup) { made.plain = plain; made.client.RefreshBuffer = -1 })
		s.refreshBy(s.app)
		b := s.browser()
		b.signIn("usr_ada")
		for _, life := range []string{"900", "600", "300"} {
			before := b.tokens()
			s.shorten(life)
			b.get("/refresh")
			if after := b.tokens(); after.RefreshToken == before.RefreshToken {
				t.Errorf("life %s: the store holds the spent refresh token", life)
			}
		}
		s.expire()
		b.wantUser("usr_ada")
	})
}

// A page is asked for when the record is due to be kept from idling out, and
// meanwhile something happens to that record. Whatever it is, it stays.
func TestTouchUndoesNothing(t *testing.T) {
	t.Parallel()
	rotate := func(_ *site, b *browser) { b.get("/refresh") }
	end := func(s *site, _ *browser) {
		if status, body, _ := post(http.HandlerFunc(s.app.BackchannelLogout), "logout_token="+s.issuer.LogoutToken(map[string]any{"sub": "usr_ada"})); status != 200 {
			s.t.Errorf("back-channel logout: got %d %s", status, body)
		}
	}
	for _, tc := range []struct {
		name    string
		happens func(*site, *browser)
		ends    bool
	}{
		{"rotation", rotate, false},
		{"back-channel logout", end, true},
		{"sign-out", func(_ *site, b *browser) { b.send("POST", "/auth/logout", nil) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, plain bool) {
				s := newSite(t, func(made *setup) { made.plain = plain; made.options.IdleTimeout = 30 * time.Minute })
				s.refreshBy(s.app)
				b, same := s.twoTabs()
				key, before := b.recordKey(), b.tokens()
				s.advance(10 * time.Minute) // the access token is good
				s.store.set(func(st *store) {
					n := st.finds
					st.onFind = func(now int) {
						if now == n+1 { // the record was read
							tc.happens(s, same)
						}
					}
				})
				b.get("/")
				if tc.ends {
					if s.hasRecord(key) {
						t.Error("the sign-in is in the store after it ended")
					}
					b.wantUser("")
					return
				}
				if after := b.tokens(); after.RefreshToken == before.RefreshToken {
					t.Error("the store holds the spent refresh token again")
				}
			})
		})
	}
}

// A rotation does not bring a sign-in back that ends while it is being stored.
func TestRotationRevivesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b, same := s.twoTabs()
	key := b.recordKey()
	s.expire()
	s.store.set(func(st *store) {
		st.onWrite = func() { same.send("POST", "/auth/logout", nil) }
	})
	b.wantUser("")
	if s.hasRecord(key) {
		t.Error("the sign-in is in the store after the logout")
	}
	if got := s.issuer.Sessions("usr_ada"); got != 0 {
		t.Errorf("got %d sessions at the issuer; want 0: the new refresh token is given back", got)
	}
}

// The issuer ends a sign-in just when that is being written, after the store was read
// for the last time. A store without CommitIf would bring it back.
func TestLogoutWithinAWrite(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"rotation": 40 * time.Minute, "kept from idling out": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, plain bool) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, func(made *setup) { made.plain = plain; made.options.IdleTimeout = time.Hour })
					b := s.browser()
					b.signIn("usr_ada")
					key := b.recordKey()
					s.advance(ahead)
					token := s.issuer.LogoutToken(map[string]any{"sub": "usr_ada"})
					var ended sync.WaitGroup
					s.store.set(func(st *store) {
						st.onWrite = func() {
							ended.Go(func() {
								if status, body, _ := post(http.HandlerFunc(s.app.BackchannelLogout), "logout_token="+token); status != 200 {
									t.Errorf("back-channel logout: got %d %s", status, body)
								}
							})
							synctest.Wait() // until it has ended, or waits for the write
						}
					})
					b.get("/")
					ended.Wait()
					if s.hasRecord(key) {
						t.Error("the sign-in is in the store after it ended")
					}
					b.wantUser("")
				})
			})
		})
	}
}

// A store that hangs for one request holds up another one no longer than that likes,
// and signs nobody out.
func TestLockEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(made *setup) { made.plain = true; made.client.RefreshTimeout = 3 * time.Second })
		b, same := s.twoTabs()
		s.expire()
		s.store.set(func(st *store) {
			st.onWrite = func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if a, err := same.try(ctx, "POST", "/auth/logout", nil); err != nil || a.status != http.StatusServiceUnavailable {
					t.Errorf("got %d, %v; want 503", a.status, err)
				}
				time.Sleep(10 * time.Second)
			}
		})
		if a := b.get("/"); a.status != http.StatusServiceUnavailable {
			t.Errorf("got %d, %v; want 503", a.status, b.lastRefusal())
		}
		time.Sleep(20 * time.Second)
		b.wantUser("usr_ada")
	})
}

// One tab refreshes while another one signs in again. What it gets is revoked, unless
// the issuer has both sign-ins in one session: that would end the new one, too.
func TestRefreshDuringSignIn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		token   func(header, claims map[string]any)
		revoked bool
	}{
		{"another session", nil, true},
		{"the same session", func(_, c map[string]any) { c["sid"] = "s_same" }, false},
		{"no session", func(_, c map[string]any) { delete(c, "sid") }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			if tc.token != nil {
				s.issuer.Inject(authpitest.Fault{Times: -1, IDToken: tc.token})
			}
			b, tab := s.twoTabs()
			s.expire()
			callback := b.atIssuer(b.start("/x"), "usr_ada")
			s.store.set(func(st *store) { st.onWrite = func() { b.get(callback) } }) // the refreshed tokens are at hand
			tab.get("/")
			if got := s.issuer.Requests("revoke"); s.issuer.Grants("refresh_token") != 1 || (got > 0) != tc.revoked {
				t.Errorf("got %d revocations; want any: %t", got, tc.revoked)
			}
			b.wantUser("usr_ada")
		})
	}
}

// A store that panics for one request holds up nobody after that.
func TestPanickingStore(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 3; n++ { // the hint, the record, and the record again before it goes
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, func(made *setup) { made.plain = true })
			b := s.browser()
			b.signIn("usr_ada")
			s.store.set(func(st *store) {
				st.finds = 0
				st.onFind = func(find int) {
					if find == n {
						panic("the driver's mistake")
					}
				}
			})
			if _, err := b.try(t.Context(), http.MethodPost, "/auth/logout", nil); err == nil {
				t.Fatalf("Find %d: the store did not panic", n)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if a, err := b.try(ctx, http.MethodPost, "/auth/logout", nil); err != nil || a.status != http.StatusSeeOther {
				t.Errorf("after a panic of Find %d: got %d, %v, %v; want 303", n, a.status, err, s.lastRefusal())
			}
		})
	}
}

// deaf is a store whose deletions never come back by themselves.
type deaf struct{ conditional }

func (d deaf) FindCtx(_ context.Context, token string) ([]byte, bool, error) { return d.Find(token) }

func (d deaf) CommitCtx(_ context.Context, token string, b []byte, expiry time.Time) error {
	return d.Commit(token, b, expiry)
}

func (d deaf) DeleteCtx(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// What is tidied up after its request holds nobody for ever.
func TestDeafStore(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		do   func(context.Context, *browser, *authpihttp.App)
	}{
		{"sign-out", func(ctx context.Context, b *browser, app *authpihttp.App) {
			b.mux.HandleFunc("POST /deaf/logout", app.Logout)
			_, _ = b.try(ctx, http.MethodPost, "/deaf/logout", nil)
		}},
		{"sign-in that the hook refuses", func(ctx context.Context, b *browser, app *authpihttp.App) {
			b.mux.HandleFunc("GET /deaf/callback", app.Callback)
			callback := b.atIssuer(b.start("/x"), "usr_ada")
			_, _ = b.try(ctx, http.MethodGet, strings.Replace(callback, "/auth/", "/deaf/", 1), nil)
		}},
		{"logout of the issuer that fails", func(ctx context.Context, b *browser, app *authpihttp.App) {
			token := b.issuer.LogoutToken(map[string]any{"sub": "usr_ada"})
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader("logout_token="+token))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			app.BackchannelLogout(httptest.NewRecorder(), r)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, nil)
				b := s.browser()
				b.signIn("usr_ada")
				app := authpihttp.New(s.client, deaf{conditional{s.store}}, &authpihttp.Options{
					SignedIn: func(http.ResponseWriter, *http.Request, *authpi.Agent) error { return errAway },
					Error:    func(http.ResponseWriter, *http.Request, int, error) {},
				})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				tc.do(ctx, b, app)
				if took := time.Since(began); took > time.Minute {
					t.Errorf("took %v; want it to end soon after its request", took)
				}
			})
		})
	}
}

// Two processes, each with its client, refresh one sign-in: the one that comes
// second finds what the first has stored.
func TestSeveralProcesses(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, plain bool) {
		s := newSite(t, func(made *setup) { made.plain = plain })
		b, same := s.twoTabs()
		other := s.process(s.anotherClient())
		s.mux.Handle("GET /other", other.RequireAgent(http.HandlerFunc(s.whoami)))
		s.expire()
		var once sync.Once
		s.store.set(func(st *store) {
			n := st.finds
			st.onFind = func(now int) {
				if now == n+1 { // the second one has read the record
					once.Do(func() { same.wantUser("usr_ada") })
				}
			}
		})
		if a := b.get("/other"); a.status != http.StatusOK {
			t.Errorf("got %d %s; want 200", a.status, a.body)
		}
		if got := s.issuer.Grants("refresh_token"); got != 1 {
			t.Errorf("got %d refreshes; want 1", got)
		}
	})
}

// Another process has stored other tokens while these were on their way: the store's
// set is used.
func TestOvertakenRotation(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.issuer.ReuseGrace = time.Hour })
	b, same := s.twoTabs()
	other := s.process(s.anotherClient())
	s.mux.Handle("GET /other", other.RequireAgent(http.HandlerFunc(s.whoami)))
	s.expire()
	var stored authpi.TokenSet
	s.store.set(func(st *store) {
		st.onWrite = func() { same.get("/other"); stored = same.tokens() }
	})
	if got := b.tokens(); got.AccessToken != stored.AccessToken || stored.AccessToken == "" {
		t.Error("got the overtaken tokens; want the store's")
	}
	if got := s.issuer.Grants("refresh_token"); got != 2 {
		t.Errorf("got %d refreshes; want 2", got)
	}
}

// What others have stored is not written over by an app's own refresh either.
func TestOlderTokensAreNotStored(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.refreshBy(s.app)
	b := s.browser()
	s.mux.Handle("GET /late", s.app.RequireAgent(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		b.get("/refresh") // another request is first
		late := agent.Tokens
		late.AccessToken, late.RefreshToken = "late", "late"
		if err := s.app.AgentOptions(r).OnRefresh(r.Context(), late); err != nil {
			t.Error(err)
		}
	})))
	b.signIn("usr_ada")
	b.get("/late")
	if got := b.tokens(); got.AccessToken == "late" {
		t.Error("older tokens were stored")
	}
}

// A refresh that is refused for an app's own resources says nothing of the sign-in.
func TestRefusedResourceEndsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.options.Resources = []string{"https://api.test"} })
	b := s.browser()
	b.signIn("usr_ada")
	key := b.recordKey()
	s.expire()
	s.issuer.Inject(authpitest.Fault{Grant: "refresh_token", Status: 400, Body: `{"error":"invalid_target"}`})
	a := b.get("/x")
	if a.status != http.StatusInternalServerError || !s.hasRecord(key) {
		t.Errorf("got %d, record kept: %t; want 500 and the record", a.status, s.hasRecord(key))
	}
	b.wantUser("usr_ada")
}

// A process dies at some point of a sign-in, and cleans nothing up. Another one
// signs the user in, and out, on what is left in the store.
func TestKilledWithinSignIn(t *testing.T) {
	t.Parallel()
	for nth := 1; nth <= 5; nth++ {
		s := newSite(t, nil)
		b := s.browser()
		callback := s.atIssuer(b.start("/x"), "usr_ada")
		seen := 0
		var dies func()
		dies = func() {
			if seen++; seen == nth {
				panic(http.ErrAbortHandler)
			}
			s.store.set(func(st *store) { st.onWrite = dies })
		}
		s.store.set(func(st *store) { st.onWrite = dies })
		if _, err := b.try(t.Context(), "GET", callback, nil); err == nil {
			t.Fatalf("write %d: want the connection closed", nth)
		}
		other := s.process(s.anotherClient())
		mux := http.NewServeMux()
		other.Register(mux)
		mux.Handle("/", other.RequireAgent(http.HandlerFunc(s.whoami)))
		s.handler = mux
		a := b.get(callback) // the browser tries again
		if a.status != http.StatusSeeOther && a.status != http.StatusBadRequest {
			t.Errorf("write %d: the callback once more: got %d to %q", nth, a.status, a.location)
		}
		b.signIn("usr_ada")
		b.wantUser("usr_ada")
		if status, body, _ := post(http.HandlerFunc(other.BackchannelLogout), "logout_token="+s.issuer.LogoutToken(map[string]any{"sub": "usr_ada"})); status != 200 {
			t.Errorf("write %d: got %d %s", nth, status, body)
		}
		b.wantUser("")
	}
}
