package signin_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/signin"
)

// counted is a store that counts what it is asked.
type counted struct {
	*signin.Memory
	calls atomic.Int64
}

func (c *counted) Find(key string) ([]byte, bool, error) {
	c.calls.Add(1)
	return c.Memory.Find(key)
}

func (c *counted) Commit(key string, b []byte, expiry time.Time) error {
	c.calls.Add(1)
	return c.Memory.Commit(key, b, expiry)
}

func (c *counted) CommitIf(ctx context.Context, key string, old, b []byte, expiry time.Time) (bool, error) {
	c.calls.Add(1)
	return c.Memory.CommitIf(ctx, key, old, b, expiry)
}

func (c *counted) Delete(key string) error {
	c.calls.Add(1)
	return c.Memory.Delete(key)
}

// register is a Book and who is signed in there.
type register struct {
	t     testing.TB
	book  *signin.Book
	store *counted
	made  atomic.Int64
}

func newRegister(t testing.TB, plain bool) *register {
	t.Helper()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: "https://issuer.test", ClientID: "c_test", ClientSecret: "hush"})
	if err != nil {
		t.Fatal(err)
	}
	var facts endpoint.Facts
	client.Facts(&facts)
	r := &register{t: t, store: &counted{Memory: signin.NewMemory(time.Now)}}
	var store signin.Store = r.store
	if plain {
		store = struct{ signin.Store }{r.store} // without CommitIf
	}
	r.book = signin.New(client, &facts, signin.Options{Store: store, Lifetime: 7 * 24 * time.Hour, IdleTimeout: 12 * time.Hour})
	return r
}

// signIn signs a user in, in a session of their own.
func (r *register) signIn(user string, began time.Time) (*signin.SignIn, authpi.LogoutToken, error) {
	r.t.Helper()
	sid := "ses_" + strconv.FormatInt(r.made.Add(1), 10)
	agent := &authpi.Agent{ID: user, SessionID: sid, Tokens: authpi.TokenSet{
		AccessToken: strings.Repeat("a", 120), IDToken: strings.Repeat("i", 200), ExpiresAt: time.Now().Add(time.Hour),
	}}
	s, err := r.book.Create(r.t.Context(), agent, signin.NewLogin(began), began, nil)
	return s, authpi.LogoutToken{Subject: user, SessionID: sid}, err
}

func (r *register) mustSignIn(user string) (*signin.SignIn, authpi.LogoutToken) {
	r.t.Helper()
	s, token, err := r.signIn(user, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return s, token
}

// fill signs in as many others.
func (r *register) fill(count int) {
	r.t.Helper()
	for i := range count {
		r.mustSignIn("usr_" + strconv.Itoa(i))
	}
}

func (r *register) lives(s *signin.SignIn) bool {
	r.t.Helper()
	rec, err := s.Read(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return rec != nil
}

// cost is what a logout of somebody with one sign-in takes: calls of the store, and
// the median time.
func (r *register) cost(name string, end func(authpi.LogoutToken) error) (calls int64, took time.Duration) {
	r.t.Helper()
	var times []time.Duration
	for i := range 101 {
		user := fmt.Sprintf("usr_%s_%d", name, i)
		s, token := r.mustSignIn(user)
		before, began := r.store.calls.Load(), time.Now()
		if err := end(token); err != nil {
			r.t.Fatal(err)
		}
		times = append(times, time.Since(began))
		if now := r.store.calls.Load() - before; i > 0 && now != calls {
			r.t.Errorf("%s: got %d calls of the store, and %d for another user", name, now, calls)
		}
		calls = r.store.calls.Load() - before
		if r.lives(s) {
			r.t.Fatalf("%s: the sign-in lives on", name)
		}
	}
	slices.Sort(times)
	return calls, times[len(times)/2]
}

// A logout takes as many calls of the store among 100,000 sign-ins as among 100, and
// misses none that is made at the same moment.
func TestLogoutAmongMany(t *testing.T) {
	t.Parallel()
	few, many := newRegister(t, false), newRegister(t, false)
	few.fill(100)
	count := signIns(t)
	began := time.Now()
	many.fill(count)
	t.Logf("%d sign-ins made in %v", count, time.Since(began).Round(time.Millisecond))
	for name, end := range map[string]func(*register, authpi.LogoutToken) error{
		"sid_and_sub": func(r *register, token authpi.LogoutToken) error { return r.book.EndNamed(t.Context(), token) },
		"sid": func(r *register, token authpi.LogoutToken) error {
			return r.book.EndNamed(t.Context(), authpi.LogoutToken{SessionID: token.SessionID})
		},
		"sub": func(r *register, token authpi.LogoutToken) error {
			return r.book.EndNamed(t.Context(), authpi.LogoutToken{Subject: token.Subject})
		},
		"front_channel": func(r *register, token authpi.LogoutToken) error {
			return r.book.EndSession(t.Context(), token.SessionID)
		},
	} {
		calls, took := few.cost(name, func(token authpi.LogoutToken) error { return end(few, token) })
		callsOfMany, tookOfMany := many.cost(name, func(token authpi.LogoutToken) error { return end(many, token) })
		t.Logf("%-13s %d calls of the store, %v among 100 sign-ins, %v among %d", name, calls, took, tookOfMany, count)
		if callsOfMany != calls {
			t.Errorf("%s: got %d calls of the store among %d sign-ins; want %d, as among 100", name, callsOfMany, count, calls)
		}
	}
	many.atOnce()
}

// What a logout has ended, the next one of the same user does not meet again.
func TestLogoutLeavesNothingToTheNext(t *testing.T) {
	t.Parallel()
	for name, named := range map[string]func(authpi.LogoutToken) authpi.LogoutToken{
		"sub":         func(token authpi.LogoutToken) authpi.LogoutToken { return authpi.LogoutToken{Subject: token.Subject} },
		"sid and sub": func(token authpi.LogoutToken) authpi.LogoutToken { return token },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegister(t, false)
			stays, _ := r.mustSignIn("usr_ada")
			var first int64
			for i := range 50 {
				s, token := r.mustSignIn("usr_ada")
				before := r.store.calls.Load()
				if err := r.book.EndNamed(t.Context(), named(token)); err != nil || r.lives(s) {
					t.Fatalf("%v, the sign-in lives: %t", err, r.lives(s))
				}
				calls := r.store.calls.Load() - before
				if i == 1 { // the first logout of sub alone ends the other one, too
					first = calls
				}
				if i > 1 && calls != first {
					t.Fatalf("got %d calls of the store in the logout after %d others; want %d", calls, i, first)
				}
			}
			before := r.store.calls.Load()
			if err := r.book.EndNamed(t.Context(), authpi.LogoutToken{Subject: "usr_ada"}); err != nil || r.lives(stays) {
				t.Errorf("%v, a sign-in of another session lives after the user's logout: %t", err, r.lives(stays))
			}
			if calls := r.store.calls.Load() - before; calls > first {
				t.Errorf("got %d calls of the store in the user's logout; want at most %d", calls, first)
			}
		})
	}
}

// signIns is how many, AUTHPI_SIGNINS or fewer than it has in earnest.
func signIns(t *testing.T) int {
	t.Helper()
	text := os.Getenv("AUTHPI_SIGNINS")
	if text == "" {
		return 10_000
	}
	count, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("AUTHPI_SIGNINS=%q: want a number", text)
	}
	return count
}

func TestSignInsWhileALogoutComes(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string]bool{"with CommitIf": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newRegister(t, plain).atOnce()
		})
	}
}

// atOnce has many browsers of one user sign in while the logout comes, after some of
// them. Each that began before is refused, or signed out. One that began after it may
// live, until the next logout.
func (r *register) atOnce() {
	r.t.Helper()
	const browsers = 20
	refused, ended := 0, 0
	for before := range browsers + 1 {
		token := authpi.LogoutToken{Subject: fmt.Sprintf("usr_busy_%d", before)}
		made := r.signInDuring(token, before, browsers)
		for i, s := range made {
			switch {
			case s == nil:
				refused++
			case !r.lives(s):
				ended++
			case i%2 == 0:
				r.t.Errorf("a sign-in outlives the logout that came after %d of %d", before, browsers)
			}
		}
		r.logOut(token)
		for _, s := range made {
			if s != nil && r.lives(s) {
				r.t.Errorf("a sign-in outlives a second logout, after one that came after %d of %d", before, browsers)
			}
		}
	}
	if refused == 0 || ended == 0 {
		r.t.Errorf("%d sign-ins were refused and %d ended; want some of both", refused, ended)
	}
}

// signInDuring returns the sign-ins of a user who is logged out once some are made;
// nil for one that was refused. Every second one began after the logout.
func (r *register) signInDuring(token authpi.LogoutToken, before, browsers int) []*signin.SignIn {
	r.t.Helper()
	began := [2]time.Time{time.Now(), time.Now().Add(time.Minute)}
	var all sync.WaitGroup
	made, done := make([]*signin.SignIn, browsers), make(chan struct{}, browsers)
	for i := range made {
		all.Go(func() {
			s, _, err := r.signIn(token.Subject, began[i%2])
			// A store without CommitIf may lose the record between its writing and
			// its reading back.
			if err != nil && !errors.Is(err, signin.ErrLoggedOut) && !errors.Is(err, signin.ErrOvertaken) {
				r.t.Error(err)
			}
			made[i] = s
			done <- struct{}{}
		})
	}
	for range before {
		<-done
	}
	r.logOut(token)
	all.Wait()
	return made
}

func (r *register) logOut(token authpi.LogoutToken) {
	r.t.Helper()
	if err := r.book.EndNamed(r.t.Context(), token); err != nil {
		r.t.Error(err)
	}
}
