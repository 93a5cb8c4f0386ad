package authpi

import (
	"context"
	"fmt"
	"time"
)

// flight is one refresh token being spent. outcome is set before done is closed.
type flight struct {
	id        string
	done      chan struct{}
	outcome   outcome
	spender   *Agent    // a copy of the agent whose tokens are spent, set before; nil: there is none to share
	asked     time.Time // when its first caller's session store was asked; zero: it has none
	abandoned bool      // its first caller waits no longer; guarded by rotations.mu
	revoked   bool      // its token was revoked meanwhile; guarded by rotations.mu
}

// outcome is how a flight ended: with a rotation, with an error, or, where both
// are nil, before anything was spent.
type outcome struct {
	rotation *rotation
	err      error
	asked    time.Time // as the flight's
}

// arrival is how waiting for a flight ended.
type arrival struct {
	outcome outcome
	err     error // of the wait
}

// fly has current spent, by this caller or by whoever came first.
func (c *IdpClient) fly(ctx context.Context, current TokenSet, r *renewal) (outcome, error) {
	if joined := r.joined; joined != nil {
		r.joined = nil
		return joined.outcome, joined.err
	}
	switch {
	case !time.Now().Before(r.until):
		return outcome{}, refreshFailed(codeTransport, "nobody could refresh in time", context.DeadlineExceeded)
	case current.RefreshToken == "": // as the session store may have it
		return outcome{}, refreshFailed(ErrTokenExpired, "the newer tokens have no refresh token", nil)
	case c.pausing(r):
		return outcome{}, errPausing()
	}
	f, first := c.rotations.join(c.rotations.id(current.RefreshToken))
	if first {
		if err := c.startFlight(ctx, f, current, r); err != nil {
			return outcome{}, err
		}
	} else {
		c.event(ctx, "refresh joined", current)
	}
	return c.await(ctx, f, first, r)
}

// joinRunning waits for the flight that spends the tokens now, if there is one, before
// they are even decoded, and gives what its first caller made of the same tokens; nil
// where there is nothing to share. In a burst the request would else have to wait for
// its turn behind all the callers, while each decodes.
func (c *IdpClient) joinRunning(ctx context.Context, tokens TokenSet, r *renewal) *Agent {
	f := c.rotations.flying(c.rotations.id(tokens.RefreshToken))
	if f == nil || r.patient && c.rotations.paused(tokens.RefreshToken) {
		return nil
	}
	c.event(ctx, "refresh joined", tokens)
	c.startWaiting(r)
	ended, err := c.await(ctx, f, false, r)
	r.joined = &arrival{ended, err}
	if err != nil || f.spender == nil || f.spender.Tokens != tokens {
		return nil
	}
	return f.spender
}

// await waits for a flight as long as this caller may; first tells that it is the
// flight's own.
func (c *IdpClient) await(ctx context.Context, f *flight, first bool, r *renewal) (outcome, error) {
	timer := time.NewTimer(time.Until(r.until))
	defer timer.Stop()
	leave, enough := ctx.Done(), timer.C
	if first {
		leave = nil // whoever spends a refresh token sees it through
		if !r.patient {
			enough = nil
		}
	}
	select {
	case <-f.done:
		return f.outcome, nil
	default:
	}
	select {
	case <-f.done:
		return f.outcome, nil
	case <-enough:
		if first && !c.rotations.abandon(f) {
			<-f.done // it has ended just now
			return f.outcome, nil
		}
		// The flight goes on; the next caller finds its result in the memory.
		return outcome{}, refreshFailed(codeTransport, "no answer in time", context.DeadlineExceeded)
	case <-leave:
		return outcome{}, left(ctx)
	}
}

// startWaiting sets how long this caller waits, unless it has begun to.
func (c *IdpClient) startWaiting(r *renewal) {
	if !r.until.IsZero() {
		return
	}
	limit := c.cfg.RefreshTimeout
	if r.patient {
		limit = min(limit, patience)
	}
	r.came = time.Now()
	r.until = r.came.Add(limit)
}

// startFlight is the first caller's part: it asks the session store, and then has
// the token spent under a context of its own. Whatever happens, Reload's panic
// included, the flight ends and frees those who wait.
func (c *IdpClient) startFlight(ctx context.Context, f *flight, current TokenSet, r *renewal) error {
	result, started := outcome{}, false
	defer func() {
		if !started {
			c.rotations.finish(f, result)
		}
	}()
	if known := c.rotations.newest(f.id); known != nil && (!known.kept || c.satisfies(known, r)) {
		return nil // another flight ended while this caller was on its way here
	}
	if r.reload != nil {
		f.asked = time.Now()
	}
	stored, err := c.reloadNewer(ctx, current, r, r.until.Add(-r.spendTime()))
	if err != nil {
		return err
	}
	if stored != nil {
		result.rotation = stored
		return nil
	}
	if why, ok := c.rotations.vain.Get(f.id); ok {
		result.err = why
		return nil
	}
	if ctx.Err() != nil {
		return left(ctx)
	}
	if time.Until(r.until) < r.spendTime() {
		return refreshFailed(codeTransport, "Reload took too long", context.DeadlineExceeded)
	}
	started, r.spends = true, true
	if r.decoded {
		f.spender = r.agent.clone()
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.RefreshTimeout)
	go func() {
		defer cancel()
		c.spend(detached, f, current, r)
	}()
	return nil
}

// spend is the flight itself. What it learned is remembered before the flight
// ends: whoever comes in between finds the one or the other.
func (c *IdpClient) spend(ctx context.Context, f *flight, current TokenSet, r *renewal) {
	result := outcome{err: refreshFailed(codeTransport, "the refresh ended without an answer", nil)}
	defer func() {
		if fault := recover(); fault != nil {
			// A foreign round tripper or coordinator panicked. Its value may hold
			// anything, so only its type is told.
			result = outcome{err: refreshFailed(codeTransport, fmt.Sprintf("the refresh panicked with a %T", fault), nil)}
		}
		c.rotations.finish(f, result)
	}()
	rotated, err := c.coordinate(ctx, f.id, current, r)
	if err != nil {
		if why := spentInVain(err); why != nil {
			c.rotations.rememberVain(f.id, why)
		}
		result = outcome{err: err}
		return
	}
	if owner, err := storedClaims(rotated.tokens.IDToken); err == nil {
		rotated.owner = &owner
	}
	rotated.next = c.rotations.id(rotated.tokens.RefreshToken)
	c.rotations.remember(current, rotated)
	result = outcome{rotation: &rotated}
}

// flying gives the flight that spends a token now, or nil.
func (s *rotations) flying(id string) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id]
}

// join gives the flight that spends a token; first tells that it is new.
func (s *rotations) join(id string) (f *flight, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.running[id]; ok {
		return f, false
	}
	f = &flight{id: id, done: make(chan struct{})}
	s.running[id] = f
	return f, true
}

// abandon notes that f's first caller waits no longer. It is false where f has
// ended already.
func (s *rotations) abandon(f *flight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.abandoned = s.running[f.id] == f
	return f.abandoned
}

// finish gives f its outcome and frees those who wait for it. What became of a token
// that was revoked meanwhile is nobody's to sign in with; what the session store holds
// in its place may be a new sign-in.
func (s *rotations) finish(f *flight, o outcome) {
	s.mu.Lock()
	delete(s.running, f.id)
	switch got := o.rotation; {
	case got == nil:
	case f.revoked && !got.stored:
		s.rememberFor(f.id, rotation{ended: true}, s.keep)
		ended := refreshFailed(ErrInvalidGrant, "the refresh token was revoked meanwhile", nil)
		ended.tokens = &got.tokens
		o = outcome{err: ended}
	case f.abandoned:
		s.rememberFor(f.id, *got, max(s.keep, orphanMemory))
	}
	s.mu.Unlock()
	o.asked = f.asked
	f.outcome = o
	close(f.done)
}
