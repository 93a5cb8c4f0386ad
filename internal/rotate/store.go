package rotate

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
)

// take hands a set to the caller, once its own store agrees: the user may have
// signed out meanwhile, or another process may be further. What was found in another
// caller's store says nothing of this one's.
func (c *call) take(fate *Fate) (*Fate, error) {
	if c.Loads && !c.ownRead && (fate.Found || !c.leaderRead) {
		newer, err := c.readStore(&fate.Next, 0)
		if err != nil {
			return nil, err
		}
		if newer != nil {
			c.release()
			return nil, nil
		}
	}
	return c.handOver(fate)
}

// readStore reads the caller's own store, and returns what that has in place of
// current, nil for nothing newer. The call goes on from it, and current is known to
// have become it. It gives up when no more than reserve is left of the call's time.
func (c *call) readStore(current *Tokens, reserve time.Duration) (*Fate, error) {
	var stored atomic.Pointer[Tokens] // a store that is late may still write it
	c.ownRead = true
	ctx, in := c.engine.mark(c.ctx, c.Have.RefreshToken, current.RefreshToken)
	defer in.end()
	_, err := c.limit.Run(ctx, reserve, func(ctx context.Context) error {
		set, err := c.Caller.Load(ctx)
		stored.Store(set)
		return err
	})
	if err != nil {
		return nil, err
	}
	ahead, err := c.askOthers(ctx, stored.Load(), current, reserve)
	if err != nil {
		return nil, err
	}
	return c.noteNewer(stored.Load(), current, ahead), nil
}

// askOthers asks the other processes until there is no doubt, or nothing new comes.
func (c *call) askOthers(ctx context.Context, stored, current *Tokens, reserve time.Duration) (ahead bool, err error) {
	e := c.engine
	doubt, ahead := c.inDoubt(stored, current)
	revoked := e.Revoked(current.RefreshToken)
	for last := ""; doubt != nil && doubt.RefreshToken != last; {
		last = doubt.RefreshToken
		e.followElsewhere(ctx, doubt, current.RefreshToken, c.limit.Left()-reserve)
		switch {
		case !revoked && e.Revoked(current.RefreshToken):
			return false, ErrRevoked // after the store has answered: what it had ends, too
		case ctx.Err() != nil:
			return false, ctx.Err() // nobody has told
		}
		doubt, _ = c.inDoubt(stored, current)
	}
	return ahead, nil
}

// inDoubt returns the set that other processes are to be asked about, where nothing
// here tells whether the store or current is newer: the last known successor of what
// the store has. Nil: there is no doubt. ahead is whether the store counts as
// newer, unless they say otherwise.
func (c *call) inDoubt(stored, current *Tokens) (last *Tokens, ahead bool) {
	e := c.engine
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if stored.RefreshToken == current.RefreshToken || e.isBehind(stored, current, now) {
		return nil, false
	}
	last = stored
	if _, set := e.newest(e.ID(stored.RefreshToken), now); set != nil {
		last = &set.Next
	}
	if e.Compare(last, current) != 0 {
		return nil, false
	}
	return last, c.isNewer(stored, current, now)
}

// noteNewer notes what the store has, and returns it, where it is newer than current.
// Where it was ahead, in doubt, it counts as newer, unless the other processes have
// just said otherwise.
func (c *call) noteNewer(stored, current *Tokens, ahead bool) *Fate {
	e := c.engine
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if ahead = ahead && !e.isBehind(stored, current, now); !ahead && !c.isNewer(stored, current, now) {
		return nil
	}
	found := &Fate{State: Rotated, Next: *stored, Found: true}
	if stored.RefreshToken == current.RefreshToken {
		found.State = Reusable
	}
	c.own = found
	c.goOn(found)
	if current.RefreshToken == "" {
		return found
	}
	if at := e.table.ensure(e.ID(current.RefreshToken), now); !at.is(Rotated) {
		e.settle(at, found, now)
	}
	return found
}

// isNewer reports whether what the store has is newer than current, which the caller
// is about to take or spend. e.mu is held.
func (c *call) isNewer(stored, current *Tokens, now time.Time) bool {
	e := c.engine
	switch {
	case stored.RefreshToken == current.RefreshToken:
		return stored.ExpiresAt.Unix() > current.ExpiresAt.Unix()
	case stored.RefreshToken == c.Have.RefreshToken, e.isBehind(stored, current, now):
		return false
	}
	theirs := e.table.get(e.ID(stored.RefreshToken), now)
	ours := e.table.get(e.ID(current.RefreshToken), now)
	if ours.leadsTo(theirs) {
		return true
	}
	if _, set := e.newest(e.ID(stored.RefreshToken), now); set != nil {
		return e.Compare(&set.Next, current) >= 0
	}
	// A store may lag behind by more than the memory reaches back: a replica, or one
	// that nobody writes to. Then dates decide, which have whole seconds. If they say
	// nothing, the store counts as newer, unless its token is known to be spent. One
	// that is refused or dead counts as newer, too: its session has ended.
	switch byDate := e.Compare(stored, current); {
	case byDate > 0:
		return true
	case byDate == 0:
		return !theirs.is(Spent)
	}
	return ours.is(Spent) && !theirs.is(Spent)
}

// isBehind reports whether the store's token is known to lead to the current one, or to
// the last set of its session, which has no refresh token. e.mu is held.
func (e *Engine) isBehind(stored, current *Tokens, now time.Time) bool {
	from := e.ID(stored.RefreshToken)
	theirs, ours := e.table.get(from, now), e.table.get(e.ID(current.RefreshToken), now)
	switch {
	case theirs.leadsTo(ours):
		return true
	case ours.leadsTo(theirs):
		return false
	}
	tip, set := e.newest(from, now)
	return tip.is(Rotated) || set != nil && tip == ours // of a longer chain than traces are followed
}

// tryStore is for a token that is no good any more, or held back: the caller's store
// may have another one. It is read once at first, and once more after a refusal.
func (c *call) tryStore(refusal error) (*Fate, error) {
	if !c.mayTryStore(refusal) {
		return nil, refusal
	}
	c.retried = c.ownRead
	if c.Urgency != Optional {
		c.limit.Restart(c.engine.Timeout) // a flight may have taken all of it
	}
	newer, err := c.readStore(c.current(), c.reserve())
	if err == nil && newer == nil {
		err = refusal
	}
	return nil, err
}

func (c *call) mayTryStore(refusal error) bool {
	var held *HeldError
	switch {
	case !c.Loads || c.retried || refusal == ErrNoToken:
		return false
	case errors.As(refusal, &held):
		return c.Urgency != Optional && !c.ownRead
	}
	return true
}

// handOver has the caller accept a set, or a newer one, and store it, unless it came
// from the caller's store.
func (c *call) handOver(fate *Fate) (*Fate, error) {
	defer c.release()
	left := c.limit.Restart(c.engine.Timeout) // for the Save, and for what it waits for
	fate, err := c.inTurn(fate)
	if fate == nil {
		waited := c.engine.Timeout - c.limit.Left()
		c.limit.Restart(left - waited)
		return nil, err
	}
	if err := c.Caller.Accept(fate); err != nil {
		return nil, err
	}
	if c.isToSave(fate) {
		if err := c.save(fate); err != nil {
			return nil, err
		}
	}
	return fate, c.pickUp(fate)
}

// isToSave reports whether a set has to be stored: it came from elsewhere.
func (c *call) isToSave(fate *Fate) bool { return c.Saves && !c.isOwn(&fate.Next) }

// inTurn returns what to hand over once the sets before that have been stored. What
// comes meanwhile may be newer.
func (c *call) inTurn(fate *Fate) (*Fate, error) {
	for {
		newest, busy, err := c.toHandOver(fate)
		if busy == nil {
			return newest, err
		}
		fate = newest
		if c.limit.Wait(context.WithoutCancel(c.ctx), busy) != nil {
			return nil, c.unsaved(fate)
		}
	}
}

// toHandOver returns what to hand over, and what to wait for before: busyBefore's
// channel, or nil.
func (c *call) toHandOver(fate *Fate) (newest *Fate, busy <-chan struct{}, err error) {
	if c.hold == nil {
		return fate, nil, nil
	}
	e := c.engine
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if newest, err = c.newestToTake(fate, now); newest != nil && c.isToSave(newest) {
		busy = c.busyBefore()
	}
	return newest, busy, err
}

// newestToTake returns what to hand over: while this caller was on its way another may
// have refreshed again. A successor of another grant is stored after this set. But
// where another process got one of the two it does not wait for us: this set is left
// out, both results are nil, and the call goes on from the successor. e.mu is held.
func (c *call) newestToTake(fate *Fate, now time.Time) (*Fate, error) {
	e := c.engine
	tip, newer := e.latest(c.hold.id, now)
	switch {
	case tip.is(Revoked):
		return nil, ErrRevoked
	case newer == nil || newer.Next == fate.Next:
		return fate, nil
	case c.suits(newer, now):
		c.holdOn(e.ID(newer.Next.RefreshToken), tip)
		return newer, nil
	case fate.foreign() || newer.foreign():
		c.goOn(newer)
		return nil, nil
	}
	return fate, nil
}

// save runs the caller's Save.
func (c *call) save(fate *Fate) error {
	left := c.limit.Left()
	switch {
	case c.signedOut():
		return ErrRevoked
	case left <= 0:
		return c.unsaved(fate)
	}
	ctx, in := c.engine.mark(context.WithoutCancel(c.ctx), c.Have.RefreshToken, fate.Next.RefreshToken)
	defer in.end()
	returned, err := c.limit.Run(ctx, 0, func(ctx context.Context) error { return c.Caller.Save(ctx, fate) })
	if err == nil {
		return nil
	}
	unsaved := c.unsaved(fate)
	switch {
	case err == awake.ErrOver:
		c.leaveSave(returned, c.engine.Timeout-left)
		return unsaved
	case unsaved == ErrRevoked:
		return &EndedError{Err: err}
	}
	return err
}

// unsaved notes that a set could not be stored: it is kept for whoever comes again,
// though others have it. It returns the error of a Save that took too long.
func (c *call) unsaved(fate *Fate) error {
	if c.hold == nil {
		return &UnsavedError{Set: fate.Next}
	}
	e := c.engine
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.hold.is(Revoked) {
		return ErrRevoked
	}
	e.keepUnsaved(c.hold, fate.Next.AccessToken, now)
	return &UnsavedError{Set: fate.Next}
}

// leaveSave leaves a Save behind that has begun late, since it had to wait for
// others. Those after it wait until it has returned, or had the rest of its time.
func (c *call) leaveSave(returned <-chan struct{}, rest time.Duration) {
	behind := &call{engine: c.engine, hold: c.hold, generation: c.generation}
	c.hold = nil
	go func() {
		limit := c.engine.Clock.Limit(rest)
		defer limit.Stop()
		_ = limit.Wait(context.Background(), returned)
		behind.release()
	}()
}

// busyBefore returns a channel that is closed when an older set of this chain has
// been handed over; nil: none is about to be. e.mu is held.
func (c *call) busyBefore() <-chan struct{} {
	if busy := c.hold.earlierTakers(c.generation); busy != nil {
		return busy
	}
	seen := map[*entry]bool{c.hold: true}
	for todo := []*entry{c.hold}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		for _, from := range at.before {
			if seen[from] {
				continue
			}
			seen[from] = true
			// Any set of a predecessor is older.
			if busy := from.earlierTakers(from.generation + 1); busy != nil {
				return busy
			}
			todo = append(todo, from)
		}
	}
	return nil
}

// pickUp notes that this caller has its set, and lets go of it, unless the user has
// signed out while it was stored.
func (c *call) pickUp(fate *Fate) error {
	if c.hold == nil {
		return nil
	}
	now := c.engine.Now()
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.hold.is(Revoked) {
		return ErrRevoked
	}
	c.engine.pickUp(c.hold, fate.Next.AccessToken, now)
	c.letGo()
	return nil
}

// signedOut reports whether the set that the call takes was revoked.
func (c *call) signedOut() bool {
	if c.hold == nil {
		return false
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	return c.hold.is(Revoked)
}
