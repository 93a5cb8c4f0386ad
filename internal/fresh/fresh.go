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
	failed  time.Time // when a fetch last failed
	running *call[T]
}

type call[T any] struct {
	done  chan struct{} // closed when value and err are set
	value T
	err   error
}

// New makes an empty Value; nothing is fetched yet.
func New[T any](fresh, usable time.Duration, now func() time.Time, fetch func(context.Context) (T, error)) *Value[T] {
	return &Value[T]{fetch: fetch, now: now, fresh: fresh, usable: usable}
}

// Get gives the value, fetching it where needed. One fetch serves all callers;
// a caller that leaves does not end it for the others.
func (v *Value[T]) Get(ctx context.Context) (T, error) {
	v.mu.Lock()
	now := v.now()
	age := max(now.Sub(v.at), 0)
	stale := v.have && age < v.usable
	if v.have && age < v.fresh || stale && !v.failed.IsZero() && max(now.Sub(v.failed), 0) < pause {
		defer v.mu.Unlock()
		return v.value, nil
	}
	old, running := v.value, v.running
	if running == nil {
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
	if c.err != nil {
		v.failed = v.now()
	} else {
		v.have, v.value, v.at, v.failed = true, c.value, v.now(), time.Time{}
	}
	close(c.done)
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
