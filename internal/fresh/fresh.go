// Package fresh keeps what would else be fetched, or worked out, again and again.
//
// A [Value] is a copy of something that an issuer publishes. It is fetched when
// first wanted. From then on a good copy serves at once, while a newer one is
// fetched in the background: an issuer that hangs or is unreachable keeps nobody
// waiting who could be served. One fetch is under way at a time; all callers share
// it, and none of them ends it by leaving.
//
// A [Group] shares fetches alone and keeps nothing. A [Map] remembers many things,
// and fetches none.
package fresh

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/record"
)

const (
	// fetchTimeout bounds one fetch, whoever waits for it.
	fetchTimeout = 10 * time.Second
	// grace is what a fetch gets to return after that. One that does not, because
	// its round tripper ignores its context, is given up.
	grace = time.Second
	// moment is how long callers wait for a fetch while an overdue copy could serve
	// them, counted from its start while the process runs. Most issuers answer
	// within it.
	moment = 500 * time.Millisecond
	// pause is how long no new fetch follows a failed one while a copy serves.
	pause = 10 * time.Second
	// burst is how many fetches in a row may fail without a copy before there is a
	// pause between them too, so that requests do not go on as fast as callers ask.
	burst = 3
	// burstPause is that pause. It ends by the clock given or by the process's own,
	// whichever is first: a clock that stands still must not hide for ever that the
	// issuer is back. It is short, since a login waits for it.
	burstPause = time.Second
)

// Options say what is fetched, and how old a copy of it may be.
type Options[T any] struct {
	// Fetch returns a new one. Its context has a deadline, and the values of the
	// context of the call that led to it.
	Fetch func(context.Context) (T, error)
	// Now is the clock.
	Now func() time.Time
	// Fresh is the age up to which a copy is used without asking. An older one
	// serves too, while a newer one is fetched.
	Fresh time.Duration
	// Overdue is the age from which callers first wait a moment for the newer copy,
	// unless a fetch has failed less than that ago. Zero: they never do.
	Overdue time.Duration
	// Usable is the age up to which a copy serves when no newer one can be had.
	Usable time.Duration
	// Report, if set, is told about the end of each fetch.
	Report func(ctx context.Context, end End[T])
}

// End is how a fetch ended.
type End[T any] struct {
	Copy    *Copy[T] // nil: it failed
	Err     error    // what it failed with
	Serving *Copy[T] // the older copy that still serves where it failed; nil: none
	Took    time.Duration
}

// Record is for the log.
func (e *End[T]) Record(now func() time.Time) record.Fetch {
	f := record.Fetch{End: record.End{Took: e.Took, Outcome: record.OK}, Age: -1}
	if e.Err != nil {
		f.Outcome, f.Error = record.Failed, e.Err.Error()
	}
	if e.Serving != nil {
		f.Age = e.Serving.Age(now())
	}
	return f
}

// Copy is what one fetch brought. It never changes.
type Copy[T any] struct {
	Value T
	seq   uint64    // of the fetch, counted from 1
	at    time.Time // when that began
}

// Age returns how long ago c was fetched.
func (c *Copy[T]) Age(now time.Time) time.Duration {
	at := c.at
	return since(&at, now)
}

// Terms are a caller's conditions for a fetch of its own. They count where the fetch
// would not be due anyway: a copy serves, but not this caller, or there is none and
// the last fetch has failed.
type Terms[T any] interface {
	// Allow reports whether the fetch may begin.
	Allow() bool
	// Ended is told how the fetch ended that began on these terms, before any other
	// can begin. A nil copy means that it failed; before is the failure of the fetch
	// before it, nil if that succeeded.
	Ended(copy *Copy[T], before error)
}

// Value is one published thing. All methods are safe for concurrent use.
type Value[T any] struct {
	opts    Options[T]
	clock   awake.Clock
	current atomic.Pointer[Copy[T]] // nil until a fetch has succeeded; replaced under mu
	begun   atomic.Uint64           // how many fetches have begun; added to under mu

	mu        sync.Mutex        // guards all below; not held during a fetch
	flight    *flight[*Copy[T]] // nil if no fetch is under way
	err       error             // what the last fetch failed with; nil if it succeeded
	failedSeq uint64            // the number of the last fetch that failed
	failedAt  time.Time         // when that ended
	ended     time.Time         // the same by the process's clock
	misses    int               // fetches in a row that failed with no copy to serve
}

// New returns an empty Value; nothing is fetched yet.
func New[T any](opts Options[T]) *Value[T] { return &Value[T]{opts: opts} }

// Get returns the value, fetched if there is no copy that can serve.
func (v *Value[T]) Get(ctx context.Context) (T, error) {
	c, err := v.Copy(ctx, nil)
	if err != nil {
		var none T
		return none, err
	}
	return c.Value, nil
}

// Fresh returns the copy if it is fresh, and nil otherwise. It takes no lock and
// never fetches.
func (v *Value[T]) Fresh() *Copy[T] {
	if c := v.current.Load(); c != nil && v.age(c) < v.opts.Fresh {
		return c
	}
	return nil
}

// Begun returns how many fetches have begun: the number of the newest copy that a
// caller may see which arrives now.
func (v *Value[T]) Begun() uint64 { return v.begun.Load() }

// Copy returns a copy that may be used now: at once if one can serve, otherwise once
// it has been fetched. While fetches fail and there is no copy, the terms say
// whether another may begin; the error is then what the last one failed with. Nil
// terms make a pause after a few failures.
//
// Its error is the fetch's, or wraps ctx.Err() if ctx ends first.
func (v *Value[T]) Copy(ctx context.Context, terms Terms[T]) (*Copy[T], error) {
	if c := v.Fresh(); c != nil {
		return c, nil
	}
	f, c, err := v.renewal(ctx, terms)
	switch {
	case f == nil:
		return c, err
	case c == nil:
		return f.wait(ctx)
	}
	if f.moment.Wait(ctx, f.done) == nil && f.err == nil {
		return f.value, nil
	}
	return c, nil
}

// renewal returns the fetch to wait for, begun now if need be, and the copy that
// serves meanwhile, if one can. Without a fetch the copy is to be used as it is, and
// if there is none, err says why.
func (v *Value[T]) renewal(ctx context.Context, terms Terms[T]) (f *flight[*Copy[T]], c *Copy[T], err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c = v.current.Load()
	age := time.Duration(0)
	if c != nil {
		age = v.age(c)
	}
	switch {
	case c == nil || age >= v.opts.Usable:
		f, err = v.first(ctx, terms)
		return f, nil, err
	case age < v.opts.Fresh:
		return nil, c, nil // renewed meanwhile
	}
	if v.flight == nil && !v.failedWithin(pause) {
		v.begin(ctx, nil)
	}
	if v.opts.Overdue == 0 || age < v.opts.Overdue || v.failedWithin(v.opts.Overdue) {
		return nil, c, nil
	}
	return v.flight, c, nil
}

// first returns the fetch that a caller waits for who can be served by no copy. v.mu
// is held.
func (v *Value[T]) first(ctx context.Context, terms Terms[T]) (*flight[*Copy[T]], error) {
	if v.flight != nil {
		return v.flight, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err // nobody would wait for it
	}
	if v.err != nil && !v.mayTryAgain(terms) {
		return nil, v.err
	}
	return v.begin(ctx, terms), nil
}

// mayTryAgain reports whether a fetch may follow a failed one without a copy. v.mu
// is held.
func (v *Value[T]) mayTryAgain(terms Terms[T]) bool {
	if terms != nil {
		return terms.Allow()
	}
	return v.misses < burst || !v.failedWithin(burstPause) || time.Since(v.ended) >= burstPause
}

// Newer returns the copy of a fetch that ends from now on, for a caller whom old did
// not help and who arrived when that many fetches had begun. It joins the fetch
// under way, or begins one if the terms allow it. It returns nil if they do not, or
// if old is itself from a fetch that began after the caller had arrived.
func (v *Value[T]) Newer(ctx context.Context, old *Copy[T], arrived uint64, terms Terms[T]) (*Copy[T], error) {
	if old.seq > arrived {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, c, err := v.extra(ctx, old, arrived, terms)
	if f == nil {
		return c, err
	}
	return f.wait(ctx)
}

// extra returns the fetch to wait for, or where there is none what Newer returns.
func (v *Value[T]) extra(ctx context.Context, old *Copy[T], arrived uint64, terms Terms[T]) (*flight[*Copy[T]], *Copy[T], error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.current.Load(); c.seq > old.seq {
		return nil, c, nil
	}
	if v.flight != nil {
		return v.flight, nil, nil
	}
	if v.failedSeq > arrived {
		return nil, nil, v.err // failed since this caller arrived: another would too
	}
	if !terms.Allow() {
		return nil, nil, nil
	}
	return v.begin(ctx, terms), nil, nil
}

// begin starts a fetch. v.mu is held, and there is no other flight.
func (v *Value[T]) begin(ctx context.Context, terms Terms[T]) *flight[*Copy[T]] {
	seq, at, began := v.begun.Add(1), v.opts.Now(), time.Now()
	v.flight = launch(ctx, &v.clock, fetchTimeout, func(ctx context.Context) (*Copy[T], error) {
		value, err := v.opts.Fetch(ctx)
		return &Copy[T]{Value: value, seq: seq, at: at}, err
	}, func(ctx context.Context, c *Copy[T], err error) {
		v.end(ctx, seq, terms, End[T]{Copy: c, Err: err, Took: time.Since(began)})
	})
	v.flight.moment = v.clock.Limit(moment)
	return v.flight
}

// end records how a fetch ended. No other can begin before it has.
func (v *Value[T]) end(ctx context.Context, seq uint64, terms Terms[T], end End[T]) {
	if terms != nil {
		v.mu.Lock()
		before := v.err
		v.mu.Unlock()
		terms.Ended(end.Copy, before)
	}
	end.Serving = v.record(seq, end.Copy, end.Err)
	if v.opts.Report != nil {
		v.opts.Report(ctx, end)
	}
}

// record takes over the outcome of a fetch, and returns the older copy that still
// serves if it failed.
func (v *Value[T]) record(seq uint64, c *Copy[T], err error) (serving *Copy[T]) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flight.moment.Stop()
	v.flight, v.err = nil, err
	if err == nil {
		v.misses = 0
		v.current.Store(c)
		return nil
	}
	v.failedSeq, v.failedAt, v.ended = seq, v.opts.Now(), time.Now()
	if old := v.current.Load(); old != nil && v.age(old) < v.opts.Usable {
		return old
	}
	v.misses++
	return nil
}

// failedWithin reports whether the last fetch failed less than d ago. v.mu is held.
func (v *Value[T]) failedWithin(d time.Duration) bool {
	return v.err != nil && since(&v.failedAt, v.opts.Now()) < d
}

// age returns how long ago c was fetched. One that comes from the future is stamped
// with the present.
func (v *Value[T]) age(c *Copy[T]) time.Duration {
	at := c.at
	age := since(&at, v.opts.Now())
	if !at.Equal(c.at) {
		stamped := *c
		stamped.at = at
		v.current.CompareAndSwap(c, &stamped)
	}
	return age
}

// since returns how long ago then was. The longer of the two clocks counts: the
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
