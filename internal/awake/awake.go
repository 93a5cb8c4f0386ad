// Package awake measures time in which the process ran.
//
// A process may be stopped while an answer is on its way to it: its container is
// paused, its function frozen, its machine asleep. A timer that fired meanwhile
// would make it give up on waking, with the answer already in its socket. So a
// [Clock] counts ticks, and begins each when it has seen the one before: a stop of
// any length costs one.
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
	mu    sync.Mutex // guards all below, and the limits
	ticks int64
	last  time.Time          // of the last tick, by the process's clock
	due   map[int64][]*Limit // by the last tick that they count
	count int                // of limits that are not over
	stop  chan struct{}      // closed to end the ticking; nil: it does not tick
}

// Limit is how long somebody waits in all, for one thing after another.
type Limit struct {
	clock *Clock
	rung  chan struct{} // closed when it is over; nil: ring is called
	ring  func()

	state limitState
	at    int64         // the tick after which rest is left
	place int           // in clock.due[at]
	rest  time.Duration // shorter than a tick
	timer *time.Timer   // of the rest
	end   time.Time     // when that fires
}

type limitState uint8

const (
	counting  limitState = iota // ticks
	finishing                   // the rest, by a timer
	stopped
	over
)

// Limit returns a Limit of d, which begins now. Stop it when it is not needed any
// more.
func (c *Clock) Limit(d time.Duration) *Limit {
	l := &Limit{rung: make(chan struct{})}
	c.start(l, d)
	return l
}

// start begins a limit.
func (c *Clock) start(l *Limit, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.clock = c
	c.begin(l, d)
}

// begin is start. c.mu is held.
func (c *Clock) begin(l *Limit, d time.Duration) {
	if d <= 0 {
		l.expire()
		return
	}
	now := time.Now()
	if c.stop == nil {
		c.ticks, c.last = 0, now
		c.stop = make(chan struct{})
		go c.run(c.stop)
	}
	c.count++
	passed := min(max(now.Sub(c.last), 0), tick) // since the last tick
	l.state, l.at, l.rest = counting, c.ticks+int64((d+passed)/tick), (d+passed)%tick
	if l.at == c.ticks {
		l.rest -= passed
		l.finish(now)
		return
	}
	if c.due == nil {
		c.due = make(map[int64][]*Limit)
	}
	l.place = len(c.due[l.at])
	c.due[l.at] = append(c.due[l.at], l)
}

func (c *Clock) run(stop chan struct{}) {
	// A ticker would keep to its own beat, and bring the next tick right after a
	// stop that ended just before it.
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
			c.tick(stop)
			timer.Reset(tick)
		}
	}
}

func (c *Clock) tick(stop chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != stop {
		return // it has just been stopped
	}
	c.ticks++
	c.last = time.Now()
	for _, l := range c.due[c.ticks] {
		l.finish(c.last)
	}
	delete(c.due, c.ticks)
}

// finish waits for the rest. clock.mu is held.
func (l *Limit) finish(now time.Time) {
	l.state, l.end = finishing, now.Add(l.rest)
	l.timer = time.AfterFunc(max(l.rest, 0), l.fire)
}

func (l *Limit) fire() {
	l.clock.mu.Lock()
	defer l.clock.mu.Unlock()
	if l.state == finishing && !time.Now().Before(l.end) { // else it was restarted meanwhile
		l.expire()
		l.clock.forget()
	}
}

// expire says that it is over. clock.mu is held.
func (l *Limit) expire() {
	l.state = over
	if l.rung != nil {
		close(l.rung)
	} else {
		l.ring()
	}
}

// Stop frees what the Limit holds. Nothing is left of it then.
func (l *Limit) Stop() {
	c := l.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.state < stopped {
		l.leave()
		l.state = stopped
		c.forget()
	}
}

// Restart has it begin again, with d, and returns what was left of it. Do not call it
// while somebody waits.
func (l *Limit) Restart(d time.Duration) (left time.Duration) {
	c := l.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	left, was := l.left(), l.state
	l.leave()
	if was == over {
		l.rung = make(chan struct{})
	}
	c.begin(l, d)
	if was < stopped {
		c.forget() // begin has counted it once more
	}
	return left
}

// leave ends its counting. clock.mu is held.
func (l *Limit) leave() {
	switch c := l.clock; l.state {
	case counting:
		bucket := c.due[l.at]
		last := len(bucket) - 1
		bucket[l.place] = bucket[last]
		bucket[l.place].place = l.place
		bucket[last] = nil
		c.due[l.at] = bucket[:last]
	case finishing:
		l.timer.Stop()
	}
}

// forget is for a limit that is over or stopped. c.mu is held.
func (c *Clock) forget() {
	if c.count--; c.count == 0 {
		close(c.stop)
		c.stop, c.due = nil, nil
	}
}

// Left returns how much is left of it.
func (l *Limit) Left() time.Duration {
	l.clock.mu.Lock()
	defer l.clock.mu.Unlock()
	return l.left()
}

// left is Left. clock.mu is held.
func (l *Limit) left() time.Duration {
	switch c := l.clock; l.state {
	case counting:
		passed := min(max(time.Since(c.last), 0), tick)
		return time.Duration(l.at-c.ticks)*tick + l.rest - passed
	case finishing:
		return max(time.Until(l.end), 0)
	}
	return 0
}

// ErrOver is the error of a wait that took longer than its limit. It is a
// [context.DeadlineExceeded].
const ErrOver = timeout("no answer in time")

type timeout string

func (o timeout) Error() string      { return string(o) }
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// Wait returns nil once done is closed, the context's error if that ends first, and
// [ErrOver] when the Limit is over.
func (l *Limit) Wait(ctx context.Context, done <-chan struct{}) error {
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

// Run calls f and returns its error. f's context ends with ctx, and when no more
// than reserve is left of the Limit. A deaf f is left behind then: the error is
// ctx's, or [ErrOver], and done is closed when f has returned. A panic of f goes on
// in the caller's goroutine.
func (l *Limit) Run(ctx context.Context, reserve time.Duration, f func(context.Context) error) (done <-chan struct{}, err error) {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	r := &run{ctx: limited{inner}, done: make(chan struct{})}
	go r.call(f)
	within := l
	if reserve > 0 {
		within = l.clock.Limit(l.Left() - reserve)
		defer within.Stop()
	}
	err = within.Wait(ctx, r.done)
	switch {
	case err == nil:
		return r.done, r.result()
	case err == ErrOver:
		cancel(context.DeadlineExceeded)
		return r.done, err
	}
	// What heeds its context ends with it, and may have something to say all the
	// same.
	grace := l.clock.Limit(tick)
	defer grace.Stop()
	if grace.Wait(context.Background(), r.done) == nil {
		return r.done, r.result()
	}
	return r.done, err
}

// run is a call in a goroutine of its own.
type run struct {
	ctx      limited       // whose address f gets: a copy would be one more allocation
	done     chan struct{} // closed when all below is set
	err      error
	returned bool
	fault    any // what it panicked with
}

func (r *run) call(f func(context.Context) error) {
	defer close(r.done)
	defer func() {
		if !r.returned {
			r.fault = recover()
		}
	}()
	r.err = f(&r.ctx)
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
	l := &Limit{ring: func() { cancel(context.DeadlineExceeded) }}
	c.start(l, d)
	return limited{ctx}, func() {
		l.Stop()
		cancel(context.Canceled)
	}
}

// limited reports DeadlineExceeded where its own limit has ended it, as a context with
// a deadline does.
type limited struct{ context.Context }

func (c limited) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
