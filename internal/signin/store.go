package signin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"
)

// Store and Conditional are as package authpihttp documents them.
type (
	Store interface {
		Find(token string) (b []byte, found bool, err error)
		Commit(token string, b []byte, expiry time.Time) error
		Delete(token string) error
	}
	Conditional interface {
		CommitIf(ctx context.Context, token string, old, b []byte, expiry time.Time) (written bool, err error)
	}
)

// contextStore is scs's CtxStore.
type contextStore interface {
	FindCtx(ctx context.Context, token string) (b []byte, found bool, err error)
	CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, token string) error
}

// entries is a Store as a Book uses it.
type entries struct {
	store       contextStore
	conditional Conditional // nil: the store has no CommitIf
	now         func() time.Time

	// Without CommitIf a lock keeps an entry from changing between its reading and
	// its writing. Entries share them by hash: nobody takes two.
	seed maphash.Seed
	busy [256]chan struct{}
}

// plain is a Store without contexts.
type plain struct{ Store }

func (p plain) FindCtx(_ context.Context, token string) ([]byte, bool, error) { return p.Find(token) }

func (p plain) CommitCtx(_ context.Context, token string, b []byte, expiry time.Time) error {
	return p.Commit(token, b, expiry)
}

func (p plain) DeleteCtx(_ context.Context, token string) error { return p.Delete(token) }

func newEntries(store Store, now func() time.Time) *entries {
	e := &entries{now: now, seed: maphash.MakeSeed()}
	e.conditional, _ = store.(Conditional)
	if e.store, _ = store.(contextStore); e.store == nil {
		e.store = plain{store}
	}
	for i := range e.busy {
		e.busy[i] = make(chan struct{}, 1)
	}
	return e
}

// find returns an entry, nil where there is none.
func (e *entries) find(ctx context.Context, key string) ([]byte, error) {
	b, found, err := e.store.FindCtx(ctx, key)
	if err != nil {
		return nil, &StoreError{err}
	}
	if !found {
		return nil, nil
	}
	return b, nil
}

// write writes b over old alone. Of a store without CommitIf it reads back what it
// has written: another process may have written at the same time.
func (e *entries) write(ctx context.Context, key string, old, b []byte, expiry time.Time) (written bool, err error) {
	if e.conditional != nil {
		if written, err = e.conditional.CommitIf(ctx, key, old, b, expiry); err != nil {
			return false, sizedError(err, b)
		}
		if !written || len(b) <= large {
			return written, nil
		}
		return true, e.readBack(ctx, key, b)
	}
	unlock, same, err := e.lockIf(ctx, key, old)
	if !same || err != nil {
		return false, err
	}
	defer unlock()
	if err := e.store.CommitCtx(ctx, key, b, expiry); err != nil {
		return false, sizedError(err, b)
	}
	return true, e.readBack(ctx, key, b)
}

// end removes an entry if it still is old. With CommitIf a stone that opens for
// nobody goes over it first, for there is no conditional Delete.
func (e *entries) end(ctx context.Context, key string, old []byte) (ended bool, err error) {
	if e.conditional == nil {
		unlock, same, err := e.lockIf(ctx, key, old)
		if !same || err != nil {
			return false, err
		}
		defer unlock()
		return true, e.drop(ctx, key)
	}
	ended, err = e.conditional.CommitIf(ctx, key, old, []byte("ended"), e.now().Add(time.Minute))
	if err != nil {
		return false, &StoreError{err}
	}
	if ended {
		_ = e.drop(ctx, key) // or the stone expires
	}
	return ended, nil
}

// remove removes an entry, whatever it is. Without CommitIf it waits for a write that
// is under way, which would bring the entry back.
func (e *entries) remove(ctx context.Context, key string) error {
	if e.conditional == nil {
		unlock, err := e.lock(ctx, key)
		if err != nil {
			return err
		}
		defer unlock()
	}
	return e.drop(ctx, key)
}

// drop is remove for who has locked the entry, if need be.
func (e *entries) drop(ctx context.Context, key string) error {
	if err := e.store.DeleteCtx(ctx, key); err != nil {
		return &StoreError{err}
	}
	return nil
}

// lock waits no longer than ctx: the store may hang for whoever holds the lock.
func (e *entries) lock(ctx context.Context, key string) (unlock func(), err error) {
	busy := e.busy[maphash.String(e.seed, key)%uint64(len(e.busy))]
	select {
	case busy <- struct{}{}:
		return func() { <-busy }, nil
	case <-ctx.Done():
		return nil, &StoreError{ctx.Err()}
	}
}

// lockIf locks an entry if it still is old. It locks none where the store panics: a
// server goes on after that.
func (e *entries) lockIf(ctx context.Context, key string, old []byte) (unlock func(), same bool, err error) {
	if unlock, err = e.lock(ctx, key); err != nil {
		return nil, false, err
	}
	defer func() {
		if !same {
			unlock()
		}
	}()
	b, err := e.find(ctx, key)
	return unlock, err == nil && (b == nil) == (old == nil) && bytes.Equal(b, old), err
}

// large is where stores begin to have limits: scs's MySQL schema holds 64 KiB, and a
// lenient server cuts what is longer.
const large = 60 << 10

func (e *entries) readBack(ctx context.Context, key string, b []byte) error {
	stored, err := e.find(ctx, key)
	switch {
	case err != nil:
		return err
	case bytes.Equal(stored, b):
		return nil
	case len(b) > large:
		_ = e.drop(ctx, key)
		return &SizeError{fmt.Errorf("authpihttp: the store has changed an entry of %d bytes: it must hold entries of that size", len(b))}
	}
	return ErrOvertaken
}

// sizedError names the size where it may be the reason.
func sizedError(err error, b []byte) error {
	if len(b) > large {
		return &SizeError{fmt.Errorf("authpihttp: the store has refused an entry of %d bytes: %w", len(b), err)}
	}
	return &StoreError{err}
}

// StoreError is a failure of the store, which may pass.
type StoreError struct{ cause error }

func (e *StoreError) Error() string { return "authpihttp: store: " + e.cause.Error() }

// Unwrap returns the store's own error.
func (e *StoreError) Unwrap() error { return e.cause }

// SizeError is a store that does not hold what it must.
type SizeError struct{ cause error }

func (e *SizeError) Error() string { return e.cause.Error() }

// Unwrap returns the store's own error, if there is one.
func (e *SizeError) Unwrap() error { return errors.Unwrap(e.cause) }

// Sentinels of this package.
const (
	// ErrOvertaken: others keep changing what is to be changed.
	ErrOvertaken = Error("others keep changing the sign-in")
	// ErrEnded: the sign-in has ended while its tokens were refreshed.
	ErrEnded = Error("signed out meanwhile")
	// ErrLoggedOut: the issuer has ended the session while it was being stored.
	ErrLoggedOut = Error("the issuer has ended the session during the sign-in")
	// ErrExpired: the tokens of a new sign-in are of no use.
	ErrExpired = Error("the tokens had expired when they came, and there is no refresh token")
	// ErrNotSignedIn: nobody is signed in, or no longer.
	ErrNotSignedIn = Error("not signed in")
)

// Error is a sentinel. As a constant it cannot be replaced.
type Error string

func (e Error) Error() string { return "authpihttp: " + string(e) }
