// Package rotate keeps sessions whose refresh tokens work once. It knows tokens,
// callers and time, and nothing of HTTP, JWTs or agents.
//
// The life of a refresh token: nobody has spent it ([Unspent]); a caller leads its
// flight, which asks the caller's session store and then the issuer; the flight
// lands, and the token is [Rotated] into a successor, or still [Reusable], or
// [Refused], or [Dead]; or nothing is known, and it may be tried again, at once or
// after a cooldown ([Cooling]). A sign-out makes it and its known chain [Revoked],
// whatever it was. All this stands in one table. [Engine.settle] alone writes what
// became of a token, [Engine.cool] its cooldowns; the table itself only forgets, with
// time or where the room is short. What was seen to be spent then leaves a trace for a
// day: it is [Spent].
//
// A caller goes through [Engine.Renew]: it looks its token up, takes what is known,
// joins a flight, or leads one, until it has a set that suits it; then the set goes
// to the caller's own store, never an older one after a newer.
//
// Read rotate.go for the words, call.go for one Renew, flight.go for one request,
// store.go for the caller's store, and table.go for the memory; cooldown.go and
// inside.go say which calls are not made. A [Follower] is for who keeps tokens over
// hours, a [Coordinator] for several processes.
package rotate

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/seal"
	"github.com/authpi/authpi-idp-go/internal/tokens"
)

// Tokens is a set with the refresh token that the engine goes by.
type Tokens = tokens.Set

// State is what has become of a refresh token, as far as this process knows.
type State uint8

// The states of a refresh token.
const (
	Unspent  State = iota // of no Fate; of a Failure: this grant alone was refused
	Rotated               // spent, for Fate.Next
	Spent                 // seen spent, all else is forgotten: sign-outs and isNewer go by it
	Reusable              // used, and good to be used again: the issuer does not rotate
	Refused               // spent, and what came for it cannot be used
	Dead                  // the issuer says so
	Revoked               // signed out
	Cooling               // of a Failure, never of a Fate: not now
)

// Fate is what became of a refresh token. It never changes once handed out.
type Fate struct {
	State State
	Next  Tokens // Rotated, Reusable: what came for it
	Grant string // what was asked for with it; empty: nobody knows, see Found
	Err   error  // Refused, Dead, Revoked: what to tell whoever comes
	// Found says that the set came out of a caller's session store, Shared that
	// another process got it. With neither, this process did.
	Found, Shared bool
	// Decoded is what Redeem read in Next, for all who waited for it. HaveOwner is the
	// leader's Owner, for those who came with the very same tokens. What is only
	// remembered has neither.
	Decoded, HaveOwner any
	errSize            int // what Err takes in memory, in bytes
}

// provesSpent reports whether a token with this fate is certainly spent. What a store
// says is no proof.
func (f *Fate) provesSpent() bool { return f.State == Refused || f.State == Rotated && !f.Found }

// foreign reports whether this process did not get the set itself: others may have
// gone on from it.
func (f *Fate) foreign() bool { return f.Found || f.Shared }

// Urgency is how much a call needs new tokens.
type Urgency uint8

// The urgencies, the least first.
const (
	Optional Urgency = iota // the access token is still good
	Needed                  // it has expired
	Named                   // the app itself asks for a refresh, now
)

// Call is what one caller wants.
type Call struct {
	Have    *Tokens // nobody changes it meanwhile
	Grant   string  // names the resources and scopes that are asked for
	Urgency Urgency
	Caller  Caller
	// Loads and Saves say that the caller has a session store to read and to write.
	Loads, Saves bool
	// Follower, if set, has kept an eye on Have since the caller got it.
	Follower *Follower
}

// Caller is whose call it is. Its errors end the call.
type Caller interface {
	// Owner decodes Have, before anything is spent. What it returns goes to Redeem,
	// and to other callers as Fate.HaveOwner.
	Owner() (any, error)
	// Load reads the caller's session store: a set, or an error. Where the user has
	// signed out meanwhile, its error says so.
	Load(context.Context) (*Tokens, error)
	// Accept checks that a set is this caller's before anything is done with it.
	Accept(*Fate) error
	// Save writes the caller's session store.
	Save(context.Context, *Fate) error
}

// Way is how a call came by its set.
type Way struct {
	Source record.Source
	Joined bool // another call's flight brought it
	Led    bool // this call had a token spent
}

// Answer is a set that came for a refresh token.
type Answer struct {
	Next    Tokens
	Grant   string
	Shared  bool // another process got it
	Decoded any
}

// Failure is the error of a request that ended without a usable set.
type Failure struct {
	// State is Dead or Refused, or Cooling for a failure that passes. Zero: this
	// grant alone was refused, and the token works on.
	State  State
	Wait   time.Duration // Cooling: no request before it is over
	Blocks Urgency       // Cooling: the most urgent calls that have to wait
	Err    error
	Size   int // what Err takes in memory, in bytes
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns what the request failed with.
func (f *Failure) Unwrap() error { return f.Err }

// HeldError says that no request is made for a while, since the last one failed.
type HeldError struct {
	Err   error     // what that failed with
	Until time.Time // no request before, by the process's own clock
}

func (e *HeldError) Error() string { return e.Err.Error() }

// Unwrap returns what the last request failed with.
func (e *HeldError) Unwrap() error { return e.Err }

// UnsavedError says that a Save did not return in time. The set is remembered.
type UnsavedError struct{ Set Tokens }

func (e *UnsavedError) Error() string { return "the new tokens could not be stored in time" }

// EndedError is a Save's own error, where the session was signed out meanwhile, perhaps
// by the Save itself. It is an [ErrRevoked].
type EndedError struct{ Err error }

func (e *EndedError) Error() string { return e.Err.Error() }

// Unwrap returns both.
func (e *EndedError) Unwrap() []error { return []error{ErrRevoked, e.Err} }

// Errors of the engine itself.
var (
	ErrRevoked = errors.New("the session was signed out")
	ErrNoToken = errors.New("there is no refresh token")
	ErrInside  = errors.New("called from inside a callback of the same refresh")
)

// Engine keeps the sessions of one client. All its fields are set before it is used.
type Engine struct {
	// IssuerAndClient keeps equal tokens of two issuers or clients apart.
	IssuerAndClient string
	// Redeem spends have.RefreshToken, once. Its error is a [Failure], or passing.
	Redeem func(ctx context.Context, have Tokens, grant string, owner any) (*Answer, error)
	// Peek returns what other processes have made of a refresh token; nil: there are
	// none.
	Peek func(ctx context.Context, have Tokens) (*Answer, bool)
	// Discard is for a set that came for a token that was revoked meanwhile.
	Discard func(ctx context.Context, set Tokens)
	// Fault is the error of a Redeem that panicked.
	Fault func(fault any) error
	// Passing reports whether an error says that the same tokens may be tried again.
	Passing func(error) bool
	// Buffer is how long before its expiry a set counts as used up.
	Buffer func(Tokens) time.Duration
	// Compare is below zero where a set was issued before another, above where
	// after, as far as can be told.
	Compare func(set, another *Tokens) int

	Memory   time.Duration // how long what became of a token is remembered
	Timeout  time.Duration // of one request, of one Save, and of what a caller waits for before each
	Patience time.Duration // of a caller whose access token is still good, for all before a Save
	Now      func() time.Time
	Clock    *awake.Clock // by which all limits run

	mu    sync.Mutex // guards table, every entry, a flight's takers, and a Follower's place
	table table
}

// How long things are kept, besides Memory.
const (
	// orphanMemory is for sets that nobody has picked up: their session has no other
	// tokens. It is also for refusals, whose token must not be sent again, and for
	// traces, which tell the order.
	orphanMemory = 24 * time.Hour
	// noteMemory is for revocations: as long as a session lives at AuthPI.
	noteMemory = 7 * 24 * time.Hour
	// softCooldown is how long no attempt follows a passing failure while the access
	// token is good.
	softCooldown = 5 * time.Second
)

// Revoked reports whether a refresh token was revoked in this process.
func (e *Engine) Revoked(refreshToken string) bool {
	if e.table.revoked.Load() == 0 {
		return false
	}
	id := e.ID(refreshToken)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table.get(id, e.Now()).is(Revoked)
}

// Revoke notes that a token was revoked. Its known predecessors and successors go
// with it, their sets at once, and what a flight is about to bring is discarded.
func (e *Engine) Revoke(token string) {
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revoke(token, now)
}

// revoke is Revoke. e.mu is held.
func (e *Engine) revoke(token string, now time.Time) {
	if token == "" {
		return
	}
	for todo := []string{e.ID(token)}; len(todo) > 0; {
		at := e.table.ensure(todo[len(todo)-1], now)
		todo = todo[:len(todo)-1]
		if at.is(Revoked) {
			continue
		}
		for _, from := range at.before {
			todo = append(todo, from.id)
		}
		if at.next != nil {
			todo = append(todo, at.next.id)
		}
		for f := range at.rootOf {
			todo = append(todo, f.at.id)
		}
		e.settle(at, &Fate{State: Revoked, Err: ErrRevoked}, now)
	}
}

// settle is the only writer of what became of a token. e.mu is held.
func (e *Engine) settle(at *entry, fate *Fate, now time.Time) {
	if at.is(Revoked) {
		return // that is final
	}
	e.table.dequeue(at)
	if fate.State != Dead { // what a dead token once became is newer all the same
		e.recallFollowers(at)
		e.table.unlink(at)
	}
	if at.hideRefusal(fate); at.refusal == nil {
		at.class, at.expiry = e.keepFor(fate, now)
	}
	at.fate, at.unsaved = remembered(fate), false
	at.isSpent = at.isSpent || fate.provesSpent()
	switch fate.State {
	case Revoked:
		at.cool = nil
		e.table.revoked.Add(1)
	case Rotated:
		e.linkNext(at, fate, now)
	}
	at.generation++ // who takes a set by this token now takes a later one
	at.tellFollowers()
	e.table.requeue(at, now)
}

// linkNext notes what a token became. e.mu is held.
func (e *Engine) linkNext(at *entry, fate *Fate, now time.Time) {
	if fate.Next.RefreshToken == "" {
		return
	}
	next := e.table.ensure(e.ID(fate.Next.RefreshToken), now)
	if !fate.foreign() && !next.is(Revoked) {
		// The issuer has just handed it out, whatever became of an equal one before.
		// What another process got may be spent already.
		e.table.dequeue(next)
		e.table.forget(next, nil, now)
		e.table.unlink(next)
		e.table.requeue(next, now)
		next = e.table.ensure(next.id, now)
	}
	e.table.dropGuesses(next, at, now)
	e.table.link(at, e.table.ensure(next.id, now))
}

// keepFor returns the class in which it is remembered what became of a token, and
// until when.
func (e *Engine) keepFor(fate *Fate, now time.Time) (class, time.Time) {
	switch {
	case fate.State == Revoked:
		return notes, now.Add(noteMemory)
	case fate.State == Dead || fate.Found:
		return brief, now.Add(e.Memory)
	}
	return orphans, now.Add(orphanMemory) // until somebody has picked it up
}

// pickUp notes that somebody has the set of at's token: from now on it is remembered
// like any other. e.mu is held.
func (e *Engine) pickUp(at *entry, accessToken string, now time.Time) {
	for _, from := range at.ledTo(accessToken) {
		if !from.unsaved && from.class == orphans {
			e.keepAs(from, brief, now.Add(e.Memory), now)
		}
	}
}

// keepUnsaved notes that somebody could not store it. e.mu is held.
func (e *Engine) keepUnsaved(at *entry, accessToken string, now time.Time) {
	for _, from := range at.ledTo(accessToken) {
		from.unsaved = true
		e.keepAs(from, orphans, now.Add(orphanMemory), now)
	}
}

// keepAs changes how long, and how dearly, an entry is kept. e.mu is held.
func (e *Engine) keepAs(at *entry, class class, until, now time.Time) {
	e.table.dequeue(at)
	at.class, at.expiry = class, until
	e.table.requeue(at, now)
}

// maxChain bounds how far successors are followed, and how far one call goes on: an
// issuer that hands out an old refresh token again makes a chain without an end.
const maxChain = 1024

// newest follows the successors of the token with an id as far as they are known.
// tip is the entry of the last one, nil where the table has none; set is what
// brought it, nil where no successor is known. e.mu is held.
func (e *Engine) newest(id string, now time.Time) (tip *entry, set *Fate) {
	tip = e.table.get(id, now)
	if f := e.knower(tip); f != nil {
		tip, set = f.at, f.Newest()
	}
	for range maxChain {
		if !tip.is(Rotated) {
			break
		}
		set = tip.fate
		if tip.next == nil {
			break // its set has no refresh token
		}
		tip = tip.next
		was := tip.fate
		e.table.expire(tip, now)
		if tip.fate != was { // then what led there may be forgotten, too
			return e.newest(id, now)
		}
	}
	return tip, set
}

// latest is newest, but of a token that is reused it returns the set that came last.
// e.mu is held.
func (e *Engine) latest(id string, now time.Time) (tip *entry, set *Fate) {
	tip, set = e.newest(id, now)
	if tip.is(Reusable) {
		set = tip.fate
	}
	return tip, set
}

// ID returns the digest by which the table, logs and coordinators know a refresh
// token. It is empty where there is none, and then never in the table.
func (e *Engine) ID(refreshToken string) string {
	if refreshToken == "" {
		return ""
	}
	return seal.ID(e.IssuerAndClient, refreshToken)
}

// now is Now, or the real time if that panics: for callers that would lose a set, or
// leave an entry out of its heap.
func (e *Engine) now() (now time.Time) {
	defer func() {
		if recover() != nil {
			now = time.Now()
		}
	}()
	return e.Now()
}
