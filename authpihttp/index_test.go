package authpihttp_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func (s *site) backchannel(claims map[string]any) {
	s.t.Helper()
	if status, body, _ := post(http.HandlerFunc(s.app.BackchannelLogout), "logout_token="+s.issuer.LogoutToken(claims)); status != 200 {
		s.t.Errorf("got %d %s; want 200", status, body)
	}
}

// A logout reads as much of the store with many sign-ins of others as with none.
func TestBackchannelLogoutWalksThroughNothing(t *testing.T) {
	t.Parallel()
	finds := func(others int) int {
		s := newSite(t, nil)
		b := s.browser()
		b.signIn("usr_ada")
		for i := range others {
			s.issuer.AddUser(authpitest.User{ID: fmt.Sprintf("usr_%d", i)})
			s.browser().signIn(fmt.Sprintf("usr_%d", i))
		}
		before := s.store.finds
		s.backchannel(map[string]any{"sub": "usr_ada", "sid": b.get("/sid").body})
		found := s.store.finds
		b.wantUser("")
		return found - before
	}
	if few, many := finds(0), finds(200); few != many {
		t.Errorf("got %d reads among none and %d among 200; want the same", few, many)
	}
}

// A sign-in that is being stored while the logout comes is not missed, whichever of
// the two is where.
func TestLogoutDuringSignIn(t *testing.T) {
	t.Parallel()
	for _, sid := range []bool{true, false} {
		for change := 1; change <= 5; change++ {
			s := newSite(t, nil)
			if !sid {
				s.issuer.Inject(authpitest.Fault{Times: -1, IDToken: func(_, c map[string]any) { delete(c, "sid") }})
			}
			b := s.browser()
			callback := s.atIssuer(b.start("/x"), "usr_ada")
			seen := 0
			var hook func()
			hook = func() {
				if seen++; seen == change {
					s.backchannel(map[string]any{"sub": "usr_ada"})
					return
				}
				s.store.set(func(st *store) { st.onWrite = hook })
			}
			s.store.set(func(st *store) { st.onWrite = hook })
			a := b.get(callback)
			if seen < change {
				continue // fewer writes without a session
			}
			if a.location == "/x" {
				b.wantUser("") // at the latest now
			}
			if got := s.issuer.Sessions("usr_ada"); a.location != "/x" && got != 0 {
				t.Errorf("change %d: got %d sessions at the issuer; want 0", change, got)
			}
		}
	}
}

// Whoever was signed out may sign in again at once.
func TestSignInAfterLogout(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := s.browser()
	for range 3 {
		b.signIn("usr_ada")
		s.backchannel(map[string]any{"sub": "usr_ada"})
		b.wantUser("")
	}
	b.signIn("usr_ada")
	b.wantUser("usr_ada")
}

// Sign-ins at once find room in one index, with either kind of store.
func TestManySignInsAtOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, plain bool) {
		s := newSite(t, func(made *setup) { made.plain = plain })
		var all sync.WaitGroup
		browsers := make([]*browser, 20)
		for i := range browsers {
			browsers[i] = s.browser()
			all.Go(func() { browsers[i].signIn("usr_ada") })
		}
		all.Wait()
		s.backchannel(map[string]any{"sub": "usr_ada"})
		for _, b := range browsers {
			b.wantUser("")
		}
	})
}

// One user has at most 1,000 sign-ins: one more ends the oldest.
func TestIndexIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.issuer.Inject(authpitest.Fault{Times: -1, IDToken: func(_, c map[string]any) { delete(c, "sid") }})
	var first, second *browser
	for i := range 1001 {
		b := s.browser()
		b.signIn("usr_ada")
		switch i {
		case 0:
			first = b
		case 1:
			second = b
		}
	}
	first.wantUser("")
	second.wantUser("usr_ada")
	for key, i := range s.store.copy() {
		if len(i.data) > 60<<10 {
			t.Errorf("the entry %s has %d bytes", key, len(i.data))
		}
	}
}
