package authpihttp

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"time"
)

// Store keeps sealed entries under keys of 43 characters. Each store of
// github.com/alexedwards/scs/v2 is one; give it a table or prefix of its own, since
// scs cannot read what is in here. A store that has FindCtx, CommitCtx and DeleteCtx
// is always asked through them. It is safe for concurrent use.
type Store interface {
	// Find returns what was committed and has not expired. An error means that the
	// store could not be asked: it signs nobody out.
	Find(token string) (b []byte, found bool, err error)
	// Commit keeps b until expiry, over whatever there was.
	Commit(token string, b []byte, expiry time.Time) error
	// Delete removes an entry. One that does not exist is no error.
	Delete(token string) error
}

// ConditionalStore is a Store that several processes may share: none undoes what
// another has written meanwhile.
type ConditionalStore interface {
	// CommitIf writes b only over old, byte for byte, in one step. A nil old means that
	// there must be nothing. It reports whether it has written.
	CommitIf(ctx context.Context, token string, old, b []byte, expiry time.Time) (written bool, err error)
}

// contextStore is scs's CtxStore.
type contextStore interface {
	FindCtx(ctx context.Context, token string) (b []byte, found bool, err error)
	CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, token string) error
}

// entries is a Store as the App uses it.
type entries struct {
	store       contextStore
	conditional ConditionalStore // nil: the store has no CommitIf
	now         func() time.Time

	// Without CommitIf a lock keeps an entry from changing between its reading and its
	// writing. Entries share them by hash: nobody takes two.
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
	e.conditional, _ = store.(ConditionalStore)
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
		return nil, &storeError{err}
	}
	if !found {
		return nil, nil
	}
	return b, nil
}

// write writes b over old alone. Of a store without CommitIf it reads back what it has
// written: another process may have written at the same time.
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

// end removes an entry if it still is old. With CommitIf a stone that opens for nobody
// goes over it first, for there is no conditional Delete.
func (e *entries) end(ctx context.Context, key string, old []byte) (ended bool, err error) {
	if e.conditional == nil {
		unlock, same, err := e.lockIf(ctx, key, old)
		if !same || err != nil {
			return false, err
		}
		defer unlock()
		return true, e.remove(ctx, key)
	}
	ended, err = e.conditional.CommitIf(ctx, key, old, []byte("ended"), e.now().Add(time.Minute))
	if err != nil {
		return false, &storeError{err}
	}
	if ended {
		_ = e.remove(ctx, key) // or the stone expires
	}
	return ended, nil
}

func (e *entries) remove(ctx context.Context, key string) error {
	if err := e.store.DeleteCtx(ctx, key); err != nil {
		return &storeError{err}
	}
	return nil
}

// lockIf locks an entry if it still is old. It waits no longer than ctx: the store may
// hang for whoever holds the lock.
func (e *entries) lockIf(ctx context.Context, key string, old []byte) (unlock func(), same bool, err error) {
	busy := e.busy[maphash.String(e.seed, key)%uint64(len(e.busy))]
	select {
	case busy <- struct{}{}:
	case <-ctx.Done():
		return nil, false, &storeError{ctx.Err()}
	}
	unlock = func() { <-busy }
	b, err := e.find(ctx, key)
	if err != nil || (b == nil) != (old == nil) || !bytes.Equal(b, old) {
		unlock()
		return nil, false, err
	}
	return unlock, true, nil
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
		_ = e.remove(ctx, key)
		return &mistake{fmt.Errorf("authpihttp: the store has changed an entry of %d bytes: it must hold entries of that size", len(b))}
	}
	return errOvertaken
}

// sizedError names the size where it may be the reason.
func sizedError(err error, b []byte) error {
	if len(b) > large {
		return &mistake{fmt.Errorf("authpihttp: the store has refused an entry of %d bytes: %w", len(b), err)}
	}
	return &storeError{err}
}

// storeError is a failure of the store, which may pass.
type storeError struct{ cause error }

func (e *storeError) Error() string { return "authpihttp: store: " + e.cause.Error() }
func (e *storeError) Unwrap() error { return e.cause }
