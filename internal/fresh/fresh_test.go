package fresh_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
)

// source is what is fetched: a counter that can be slow or fail.
type source struct {
	mu    sync.Mutex
	count int
	delay time.Duration
	err   error
	panic any
}

func (s *source) fetch(ctx context.Context) (int, error) {
	s.mu.Lock()
	s.count++
	count, delay, err, fault := s.count, s.delay, s.err, s.panic
	s.mu.Unlock()
	if fault != nil {
		panic(fault)
	}
	select {
	case <-time.After(delay):
		return count, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *source) set(delay time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay, s.err = delay, err
}

func (s *source) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

var errAway = errors.New("away")

func newValue(s *source) *fresh.Value[int] {
	return fresh.New(time.Hour, 24*time.Hour, time.Now, s.fetch)
}

func want(t *testing.T, v *fresh.Value[int], value int) {
	t.Helper()
	if got, err := v.Get(t.Context()); err != nil || got != value {
		t.Errorf("got %d, %v; want %d", got, err, value)
	}
}

func TestFreshValueIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := newValue(s)
		if s.fetches() != 0 {
			t.Error("got a fetch at construction; want none")
		}
		want(t, v, 1)
		time.Sleep(time.Hour - 1)
		want(t, v, 1)
		time.Sleep(time.Nanosecond)
		want(t, v, 2)
	})
}

func TestOldValueServesWhileItsSourceIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := newValue(s)
		want(t, v, 1)
		s.set(0, errAway)
		time.Sleep(time.Hour)
		want(t, v, 1)
		want(t, v, 1) // no new fetch for 10 s
		if got := s.fetches(); got != 2 {
			t.Errorf("got %d fetches; want 2", got)
		}
		time.Sleep(10 * time.Second)
		want(t, v, 1)
		if got := s.fetches(); got != 3 {
			t.Errorf("after the pause: got %d fetches; want 3", got)
		}
		time.Sleep(23*time.Hour - 11*time.Second)
		want(t, v, 1)
		time.Sleep(time.Second)
		if _, err := v.Get(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("after a day: got %v; want the failure", err)
		}
		s.set(0, nil)
		got := s.fetches()
		want(t, v, got+1) // without a copy one failure makes no pause
	})
}

func TestOldValueServesWhileItsSourceIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := newValue(s)
		want(t, v, 1)
		s.set(8*time.Second, nil)
		time.Sleep(time.Hour)
		start := time.Now()
		want(t, v, 1)
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("got a wait of %v; want 5 s", waited)
		}
		want(t, v, 2) // joins the same fetch, which ends 3 s later
		if waited := time.Since(start); waited != 8*time.Second || s.fetches() != 2 {
			t.Errorf("got %d fetches in %v; want 2 in 8 s", s.fetches(), waited)
		}
	})
}

func TestFetchIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{delay: time.Hour}
		v := newValue(s)
		start := time.Now()
		if _, err := v.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want a deadline", err)
		}
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("got a wait of %v; want 10 s", waited)
		}
	})
}

func TestOneFetchServesAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{delay: time.Second}
		v := newValue(s)
		leaving, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { // begins the fetch, and leaves
			if _, err := v.Get(leaving); !errors.Is(err, context.Canceled) {
				t.Errorf("who left: got %v; want its own cancellation", err)
			}
		})
		synctest.Wait()
		for range 20 {
			group.Go(func() { want(t, v, 1) })
		}
		synctest.Wait()
		leave()
		group.Wait()
		if got := s.fetches(); got != 1 {
			t.Errorf("got %d fetches; want 1", got)
		}
		want(t, v, 1)
	})
}

// A caller whose own deadline ends while an old copy could serve hears of its deadline.
func TestLeavingWhileOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := newValue(s)
		want(t, v, 1)
		s.set(time.Minute, nil)
		time.Sleep(time.Hour)
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Get(limited); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want the caller's deadline", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestPanicFreesTheWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{panic: "a secret of the round tripper"}
		v := newValue(s)
		_, err := v.Get(t.Context())
		if err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Fatalf("got %v; want an error", err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("got %q; want the panic's value left out, which may hold anything", err)
		}
		s.mu.Lock()
		s.panic = nil
		s.mu.Unlock()
		want(t, v, 2)
	})
}

// movable is a clock that a test sets. Its times have no monotonic reading.
type movable struct {
	mu  sync.Mutex
	now time.Time
}

func (m *movable) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *movable) move(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

func newMovable() *movable { return &movable{now: time.Unix(1_800_000_000, 0)} }

// A clock that was ahead and is set back leaves a value fresh for as long as ever, and
// not until the clock has caught up.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, clock := &source{}, newMovable()
		v := fresh.New(time.Hour, 24*time.Hour, clock.Now, s.fetch)
		want(t, v, 1)
		clock.move(-365 * 24 * time.Hour)
		want(t, v, 1)
		clock.move(time.Hour - 1)
		want(t, v, 1)
		clock.move(1)
		want(t, v, 2)
	})
}

// The same for the pause after a failure.
func TestClockSetBackAfterFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, clock := &source{}, newMovable()
		v := fresh.New(time.Hour, 24*time.Hour, clock.Now, s.fetch)
		want(t, v, 1)
		s.set(0, errAway)
		clock.move(2 * time.Hour)
		want(t, v, 1)
		clock.move(-time.Hour + time.Minute) // fetched 61 min ago, failed in 59
		want(t, v, 1)
		s.set(0, nil)
		clock.move(10*time.Second - 1)
		want(t, v, 1)
		clock.move(1)
		want(t, v, 3)
	})
}

// Callers that ask without end while there is no copy do not become requests without end.
func TestFailuresWithoutCopyPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{err: errAway}
		v := newValue(s)
		ask := func(fetches int) {
			t.Helper()
			before := s.fetches()
			for range 100 {
				if _, err := v.Get(t.Context()); !errors.Is(err, errAway) {
					t.Errorf("got %v; want the failure", err)
				}
			}
			if got := s.fetches() - before; got != fetches {
				t.Errorf("got %d fetches for 100 callers; want %d", got, fetches)
			}
		}
		ask(3)
		time.Sleep(time.Second - 1)
		ask(0)
		time.Sleep(time.Nanosecond)
		ask(1)
		time.Sleep(time.Hour)
		ask(1)
		s.set(0, nil)
		time.Sleep(time.Second)
		want(t, v, 6)

		// A success ends it: the next time there are three again.
		s.set(0, errAway)
		time.Sleep(24 * time.Hour)
		ask(3)
	})
}

// Failures while an old copy serves have their own pause and do not count.
func TestFailuresWithCopyDoNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := newValue(s)
		want(t, v, 1)
		s.set(0, errAway)
		time.Sleep(24*time.Hour - time.Minute)
		for range 5 {
			want(t, v, 1)
			time.Sleep(10 * time.Second)
		}
		time.Sleep(10 * time.Second)
		if _, err := v.Get(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("got %v; want the failure", err)
		}
		s.set(0, nil)
		want(t, v, 8)
	})
}

// A clock that stands still does not hide for ever that the source is back, nor does one
// that was set back.
func TestFailuresWithoutCopyAndClockAway(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]time.Duration{"frozen": 0, "set back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, clock := &source{err: errAway}, newMovable()
				v := fresh.New(time.Hour, 24*time.Hour, clock.Now, s.fetch)
				for range 10 {
					_, _ = v.Get(t.Context())
				}
				s.set(0, nil)
				clock.move(move)
				if _, err := v.Get(t.Context()); !errors.Is(err, errAway) {
					t.Errorf("in the pause: got %v; want the last failure", err)
				}
				time.Sleep(time.Second)
				want(t, v, 4)
			})
		})
	}
}

// A Value that is there for sharing alone asks each time.
func TestSharedFetchHasNoPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{err: errAway}
		v := fresh.New(0, 0, time.Now, s.fetch)
		for range 10 {
			_, _ = v.Get(t.Context())
		}
		if got := s.fetches(); got != 10 {
			t.Errorf("got %d fetches; want 10", got)
		}
	})
}
