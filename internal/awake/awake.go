// Package awake measures time in which the process ran.
//
// A process may be stopped while an answer is on its way to it: its container is
// paused, its function frozen, its machine asleep. A timer that fired meanwhile would
// make it give up on waking, with the answer already in its socket. So a limit here is a
// number of ticks: a ticker drops those that nobody received, and a stop of any length
// costs one.
package awake

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// tick is how often a limit counts. A stop costs at most so much of it.
const tick = 250 * time.Millisecond

// Limit is how long one goroutine waits in all, for one thing after another. The zero
// Limit is over.
type Limit struct {
	ticker *time.Ticker
	every  time.Duration
	left   int // ticks
}

// NewLimit returns a Limit of d, which begins now. Stop it when it is not needed any
// more.
func NewLimit(d time.Duration) *Limit {
	if d <= 0 {
		return &Limit{}
	}
	ticks := int((d + tick - 1) / tick)
	every := max(d/time.Duration(ticks), 1)
	return &Limit{ticker: time.NewTicker(every), every: every, left: ticks}
}

// Stop frees what the Limit holds.
func (l *Limit) Stop() {
	if l.ticker != nil {
		l.ticker.Stop()
	}
}

// Left returns how much is left of it.
func (l *Limit) Left() time.Duration {
	l.count()
	return time.Duration(l.left) * l.every
}

// count takes in a tick that is due already.
func (l *Limit) count() {
	if l.left == 0 {
		return
	}
	select {
	case <-l.ticker.C:
		l.left--
	default:
	}
}

// ErrOver is the error of a wait that took longer than its limit. It is a
// [context.DeadlineExceeded].
const ErrOver = over("no answer in time")

type over string

func (o over) Error() string      { return string(o) }
func (over) Is(target error) bool { return target == context.DeadlineExceeded }

// Wait returns nil once done is closed, the context's error if that ends first, and
// [ErrOver] when no more than reserve is left of the Limit.
func (l *Limit) Wait(ctx context.Context, done <-chan struct{}, reserve time.Duration) error {
	for {
		select {
		case <-done: // what is there already counts, however late it is
			return nil
		default:
		}
		if time.Duration(l.left)*l.every <= reserve {
			return ErrOver
		}
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ticker.C:
			l.left--
		}
	}
}

// Run calls f and returns its error. f's context ends with ctx, and when no more than
// reserve is left of the Limit. A deaf f is left behind then: the error is ctx's, or
// [ErrOver]. A panic of f goes on in the caller's goroutine.
func (l *Limit) Run(ctx context.Context, reserve time.Duration, f func(context.Context) error) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	r := run{done: make(chan struct{})}
	go r.call(func() error { return f(limited{inner}) })
	err := l.Wait(ctx, r.done, reserve)
	switch {
	case err == nil:
		return r.result()
	case errors.Is(err, ErrOver):
		cancel(context.DeadlineExceeded)
		return err
	}
	// What heeds its context ends with it, and may have something to say all the same.
	grace := NewLimit(tick)
	defer grace.Stop()
	if grace.Wait(context.Background(), r.done, 0) == nil {
		return r.result()
	}
	return err
}

// run is a call in a goroutine of its own.
type run struct {
	done     chan struct{} // closed when all below is set
	err      error
	returned bool
	fault    any // what it panicked with
}

func (r *run) call(f func() error) {
	defer close(r.done)
	defer func() {
		if !r.returned {
			r.fault = recover()
		}
	}()
	r.err = f()
	r.returned = true
}

func (r *run) result() error {
	switch {
	case r.returned:
		return r.err
	case r.fault == nil:
		runtime.Goexit() // as f did
	}
	panic(r.fault)
}

// WithTimeout is [context.WithTimeout] by time in which the process ran. The context
// has a deadline only where the parent has one.
func WithTimeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	limit := NewLimit(d)
	go func() {
		defer limit.Stop()
		if err := limit.Wait(ctx, nil, 0); errors.Is(err, ErrOver) {
			cancel(context.DeadlineExceeded)
		}
	}()
	return limited{ctx}, func() { cancel(context.Canceled) }
}

// limited calls the end of its limit what a deadline's is called.
type limited struct{ context.Context }

func (c limited) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
