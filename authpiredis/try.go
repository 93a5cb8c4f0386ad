package authpiredis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// try is one call of Do: it takes the lease and spends, or waits for the process
// that holds it.
type try struct {
	c      *Coordinator
	id     string
	token  string // begins the lease's value while it is ours
	claims int    // ends it: one that is claimed again counts as renewed
	watch  watch
	failed failure

	wake  <-chan struct{} // nil: not waiting for another process yet
	leave func()          // ends that
}

// failure is what stands between this call and Redis.
type failure struct {
	err       error     // the last one; nil: Redis has answered
	downSince time.Time // zero: Redis is slow at most
}

const (
	downPatience = 2 * time.Second        // a Redis that restarts is waited for
	retryPause   = 100 * time.Millisecond // after an error
)

func (t *try) run(ctx context.Context, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	t.leave = func() {}
	defer func() { t.leave() }()
	for {
		seen, sentAt, err := t.claim(ctx)
		if seen.done {
			return seen.value, nil
		}
		if ctx.Err() != nil {
			return nil, t.gaveUp(ctx, seen.held, err)
		}
		t.failed.note(sentAt, err)
		alone, err := t.isAlone()
		if err != nil {
			return nil, err
		}
		// Of a claim that took long nobody knows whether it still holds.
		if alone || seen.held && time.Since(sentAt) < t.c.opts.Lease/2 {
			t.leave()
			return t.spend(ctx, spend, sentAt)
		}
		t.wait(ctx, seen)
	}
}

// isAlone reports whether this process may go on without Redis. The error is that it
// cannot go on at all.
func (t *try) isAlone() (bool, error) {
	switch {
	case !t.isDown():
		return false, nil
	case !t.c.opts.AllowWithoutRedis:
		return false, fmt.Errorf("authpiredis: %w: %w", ErrUnavailable, t.failed.err)
	}
	return time.Since(t.watch.looked) > t.c.opts.Lease, nil // if another was at work
}

// wait returns when it is time to ask again.
func (t *try) wait(ctx context.Context, seen claimed) {
	pause := retryPause
	switch {
	case seen.held:
		return
	case seen.holder != "":
		t.watch.saw(time.Now(), seen, &t.c.opts)
		if t.wake == nil {
			t.wake, t.leave = t.c.wakeups.join(t.id)
		}
		pause = t.c.opts.lookEvery()
	}
	await(ctx, t.wake, pause)
}

// claim asks for the result or the lease. If ctx ends first, a lease that arrives
// later is given back.
func (t *try) claim(ctx context.Context) (seen claimed, sentAt time.Time, err error) {
	cmd := t.c.claim(t.id, t.token, t.claims, t.watch.stale(time.Now()))
	t.claims++
	cmd.gone = ctx.Done()
	cmd.orphan = func(cmd *command) {
		if seen, _ := cmd.claimed(); seen.held {
			t.c.pipe.send(t.c.release(t.id, t.token))
		}
	}
	t.c.pipe.send(cmd)
	if !cmd.wait(ctx.Done()) {
		return claimed{}, cmd.sent, ctx.Err()
	}
	seen, err = cmd.claimed()
	return seen, cmd.sent, err
}

// gaveUp returns the error of a call whose ctx has ended; err is that of its last
// claim.
func (t *try) gaveUp(ctx context.Context, held bool, err error) error {
	if held {
		t.c.pipe.send(t.c.release(t.id, t.token))
	}
	waited, cause := "another process", ctx.Err()
	if err != nil {
		waited = "Redis"
	}
	if t.failed.err != nil { // more telling than that the time is over
		cause = fmt.Errorf("%w: %w", cause, t.failed.err)
	}
	return fmt.Errorf("authpiredis: waiting for %s: %w", waited, cause)
}

func (f *failure) note(sentAt time.Time, err error) {
	f.err = err
	switch {
	case err == nil || isSlow(err):
		f.downSince = time.Time{}
	case f.downSince.IsZero():
		f.downSince = sentAt
	}
}

// isDown reports whether Redis has been unreachable for long enough to believe it.
func (t *try) isDown() bool {
	down := t.failed.downSince
	return !down.IsZero() &&
		(time.Since(down) > downPatience || t.c.outage.lasts() || errors.Is(t.failed.err, redis.ErrClosed))
}

// spend does the work while the keeper renews the lease, and publishes the result.
// Without Redis it does the same: should Redis come back in time, the others find
// the lease.
func (t *try) spend(ctx context.Context, spend func(context.Context) ([]byte, error), claimedAt time.Time) ([]byte, error) {
	h := t.c.keeper.add(t.id, t.token, t.claims, claimedAt)
	spent := false
	defer func() {
		if !spent { // an error, or a panic on its way: another may try
			t.c.keeper.release(h)
		}
	}()
	value, err := spend(ctx)
	if err != nil {
		return nil, err
	}
	spent = true
	t.c.keeper.publish(h, value)
	return value, nil
}

// watch finds out that another's lease is stale: it was not renewed for
// Options.Lease, and this process looked on long enough to be sure of that. Redis's
// clock alone does not count, since renewals do not arrive while Redis, or the whole
// machine, stands still.
type watch struct {
	holder string    // the lease as last seen; empty: none yet
	until  time.Time // it is not stale before
	looked time.Time
}

func (w *watch) saw(now time.Time, seen claimed, o *Options) {
	quiet := now.Add(o.quiet())
	switch {
	case seen.holder != w.holder:
		left := o.Lease
		if seen.left >= 0 { // what Redis knows of the time before
			left = min(o.Lease, seen.left-(o.expiry()-o.Lease))
		}
		w.until = now.Add(left)
		fallthrough
	case now.Sub(w.looked) > o.gap():
		if w.until.Before(quiet) {
			w.until = quiet
		}
	}
	w.holder, w.looked = seen.holder, now
}

// stale returns the lease that may be taken over, or nothing.
func (w *watch) stale(now time.Time) string {
	if now.Before(w.until) {
		return ""
	}
	return w.holder
}
