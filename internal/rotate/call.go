package rotate

import (
	"context"
	"errors"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/record"
)

// Renew has the caller accept a set that is newer than what it has, and store it.
//
// It waits no longer than the caller's context lasts, unless it leads a flight or
// stores a set by then: these it sees through, to the limits of the engine.
//
// Its error is the Caller's own, that of ctx, or what Redeem failed with; else a
// [*HeldError], an [*UnsavedError], [awake.ErrOver] where the time is over,
// [ErrRevoked], [ErrNoToken] or [ErrInside].
func (e *Engine) Renew(ctx context.Context, want Call) (Way, error) {
	c := e.newCall(ctx, want)
	defer c.end()
	if c.isInside() {
		return Way{Source: record.Memory}, c.answerInside()
	}
	for range maxChain {
		fate, err := c.step()
		switch {
		case err == nil && fate != nil:
			return c.way(fate), nil
		case err == nil:
			// It goes on from the next token.
		case e.passing(err) && e.Revoked(want.Have.RefreshToken):
			// Whoever might try again is told that it is of no use.
			return c.way(fate), ErrRevoked
		case c.grewUrgent(err):
			// It goes on from what is known by now.
		default:
			c.coolDown(err)
			return c.way(fate), err
		}
	}
	// What is known leads in a circle. No step of it waits, so no limit would end it.
	return c.way(nil), awake.ErrOver
}

// call is one Renew on its way. It belongs to one goroutine.
type call struct {
	Call
	engine *Engine
	ctx    context.Context //nolint:containedctx // it lives as long as the call
	limit  *awake.Limit    // of all that it waits for
	came   time.Time
	id     string // of Have's token

	currentID string // of current's token
	made      *Fate  // what brought current; nil: it is Have
	own       *Fate  // what its own store has returned, if newer; nil: nothing
	ownRead   bool   // its own store was read
	// leaderRead: a flight's leader read a store after this call had come. Callers of
	// one session have one store, so nobody reads it again for each of them.
	leaderRead bool
	retried    bool   // its store was read once more, after the issuer had refused
	led        bool   // it has had a token spent
	joined     bool   // it has waited for another call's
	hold       *entry // the call is one of its takers; nil: of none
	generation int    // which of its sets the call takes
}

func (e *Engine) newCall(ctx context.Context, want Call) *call {
	c := &call{Call: want, engine: e, ctx: ctx, came: time.Now(), id: e.ID(want.Have.RefreshToken)}
	c.currentID = c.id
	c.limit = e.Clock.Limit(c.most())
	if set := e.known(want.Follower); set != nil && !c.isNoNews(set) {
		c.goOn(set)
	}
	return c
}

// current is the set that the call goes on from: Have, or what that became.
func (c *call) current() *Tokens {
	if c.made == nil {
		return c.Have
	}
	return &c.made.Next
}

// step brings the call forward by one token. Both results are nil where it is to go
// on.
func (c *call) step() (*Fate, error) {
	if err := c.ctx.Err(); err != nil && !c.isOwn(c.current()) {
		return nil, err // what its own store has just returned is good for it all the same
	}
	known, f, err := c.lookUp()
	switch {
	case err != nil:
		return c.tryStore(err)
	case known != nil:
		return c.take(known)
	case f.leader == c && f.began.IsZero():
		return c.lead(f)
	}
	c.joined = true // perhaps for its own flight again, if it grew urgent: led says so
	return c.wait(f)
}

// lookUp finds what is known of the call's token, or else the flight to wait for.
// The flight is the call's own where nobody spends the token yet.
func (c *call) lookUp() (known *Fate, f *flight, err error) {
	e := c.engine
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	tip, newest := c.catchUp(now)
	held := c.heldBack(tip, now)
	switch {
	case tip.is(Revoked):
		return nil, nil, ErrRevoked
	case held != nil && c.Urgency == Optional && c.Loads:
		return nil, nil, held // the store is left alone, whatever is known
	case tip.isFinal(): // whether or not the access token is still good
		return nil, nil, tip.fate.Err
	case newest != nil && c.suits(newest, now):
		c.holdOn(c.currentID, tip)
		return newest, nil, nil
	case held != nil:
		return nil, nil, held
	case c.current().RefreshToken == "":
		return nil, nil, ErrNoToken
	}
	return nil, c.board(now), nil
}

// catchUp has the call go on from the newest set that is known. tip is the entry of its
// token. e.mu is held.
func (c *call) catchUp(now time.Time) (tip *entry, newest *Fate) {
	tip, newest = c.engine.latest(c.currentID, now)
	if newest == nil || c.isNoNews(newest) {
		newest = c.made
	}
	if newest != nil {
		c.goOn(newest)
	}
	return tip, newest
}

// isNoNews reports whether a set has the call's own refresh token, and is no newer.
func (c *call) isNoNews(fate *Fate) bool {
	set := c.current()
	return fate.Next.RefreshToken == set.RefreshToken && c.engine.Compare(&fate.Next, set) <= 0
}

// board joins the flight that spends the call's token, or begins it. e.mu is held.
func (c *call) board(now time.Time) *flight {
	at := c.engine.table.ensure(c.currentID, now)
	if at.flight == nil {
		c.engine.beginFlight(at, c.current(), c.Grant).leader = c
	}
	if at.flight.grant == c.Grant {
		at.flight.takers++
	}
	return at.flight
}

// suits reports whether a set is what the call wants: newer than its own, asked for
// with the same grant, and good.
func (c *call) suits(fate *Fate, now time.Time) bool {
	if fate.Next.AccessToken == c.Have.AccessToken || !fate.Found && fate.Grant != c.Grant {
		return false
	}
	least := time.Duration(0)
	if fate.State == Reusable {
		// The same refresh token may simply be used again.
		least = c.engine.Buffer(fate.Next)
		if c.engine.Compare(&fate.Next, c.Have) <= 0 {
			return false // another process was further
		}
	}
	return fate.Next.Remaining(now) > least
}

// passing reports whether the same tokens may be tried again after err.
func (e *Engine) passing(err error) bool {
	return !errors.Is(err, ErrRevoked) && (errors.Is(err, awake.ErrOver) || e.Passing(err))
}

// way says how the call came by its set, if it has one.
func (c *call) way(fate *Fate) Way {
	way := Way{Source: record.Issuer, Joined: c.joined && !c.led, Led: c.led}
	switch {
	case fate == nil:
	case c.isOwn(&fate.Next):
		way.Source = record.Store
	case !c.led && !c.joined:
		way.Source = record.Memory
	case fate.Found:
		way.Source = record.Store
	case fate.Shared:
		way.Source = record.Process
	}
	return way
}

// isOwn reports whether a set came from the caller's own store.
func (c *call) isOwn(set *Tokens) bool { return c.own != nil && c.own.Next == *set }

// goOn has the call go on from what its token became.
func (c *call) goOn(fate *Fate) {
	if fate.Next.RefreshToken != c.current().RefreshToken {
		c.currentID = c.engine.ID(fate.Next.RefreshToken)
	}
	c.made = fate
}

// most is all of the call's time.
func (c *call) most() time.Duration {
	if c.Urgency == Optional {
		return min(c.engine.Timeout, c.engine.Patience)
	}
	return c.engine.Timeout
}

// grewUrgent makes a call urgent that only gave up because its access token was still
// good, which it is no more, and reports whether it did. The call then has the rest
// of the time that all others have.
func (c *call) grewUrgent(err error) bool {
	var held *HeldError
	e := c.engine
	if c.Urgency != Optional || err != awake.ErrOver && !errors.As(err, &held) || c.Have.Remaining(e.Now()) > 0 {
		return false
	}
	c.release()
	c.limit.Restart(e.Timeout - c.most())
	c.Urgency = Needed
	c.ownRead = false // what gave up may have been that
	return true
}

// end frees what the call holds.
func (c *call) end() {
	c.release()
	c.limit.Stop()
}

// reserve is what must be left of the time when a token is spent: a caller whose
// patience ends at once would not store what it gets.
func (c *call) reserve() time.Duration {
	if c.Urgency == Optional {
		return c.most() / 2
	}
	return 0
}

// holdOn counts the call among the takers of a set. id is that of the set's refresh
// token. If it has none, they are counted at tip, the token that it came for, if that
// is known. e.mu is held.
func (c *call) holdOn(id string, tip *entry) {
	at := tip
	if id != "" {
		at = c.engine.table.ensure(id, c.engine.now())
	}
	if at == nil {
		return
	}
	c.engine.table.dequeue(at)
	generation := at.addTakers(1)
	c.letGo()
	c.hold, c.generation = at, generation
}

// letGo ends that. e.mu is held.
func (c *call) letGo() {
	at := c.hold
	if at == nil {
		return
	}
	c.hold = nil
	if at.removeTaker(c.generation); len(at.takers) == 0 {
		c.engine.table.requeue(at, c.engine.now())
	}
}

// release is letGo for who does not hold e.mu.
func (c *call) release() {
	if c.hold == nil {
		return
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	c.letGo()
}
