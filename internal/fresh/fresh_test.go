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
	"github.com/authpi/authpi-idp-go/internal/testkit"
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
	if left := testkit.Wait(ctx, delay); left != nil {
		return 0, left
	}
	return count, err
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

// options are those of the issuer's discovery: fresh for an hour, never overdue.
func options(s *source) fresh.Options[int] {
	return fresh.Options[int]{Fetch: s.fetch, Now: time.Now, Fresh: time.Hour, Usable: 24 * time.Hour}
}

func newValue(s *source) *fresh.Value[int] { return fresh.New(options(s)) }

// newOverdue returns a Value whose copies become overdue after two hours.
func newOverdue(s *source) *fresh.Value[int] {
	opts := options(s)
	opts.Overdue = 2 * time.Hour
	return fresh.New(opts)
}

func newClocked(s *source, clock *testkit.Clock) *fresh.Value[int] {
	opts := options(s)
	opts.Now = clock.Now
	return fresh.New(opts)
}

func want(t *testing.T, v *fresh.Value[int], value int) {
	t.Helper()
	if got, err := v.Get(t.Context()); err != nil || got != value {
		t.Errorf("got %d, %v; want %d", got, err, value)
	}
}

// withCopy runs f in a bubble, with a Value that has its first copy.
func withCopy(t *testing.T, newValue func(*source) *fresh.Value[int], f func(t *testing.T, s *source, v *fresh.Value[int])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := newValue(s)
		want(t, v, 1)
		f(t, s, v)
	})
}

// asks wants the copy that serves, and then the one that there is once a fetch that
// this may have begun has ended.
func asks(t *testing.T, v *fresh.Value[int], now, then int) {
	t.Helper()
	want(t, v, now)
	synctest.Wait()
	want(t, v, then)
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
		want(t, v, 1) // and begins the fetch of the next
		synctest.Wait()
		want(t, v, 2)
	})
}

// soon is want, at once.
func soon(t *testing.T, v *fresh.Value[int], value int) {
	t.Helper()
	testkit.WantTook(t, 0, func() { want(t, v, value) })
}

// The issuer that hangs: whoever has a good copy gets it at once, at the first hang
// and at all later ones, whether or not somebody asks all the time.
func TestGoodCopyServesAtOnce(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{time.Second, 9 * time.Second, 11 * time.Second, time.Minute, time.Hour} {
		t.Run(every.String(), func(t *testing.T) {
			t.Parallel()
			withCopy(t, newValue, func(t *testing.T, s *source, v *fresh.Value[int]) {
				s.set(time.Hour, nil)
				for begin := time.Now(); time.Since(begin) < 23*time.Hour; time.Sleep(every) {
					soon(t, v, 1)
				}
				time.Sleep(10 * time.Second)
				s.set(0, nil)
				time.Sleep(10 * time.Second) // the pause after the last failure
				count := s.fetches()
				soon(t, v, 1)
				synctest.Wait()
				soon(t, v, count+1)
			})
		})
	}
}

// The issuer that is slow, but not too slow: the new copy counts as soon as it is
// there.
func TestSlowCopyIsTaken(t *testing.T) {
	t.Parallel()
	withCopy(t, newValue, func(t *testing.T, s *source, v *fresh.Value[int]) {
		s.set(8*time.Second, nil)
		time.Sleep(time.Hour)
		soon(t, v, 1)
		time.Sleep(8*time.Second - 1)
		soon(t, v, 1)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		soon(t, v, 2)
		if got := s.fetches(); got != 2 {
			t.Errorf("got %d fetches; want 2", got)
		}
	})
}

func TestOldValueServesWhileItsSourceIsAway(t *testing.T) {
	t.Parallel()
	withCopy(t, newValue, func(t *testing.T, s *source, v *fresh.Value[int]) {
		s.set(0, errAway)
		time.Sleep(time.Hour)
		soon(t, v, 1)
		synctest.Wait()
		soon(t, v, 1) // no new fetch for 10 s
		if got := s.fetches(); got != 2 {
			t.Errorf("got %d fetches; want 2", got)
		}
		time.Sleep(10 * time.Second)
		soon(t, v, 1)
		synctest.Wait()
		if got := s.fetches(); got != 3 {
			t.Errorf("after the pause: got %d fetches; want 3", got)
		}
		time.Sleep(23*time.Hour - 11*time.Second)
		soon(t, v, 1)
		time.Sleep(time.Second)
		if _, err := v.Get(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("after a day: got %v; want the failure", err)
		}
		s.set(0, nil)
		got := s.fetches()
		want(t, v, got+1) // without a copy one failure makes no pause
	})
}

// A copy that is overdue: the newer one counts at once if the source answers within
// a moment, and nobody waits for longer than that, nor at all once it is known that
// the source does not answer.
func TestOverdueCopy(t *testing.T) {
	t.Parallel()
	const moment = 500 * time.Millisecond
	t.Run("answered at once", func(t *testing.T) {
		t.Parallel()
		withCopy(t, newOverdue, func(t *testing.T, s *source, v *fresh.Value[int]) {
			time.Sleep(2*time.Hour - 1)
			s.set(time.Minute, errAway)
			soon(t, v, 1) // not yet overdue
			time.Sleep(time.Minute)
			s.set(100*time.Millisecond, nil)
			time.Sleep(2 * time.Hour)
			testkit.WantTook(t, 100*time.Millisecond, func() { want(t, v, 3) })
		})
	})
	t.Run("hangs", func(t *testing.T) {
		t.Parallel()
		withCopy(t, newOverdue, func(t *testing.T, s *source, v *fresh.Value[int]) {
			s.set(time.Hour, nil)
			time.Sleep(2 * time.Hour)
			var group sync.WaitGroup
			group.Go(func() { testkit.WantTook(t, moment, func() { want(t, v, 1) }) })
			time.Sleep(100 * time.Millisecond)
			group.Go(func() { testkit.WantTook(t, moment-100*time.Millisecond, func() { want(t, v, 1) }) })
			group.Wait()
			for range 1000 { // the rest of this hang, and all later ones
				soon(t, v, 1)
				time.Sleep(time.Second)
			}
			time.Sleep(2*time.Hour - time.Minute)
			soon(t, v, 1)
			time.Sleep(time.Minute)
		})
	})
	t.Run("fails", func(t *testing.T) {
		t.Parallel()
		withCopy(t, newOverdue, func(t *testing.T, s *source, v *fresh.Value[int]) {
			s.set(0, errAway)
			time.Sleep(2 * time.Hour)
			for range 100 {
				soon(t, v, 1)
				time.Sleep(time.Minute)
			}
		})
	})
	t.Run("caller leaves", func(t *testing.T) {
		t.Parallel()
		withCopy(t, newOverdue, func(t *testing.T, s *source, v *fresh.Value[int]) {
			s.set(time.Hour, nil)
			time.Sleep(2 * time.Hour)
			brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			testkit.WantTook(t, time.Millisecond, func() {
				if got, err := v.Get(brief); err != nil || got != 1 {
					t.Errorf("got %d, %v; want the copy", got, err)
				}
			})
			time.Sleep(time.Minute) // the fetch goes on without the caller
		})
	})
}

// A round tripper that ignores its context is given up: whoever has no copy waits no
// longer, and the next fetch may begin.
func TestDeafFetchIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, release := &source{}, make(chan struct{})
		opts := options(s)
		opts.Fetch = func(ctx context.Context) (int, error) {
			n, err := s.fetch(ctx)
			if n == 1 {
				<-release
			}
			return n, err
		}
		v := fresh.New(opts)
		testkit.WantTook(t, 11*time.Second, func() {
			if _, err := v.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v; want a deadline", err)
			}
		})
		want(t, v, 2)
		close(release)
		synctest.Wait()
		want(t, v, 2) // what comes too late changes nothing
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

// Whoever has left gets a copy that can serve all the same, and begins no fetch that
// nobody would wait for.
func TestLeaving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		v := newValue(s)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := v.Get(ended)
		synctest.Wait()
		if !errors.Is(err, context.Canceled) || s.fetches() != 0 {
			t.Errorf("without a copy: got %v, %d fetches; want its own cancellation, no fetch", err, s.fetches())
		}
		want(t, v, 1)
		time.Sleep(time.Hour)
		if got, err := v.Get(ended); err != nil || got != 1 {
			t.Errorf("with a copy: got %d, %v; want the copy", got, err)
		}
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

// A clock that was ahead and is set back leaves a value fresh for as long as ever,
// and not until the clock has caught up.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, clock := &source{}, testkit.NewClock()
		v := newClocked(s, clock)
		want(t, v, 1)
		clock.Advance(-365 * 24 * time.Hour)
		want(t, v, 1)
		clock.Advance(time.Hour - 1)
		asks(t, v, 1, 1)
		clock.Advance(1)
		asks(t, v, 1, 2)
	})
}

// The same for the pause after a failure.
func TestClockSetBackAfterFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, clock := &source{}, testkit.NewClock()
		v := newClocked(s, clock)
		want(t, v, 1)
		s.set(0, errAway)
		clock.Advance(2 * time.Hour)
		want(t, v, 1)
		synctest.Wait()
		clock.Advance(-time.Hour + time.Minute) // fetched 61 min ago, failed in 59
		want(t, v, 1)
		s.set(0, nil)
		clock.Advance(10*time.Second - 1)
		asks(t, v, 1, 1)
		clock.Advance(1)
		asks(t, v, 1, 3)
	})
}

// Callers that ask without end while there is no copy do not become requests without
// end.
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
	withCopy(t, newValue, func(t *testing.T, s *source, v *fresh.Value[int]) {
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

// The pause also ends by the clock given, if that is ahead of the process's own.
func TestFailuresWithoutCopyAndClockAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, clock := &source{err: errAway}, testkit.NewClock()
		v := newClocked(s, clock)
		for range 10 {
			_, _ = v.Get(t.Context())
		}
		s.set(0, nil)
		clock.Advance(time.Second - 1)
		if _, err := v.Get(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("in the pause: got %v; want the last failure", err)
		}
		clock.Advance(1)
		want(t, v, 4)
	})
}

// A clock that stands still does not hide for ever that the source is back, nor does
// one that was set back.
func TestFailuresWithoutCopyAndClockAway(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]time.Duration{"frozen": 0, "set back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, clock := &source{err: errAway}, testkit.NewClock()
				v := newClocked(s, clock)
				for range 10 {
					_, _ = v.Get(t.Context())
				}
				s.set(0, nil)
				clock.Advance(move)
				if _, err := v.Get(t.Context()); !errors.Is(err, errAway) {
					t.Errorf("in the pause: got %v; want the last failure", err)
				}
				time.Sleep(time.Second)
				want(t, v, 4)
			})
		})
	}
}
