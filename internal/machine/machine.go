// Package machine shares a machine's token among the processes of one client, over a
// store that can do no more than load and save bytes.
//
// There is no lock. A process that finds no token leaves a claim, waits a moment and
// looks whose claim is there; that process asks the issuer, and the others wait for
// what it saves. Where two go on at once both ask, which costs a request and nothing
// else. A store that fails, hangs or holds anything else costs a bounded wait.
//
// All that is stored is sealed under the client's secret, and named by a digest that
// needs it, too: who has the store alone learns neither a token nor whose it is.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/seal"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
	"github.com/authpi/authpi-idp-go/internal/tokens"
)

// Store keeps bytes until they expire.
type Store interface {
	Load(ctx context.Context, id string) ([]byte, error)
	Save(ctx context.Context, id string, sealed []byte, expiry time.Time) error
}

const (
	// storeWait bounds each call of the store.
	storeWait = time.Second
	// settle is how long a claim stands before it is looked at again: longer than
	// others that have found nothing take to write theirs.
	settle = 100 * time.Millisecond
	// pollEvery is how often the store is asked for what another process may bring.
	pollEvery = 100 * time.Millisecond
	// claimLife is how long a claim is respected by who watches it. Its process may
	// have died.
	claimLife = 3 * time.Second
	// patience is how long a process waits for others in all, before it asks by
	// itself whatever they do.
	patience = 4 * time.Second
)

// WaitForOthers is the longest that a [Share.Get] takes besides its Ask: the wait
// for other processes, and the calls of a store that is slow.
const WaitForOthers = patience + 8*storeWait

// Share is one kind of token.
type Share struct {
	store       Store
	key         *seal.Key
	id, claimID string
	skew        time.Duration
	now         func() time.Time
	clock       *awake.Clock
	failed      func(context.Context, error)
}

// Options of a Share.
type Options struct {
	Store Store
	// Secret is the client's. What a token is for, issuer and client first, tells
	// one Share from another.
	Secret string
	For    []string
	// Skew is how far the clocks of processes may be apart.
	Skew  time.Duration
	Now   func() time.Time
	Clock *awake.Clock
	// Failed is told what went wrong with the store. Nobody else is.
	Failed func(context.Context, error)
}

// New returns a Share. Nothing is loaded yet.
func New(o Options) (*Share, error) {
	key, err := seal.MachineKey(o.Secret)
	if err != nil {
		return nil, err
	}
	return &Share{
		store: o.Store, key: key, id: key.ID(append([]string{"token"}, o.For...)...),
		claimID: key.ID(append([]string{"claim"}, o.For...)...),
		skew:    o.Skew, now: o.Now, clock: o.Clock, failed: o.Failed,
	}, nil
}

// Token is a token as it is shared.
type Token struct {
	Set    tokens.Set
	Issued time.Time // when it was asked for, by the clock of who did
}

// Want is what one process wants.
type Want struct {
	// Due reports whether a token is used up.
	Due func(Token) bool
	// Spare says that the process has one that is good for a while: it does not wait
	// for others.
	Spare bool
	// Ask asks the issuer.
	Ask func(context.Context) (Token, error)
}

// ErrBusy is for a process that has a token to spare: another one is about to bring
// the next.
var ErrBusy = errors.New("another process asks for the token")

// Get returns a token that is not due, from the store or from Ask. Its error is
// Ask's, [ErrBusy], or wraps ctx.Err().
func (s *Share) Get(ctx context.Context, want Want) (Token, error) {
	var others sighting
	claimed := false
	for began := time.Now(); ; {
		t, err := s.load(ctx)
		switch {
		case !s.isAhead(t) && !want.Due(t): // which a zero one is
			return t, nil
		case err != nil || claimed || time.Since(began) >= patience:
			return s.ask(ctx, want, claimed)
		}
		if claimed = s.claim(ctx, &others); claimed {
			continue // somebody's whole request may have fitted in between
		}
		if want.Spare {
			return Token{}, ErrBusy
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return Token{}, err
		}
	}
}

// ask asks the issuer, and shares the outcome.
func (s *Share) ask(ctx context.Context, want Want, claimed bool) (Token, error) {
	t, err := want.Ask(ctx)
	if err == nil {
		_ = s.write(ctx, s.id, s.key.Seal(s.id, t.append(nil)), t.Set.ExpiresAt)
	}
	if claimed {
		_ = s.write(ctx, s.claimID, s.key.Seal(s.claimID, []byte(free)), s.now().Add(claimLife))
	}
	return t, err
}

// isAhead reports whether a token was asked for in the future. Its expiry is too
// late then as well.
func (s *Share) isAhead(t Token) bool { return t.Issued.After(s.now().Add(s.skew)) }

// What a claim says.
const (
	asking = "asking"
	free   = "free"
)

// sighting is the last claim of another process that was seen. It ages by this
// process's own clock.
type sighting struct {
	sealed []byte
	since  time.Time
}

// claim reports whether this process is to ask the issuer. It is where the store
// cannot be used as well.
func (s *Share) claim(ctx context.Context, others *sighting) bool {
	if s.isHeld(ctx, nil, others) {
		return false
	}
	own := s.key.Seal(s.claimID, []byte(asking))
	if s.write(ctx, s.claimID, own, s.now().Add(claimLife)) != nil {
		return true
	}
	_ = sleep(ctx, settle)
	return !s.isHeld(ctx, own, others)
}

// isHeld reports whether another process has a claim.
func (s *Share) isHeld(ctx context.Context, own []byte, others *sighting) bool {
	sealed, _ := s.read(ctx, s.claimID)
	if bytes.Equal(sealed, own) || s.open(ctx, s.claimID, sealed) != asking {
		return false
	}
	if !bytes.Equal(sealed, others.sealed) {
		*others = sighting{sealed, time.Now()}
	}
	return time.Since(others.since) < claimLife
}

// load returns the stored token; a zero one where there is none that can be read.
func (s *Share) load(ctx context.Context) (Token, error) {
	sealed, err := s.read(ctx, s.id)
	if err != nil {
		return Token{}, err
	}
	text := s.open(ctx, s.id, sealed)
	if text == "" {
		return Token{}, nil
	}
	t, err := parse(text)
	if err != nil {
		s.failed(ctx, fmt.Errorf("what is stored cannot be read: %w", err))
		return Token{}, nil
	}
	return t, nil
}

// maxSealed bounds what is opened.
const maxSealed = 1 << 20

var errTooLong = errors.New("what is stored is longer than 1 MiB")

// open returns what was sealed; nothing where there is nothing that can be opened.
func (s *Share) open(ctx context.Context, id string, sealed []byte) string {
	var plain []byte
	var err error
	switch {
	case len(sealed) == 0:
		return ""
	case len(sealed) > maxSealed:
		err = errTooLong
	default:
		plain, err = s.key.Open(id, sealed)
	}
	if err != nil {
		s.failed(ctx, err)
	}
	return string(plain)
}

func (s *Share) read(ctx context.Context, id string) (sealed []byte, err error) {
	came := make(chan []byte, 1) // a store that is late may still send
	err = s.call(ctx, func(ctx context.Context) error {
		got, err := s.store.Load(ctx, id)
		came <- got
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-came, nil
}

func (s *Share) write(ctx context.Context, id string, sealed []byte, expiry time.Time) error {
	return s.call(ctx, func(ctx context.Context) error { return s.store.Save(ctx, id, sealed, expiry) })
}

// call bounds a call of the store, which may be deaf or panic.
func (s *Share) call(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("it panicked with a %T", fault) // its value may hold anything
		}
		if err != nil {
			s.failed(ctx, err)
		}
	}()
	limit := s.clock.Limit(storeWait)
	defer limit.Stop()
	_, err = limit.Run(ctx, 0, f)
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The stored form of a token: what it is good for is told by its id.
const (
	keyTokens = "tokens"
	keyIssued = "issued_at"
)

func (t Token) append(dst []byte) []byte {
	access := tokens.Set{
		AccessToken: t.Set.AccessToken, TokenType: t.Set.TokenType, ExpiresAt: t.Set.ExpiresAt, Scope: t.Set.Scope,
	}
	dst = append(dst, `{"`+keyTokens+`":`...)
	dst = append(dst, access.JSON()...)
	return fmt.Appendf(dst, `,"`+keyIssued+`":%d}`, t.Issued.Unix())
}

func parse(text string) (t Token, err error) {
	r := strictjson.NewReader(text)
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case keyTokens:
			raw, _ := r.Raw()
			t.Set, err = tokens.Parse([]byte(raw))
		case keyIssued:
			seconds, _ := r.Int()
			t.Issued = time.Unix(seconds, 0).UTC()
		}
	}
	return t, errors.Join(r.End(), err)
}
