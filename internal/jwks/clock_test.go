package jwks_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
)

// clock is a clock that a test sets. Its times have no monotonic reading.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(1_800_000_000, c.nanos.Load()) }
func (c *clock) move(d time.Duration) { c.nanos.Add(int64(d)) }

func TestClockMovedBack(t *testing.T) {
	t.Parallel()
	var c clock
	i := &issuer{doc: published(newKey("a"), newKey("b"))}
	s := jwks.New(i.fetch, c.now, nil)
	k := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.count(t, 1)
	i.publish(newKey("b"))

	c.move(-365 * 24 * time.Hour)
	if !s.Trusts(t.Context(), k) {
		t.Error("a set from the future: got no trust; want it to count as fresh")
	}
	i.count(t, 0)
	c.move(time.Hour) // after that, not after a year
	if s.Trusts(t.Context(), k) {
		t.Error("an hour after the clock was set: got trust in the withdrawn key")
	}
	i.count(t, 1)

	// The budget: nothing for going back, and not a year without fetches either.
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 2)
	c.move(-365 * 24 * time.Hour)
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 0)
	c.move(10 * time.Second)
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 1)

	// The pause between failures begins again, but is no longer than ever.
	i.answer("", errDown)
	c.move(time.Hour)
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	i.count(t, 1)
	c.move(-5 * time.Second)
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	i.count(t, 0)
	c.move(10 * time.Second)
	i.publish(newKey("c"))
	check(t, s, newKey("c").sign(), jwks.Untrusted, "")
	i.count(t, 1)
}

func TestFrozenClock(t *testing.T) {
	t.Parallel()
	var c clock
	i := &issuer{doc: published(newKey("a"))}
	s := jwks.New(i.fetch, c.now, nil)
	for range 100 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	}
	i.count(t, 2)
	i.publish(newKey("b"))
	check(t, s, newKey("b").sign(), jwks.FromIssuer, "")
	i.count(t, 1)
}
