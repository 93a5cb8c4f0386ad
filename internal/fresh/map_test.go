package fresh_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func newMap(limits fresh.Limits) (*fresh.Map[string, int], *testkit.Clock) {
	c := testkit.NewClock()
	return fresh.NewMap[string, int](limits, c.Now), c
}

func TestMap(t *testing.T) {
	t.Parallel()
	m, c := newMap(fresh.Limits{Entries: 10, Bytes: 100})
	in := func(d time.Duration) time.Time { return c.Now().Add(d) }
	if v, ok := m.Get("a"); ok || v != 0 {
		t.Errorf("empty: got %d, %t; want nothing", v, ok)
	}
	m.Put("a", 1, 1, in(time.Minute))
	m.Put("b", 2, 1, in(time.Hour))
	if v, ok := m.Get("a"); !ok || v != 1 {
		t.Errorf("got %d, %t; want 1", v, ok)
	}
	m.Put("a", 3, 1, in(2*time.Minute))
	if v, ok := m.Get("a"); !ok || v != 3 || m.Len() != 2 {
		t.Errorf("replaced: got %d, %t and %d values; want 3 and two", v, ok, m.Len())
	}
	c.Advance(2*time.Minute - 1)
	if _, ok := m.Get("a"); !ok {
		t.Error("a nanosecond before its expiry: got nothing; want it")
	}
	c.Advance(1)
	if v, ok := m.Get("a"); ok || v != 0 || m.Len() != 1 {
		t.Errorf("at its expiry: got %d, %t and %d values; want it dropped", v, ok, m.Len())
	}
}

func TestMapBounds(t *testing.T) {
	t.Parallel()
	t.Run("entries", func(t *testing.T) {
		t.Parallel()
		m, c := newMap(fresh.Limits{Entries: 3, Bytes: 1000})
		for i := range 10 {
			m.Put(strconv.Itoa(i), i, 1, c.Now().Add(time.Hour))
			if m.Len() > 3 {
				t.Fatalf("got %d values; want at most 3", m.Len())
			}
		}
		for i := range 10 {
			if _, ok := m.Get(strconv.Itoa(i)); ok != (i >= 7) {
				t.Errorf("%d: got %t; want the newest three", i, ok)
			}
		}
	})
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		m, c := newMap(fresh.Limits{Entries: 100, Bytes: 100})
		m.Put("a", 1, 60, c.Now().Add(time.Hour))
		m.Put("b", 2, 40, c.Now().Add(time.Hour))
		if m.Len() != 2 {
			t.Fatalf("got %d values; want both: they just fit", m.Len())
		}
		m.Put("c", 3, 1, c.Now().Add(time.Hour))
		if _, ok := m.Get("a"); ok || m.Len() != 2 {
			t.Errorf("got the oldest; want it dropped for room")
		}
		m.Put("b", 4, 90, c.Now().Add(time.Hour)) // counted anew
		if v, _ := m.Get("b"); v != 4 || m.Len() != 2 {
			t.Errorf("got %d and %d values; want 4 and two", v, m.Len())
		}
		m.Put("d", 5, 101, c.Now().Add(time.Hour))
		if _, ok := m.Get("d"); ok || m.Len() != 2 {
			t.Errorf("got a value larger than the whole; want it left out and the others kept")
		}
		m.Put("b", 6, 101, c.Now().Add(time.Hour))
		if _, ok := m.Get("b"); ok {
			t.Errorf("got the old value where the new one is too large; want none")
		}
		m.Put("c", 6, 101, c.Now().Add(time.Hour))
		m.Put("e", 7, 100, c.Now().Add(time.Hour))
		if _, ok := m.Get("e"); !ok || m.Len() != 1 {
			t.Errorf("got no room after all else left")
		}
	})
	t.Run("expired ones leave as others come", func(t *testing.T) {
		t.Parallel()
		m, c := newMap(fresh.Limits{Entries: 100, Bytes: 100})
		m.Put("a", 1, 1, c.Now().Add(time.Second))
		m.Put("b", 1, 1, c.Now().Add(time.Second))
		c.Advance(time.Minute)
		m.Put("c", 1, 1, c.Now().Add(time.Second))
		if m.Len() != 1 {
			t.Errorf("got %d values; want 1", m.Len())
		}
		m.Put("d", 1, 1, c.Now()) // expired on arrival
		m.Put("c", 1, 1, c.Now().Add(-time.Second))
		if _, ok := m.Get("c"); ok || m.Len() != 0 {
			t.Errorf("got %d values; want none", m.Len())
		}
	})
}

func TestMapIsSafe(t *testing.T) {
	t.Parallel()
	m, c := newMap(fresh.Limits{Entries: 8, Bytes: 64})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := range 200 {
				key := strconv.Itoa((i + n) % 16)
				m.Put(key, n, n%20, c.Now().Add(time.Hour))
				m.Get(key)
			}
		})
	}
	group.Wait()
	if m.Len() > 8 {
		t.Errorf("got %d values; want at most 8", m.Len())
	}
}
