package authpiredis

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// try is one call of Do: it takes the lease and spends, or waits for whoever
// holds it.
type try struct {
	c     *Coordinator
	id    string
	token string // the lease's value while it is ours
}

func (t *try) run(ctx context.Context, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	opts := &t.c.opts
	var wake <-chan struct{}
	leave := func() {}
	defer func() { leave() }()
	var until time.Time // the other holder's lease has run out by then, as far as is known
	for {
		seen, err := t.claim(ctx, opts.Timeout)
		if seen.done {
			return seen.value, nil
		}
		if ctx.Err() != nil {
			if seen.held || err != nil { // it may have arrived
				t.release(ctx, leaveWait)
			}
			return nil, fmt.Errorf("authpiredis: waiting for another process: %w", ctx.Err())
		}
		var pause time.Duration
		switch left := time.Until(until); {
		case seen.held:
			leave()
			return t.spend(ctx, spend, false)
		case err == nil:
			until = time.Now().Add(seen.left + opts.Lease/slack)
			pause = seen.left
			if wake == nil {
				wake, leave = t.c.wakeups.join(t.id)
			}
		case left > 0:
			// Unreachable, but another was at work: what it does shows only later.
			pause = left
		case opts.RequireRedis:
			return nil, fmt.Errorf("authpiredis: %w: %w", ErrUnavailable, err)
		default:
			leave()
			return t.spend(ctx, spend, true)
		}
		await(ctx, wake, min(pause, opts.Poll))
	}
}

// slack is the part of a lease that is added to what is left of it before it
// counts as over unseen.
const slack = 5

// How a result is offered to a Redis that answered before.
const (
	publishTries = 3
	publishTime  = 2 * time.Second // for all of them
	publishPause = 300 * time.Millisecond
)

// awayDivisor shortens Timeout for a Redis that did not answer before: in
// an outage every refresh waits for it once more.
const awayDivisor = 4

// spend does the work, keeps the lease alive meanwhile, and publishes the result.
// Where Redis is away it does the same: should Redis come back in time, the others
// find the lease.
func (t *try) spend(ctx context.Context, spend func(context.Context) ([]byte, error), away bool) ([]byte, error) {
	limit := t.c.opts.Timeout
	if away {
		limit /= awayDivisor
	}
	stop := t.keepAlive(ctx)
	final := false
	defer func() {
		stop()
		if !final { // an error, or a panic on its way: another may try
			t.release(ctx, limit)
		}
	}()
	value, err := spend(ctx)
	if err != nil {
		return nil, err
	}
	final = true
	stop()
	if !t.publish(ctx, value, away) {
		t.c.unsent.put(t.id, value, t.c.opts.Memory)
	}
	return value, nil
}

// keepAlive renews the lease until it is stopped. A lease that another holds by now
// changes nothing for the spend, whose request is out; one that nobody holds is
// taken again.
func (t *try) keepAlive(ctx context.Context) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	every := max(t.c.opts.Lease/3, time.Millisecond)
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		lost := false
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			seen, err := t.claim(ctx, min(every, t.c.opts.Timeout))
			if err == nil && !seen.held && !lost {
				lost = true
				t.c.opts.Logger.WarnContext(ctx, "authpiredis: another process took over a refresh under way; the token may be spent twice",
					"key", short(t.id))
			}
		}
	}()
	// A renewal under way is waited for: one that arrived after the release would
	// hold up the others for a whole lease.
	return sync.OnceFunc(func() {
		close(quit)
		<-ended
	})
}

// publish offers the result to the others, and tells whether Redis has one now:
// this, or another that was there before. The caller's context may end: others
// depend on it.
func (t *try) publish(ctx context.Context, value []byte, away bool) bool {
	tries, limit := publishTries, t.c.opts.Timeout
	if away {
		tries, limit = 1, limit/awayDivisor
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTime)
	defer cancel()
	log := t.c.opts.Logger
	for n := range tries {
		if n > 0 {
			await(ctx, nil, publishPause)
		}
		stands, err := t.offer(ctx, value, limit)
		if err == nil && !stands {
			log.WarnContext(ctx, "authpiredis: another process published a result of the same refresh first; it stays", "key", short(t.id))
		}
		if err == nil {
			return true
		}
		log.DebugContext(ctx, "authpiredis: a result could not be published", "key", short(t.id), "error", err)
	}
	return false
}

// await returns when woken, after d, or when ctx ends.
func await(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(max(d, time.Millisecond))
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// short is enough of an id to find a session's lines in a log.
func short(id string) string { return id[:min(12, len(id))] }
