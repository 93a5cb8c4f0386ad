package authpihttp

import (
	"context"
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
	// CommitIf writes b only over old, byte for byte, in one step. A nil old means
	// that there must be nothing. It reports whether it has written.
	CommitIf(ctx context.Context, token string, old, b []byte, expiry time.Time) (written bool, err error)
}
