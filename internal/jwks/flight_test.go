package jwks_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestColdCallersShareOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed), takes: time.Second}
		s := jwks.New(i.fetch, time.Now, nil)
		token := ed.sign()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { check(t, s, token, jwks.Untrusted, "") })
		}
		wg.Wait()
		i.count(t, 1)
	})
}

func TestCancelledCallerLeavesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed), takes: 3 * time.Second}
		s := jwks.New(i.fetch, time.Now, nil)
		token := ed.sign()

		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := s.Verify(first, token, jwks.Untrusted)
			if !errors.Is(err, context.Canceled) || verdict(err) != "context" {
				t.Errorf("got %v; want context.Canceled", err)
			}
			if got := time.Since(synctestEpoch); got != time.Second {
				t.Errorf("left after %v; want 1s", got)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() { check(t, s, token, jwks.FromIssuer, "") })
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := s.Verify(ctx, token, jwks.Untrusted); !errors.Is(err, context.DeadlineExceeded) || verdict(err) != "context" {
				t.Errorf("got %v; want context.DeadlineExceeded", err)
			}
		})
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		i.count(t, 1)

		// All left: the fetch goes on, for those who come later.
		s = jwks.New(i.fetch, time.Now, nil)
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Verify(brief, token, jwks.Untrusted); verdict(err) != "context" {
			t.Errorf("got %v; want the context's end", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		check(t, s, token, jwks.Untrusted, "")
		i.count(t, 1)
	})
}

// synctestEpoch is when every bubble begins.
var synctestEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestEndedContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed)}
		s := jwks.New(i.fetch, time.Now, nil)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Verify(ended, ed.sign(), jwks.Untrusted); !errors.Is(err, context.Canceled) {
			t.Errorf("cold: got %v; want context.Canceled", err)
		}
		synctest.Wait() // for a fetch that nobody would wait for
		i.count(t, 0)
		k := check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 1)
		if _, err := s.Verify(ended, ed.sign(), jwks.Untrusted); err != nil {
			t.Errorf("warm: got %v; want no error", err)
		}
		if !s.Trusts(ended, k) {
			t.Error("warm: got no trust")
		}
		if _, err := s.Verify(ended, newKey("b").sign(), jwks.Untrusted); !errors.Is(err, context.Canceled) {
			t.Errorf("unknown: got %v; want context.Canceled", err)
		}
		synctest.Wait()
		i.count(t, 0)
	})
}

func TestFetchContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ed := newKey("a")
		i := &issuer{doc: published(ed)}
		i.hook = func(ctx context.Context) {
			if ctx.Value(key{}) != "value" {
				t.Error("the caller's values are gone")
			}
			began := time.Now()
			<-ctx.Done()
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("the context ended after %v; want 10s", took)
			}
		}
		s := jwks.New(i.fetch, time.Now, nil)
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Minute)
		defer cancel()
		if _, err := s.Verify(ctx, ed.sign(), jwks.Untrusted); err != nil {
			t.Error(err) // what has come all the same is used
		}
	})
}

// TestJoiningFetches has callers that come before and during a fetch for another's
// unknown kid.
func TestJoiningFetches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{takes: time.Second}
		i.publish(newKey("a"))
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		i.count(t, 1)

		// Before: the fetch of the one answers for the other, too.
		var wg sync.WaitGroup
		for n := range 50 {
			wg.Go(func() { check(t, s, newKey(fmt.Sprint("forged-", n)).sign(), jwks.Untrusted, "kid") })
		}
		wg.Wait()
		if got := i.fetches.Swap(0); got > 2 {
			t.Errorf("got %d fetches; want 2 at most", got)
		}

		// During: the fetch may be too old to have the key, and one more is made.
		time.Sleep(time.Minute)
		wg.Go(func() { check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid") })
		time.Sleep(500 * time.Millisecond)
		for range 50 {
			wg.Go(func() { check(t, s, newKey("b").sign(), jwks.FromIssuer, "") })
		}
		wg.Go(func() {
			time.Sleep(750 * time.Millisecond)
			i.publish(newKey("b"))
		})
		wg.Wait()
		i.count(t, 2)

		// During, and it has the key: no other is made.
		time.Sleep(time.Minute)
		wg.Go(func() { check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid") })
		time.Sleep(500 * time.Millisecond)
		i.publish(newKey("c"))
		for range 50 {
			wg.Go(func() { check(t, s, newKey("c").sign(), jwks.Untrusted, "") })
		}
		wg.Wait()
		i.count(t, 1)
	})
}

func TestHangingFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed), takes: time.Hour}
		s := jwks.New(i.fetch, time.Now, nil)
		testkit.WantTook(t, 10*time.Second, func() {
			_, err := s.Verify(t.Context(), ed.sign(), jwks.Untrusted)
			if verdict(err) != "unavailable" || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("cold: got %v; want unavailable, deadline exceeded", err)
			}
		})
		i.set(0, nil)
		check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 2)

		// Aged: the set serves at once, during the first hang and all later ones.
		i.set(time.Hour, nil)
		time.Sleep(46 * time.Minute)
		testkit.WantTook(t, 0, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		synctest.Wait()
		testkit.WantTook(t, 0, func() { check(t, s, ed.sign(), jwks.FromIssuer, "") })
		time.Sleep(3 * time.Second)
		testkit.WantTook(t, 7*time.Second, func() { check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable") })
		i.count(t, 1)
		testkit.WantTook(t, 0, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		i.count(t, 0)
		time.Sleep(10 * time.Second)
		for range 100 { // past the hour, too: it is known that no newer one can be had
			testkit.WantTook(t, 0, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
			time.Sleep(20 * time.Second)
		}
		i.count(t, 100)

		// Overdue, and nobody has asked for long: a moment, once.
		time.Sleep(time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() {
			testkit.WantTook(t, 500*time.Millisecond, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		})
		time.Sleep(200 * time.Millisecond)
		wg.Go(func() {
			testkit.WantTook(t, 300*time.Millisecond, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		})
		time.Sleep(400 * time.Millisecond)
		testkit.WantTook(t, 0, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		wg.Wait()
		i.count(t, 1)

		// Slow, but not too slow: the new set counts as soon as it is there.
		time.Sleep(time.Minute)
		i.set(7*time.Second, nil)
		i.publish(newKey("b"))
		testkit.WantTook(t, 0, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		testkit.WantTook(t, 7*time.Second, func() { check(t, s, newKey("b").sign(), jwks.Untrusted, "") })
		testkit.WantTook(t, 0, func() { check(t, s, newKey("b").sign(), jwks.Untrusted, "") })
		i.count(t, 1)
	})
}

func TestAgedCallersShareOneFetch(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		age, takes time.Duration
		verdict    string
	}{
		"good":                    {46 * time.Minute, time.Second, ""},
		"overdue":                 {time.Hour, 100 * time.Millisecond, "kid"},
		"overdue, slow to answer": {time.Hour, time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ed := newKey("a")
				i := &issuer{doc: published(ed)}
				s := jwks.New(i.fetch, time.Now, nil)
				k := check(t, s, ed.sign(), jwks.Untrusted, "")
				i.count(t, 1)
				i.set(tc.takes, nil)
				i.publish(newKey("b"))
				time.Sleep(tc.age)
				token := ed.sign()
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() { check(t, s, token, jwks.Untrusted, tc.verdict) })
					wg.Go(func() {
						if got, want := s.Trusts(t.Context(), k), tc.verdict == ""; got != want {
							t.Errorf("got trust %v; want %v", got, want)
						}
					})
				}
				wg.Wait()
				time.Sleep(tc.takes)
				synctest.Wait()
				// The renewal, and one more at most for those who came while it was
				// under way.
				if got := i.fetches.Load(); got < 1 || got > 2 {
					t.Errorf("got %d fetches; want 1 or 2", got)
				}
				if s.Trusts(t.Context(), k) {
					t.Error("after the fetch: got trust in a key that is gone")
				}
			})
		})
	}
}

func TestFetchThatNeverReturns(t *testing.T) {
	t.Parallel()
	tests := map[string]func(context.Context){
		"panic":            func(context.Context) { panic("in fetch") },
		"panic with nil":   func(context.Context) { panic(nil) },
		"runtime error":    func(ctx context.Context) { _ = []int{}[len(ctx.Err().Error())] },
		"end of goroutine": func(context.Context) { runtime.Goexit() },
	}
	for name, hook := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := &issuer{doc: published(newKey("a")), hook: hook}
			s := jwks.New(i.fetch, time.Now, nil)
			says := "panicked"
			if strings.HasPrefix(name, "end") {
				says = "ended without an answer"
			}
			if _, err := s.Verify(t.Context(), newKey("a").sign(), jwks.Untrusted); verdict(err) != "unavailable" || !strings.Contains(err.Error(), says) {
				t.Errorf("got %v; want the keys unavailable, since the fetch %s", err, says)
			}
			i.set(0, nil)
			check(t, s, newKey("a").sign(), jwks.Untrusted, "")
			i.set(0, hook)
			check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable")
			check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		})
	}
}
