package rotate

import (
	"context"
	"errors"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
)

// flight is one refresh token being spent. What stands below done is final once that is
// closed. Until then Engine.mu guards fate, which hear may set.
type flight struct {
	at          *entry
	have        Tokens // what is spent
	owner       any    // whose it is; set before anything is spent
	grant       string
	leader      *call
	boarded     int       // at's generation when the flight was made
	began       time.Time // when its request began; zero: not yet
	storeReadAt time.Time // when the leader's store was read; zero: it has none, or that failed or had a newer set
	takers      int       // callers with the flight's grant that wait; guarded by Engine.mu

	heard      chan struct{} // closed once another process's set is in fate, or else with done
	done       chan struct{}
	fate       *Fate  // what the token became; nil without err: nothing was spent
	next       *entry // of the fate's set, where that suits those who asked for the same
	generation int    // of the set, there
	err        error
	state      State // of err: Dead, Refused, Revoked or Cooling; Unspent: of this grant alone
}

// beginFlight begins the flight of an entry that has none. e.mu is held.
func (e *Engine) beginFlight(at *entry, have *Tokens, grant string) *flight {
	at.flight = &flight{at: at, have: *have, grant: grant, boarded: at.generation, heard: make(chan struct{}), done: make(chan struct{})}
	e.table.dequeue(at) // land puts it back
	return at.flight
}

// lead has the call's token spent: the caller's own store is read first. Whatever
// happens, a panic of the store included, the flight ends and frees those who wait.
func (c *call) lead(f *flight) (*Fate, error) {
	var found *Fate
	started := false
	defer func() {
		if !started {
			c.engine.land(f, found, nil)
		}
	}()
	owner, err := c.Caller.Owner()
	if err != nil {
		return nil, err
	}
	if !c.hasTime() {
		return nil, awake.ErrOver
	}
	if c.Loads {
		began := time.Now()
		if found, err = c.readStore(&f.have, c.reserve()); err != nil || found != nil {
			return nil, err
		}
		f.storeReadAt = began // what has failed was not read for anybody
	}
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	if c.engine.hasMoved(f) {
		return nil, nil // another caller's store said so, or it was revoked
	}
	if !c.hasTime() {
		return nil, awake.ErrOver
	}
	if c.Urgency != Optional && !c.led {
		c.limit.Restart(c.engine.Timeout) // the first request has a limit of its own
	}
	c.led = true
	started = true
	f.owner, f.began = owner, time.Now()
	go c.engine.runFlight(context.WithoutCancel(c.ctx), f)
	return c.wait(f)
}

// hasMoved reports whether more is known of a flight's token than when it was boarded.
func (e *Engine) hasMoved(f *flight) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f.at.generation != f.boarded
}

// hasTime reports whether enough is left of the call's time to spend a token.
func (c *call) hasTime() bool { return c.limit.Left() >= max(c.reserve(), 1) }

// runFlight is the flight itself: nobody's cancellation ends it.
func (e *Engine) runFlight(ctx context.Context, f *flight) {
	ctx, cancel := e.Clock.WithTimeout(ctx, e.Timeout)
	defer cancel()
	ctx, in := e.mark(ctx, f.have.RefreshToken, "")
	defer in.end()
	fate, err := e.redeem(ctx, f)
	if fate != nil && fate.Shared {
		e.hear(f, fate)
		e.followElsewhere(ctx, &fate.Next, f.have.RefreshToken, peekTime)
	}
	if discarded := e.land(f, fate, err); discarded != nil {
		e.Discard(ctx, *discarded)
	}
}

// redeem makes a fate of what came for the token. A foreign round tripper or
// coordinator may panic.
func (e *Engine) redeem(ctx context.Context, f *flight) (fate *Fate, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			fate, err = nil, e.Fault(fault)
		}
	}()
	answer, err := e.Redeem(ctx, f.have, f.grant, f.owner)
	if err != nil {
		return nil, err
	}
	return &Fate{
		State: stateOf(answer, &f.have), Next: answer.Next, Grant: answer.Grant, Shared: answer.Shared,
		Decoded: answer.Decoded, HaveOwner: f.owner,
	}, nil
}

// stateOf is Rotated at an issuer that rotates, and Reusable at any other.
func stateOf(answer *Answer, spent *Tokens) State {
	if answer.Next.RefreshToken == spent.RefreshToken {
		return Reusable
	}
	return Rotated
}

// land ends a flight: what became of the token is noted, and everybody is freed. It
// returns a set that nobody may have.
func (e *Engine) land(f *flight, fate *Fate, err error) (discarded *Tokens) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	defer close(f.done)
	if f.fate == nil {
		defer close(f.heard)
	}
	f.at.flight = nil
	defer e.table.requeue(f.at, now)
	switch {
	case f.at.is(Revoked):
		discarded = e.landRevoked(f, fate, now)
	case fate != nil:
		e.landSet(f, fate, now)
	case err != nil:
		e.landFailed(f, err, now)
	}
	return discarded
}

// landRevoked is for a token that was revoked meanwhile. What the leader has found in
// a store is a new sign-in, and the leader's alone; what came from the issuer is to be
// discarded. e.mu is held.
func (e *Engine) landRevoked(f *flight, fate *Fate, now time.Time) (discarded *Tokens) {
	f.err, f.state = ErrRevoked, Revoked
	if fate == nil || fate.Found {
		return nil
	}
	discarded = &fate.Next
	if _, newest := e.newest(e.ID(fate.Next.RefreshToken), now); newest != nil {
		discarded = &newest.Next
	}
	e.revoke(fate.Next.RefreshToken, now)
	return discarded
}

// landSet notes a set, and counts those who take it just as it is. e.mu is held.
func (e *Engine) landSet(f *flight, fate *Fate, now time.Time) {
	e.settle(f.at, fate, now)
	f.fate = fate
	if f.takers == 0 || fate.Found || fate.Grant != f.grant {
		return
	}
	f.next = f.at
	if fate.Next.RefreshToken != "" {
		f.next = e.table.ensure(e.ID(fate.Next.RefreshToken), now)
	}
	f.generation = f.next.addTakers(f.takers)
	e.table.dequeue(f.next)
}

// landFailed notes a failure as far as others must know of it. e.mu is held.
func (e *Engine) landFailed(f *flight, err error, now time.Time) {
	var failure *Failure
	switch {
	case !errors.As(err, &failure):
		f.err, f.state = err, Cooling
		e.cool(f.at, Optional, cooldown{err: err, wait: softCooldown}, now)
	case failure.State == Cooling:
		f.err, f.state = failure.Err, Cooling
		e.cool(f.at, Optional, cooldown{err: failure.Err, wait: softCooldown}, now)
		e.cool(f.at, failure.Blocks, cooldown{err: failure.Err, wait: failure.Wait}, now)
	default:
		f.err, f.state = failure.Err, failure.State
		if failure.State == Dead || failure.State == Refused {
			e.settle(f.at, &Fate{State: failure.State, Err: failure.Err, errSize: failure.Size}, now)
		}
	}
}

// wait waits for a flight as long as this call may. Who leads it stays when its own
// context ends: it has the set to store.
func (c *call) wait(f *flight) (*Fate, error) {
	ctx := c.ctx
	if f.leader == c {
		ctx = context.WithoutCancel(ctx)
	}
	if err := c.limit.Wait(ctx, f.done); err != nil && c.leave(f) {
		return nil, err // the flight goes on; the next caller finds what it brings
	}
	c.leaderRead = c.leaderRead || !f.storeReadAt.Before(c.came)
	switch {
	case f.err != nil:
		return c.takeFailure(f)
	case f.fate == nil:
		return nil, nil // its leader left before anything was spent
	case f.next != nil && f.grant == c.Grant:
		c.hold, c.generation = f.next, f.generation // land has counted this call
		if !c.hasNewer(f) {
			return c.take(f.fate)
		}
		c.release()
		return nil, nil
	}
	c.goOn(f.fate)
	return nil, nil
}

// hasNewer reports whether a flight at an issuer that does not rotate began with an
// older set than this call has: what it brought may be older, too.
func (c *call) hasNewer(f *flight) bool {
	return f.fate.State == Reusable && c.engine.Compare(&f.have, c.current()) < 0
}

// leave gives up a flight. It is false where that has landed just now.
func (c *call) leave(f *flight) bool {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	select {
	case <-f.done:
		return false
	default:
	}
	if f.grant == c.Grant {
		f.takers--
	}
	return true
}

// takeFailure is take for a flight that brought an error. What was refused for other
// resources and scopes says nothing to this call.
func (c *call) takeFailure(f *flight) (*Fate, error) {
	switch {
	case c.came.Sub(f.began) >= c.engine.Timeout:
		return nil, nil // its time was over when this call came: the process was stopped
	case f.state == Cooling:
		return nil, f.err
	case f.state != Unspent:
		return c.tryStore(f.err)
	case f.grant == c.Grant:
		return nil, f.err
	}
	return nil, nil
}

// peekTime bounds followElsewhere: a set that has come is waiting meanwhile.
const peekTime = 2 * time.Second

// followElsewhere learns what the successors of another process's set became there:
// an older set must not be stored over a newer one. It takes the place of a flight,
// so that a coordinator is never asked twice at once for one token. It stops at own, the
// token of who asks: its flight may be the one that waits.
func (e *Engine) followElsewhere(ctx context.Context, set *Tokens, own string, most time.Duration) {
	ctx, cancel := e.Clock.WithTimeout(ctx, min(most, peekTime))
	defer cancel()
	for e.Peek != nil && set.RefreshToken != "" && set.RefreshToken != own {
		f, leads := e.boardToPeek(set)
		switch {
		case f == nil:
			return // it is known here
		case !leads:
			select {
			case <-f.heard:
			case <-ctx.Done():
				return
			}
		default:
			if discarded := e.land(f, e.peek(ctx, set), nil); discarded != nil {
				go e.Discard(context.WithoutCancel(ctx), *discarded) // nobody waits for that
			}
		}
		fate := e.believe(f)
		if fate == nil {
			return
		}
		set = &fate.Next
	}
}

// peeking is the grant of a flight that asks for nothing.
const peeking = "\x00"

// hear tells who is in doubt of another process's set, before it is known what that has
// become.
func (e *Engine) hear(f *flight, fate *Fate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.fate = fate
	close(f.heard)
}

// believe returns what a flight has heard. If it has not landed yet, it may be waiting
// for the flight of who asks: where its token leads is noted for the order alone, for
// whoever comes with that token waits to learn what the set has become.
func (e *Engine) believe(f *flight) *Fate {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.at.flight == f && f.at.next == nil && f.fate.Next.RefreshToken != "" {
		e.table.link(f.at, e.table.ensure(e.ID(f.fate.Next.RefreshToken), now))
	}
	return f.fate
}

// boardToPeek joins the flight of a set's token, or begins one that only peeks. Where
// it is known what the token became there is none.
func (e *Engine) boardToPeek(set *Tokens) (f *flight, leads bool) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.table.ensure(e.ID(set.RefreshToken), now)
	switch {
	case at.flight != nil:
		return at.flight, false
	case at.isKnown():
		return nil, false
	}
	return e.beginFlight(at, set, peeking), true
}

func (e *Engine) peek(ctx context.Context, set *Tokens) *Fate {
	answer, ok := e.Peek(ctx, *set)
	if !ok {
		return nil
	}
	return &Fate{State: stateOf(answer, set), Next: answer.Next, Grant: answer.Grant, Shared: true}
}
