package fresh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
)

// flight is one fetch that callers share.
type flight[T any] struct {
	once  sync.Once
	done  chan struct{} // closed at the end, when value and err are final
	value T             // zero if it failed
	err   error

	// moment is how long callers wait who have an overdue copy; nil: none has one.
	moment *awake.Limit
}

// launch starts a fetch, which is given up after timeout, by time in which the process
// ran. It does not end with ctx: others may wait for it by then, and will want the
// value later. ended is told how it ended before the callers are let go.
func launch[T any](ctx context.Context, clock *awake.Clock, timeout time.Duration, fetch func(context.Context) (T, error), ended func(context.Context, T, error)) *flight[T] {
	f := &flight[T]{done: make(chan struct{})}
	go f.run(context.WithoutCancel(ctx), clock, timeout, fetch, ended)
	return f
}

var errNoAnswer = errors.New("the fetch ended without an answer")

// run fetches and ends f, whatever the fetch does: neither a panic in it nor a round
// tripper that ignores its context may leave callers waiting.
func (f *flight[T]) run(ctx context.Context, clock *awake.Clock, timeout time.Duration, fetch func(context.Context) (T, error), ended func(context.Context, T, error)) {
	ctx, cancel := clock.WithTimeout(ctx, timeout)
	defer cancel()
	end := func(value T, err error) {
		f.once.Do(func() {
			defer close(f.done)
			if f.err = err; err == nil {
				f.value = value
			}
			ended(ctx, f.value, f.err)
		})
	}
	var value T
	err := errNoAnswer
	deaf, over := clock.WithTimeout(context.Background(), timeout+grace)
	defer over()
	stop := context.AfterFunc(deaf, func() {
		end(*new(T), fmt.Errorf("the fetch did not stop at its deadline: %w", context.DeadlineExceeded))
	})
	defer stop()
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the fetch panicked with a %T", fault) // its value may hold what was sent
		}
		end(value, err)
	}()
	value, err = fetch(ctx)
}

// wait returns how f ended, or an error that wraps ctx.Err().
func (f *flight[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		if !f.ended() { // that comes first, should there be both
			return *new(T), ctx.Err()
		}
	}
	return f.value, f.err
}

// ended reports whether f has ended.
func (f *flight[T]) ended() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}
