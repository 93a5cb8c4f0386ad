package authpihttp_test

import (
	"context"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// refreshBy mounts a page that refreshes by hand, with the options that app gives.
func (s *site) refreshBy(app *authpihttp.App) {
	s.mux.Handle("GET /refresh", app.RequireAgent(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		opts := app.AgentOptions(r.Context())
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

// The issuer shortens its access tokens' life: the new set expires before the one
// that it replaces, whose refresh token is spent all the same.
func TestShorterLivedTokensAreStored(t *testing.T) {
	t.Parallel()
	t.Run("by hand", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		s.refreshBy(s.app)
		b := s.browser()
		b.signIn("usr_ada")
		for _, life := range []string{"900", "600", "300"} {
			before := s.signIns()[0]
			s.shorten(life)
			b.get("/refresh")
			if after := s.signIns()[0]; after.RefreshToken == before.RefreshToken {
				t.Errorf("life %s: the store holds the spent refresh token", life)
			}
		}
		s.expire()
		b.wantUser("usr_ada")
	})
	t.Run("by one client for long", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, nil)
		s.mux.Handle("GET /twice", s.app.RequireAgent(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			agent, _ := authpihttp.AgentFrom(r.Context())
			opts := s.app.AgentOptions(r.Context())
			for _, life := range []string{"600", "300"} {
				s.shorten(life)
				var err error
				if agent, err = s.client.Refresh(r.Context(), agent, &authpi.RefreshOptions{OnRefresh: opts.OnRefresh}); err != nil {
					t.Fatal(err)
				}
				if s.signIns()[0].RefreshToken != agent.Tokens.RefreshToken {
					t.Errorf("life %s: the store does not hold the new refresh token", life)
				}
			}
		})))
		b := s.browser()
		b.signIn("usr_ada")
		b.get("/twice")
	})
	t.Run("ahead of expiry", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, func(m *setup) { m.client.RefreshBuffer = 10 * time.Minute })
		b := s.browser()
		b.signIn("usr_ada")
		before := s.signIns()[0]
		s.advance(21 * time.Minute) // 9 minutes left
		s.shorten("300")
		b.wantUser("usr_ada")
		if after := s.signIns()[0]; after.RefreshToken == before.RefreshToken {
			t.Error("the store holds the spent refresh token")
		}
		s.expire()
		b.wantUser("usr_ada")
	})
}

// What Reload has found is no reason to store an older set over it, until it is
// what the next set is refreshed from.
func TestReloadedTokensAreNotOverwritten(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.refreshBy(s.app)
	b := s.browser()
	s.mux.Handle("GET /late", s.app.RequireAgent(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b.get("/refresh") // another request is first
		stored := s.signIns()[0]
		late := stored
		late.AccessToken, late.RefreshToken, late.ExpiresAt = "late", "late", stored.ExpiresAt.Add(-time.Second)
		for _, tc := range []struct {
			reloads int
			want    string
		}{{0, stored.RefreshToken}, {1, stored.RefreshToken}, {2, "late"}} {
			opts := s.app.AgentOptions(r.Context())
			for range tc.reloads {
				if found, err := opts.Reload(r.Context()); err != nil || found.RefreshToken != stored.RefreshToken {
					t.Errorf("Reload: got %v, %v", found, err)
				}
			}
			if err := opts.OnRefresh(r.Context(), late); err != nil {
				t.Error(err)
			}
			if got := s.signIns()[0].RefreshToken; got != tc.want {
				t.Errorf("after %d reloads: stored %q; want %q", tc.reloads, got, tc.want)
			}
		}
	})))
	b.signIn("usr_ada")
	b.get("/late")
}

// hooked lets something happen between an App's reading of a record and its writing:
// after the reading, or just before the writing.
type hooked struct {
	*manager
	mu            sync.Mutex // guards what follows
	read, written func()
}

// hook puts a hooked one between the site's App and its sessions.
func (s *site) hook() *hooked {
	h := &hooked{manager: s.sessions}
	s.app = authpihttp.New(s.client, h, nil)
	s.mux = http.NewServeMux()
	s.app.Register(s.mux)
	s.mux.Handle("/", s.app.RequireAgent(http.HandlerFunc(s.whoami)))
	s.handler = s.sessions.LoadAndSave(s.mux)
	return h
}

func (h *hooked) take(hook *func()) {
	h.mu.Lock()
	now := *hook
	*hook = nil
	h.mu.Unlock()
	if now != nil {
		now()
	}
}

func (h *hooked) set(hook *func(), to func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*hook = to
}

func (h *hooked) Load(ctx context.Context, token string) (context.Context, error) {
	ctx, err := h.manager.Load(ctx, token)
	h.take(&h.read)
	return ctx, err
}

func (h *hooked) Commit(ctx context.Context) (string, time.Time, error) {
	h.take(&h.written)
	return h.manager.Commit(ctx)
}

// A page is asked for when the record is due to be kept from idling out, and
// meanwhile something happens to that record. Whatever it is, it stays.
func TestTouchUndoesNothing(t *testing.T) {
	t.Parallel()
	rotate := func(_ *site, b *browser) { b.get("/refresh") }
	end := func(s *site, _ *browser) {
		if err := s.sessions.Iterate(s.t.Context(), func(ctx context.Context) error {
			return s.app.EndSession(ctx, authpi.LogoutToken{Issuer: s.issuer.URL, Subject: "usr_ada"})
		}); err != nil {
			s.t.Errorf("EndSession: %v", err)
		}
	}
	for _, tc := range []struct {
		name    string
		written bool // it begins just before the writing, else after the reading
		happens func(*site, *browser)
		ends    bool
	}{
		{"rotation after the reading", false, rotate, false},
		{"rotation before the writing", true, rotate, false},
		{"logout after the reading", false, end, true},
		{"logout before the writing", true, end, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, nil)
				s.sessions.IdleTimeout = 30 * time.Minute
				h := s.hook()
				s.refreshBy(s.app)
				b := s.browser()
				b.signIn("usr_ada")
				before := s.signIns()[0]
				time.Sleep(10 * time.Minute) // the access token is good

				var all sync.WaitGroup
				hook := &h.read
				if tc.written {
					hook = &h.written
				}
				h.set(hook, func() {
					all.Go(func() { tc.happens(s, b) })
					time.Sleep(time.Second) // it is done, or it waits
				})
				b.wantUser("usr_ada")
				all.Wait()
				after := s.signIns()
				if tc.ends {
					if len(after) != 0 {
						t.Errorf("%d sign-ins in the store after a back-channel logout; want none", len(after))
					}
					b.wantUser("")
					return
				}
				if len(after) != 1 || after[0].RefreshToken == before.RefreshToken {
					t.Error("the store holds the spent refresh token again")
				}
				for range 3 {
					time.Sleep(10 * time.Minute)
					b.wantUser("usr_ada")
				}
			})
		})
	}
}

// The same for a rotation: it does not bring a sign-in back that ends while it is
// being stored.
func TestRotationRevivesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		h := s.hook()
		b, same := s.browser(), s.browser()
		b.signIn("usr_ada")
		same.setCookie(b.cookie())
		s.expire()
		var all sync.WaitGroup
		h.set(&h.written, func() {
			all.Go(func() { same.send("POST", "/auth/logout", nil) })
			time.Sleep(time.Second)
		})
		b.get("/")
		all.Wait()
		if got := len(s.signIns()); got != 0 {
			t.Errorf("%d sign-ins in the store after the logout; want none", got)
		}
		b.wantUser("")
	})
}

// A store that hangs for one request holds up another one no longer than that likes.
func TestLockEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		h := s.hook()
		b, same := s.browser(), s.browser()
		b.signIn("usr_ada")
		same.setCookie(b.cookie())
		s.expire()
		h.set(&h.written, func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if a, err := same.try(ctx, "POST", "/auth/logout", nil); err != nil || a.status != http.StatusServiceUnavailable {
				t.Errorf("got %d, %v; want 503", a.status, err)
			}
		})
		b.wantUser("usr_ada")
	})
}
