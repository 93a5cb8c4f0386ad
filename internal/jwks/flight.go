package jwks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jws"
)

// flight is one fetch that callers share.
type flight struct {
	seq  uint64
	done chan struct{} // closed at the end, when set and err are final
	late chan struct{} // closed when it has taken longer than callers with a stale set wait

	set *snapshot // nil if it failed
	err error

	// Who began it, and pays if it does not help.
	token  *jws.Token // nil for Trusts, which any set helps; a copy, as the caller may leave
	from   Source
	charge charge
}

// wait waits for the end of f, until late is closed at most; a nil late never is. Its error wraps
// ctx.Err().
func (f *flight) wait(ctx context.Context, late <-chan struct{}) (ended bool, err error) {
	select {
	case <-f.done:
	case <-late:
	case <-ctx.Done():
	}
	select {
	case <-f.done: // comes first, should there be several
		return true, nil
	default:
	}
	if err := ctx.Err(); err != nil {
		return false, waitError(err)
	}
	return false, nil
}

func waitError(err error) error {
	return fmt.Errorf("jwks: waiting for the issuer's keys: %w", err)
}

// charge says how the caller that begins a fetch pays for it.
type charge int

const (
	free           charge = iota
	charged               // paid; given back if the fetch helps
	chargeIfWasted        // not yet paid; owed if the fetch does not help (but see finish)
)

// begin starts a fetch. The caller holds s.mu, and there is no other flight.
//
// It does not end with ctx: others may wait for it by then, and will want the keys later.
func (s *Set) begin(ctx context.Context, t *jws.Token, from Source, c charge) *flight {
	f := &flight{
		seq:    s.started.Add(1),
		done:   make(chan struct{}),
		late:   make(chan struct{}),
		from:   from,
		charge: c,
	}
	if t != nil {
		token := *t
		f.token = &token
	}
	s.flight = f
	go s.run(context.WithoutCancel(ctx), f)
	return f
}

// run fetches and ends f, whatever the fetch does: a panic in it must not leave callers waiting.
func (s *Set) run(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	lateness := time.AfterFunc(patience, func() { close(f.late) })
	defer lateness.Stop()

	var (
		sn  *snapshot
		err = errors.New("jwks: the fetch ended without an answer")
	)
	defer func() {
		if r := recover(); r != nil {
			sn, err = nil, fmt.Errorf("jwks: the fetch panicked with a %T", r) // its value may hold what was sent
		}
		s.finish(ctx, f, sn, err)
	}()

	at := s.now()
	doc, err := s.fetch(ctx)
	if err != nil {
		return
	}
	if sn, err = parse(string(doc)); err != nil {
		return
	}
	sn.seq, sn.fetched = f.seq, at
}

// finish records how f ended, settles its charge and lets its callers go.
func (s *Set) finish(ctx context.Context, f *flight, sn *snapshot, err error) {
	defer close(f.done)
	helped := sn != nil && f.charge != free && (f.token == nil || sn.has(f.token))

	s.mu.Lock()
	now := s.now()
	old := s.current.Load()
	before := s.failure
	switch {
	case err != nil:
		s.failedAt = now
	case before != nil && f.charge == chargeIfWasted:
		// What failures took without a set is given back: whoever they kept waiting may come now.
		s.budgets[Untrusted].refill()
		s.current.Store(sn)
	default:
		s.current.Store(sn)
	}
	s.failure = err
	switch {
	case f.charge == charged && helped:
		s.budgets[f.from].give()
	case f.charge == chargeIfWasted && !helped && (err == nil || before != nil && f.from == Untrusted):
		// A first failure is free, as the fetch was due anyway; it is those who try again that pay,
		// unless they come with a token from the issuer.
		s.budgets[f.from].take(now)
	}
	s.flight = nil
	f.set, f.err = sn, err
	s.mu.Unlock()

	s.report(ctx, old, sn, err)
}

// report logs how a fetch ended.
func (s *Set) report(ctx context.Context, old, sn *snapshot, err error) {
	switch {
	case err != nil && old != nil && s.age(old) <= staleFor:
		s.log.WarnContext(ctx, "authpi: issuer's keys could not be fetched, the last copy serves",
			slog.Duration("age", s.age(old)), slog.Any("error", err))
	case err == nil && len(sn.handles) == 0:
		s.log.WarnContext(ctx, "authpi: issuer publishes no key that can be used, every token is refused")
	case err == nil && s.log.Enabled(ctx, slog.LevelDebug):
		ids := make([]string, 0, len(sn.keys))
		for _, k := range sn.keys {
			ids = append(ids, k.handle.id)
		}
		s.log.DebugContext(ctx, "authpi: fetched the issuer's keys", slog.Int("count", len(ids)), slog.Any("kids", ids))
	}
}
