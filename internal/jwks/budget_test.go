package jwks_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestForgedKeyIDs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		workers int
		warm    bool
		without bool // kid is missing, not unknown
		from    jwks.Source
		fetches int64 // after the warm one
	}{
		{"cold, one worker", 1, false, false, jwks.Untrusted, 2},
		{"cold, 64 workers", 64, false, false, jwks.Untrusted, 2},
		{"warm, one worker", 1, true, false, jwks.Untrusted, 2},
		{"warm, 64 workers", 64, true, false, jwks.Untrusted, 2},
		{"cold, one worker, no kid", 1, false, true, jwks.Untrusted, 2},
		{"cold, 64 workers, no kid", 64, false, true, jwks.Untrusted, 2},
		{"warm, 64 workers, no kid", 64, true, true, jwks.Untrusted, 2},
		{"cold, 64 workers, from the issuer", 64, false, false, jwks.FromIssuer, 2},
		{"warm, one worker, from the issuer", 1, true, false, jwks.FromIssuer, 2},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ed := newKey("a")
				i := &issuer{doc: published(ed), takes: time.Microsecond}
				s := jwks.New(i.fetch, time.Now, nil)
				if tc.warm {
					check(t, s, ed.sign(), jwks.Untrusted, "")
					i.count(t, 1)
				}
				forger := newKey("forger")
				template, tokens := forger.sign(), 10_000
				if tc.without { // each is tried with the key, which takes its time
					template, tokens = forger.signWithoutID(), 1000
				}
				var wg sync.WaitGroup
				var refused atomic.Int64
				for w := range tc.workers {
					wg.Go(func() {
						for n := w; n < tokens; n += tc.workers {
							token := *template
							if !tc.without {
								token.KeyID = fmt.Sprint("forged-", n)
							}
							switch _, err := s.Verify(t.Context(), &token, tc.from); verdict(err) {
							case "kid", "signature":
								refused.Add(1)
							default:
								t.Errorf("got %v; want a refusal", err)
							}
						}
					})
				}
				wg.Wait()
				i.count(t, tc.fetches)
				if refused.Load() != int64(tokens) {
					t.Errorf("got %d of %d tokens refused; want all, whether or not the budget is used up", refused.Load(), tokens)
				}
				check(t, s, ed.sign(), tc.from, "") // the honest go on
				i.count(t, 0)

				// One more for each ten seconds, two at most.
				for _, wait := range []struct {
					d    time.Duration
					want int64
				}{{10*time.Second - time.Millisecond, 0}, {time.Millisecond, 1}, {10 * time.Second, 1}, {15 * time.Minute, 2}} {
					time.Sleep(wait.d)
					for range 5 {
						s.Verify(t.Context(), template, tc.from)
					}
					i.count(t, wait.want)
				}
			})
		})
	}
}

// TestRotation has a new key that is picked up at once, also after a forged kid, as
// often as keys rotate.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, warm := range []bool{false, true} {
		t.Run(fmt.Sprintf("warm %v", warm), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := &issuer{}
				i.publish(newKey("0"))
				s := jwks.New(i.fetch, time.Now, nil)
				if warm {
					check(t, s, newKey("0").sign(), jwks.Untrusted, "")
					i.count(t, 1)
				}
				check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
				i.count(t, 1)
				for n := range 20 {
					next := newKey(fmt.Sprint(n + 1))
					i.publish(next)
					if n%2 == 0 {
						check(t, s, next.sign(), jwks.Untrusted, "")
					} else {
						check(t, s, next.signWithoutID(), jwks.Untrusted, "")
					}
					i.count(t, 1) // not charged
					check(t, s, next.sign(), jwks.Untrusted, "")
					i.count(t, 0)
				}
				check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
				i.count(t, 1) // what was left of the budget
				i.publish(newKey("late"))
				check(t, s, newKey("late").sign(), jwks.Untrusted, "kid")
				i.count(t, 0)
				time.Sleep(10 * time.Second)
				check(t, s, newKey("late").sign(), jwks.Untrusted, "")
				i.count(t, 1)
			})
		})
	}
}

// TestChargeOutlivesCaller has a caller that leaves while the fetch it began is
// under way: it pays all the same if the fetch was for nothing, and only then.
func TestChargeOutlivesCaller(t *testing.T) {
	t.Parallel()
	for _, found := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			i := &issuer{}
			i.publish(newKey("a"))
			s := jwks.New(i.fetch, time.Now, nil)
			check(t, s, newKey("a").sign(), jwks.Untrusted, "")
			i.set(time.Second, nil)
			if found {
				i.publish(newKey("a"), newKey("b"))
			}
			brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := s.Verify(brief, newKey("b").sign(), jwks.Untrusted); verdict(err) != "context" {
				t.Errorf("got %v; want the context's end", err)
			}
			time.Sleep(time.Second)
			i.count(t, 2)
			for range 3 {
				check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
			}
			i.count(t, map[bool]int64{false: 1, true: 2}[found])
		})
	}
}

func TestKnownKeyNeverFetches(t *testing.T) {
	t.Parallel()
	ed := newKey("a")
	i := &issuer{doc: published(ed)}
	s := jwks.New(i.fetch, time.Now, nil)
	check(t, s, ed.sign(), jwks.Untrusted, "")
	i.count(t, 1)
	forged := signingKey{"a", "EdDSA", newKey("forged").key}
	for range 100 {
		check(t, s, forged.sign(), jwks.Untrusted, "signature")
		check(t, s, forged.sign(), jwks.FromIssuer, "signature")
		check(t, s, ecKey().token("ES256", "kid", "a"), jwks.Untrusted, "alg")
	}
	i.count(t, 0)
}

func TestBudgetsAreSeparate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.publish(newKey("a"))
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		for range 10 {
			check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
		}
		i.count(t, 1+2)
		i.publish(newKey("b"))
		check(t, s, newKey("b").sign(), jwks.Untrusted, "kid")
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "")
		i.count(t, 1)
		check(t, s, newKey("b").sign(), jwks.Untrusted, "")

		// And the other way round.
		time.Sleep(time.Minute)
		for range 10 {
			check(t, s, newKey("forged").sign(), jwks.FromIssuer, "kid")
		}
		// Without a kid nobody can say that the key is not published.
		_, err := s.Verify(t.Context(), newKey("c").signWithoutID(), jwks.FromIssuer)
		if verdict(err) != "unavailable" || !strings.Contains(fmt.Sprint(err), "keys cannot be fetched again yet") {
			t.Errorf("got %v; want it to say that keys cannot be fetched again yet", err)
		}
		check(t, s, newKey("c").signWithoutID(), jwks.Untrusted, "signature")
		i.count(t, 2+1)
		i.publish(newKey("c"))
		check(t, s, newKey("c").sign(), jwks.Untrusted, "")
		i.count(t, 1)
	})
}

// TestSetRenewedMeanwhile has a caller that looked at the old set just before
// another's fetch ended: it looks at the new one instead of fetching again.
func TestSetRenewedMeanwhile(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: published(newKey("a"))}
	var meanwhile atomic.Pointer[func()]
	s := jwks.New(i.fetch, func() time.Time {
		if f := meanwhile.Swap(nil); f != nil {
			(*f)()
		}
		return time.Now()
	}, nil)
	check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.publish(newKey("b"))
	other := func() { check(t, s, newKey("b").sign(), jwks.FromIssuer, "") }
	meanwhile.Store(&other) // runs when the caller asks for the age of the set that it has loaded
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	i.count(t, 2)
}

// A token from the issuer always gets its try, and failures do not use up what it
// may fetch.
func TestFailuresCostTheIssuersTokensNothing(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock()
	i := &issuer{err: errDown}
	s := jwks.New(i.fetch, c.Now, nil)
	for range 5 {
		check(t, s, newKey("a").sign(), jwks.FromIssuer, "unavailable")
	}
	i.count(t, 5)
	i.publish(newKey("a"))
	check(t, s, newKey("a").sign(), jwks.FromIssuer, "")
	i.count(t, 1)
	for range 5 {
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "kid")
	}
	i.count(t, 2)
}

// A token without kid that none of the newest keys has signed is refused, also if it
// came from the issuer: only what may not be asked is not known.
func TestNoKidFromIssuer(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: published(newKey("a"))}
	s := jwks.New(i.fetch, time.Now, nil)
	check(t, s, newKey("b").signWithoutID(), jwks.FromIssuer, "signature")
	i.count(t, 1)
}
