package jwks_test

import (
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestClockMovedBack(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock()
	i := &issuer{doc: published(newKey("a"), newKey("b"))}
	s := jwks.New(i.fetch, c.Now, nil)
	k := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.count(t, 1)
	i.publish(newKey("b"))

	c.Advance(-365 * 24 * time.Hour)
	if !s.Trusts(t.Context(), k) {
		t.Error("a set from the future: got no trust; want it to count as fresh")
	}
	i.count(t, 0)
	c.Advance(time.Hour) // after that, not after a year
	if s.Trusts(t.Context(), k) {
		t.Error("an hour after the clock was set: got trust in the withdrawn key")
	}
	i.count(t, 1)

	// The budget: nothing for going back, and not a year without fetches either.
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 2)
	c.Advance(-365 * 24 * time.Hour)
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 0)
	c.Advance(10 * time.Second)
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 1)

	// The pause between failures begins again, but is no longer than ever.
	i.answer("", errDown)
	c.Advance(time.Hour)
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	i.count(t, 1)
	c.Advance(-5 * time.Second)
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	i.count(t, 0)
	c.Advance(10 * time.Second)
	i.publish(newKey("c"))
	check(t, s, newKey("c").sign(), jwks.Untrusted, "")
	i.count(t, 1)
}

func TestFrozenClock(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock()
	i := &issuer{doc: published(newKey("a"))}
	s := jwks.New(i.fetch, c.Now, nil)
	for range 100 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	}
	i.count(t, 2)
	i.publish(newKey("b"))
	check(t, s, newKey("b").sign(), jwks.FromIssuer, "")
	i.count(t, 1)
}
