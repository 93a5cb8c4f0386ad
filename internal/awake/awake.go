// Package awake measures time in which the process ran.
//
// A process may be stopped while an answer is on its way to it: its container is
// paused, its function frozen, its machine asleep. A timer that fired meanwhile would
// make it give up on waking, with the answer already in its socket. So a [Clock] counts
// the ticks that it receives: a ticker drops those that it could not deliver, and a stop
// of any length costs one.
package awake

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// tick is how often a Clock counts. A stop costs at most so much of a limit.
const tick = 250 * time.Millisecond

// Clock counts for all limits that run by it. It ticks only while there are any. The
// zero Clock is ready to use.
type Clock struct {
	mu      sync.Mutex // guards all below
	ticks   int64
	last    time.Time // of the last tick, by the process's clock
	due     map[int64]map[*alarm]struct{}
	pending int
	stop    chan struct{} // closed to end the ticking; nil: it does not tick
}

// alarm is something to do once the process has run for a while.
type alarm struct {
	clock *Clock
	ring  func() // in a goroutine of the Clock's, or of a timer: it must not block
	at    int64  // the tick after which rest is left
	rest  time.Duration
	state alarmState // guarded by clock.mu
	timer *time.Timer
	end   time.Time // when timer fires
}

type alarmState uint8

const (
	counting  alarmState = iota // ticks
	finishing                   // the rest, by a timer
	over
)

// after has ring called once the process has run for d.
func (c *Clock) after(d time.Duration, ring func()) *alarm {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.stop == nil {
		c.ticks, c.last = 0, now
		c.stop = make(chan struct{})
		go c.run(c.stop)
	}
	d += min(max(now.Sub(c.last), 0), tick) // counted from the last tick on
	a := &alarm{clock: c, ring: ring, at: c.ticks + int64(d/tick), rest: d % tick}
	c.pending++
	if a.at == c.ticks {
		a.rest -= now.Sub(c.last)
		a.finish(now)
		return a
	}
	if c.due == nil {
		c.due = make(map[int64]map[*alarm]struct{})
	}
	if c.due[a.at] == nil {
		c.due[a.at] = make(map[*alarm]struct{})
	}
	c.due[a.at][a] = struct{}{}
	return a
}

func (c *Clock) run(stop chan struct{}) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			c.count(stop)
		}
	}
}

func (c *Clock) count(stop chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != stop {
		return // it has just been stopped
	}
	c.ticks++
	c.last = time.Now()
	for a := range c.due[c.ticks] {
		a.finish(c.last)
	}
	delete(c.due, c.ticks)
}

// finish waits for the rest, which is shorter than a tick. c.mu is held.
func (a *alarm) finish(now time.Time) {
	a.state, a.end = finishing, now.Add(a.rest)
	a.timer = time.AfterFunc(max(a.rest, 0), func() {
		a.clear()
		a.ring()
	})
}

// clear ends an alarm, whether or not it has rung.
func (a *alarm) clear() {
	c := a.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	switch a.state {
	case over:
		return
	case counting:
		delete(c.due[a.at], a)
	case finishing:
		a.timer.Stop()
	}
	a.state = over
	if c.pending--; c.pending == 0 {
		close(c.stop)
		c.stop, c.due = nil, nil
	}
}

// left returns how much is left until the alarm rings.
func (a *alarm) left() time.Duration {
	c := a.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	switch a.state {
	case counting:
		passed := min(max(time.Since(c.last), 0), tick)
		return time.Duration(a.at-c.ticks)*tick + a.rest - passed
	case finishing:
		return max(time.Until(a.end), 0)
	}
	return 0
}

// Limit is how long one goroutine waits in all, for one thing after another.
type Limit struct {
	clock *Clock
	alarm *alarm // nil: it is over
	rung  chan struct{}
}

// Limit returns a Limit of d, which begins now. Stop it when it is not needed any more.
func (c *Clock) Limit(d time.Duration) *Limit {
	l := &Limit{clock: c, rung: make(chan struct{})}
	if d <= 0 {
		close(l.rung)
		return l
	}
	l.alarm = c.after(d, func() { close(l.rung) })
	return l
}

// Stop frees what the Limit holds. Nothing is left of it then.
func (l *Limit) Stop() {
	if l.alarm != nil {
		l.alarm.clear()
	}
}

// Left returns how much is left of it.
func (l *Limit) Left() time.Duration {
	if l.alarm == nil {
		return 0
	}
	return l.alarm.left()
}

// ErrOver is the error of a wait that took longer than its limit. It is a
// [context.DeadlineExceeded].
const ErrOver = timeout("no answer in time")

type timeout string

func (o timeout) Error() string      { return string(o) }
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// Wait returns nil once done is closed, the context's error if that ends first, and
// [ErrOver] when no more than reserve is left of the Limit.
func (l *Limit) Wait(ctx context.Context, done <-chan struct{}, reserve time.Duration) error {
	if reserve > 0 {
		within := l.clock.Limit(l.Left() - reserve)
		defer within.Stop()
		return within.Wait(ctx, done, 0)
	}
	select {
	case <-done: // what is there already counts, however late it is
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.rung:
		return ErrOver
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
	case err == ErrOver:
		cancel(context.DeadlineExceeded)
		return err
	}
	// What heeds its context ends with it, and may have something to say all the same.
	grace := l.clock.Limit(tick)
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
func (c *Clock) WithTimeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	a := c.after(d, func() { cancel(context.DeadlineExceeded) })
	return limited{ctx}, func() {
		a.clear()
		cancel(context.Canceled)
	}
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
