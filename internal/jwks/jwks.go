// Package jwks keeps the issuer's keys and verifies tokens with them.
//
// A [Set] fetches the issuer's JWK Set (RFC 7517) when it is first needed, again
// when a token names a key that it does not know, and again when the copy has aged.
// Package fresh keeps that copy: a good one serves at once, and all callers share
// one fetch. What is added here is a budget, which bounds how many fetches made-up
// key IDs can cause.
package jwks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/record"
)

const (
	// freshFor is how long a set is used without asking again.
	freshFor = 45 * time.Minute
	// overdueAfter is when a key that the issuer withdrew must be gone, if the keys
	// can be fetched: from then on callers wait a moment for the newer set.
	overdueAfter = time.Hour
	// usableFor is how old a set may become while fetches fail.
	usableFor = 24 * time.Hour
)

// Source says where a token came from. Each has its own budget for fetches, so that
// forged tokens of the one kind cannot use up that of the other.
type Source int

const (
	// Untrusted is a token that anybody may have sent, such as a bearer or a logout
	// token.
	Untrusted Source = iota
	// FromIssuer is a token that came straight from the token endpoint.
	FromIssuer

	sources = iota
)

// Set is the issuer's current key set. It is safe for concurrent use.
type Set struct {
	published *fresh.Value[*snapshot]
	now       func() time.Time
	log       *slog.Logger

	mu      sync.Mutex // guards budgets
	budgets [sources]budget
}

// New returns a Set that gets the JWK Set document from fetch, which must bound its
// length and heed its context; that has a deadline, and the values of the context of
// the call that led to the fetch. Nothing is fetched yet. A nil log is silent.
func New(fetch func(ctx context.Context) ([]byte, error), now func() time.Time, log *slog.Logger) *Set {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Set{now: now, log: log}
	for i := range s.budgets {
		s.budgets[i].refill()
	}
	s.published = fresh.New(fresh.Options[*snapshot]{
		Fetch: func(ctx context.Context) (*snapshot, error) {
			doc, err := fetch(ctx)
			if err != nil {
				return nil, err
			}
			return parse(string(doc))
		},
		Now: now, Fresh: freshFor, Overdue: overdueAfter, Usable: usableFor, Report: s.report,
	})
	return s
}

// UnavailableError says that the keys could not be had now: the fetch failed, or
// there were too many, and Err is then what the last one failed with, if it did. It
// is a passing failure and says nothing about the token.
type UnavailableError struct {
	Err error // the cause
}

// Error returns the cause's text.
func (e *UnavailableError) Error() string {
	return "jwks: the issuer's keys are not available: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// What may be wrong with a key set; see [Set.Check].
var (
	ErrNoKeys   = errors.New("the key set holds no key that can verify")
	ErrNoFit    = errors.New("the key set holds no key for an accepted algorithm")
	ErrDocument = errors.New("jwks: the document cannot be read")
)

var errBudget = errors.New("keys cannot be fetched again yet")

// Verify verifies t's signature with the key of the issuer that it names, or if it
// names none, with any that fits its algorithm. It checks no claim.
//
// A key ID that the set does not have leads to a fetch, within the budget of from. A
// known one never does, however bad the signature: the issuer would have to publish
// another key under the same ID.
//
// A token that was refused is a [*jws.Error] with Part kid, alg or signature; see
// [IsUnknownKey]. If keys cannot be had it is an [*UnavailableError], and if ctx
// ends first, an error that wraps ctx.Err().
func (s *Set) Verify(ctx context.Context, t *jws.Token, from Source) (Key, error) {
	arrived := s.published.Begun() // before anything else is read
	set, err := s.usable(ctx, t, from)
	if err != nil {
		return Key{}, err
	}
	for {
		k, final, refusal := set.Value.verify(t)
		if final {
			return k, refusal
		}
		newer, err := s.newer(ctx, set, arrived, t, from)
		switch {
		case err != nil:
			return Key{}, err
		case newer == nil && len(set.Value.handles) == 0:
			// An issuer that signs tokens and publishes no key has an accident. No
			// token passes, but none counts as forged either, for a session may hang
			// on it.
			return Key{}, &UnavailableError{ErrNoKeys}
		case newer == nil:
			return Key{}, refusal
		}
		set = newer
	}
}

// IsUnknownKey reports whether a token was refused because the issuer does not
// publish the key that it names. Keys may lag: the issuer may publish it a moment
// later.
func IsUnknownKey(err error) bool {
	var refused *jws.Error
	return errors.As(err, &refused) && refused.Part == "kid"
}

// Trusts reports whether k is still a key of the issuer's: the same material under
// the same kid and alg. It lets verified tokens be remembered without outliving
// their key. While the set is fresh it takes no lock; when it has aged, it is
// fetched as for Verify.
func (s *Set) Trusts(ctx context.Context, k Key) bool {
	if k == (Key{}) {
		return false
	}
	set, err := s.usable(ctx, nil, Untrusted)
	if err != nil {
		return false
	}
	_, ok := set.Value.handles[k]
	return ok
}

// Check reports whether tokens could be verified now by one of algs: nil if the
// issuer publishes a key that fits, [ErrNoKeys] if it publishes none that can
// verify, and [ErrNoFit] if there are only others. If keys cannot be had it is an
// [*UnavailableError]; a document that cannot be read is an [ErrDocument] in it.
func (s *Set) Check(ctx context.Context, algs []string) error {
	set, err := s.usable(ctx, nil, Untrusted)
	switch {
	case err != nil:
		return err
	case len(set.Value.handles) == 0:
		return ErrNoKeys
	case !slices.ContainsFunc(algs, func(alg string) bool { return anyFits(set.Value.keys, alg) }):
		return ErrNoFit
	}
	return nil
}

// usable returns a set that may be trusted now. The token that is to be verified, if
// any, pays for a fetch that begins with no usable set and then does not help it.
func (s *Set) usable(ctx context.Context, t *jws.Token, from Source) (*fresh.Copy[*snapshot], error) {
	if set := s.published.Fresh(); set != nil {
		return set, nil
	}
	set, err := s.published.Copy(ctx, &firstFetch{s.payerOf(t, from)})
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	return set, nil
}

// newer returns a set that is newer than the one which did not help to verify t, or
// nil if there is none: that one came from a fetch that began after the caller had
// arrived, or the budget is used up.
func (s *Set) newer(ctx context.Context, set *fresh.Copy[*snapshot], arrived uint64, t *jws.Token, from Source) (*fresh.Copy[*snapshot], error) {
	extra := &extraFetch{payer: s.payerOf(t, from)}
	newer, err := s.published.Newer(ctx, set, arrived, extra)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	if extra.refused && from == FromIssuer && !t.HasKeyID {
		// Another key may have signed it. With a kid it is known that the key was
		// not published a moment ago, whether or not that is asked again.
		return nil, &UnavailableError{errBudget}
	}
	return newer, nil
}

// unavailable is the error of a caller that has left, or of keys that cannot be had.
func unavailable(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) { // never of a context that has not ended
		return fmt.Errorf("jwks: waiting for the issuer's keys: %w", err)
	}
	return &UnavailableError{err}
}

// report logs how a fetch ended.
func (s *Set) report(ctx context.Context, end fresh.End[*snapshot]) {
	fetch := end.Record(s.now)
	switch {
	case end.Copy == nil:
	case len(end.Copy.Value.handles) == 0: // every token is refused
		fetch.Outcome, fetch.Error = record.Failed, ErrNoKeys.Error()
	default:
		for _, k := range end.Copy.Value.keys {
			fetch.KeyIDs = append(fetch.KeyIDs, k.handle.id)
		}
	}
	fetch.LogKeys(ctx, s.log)
}
