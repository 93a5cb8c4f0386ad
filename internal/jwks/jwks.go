// Package jwks keeps the issuer's keys and verifies tokens with them.
//
// A [Set] fetches the issuer's JWK Set (RFC 7517) when it is first needed, again when a token
// names a key that it does not know, and again when the copy has aged. All callers share one
// fetch, and a budget bounds how many fetches made-up key IDs can cause.
package jwks

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jws"
)

const (
	// freshFor is how long a set is trusted without asking again. With the pause and the
	// timeouts below, a key that the issuer withdrew is gone within the hour, if it can be asked.
	freshFor = 45 * time.Minute
	// staleFor is how old a set may become while fetches fail.
	staleFor = 24 * time.Hour
	// retryPause is the time between two fetches that fail while a stale set serves.
	retryPause = 10 * time.Second
	// patience is how long callers wait for a fetch while a stale set could serve.
	patience = 5 * time.Second
	// fetchTimeout bounds one fetch.
	fetchTimeout = 10 * time.Second
)

// Source says where a token came from. Each has its own budget for fetches, so that forged
// tokens of the one kind cannot use up that of the other.
type Source int

const (
	// Untrusted is a token that anybody may have sent, such as a bearer or a logout token.
	Untrusted Source = iota
	// FromIssuer is a token that came straight from the token endpoint.
	FromIssuer

	sources = iota
)

// Set is the issuer's current key set. It is safe for concurrent use.
type Set struct {
	fetch func(ctx context.Context) ([]byte, error)
	now   func() time.Time
	log   *slog.Logger

	current atomic.Pointer[snapshot] // nil until a fetch has succeeded; replaced under mu
	started atomic.Uint64            // fetches begun, the sequence number of the last; added to under mu

	mu       sync.Mutex // guards what follows; not held during a fetch
	flight   *flight    // nil if no fetch is under way
	failure  error      // of the last fetch; nil if that succeeded
	failedAt time.Time  // when the last one that failed ended
	budgets  [sources]budget
}

// New returns a Set that gets the JWK Set document from fetch, which must bound its length and
// heed its context; that has a deadline, and the values of the context of the call that led to
// the fetch. Nothing is fetched yet. A nil log is silent.
func New(fetch func(ctx context.Context) ([]byte, error), now func() time.Time, log *slog.Logger) *Set {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Set{fetch: fetch, now: now, log: log}
	for i := range s.budgets {
		s.budgets[i].refill()
	}
	return s
}

// UnavailableError says that the keys could not be had now: the fetch failed, or there were too
// many, and Err is then what the last one failed with, if it did. It is a passing failure and
// says nothing about the token.
type UnavailableError struct {
	Err error // the cause
}

// Error returns the cause's text.
func (e *UnavailableError) Error() string {
	return "jwks: the issuer's keys are not available: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

var (
	errBudget = errors.New("keys cannot be fetched again yet")
	errNoKeys = errors.New("the key set holds no key that can verify")
)

// Verify verifies t's signature with the key of the issuer that it names, or if it names none,
// with any that fits its algorithm. It checks no claim.
//
// A key ID that the set does not have leads to a fetch, within the budget of from. A known one
// never does, however bad the signature: the issuer would have to publish another key under the
// same ID.
//
// A token that was refused is a [*jws.Error] with Part kid, alg or signature. If keys cannot be
// had it is an [*UnavailableError], and if ctx ends first, an error that wraps ctx.Err().
func (s *Set) Verify(ctx context.Context, t *jws.Token, from Source) (Key, error) {
	arrived := s.started.Load() // before anything else is read
	sn, failure, err := s.usable(ctx, t, from)
	if err != nil {
		return Key{}, err
	}
	for {
		k, final, refusal := sn.verify(t)
		if final {
			return k, refusal
		}
		if failure != nil {
			return Key{}, &UnavailableError{failure}
		}
		newer, err := s.newer(ctx, sn, arrived, t, from)
		if err != nil {
			return Key{}, err
		}
		if newer == nil && len(sn.handles) == 0 {
			// An issuer that signs tokens and publishes no key has an accident. No token
			// passes, but none counts as forged either, for a session may hang on it.
			return Key{}, &UnavailableError{errNoKeys}
		}
		if newer == nil {
			return Key{}, refusal
		}
		sn = newer
	}
}

// Trusts reports whether k is still a key of the issuer's: the same material under the same kid
// and alg. It lets verified tokens be remembered without outliving their key. While the set is
// fresh it takes no lock; when it has aged, it is fetched as for Verify.
func (s *Set) Trusts(ctx context.Context, k Key) bool {
	if k == (Key{}) {
		return false
	}
	sn, _, err := s.usable(ctx, nil, Untrusted)
	if err != nil {
		return false
	}
	_, ok := sn.handles[k]
	return ok
}

// usable returns a set that may be trusted now. If it is an old one, because the fetch that this
// call waited for has failed, failure says why.
//
// The token that is to be verified, if any, pays for a fetch that begins with no usable set and
// then does not help it. Without a set, fetches that fail again are paid for from the budget, and
// once that is used up, the last failure is the answer until it has filled up: else every token that
// anybody makes up would be a request to an issuer in trouble.
func (s *Set) usable(ctx context.Context, t *jws.Token, from Source) (sn *snapshot, failure, err error) {
	if sn := s.current.Load(); sn != nil && s.age(sn) <= freshFor {
		return sn, nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, waitError(err)
	}
	f, stale, err := s.renewal(ctx, t, from)
	if f == nil {
		return stale, nil, err
	}
	late := f.late
	if stale == nil {
		late = nil // nothing could serve meanwhile
	}
	ended, err := f.wait(ctx, late)
	switch {
	case err != nil:
		return nil, nil, err
	case !ended:
		return stale, nil, nil
	case f.err == nil:
		return f.set, nil, nil
	case stale != nil:
		return stale, f.err, nil
	default:
		return nil, nil, &UnavailableError{f.err}
	}
}

// renewal returns the fetch to wait for, begun now if need be, and the set that serves if it
// fails, if there is one. Without a fetch, the set is to be used as it is, and if there is none,
// err says why.
func (s *Set) renewal(ctx context.Context, t *jws.Token, from Source) (f *flight, sn *snapshot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sn = s.current.Load(); sn != nil {
		age := s.age(sn)
		if age <= freshFor {
			return nil, sn, nil // renewed meanwhile
		}
		if age > staleFor {
			sn = nil
		}
	}
	switch {
	case sn == nil && s.flight != nil:
		return s.flight, nil, nil
	case sn == nil && s.failure != nil && from == Untrusted && s.budgets[from].empty(s.now()):
		return nil, nil, &UnavailableError{s.failure}
	case sn == nil:
		// Charged only once it is known that it did not help. A token from the issuer may always
		// try: it has cost a login, and that would be lost.
		return s.begin(ctx, t, from, chargeIfWasted), nil, nil
	case s.failure != nil && (s.flight != nil || s.pausing()):
		return nil, sn, nil
	case s.flight == nil:
		return s.begin(ctx, t, from, free), sn, nil
	default:
		return s.flight, sn, nil
	}
}

// pausing reports whether the last fetch failed a moment ago. A clock that was moved back ends
// the pause, so as not to make it longer.
func (s *Set) pausing() bool {
	elapsed := s.now().Sub(s.failedAt)
	return elapsed >= 0 && elapsed < retryPause
}

// newer returns a set that is newer than sn, which did not help to verify t, or nil if there
// is none: sn itself came from a fetch that began after the caller had arrived, or the budget is
// used up.
func (s *Set) newer(ctx context.Context, sn *snapshot, arrived uint64, t *jws.Token, from Source) (*snapshot, error) {
	if sn.seq > arrived {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, waitError(err)
	}
	f, current := s.extra(ctx, sn, t, from)
	switch {
	case current != nil:
		return current, nil
	case f == nil && from == Untrusted:
		return nil, nil
	case f == nil:
		return nil, &UnavailableError{errBudget}
	}
	if _, err := f.wait(ctx, nil); err != nil {
		return nil, err
	}
	if f.err != nil {
		return nil, &UnavailableError{f.err}
	}
	return f.set, nil
}

// extra returns the fetch under way, or begins one within the budget. If a set newer than sn
// has come meanwhile, it returns that instead.
func (s *Set) extra(ctx context.Context, sn *snapshot, t *jws.Token, from Source) (*flight, *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if current := s.current.Load(); current.seq > sn.seq {
		return nil, current
	}
	if s.flight == nil && s.budgets[from].take(s.now()) {
		return s.begin(ctx, t, from, charged), nil
	}
	return s.flight, nil
}

// age returns how long ago sn was fetched. The longer of the two clocks counts: the monotonic
// one stands still while a machine sleeps, the other may be set back.
//
// If sn comes from the future it has no age, and is stamped with the present: else it would stay
// young until that future has come.
func (s *Set) age(sn *snapshot) time.Duration {
	now := s.now()
	age := max(now.Sub(sn.fetched), now.Round(0).Sub(sn.fetched.Round(0)))
	if age < 0 {
		stamped := *sn
		stamped.fetched = now
		s.current.CompareAndSwap(sn, &stamped)
		return 0
	}
	return age
}
