package fresh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// terms note what they are asked and told.
type terms struct {
	allow bool
	asked int
	told  []string
}

func (m *terms) Allow() bool { m.asked++; return m.allow }

func (m *terms) Ended(c *fresh.Copy[int], before error) {
	said := "failed"
	if c != nil {
		said = fmt.Sprint("brought ", c.Value)
	}
	m.told = append(m.told, fmt.Sprintf("%s after %v", said, before))
}

func (m *terms) want(t *testing.T, asked int, told ...string) {
	t.Helper()
	if m.asked != asked || !slices.Equal(m.told, told) {
		t.Errorf("got asked %d times and told %q; want %d and %q", m.asked, m.told, asked, told)
	}
}

// The first fetch is due and needs no leave; those that follow a failure do.
func TestTermsOfFirstFetches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{err: errAway}
		v := newValue(s)
		var first, second, third terms
		if _, err := v.Copy(t.Context(), &first); !errors.Is(err, errAway) {
			t.Errorf("got %v; want the failure", err)
		}
		first.want(t, 0, "failed after <nil>")
		if _, err := v.Copy(t.Context(), &second); !errors.Is(err, errAway) || s.fetches() != 1 {
			t.Errorf("got %v, %d fetches; want the last failure, and no other fetch", err, s.fetches())
		}
		second.want(t, 1)
		s.set(0, nil)
		third.allow = true
		if c, err := v.Copy(t.Context(), &third); err != nil || c.Value != 2 {
			t.Errorf("got %v, %v; want the second", c, err)
		}
		third.want(t, 1, "brought 2 after away")
	})
}

// A renewal in the background is due, and nobody's.
func TestRenewalHasNoTerms(t *testing.T) {
	t.Parallel()
	withCopy(t, newValue, func(t *testing.T, s *source, v *fresh.Value[int]) {
		time.Sleep(time.Hour)
		var m terms
		if c, err := v.Copy(t.Context(), &m); err != nil || c.Value != 1 {
			t.Errorf("got %v, %v; want the copy", c, err)
		}
		synctest.Wait()
		m.want(t, 0)
		if s.fetches() != 2 {
			t.Errorf("got %d fetches; want 2", s.fetches())
		}
	})
}

// newer asks for a copy that is newer than old.
func newer(t *testing.T, v *fresh.Value[int], old *fresh.Copy[int], arrived uint64, m *terms, value int, failure error) {
	t.Helper()
	c, err := v.Newer(t.Context(), old, arrived, m)
	if !errors.Is(err, failure) || value != 0 && (c == nil || c.Value != value) || value == 0 && c != nil {
		t.Errorf("got %v, %v; want %d, %v", c, err, value, failure)
	}
}

func TestNewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := newValue(s)
		if v.Fresh() != nil || v.Begun() != 0 {
			t.Errorf("got %v, %d fetches begun; want nothing yet", v.Fresh(), v.Begun())
		}
		want(t, v, 1)
		first, arrived := v.Fresh(), v.Begun()

		refused, allowed := &terms{}, &terms{allow: true}
		newer(t, v, first, arrived-1, allowed, 0, nil) // it came after the caller
		allowed.want(t, 0)
		newer(t, v, first, arrived, refused, 0, nil)
		refused.want(t, 1)
		newer(t, v, first, arrived, allowed, 2, nil)
		allowed.want(t, 1, "brought 2 after <nil>")
		newer(t, v, first, arrived, refused, 2, nil) // it is there
		refused.want(t, 1)

		left, cancel := context.WithCancel(t.Context())
		cancel()
		if c, err := v.Newer(left, v.Fresh(), v.Begun(), allowed); c != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v; want the caller's leaving", c, err)
		}

		// A fetch that has failed since the caller arrived answers for it too.
		second, arrived := v.Fresh(), v.Begun()
		s.set(0, errAway)
		newer(t, v, second, arrived, &terms{allow: true}, 0, errAway)
		again := &terms{allow: true}
		newer(t, v, second, arrived, again, 0, errAway)
		again.want(t, 0)
		s.set(0, nil)
		newer(t, v, second, v.Begun(), again, 4, nil) // but not for one who comes later
		again.want(t, 1, "brought 4 after away")
	})
}

// Whoever wants a newer copy joins the fetch under way, whoever began it.
func TestNewerJoins(t *testing.T) {
	t.Parallel()
	withCopy(t, newValue, func(t *testing.T, s *source, v *fresh.Value[int]) {
		s.set(time.Second, nil)
		time.Sleep(time.Hour)
		want(t, v, 1) // begins it
		synctest.Wait()
		old, _ := v.Copy(t.Context(), nil)
		m := &terms{}
		testkit.WantTook(t, time.Second, func() { newer(t, v, old, v.Begun(), m, 2, nil) })
		m.want(t, 0)
	})
}

// Each end is reported, with the copy that serves on if it is a failure.
func TestReport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{delay: time.Second}
		opts := options(s)
		var said []string
		opts.Report = func(_ context.Context, end fresh.End[int]) {
			line := fmt.Sprintf("%v after %v", end.Err, end.Took)
			if end.Copy != nil {
				line += fmt.Sprint(", new ", end.Copy.Value)
			}
			if end.Serving != nil {
				line += fmt.Sprint(", serving ", end.Serving.Value, " of age ", end.Serving.Age(time.Now()))
			}
			said = append(said, line)
		}
		v := fresh.New(opts)
		want(t, v, 1)
		s.set(0, errAway)
		time.Sleep(time.Hour - time.Second)
		want(t, v, 1)
		synctest.Wait()
		time.Sleep(23 * time.Hour)
		_, _ = v.Get(t.Context())
		if wanted := []string{"<nil> after 1s, new 1", "away after 0s, serving 1 of age 1h0m0s", "away after 0s"}; !slices.Equal(said, wanted) {
			t.Errorf("got %q; want %q", said, wanted)
		}
	})
}
