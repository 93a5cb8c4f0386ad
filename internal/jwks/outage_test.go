package jwks_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// TestStaleSet has an issuer that is down for longer than a day.
func TestStaleSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed)}
		s := jwks.New(i.fetch, time.Now, nil)
		k := check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 1)
		i.answer("", errDown)

		time.Sleep(46 * time.Minute)
		for range 100 { // one try in ten seconds
			check(t, s, ed.sign(), jwks.Untrusted, "")
			if !s.Trusts(t.Context(), k) {
				t.Error("got no trust")
			}
			synctest.Wait()
		}
		i.count(t, 1)
		time.Sleep(10*time.Second - 1)
		check(t, s, ed.sign(), jwks.Untrusted, "")
		synctest.Wait()
		i.count(t, 0)
		time.Sleep(time.Nanosecond)
		check(t, s, ed.sign(), jwks.Untrusted, "")
		synctest.Wait()
		i.count(t, 1)

		// A document that is no good is no better than none.
		for _, doc := range []string{"", "{}", "<html>", "[]", `{"keys":null}`} {
			i.answer(doc, nil)
			time.Sleep(time.Minute)
			check(t, s, ed.sign(), jwks.Untrusted, "")
			synctest.Wait()
			i.count(t, 1)
		}

		i.answer("", errDown)
		time.Sleep(time.Until(synctestEpoch.Add(24*time.Hour - 1)))
		check(t, s, ed.sign(), jwks.Untrusted, "")
		synctest.Wait()
		i.count(t, 1)

		time.Sleep(time.Nanosecond)
		for range 3 { // two more, and then one in ten seconds
			_, err := s.Verify(t.Context(), ed.sign(), jwks.Untrusted)
			if verdict(err) != "unavailable" || !errors.Is(err, errDown) {
				t.Errorf("got %v; want unavailable, down", err)
			}
		}
		if s.Trusts(t.Context(), k) {
			t.Error("after a day: got trust")
		}
		i.count(t, 2)

		i.publish(ed)
		check(t, s, ed.sign(), jwks.Untrusted, "unavailable")
		time.Sleep(10 * time.Second)
		check(t, s, ed.sign(), jwks.Untrusted, "")
		if !s.Trusts(t.Context(), k) {
			t.Error("up again: got no trust")
		}
		i.count(t, 1)
	})
}

// TestUnknownKeyWhileDown has tokens with a new kid while fetches fail: nobody can
// say that there is no such key.
func TestUnknownKeyWhileDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{doc: published(newKey("a"))}
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		i.answer("", errDown)
		i.count(t, 1)
		check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable")
		check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable")
		check(t, s, newKey("b").sign(), jwks.Untrusted, "kid") // budget used up
		i.count(t, 2)
		time.Sleep(time.Hour)
		check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable") // the renewal failed
		i.count(t, 1)
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "unavailable")
		i.count(t, 1)
		i.publish(newKey("b"))
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "")
		i.count(t, 1)
	})
}

// TestColdFailure has an issuer that is down when nothing is cached: made-up tokens
// must not be a request each, and a token that cost a login always gets its try. The
// clock does not move.
func TestColdFailure(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock()
	i := &issuer{err: errDown}
	s := jwks.New(i.fetch, c.Now, nil)
	down := func(times int, from jwks.Source) {
		t.Helper()
		for n := range times {
			_, err := s.Verify(t.Context(), newKey(fmt.Sprint("forged-", n)).sign(), from)
			if verdict(err) != "unavailable" || !errors.Is(err, errDown) {
				t.Errorf("got %v; want unavailable, down", err)
			}
		}
	}
	down(300, jwks.Untrusted)
	i.count(t, 1+2) // the one that was due, and the burst
	down(20, jwks.FromIssuer)
	i.count(t, 20)
	c.Advance(10*time.Second - 1)
	down(100, jwks.Untrusted)
	i.count(t, 0)
	c.Advance(1)
	down(100, jwks.Untrusted)
	i.count(t, 1)
	c.Advance(time.Hour)
	down(100, jwks.Untrusted)
	i.count(t, 2)

	i.publish(newKey("a"))
	check(t, s, newKey("a").sign(), jwks.Untrusted, "unavailable")
	i.count(t, 0)
	check(t, s, newKey("a").sign(), jwks.FromIssuer, "") // at once
	check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.count(t, 1)
	for range 5 { // the failures have been forgiven
		check(t, s, newKey("b").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 2)
}

// TestColdFailureEnds has tokens that anybody may have sent find the issuer again,
// ten seconds after the burst at the latest.
func TestColdFailureEnds(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock()
	i := &issuer{err: errDown}
	s := jwks.New(i.fetch, c.Now, nil)
	for range 5 {
		check(t, s, newKey("a").sign(), jwks.Untrusted, "unavailable")
	}
	i.count(t, 1+2)
	i.publish(newKey("a"))
	check(t, s, newKey("a").sign(), jwks.Untrusted, "unavailable")
	i.count(t, 0)
	c.Advance(10 * time.Second)
	check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	for range 5 {
		check(t, s, newKey("b").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 1+2)
}

// TestTrustsWhileDown has remembered tokens while a day-old set cannot be renewed:
// asking after their keys pays like verifying a token.
func TestTrustsWhileDown(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock()
	i := &issuer{doc: published(newKey("a"))}
	s := jwks.New(i.fetch, c.Now, nil)
	k := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.answer("", errDown)
	i.count(t, 1)
	c.Advance(25 * time.Hour)
	for range 100 {
		if s.Trusts(t.Context(), k) {
			t.Fatal("got trust in a set older than a day")
		}
	}
	i.count(t, 1+2)
	i.publish(newKey("a"))
	c.Advance(10 * time.Second)
	if !s.Trusts(t.Context(), k) {
		t.Error("up again: got no trust")
	}
	i.count(t, 1)
}

// TestColdFailureUnderLoad has many callers at once.
func TestColdFailureUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{err: errDown, takes: time.Millisecond}
		s := jwks.New(i.fetch, time.Now, nil)
		load := func(from jwks.Source) {
			var wg sync.WaitGroup
			token := newKey("forged").sign()
			for range 64 {
				wg.Go(func() {
					for range 20 {
						check(t, s, token, from, "unavailable")
					}
				})
			}
			wg.Wait()
		}
		load(jwks.Untrusted)
		i.count(t, 1+2)
		load(jwks.FromIssuer) // shares each flight
		if got := i.fetches.Swap(0); got < 20 || got > 100 {
			t.Errorf("got %d fetches for 20 rounds of 64 callers; want about 20", got)
		}
	})
}
