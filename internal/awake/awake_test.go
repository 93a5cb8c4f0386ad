package awake_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
)

func TestLimit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		limit, done   time.Duration // done zero: never
		reserve, took time.Duration
		err           error
	}{
		{"done before", 5 * time.Second, 3 * time.Second, 0, 3 * time.Second, nil},
		{"never done", 5 * time.Second, 0, 0, 5 * time.Second, context.DeadlineExceeded},
		{"half of it reserved", 5 * time.Second, 0, 2500 * time.Millisecond, 2500 * time.Millisecond, context.DeadlineExceeded},
		{"shorter than a tick", 3 * time.Millisecond, 0, 0, 3 * time.Millisecond, context.DeadlineExceeded},
		{"no multiple of a tick", 700 * time.Millisecond, 0, 0, 700 * time.Millisecond, context.DeadlineExceeded},
		{"none", 0, 0, 0, 0, context.DeadlineExceeded},
		{"negative", -time.Second, 0, 0, 0, context.DeadlineExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limit, began := new(awake.Clock).Limit(tc.limit), time.Now()
				defer limit.Stop()
				done := make(chan struct{})
				if tc.done > 0 {
					time.AfterFunc(tc.done, func() { close(done) })
				}
				_, err := limit.Run(t.Context(), tc.reserve, func(ctx context.Context) error {
					select {
					case <-done:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
					t.Errorf("got %v; want %v", err, tc.err)
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %v; want %v", took, tc.took)
				}
				if err != nil && limit.Left() > tc.reserve {
					t.Errorf("%v left; want %v at most", limit.Left(), tc.reserve)
				}
			})
		})
	}
}

// A Limit is one for all that its goroutine waits for, and what is there already
// counts.
func TestLimitGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := new(awake.Clock).Limit(5 * time.Second)
		defer limit.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := limit.Wait(ctx, nil); !errors.Is(err, ctx.Err()) || err == nil {
			t.Errorf("got %v; want the context's error", err)
		}
		if left := limit.Left(); left != 3*time.Second {
			t.Errorf("%v left; want 3 s", left)
		}
		closed := make(chan struct{})
		close(closed)
		if err := limit.Wait(t.Context(), closed); err != nil {
			t.Errorf("got %v for what is done already", err)
		}
	})
}

// A Limit that begins again has all of its new time, whatever has become of it.
func TestRestart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		limit, before time.Duration // it is restarted after before
		again, left   time.Duration
	}{
		{"while it ticks", 5 * time.Second, 2 * time.Second, 4 * time.Second, 3 * time.Second},
		{"in its last tick", 5100 * time.Millisecond, 5050 * time.Millisecond, 4 * time.Second, 50 * time.Millisecond},
		{"at its very end", 100 * time.Millisecond, 100 * time.Millisecond, 4 * time.Second, 0},
		{"over", 5 * time.Second, 6 * time.Second, 4 * time.Second, 0},
		{"over, for less than a tick", 5 * time.Second, 6 * time.Second, 3 * time.Millisecond, 0},
		{"with nothing", 5 * time.Second, 2 * time.Second, 0, 3 * time.Second},
		{"over, with nothing", 5 * time.Second, 6 * time.Second, 0, 0},
	} {
		for _, stops := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stopped before: %v", tc.name, stops), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					clock := new(awake.Clock)
					limit, other := clock.Limit(tc.limit), clock.Limit(time.Minute)
					defer limit.Stop()
					defer other.Stop()
					time.Sleep(tc.before)
					want := tc.left
					if stops {
						limit.Stop()
						want = 0
					}
					if left := limit.Restart(tc.again); left != want {
						t.Errorf("%v was left; want %v", left, want)
					}
					if left := limit.Left(); left != tc.again {
						t.Errorf("%v is left; want %v", left, tc.again)
					}
					began := time.Now()
					if err := limit.Wait(t.Context(), nil); err != awake.ErrOver || time.Since(began) != tc.again {
						t.Errorf("got %v after %v; want ErrOver after %v", err, time.Since(began), tc.again)
					}
					if left := other.Left(); left != time.Minute-tc.before-tc.again {
						t.Errorf("%v is left of another limit; want %v", left, time.Minute-tc.before-tc.again)
					}
				})
			})
		}
	}
	t.Run("alone, and nobody ticks when it is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // the bubble waits for a clock that ticks
			limit := new(awake.Clock).Limit(time.Second)
			limit.Restart(2 * time.Second)
			limit.Restart(0)
			limit.Restart(time.Second)
			limit.Stop()
		})
	})
}

func TestWithTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, clock := time.Now(), new(awake.Clock)
		ctx, cancel := clock.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		child, cancelChild := context.WithCancel(ctx)
		defer cancelChild()
		<-child.Done()
		if took := time.Since(began); took != 3*time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) ||
			!errors.Is(context.Cause(child), context.DeadlineExceeded) {
			t.Errorf("after %v: got %v and %v; want context.DeadlineExceeded after 3 s", took, ctx.Err(), context.Cause(child))
		}

		ctx, cancel = clock.WithTimeout(t.Context(), time.Hour)
		if ctx.Err() != nil {
			t.Errorf("got %v at once", ctx.Err())
		}
		cancel()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("got %v; want context.Canceled", ctx.Err())
		}

		parent, cancelParent := context.WithTimeout(t.Context(), time.Second)
		defer cancelParent()
		ctx, cancel = clock.WithTimeout(parent, time.Hour)
		defer cancel()
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("got %v; want the parent's", ctx.Err())
		}
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	own := errors.New("own")
	deaf := func(context.Context) error { time.Sleep(time.Minute); return own }
	heeds := func(ctx context.Context) error { <-ctx.Done(); return errors.Join(own, ctx.Err()) }
	for _, tc := range []struct {
		name  string
		leave time.Duration // zero: never
		f     func(context.Context) error
		is    []error
		took  time.Duration
	}{
		{"returns", 0, func(context.Context) error { time.Sleep(time.Second); return own }, []error{own}, time.Second},
		{"deaf", 0, deaf, []error{context.DeadlineExceeded}, 5 * time.Second},
		{"deaf, and the caller leaves", 2 * time.Second, deaf, []error{context.Canceled}, 2250 * time.Millisecond},
		{"heeds its context", 2 * time.Second, heeds, []error{own, context.Canceled}, 2 * time.Second},
		{"heeds the limit", 0, heeds, []error{context.DeadlineExceeded}, 5 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.leave > 0 {
					time.AfterFunc(tc.leave, cancel)
				}
				limit, began := new(awake.Clock).Limit(5*time.Second), time.Now()
				defer limit.Stop()
				done, err := limit.Run(ctx, 0, tc.f)
				for _, want := range tc.is {
					if !errors.Is(err, want) {
						t.Errorf("got %v; want %v", err, want)
					}
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %v; want %v", took, tc.took)
				}
				time.Sleep(time.Minute) // a bubble waits for nobody that is deaf
				select {
				case <-done:
				default:
					t.Error("done is not closed, and f has returned")
				}
			})
		})
	}
	t.Run("panics", func(t *testing.T) {
		limit := new(awake.Clock).Limit(time.Minute)
		defer limit.Stop()
		defer func() {
			if fault := recover(); fault != own {
				t.Errorf("got %v; want the panic's own value", fault)
			}
		}()
		_, _ = limit.Run(t.Context(), 0, func(context.Context) error { panic(own) })
		t.Error("got back")
	})
}
