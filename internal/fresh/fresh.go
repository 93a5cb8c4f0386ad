// Package fresh holds something that an issuer publishes: fetched when first
// wanted, kept while it is fresh, and still served for a while when the issuer
// cannot be reached.
package fresh

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// fetchTimeout bounds one fetch, whoever waits for it.
	fetchTimeout = 10 * time.Second
	// staleWait is how long a caller waits for a newer copy while an older one
	// could serve.
	staleWait = 5 * time.Second
	// pause is how long no new fetch follows a failed one while an older copy serves.
	pause = 10 * time.Second
	// burst is how many fetches in a row may fail without a copy before there is a
	// pause between them too, so that requests do not go on as fast as callers ask.
	burst = 3
	// burstPause is that pause. It ends by the clock given or by the process's own,
	// whichever is first: a clock that stands still must not keep an issuer that is
	// back away for ever. It is short, for a login waits for it.
	burstPause = time.Second
)

// Value is one published thing. All methods are safe for concurrent use.
type Value[T any] struct {
	fetch  func(context.Context) (T, error)
	now    func() time.Time
	fresh  time.Duration // age up to which it is used without asking
	usable time.Duration // age up to which it serves when no newer one can be had

	mu      sync.Mutex // guards all below
	have    bool
	value   T
	at      time.Time // when value was fetched
	failed  time.Time // when a fetch last failed; zero once one has succeeded
	ended   time.Time // the same by the process's clock
	err     error     // what it failed with
	misses  int       // fetches in a row that failed with no copy to serve
	running *call[T]
}

type call[T any] struct {
	done  chan struct{} // closed when value and err are set
	value T
	err   error
}

// New makes an empty Value; nothing is fetched yet. One that is usable for no time
// lets callers share a fetch and keeps nothing, not even a failure.
func New[T any](fresh, usable time.Duration, now func() time.Time, fetch func(context.Context) (T, error)) *Value[T] {
	return &Value[T]{fetch: fetch, now: now, fresh: fresh, usable: usable}
}

// Get gives the value, fetching it where needed. One fetch serves all callers;
// a caller that leaves does not end it for the others.
func (v *Value[T]) Get(ctx context.Context) (T, error) {
	v.mu.Lock()
	now := v.now()
	age := since(&v.at, now)
	stale := v.have && age < v.usable
	if v.have && age < v.fresh || stale && !v.failed.IsZero() && since(&v.failed, now) < pause {
		defer v.mu.Unlock()
		return v.value, nil
	}
	old, running := v.value, v.running
	if running == nil {
		if !stale && v.misses >= burst && max(since(&v.failed, now), time.Since(v.ended)) < burstPause {
			defer v.mu.Unlock()
			var none T
			return none, v.err
		}
		running = v.start(ctx)
	}
	v.mu.Unlock()

	if stale {
		limited, cancel := context.WithTimeout(ctx, staleWait)
		defer cancel()
		value, err := running.wait(limited)
		if err != nil && ctx.Err() == nil {
			return old, nil
		}
		return value, err
	}
	return running.wait(ctx)
}

// start begins a fetch that no caller's cancellation ends. v.mu is held.
func (v *Value[T]) start(ctx context.Context) *call[T] {
	c := &call[T]{done: make(chan struct{})}
	v.running = c
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	go func() {
		defer cancel()
		defer v.finish(c)
		c.err = fmt.Errorf("the fetch ended without an answer")
		c.value, c.err = v.fetch(detached)
	}()
	return c
}

// finish runs deferred, so that a panic in a foreign round tripper frees the
// waiters before it goes on.
func (v *Value[T]) finish(c *call[T]) {
	if fault := recover(); fault != nil {
		c.err = fmt.Errorf("the fetch panicked with a %T", fault) // its value may hold what was sent
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.running = nil
	now := v.now()
	if c.err == nil {
		v.have, v.value, v.at = true, c.value, now
		v.failed, v.err, v.misses = time.Time{}, nil, 0
	} else {
		v.failed, v.ended, v.err = now, time.Now(), c.err
		if v.usable > 0 && !(v.have && since(&v.at, now) < v.usable) {
			v.misses++
		}
	}
	close(c.done)
}

// since gives how long ago then was. The longer of the two clocks counts: the
// monotonic one stands still while a machine sleeps, the other may be set back.
//
// A time from the future becomes the present: else nothing would age until that
// future has come.
func since(then *time.Time, now time.Time) time.Duration {
	age := max(now.Sub(*then), now.Round(0).Sub(then.Round(0)))
	if age < 0 {
		*then = now
		return 0
	}
	return age
}

func (c *call[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
