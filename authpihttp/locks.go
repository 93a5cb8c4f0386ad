package authpihttp

import (
	"context"
	"hash/maphash"
)

// locks keep a record from changing between its reading and its writing. Records
// share them by hash, which bounds their number: nobody takes two.
type locks struct {
	seed maphash.Seed
	busy [256]chan struct{}
}

func newLocks() *locks {
	l := &locks{seed: maphash.MakeSeed()}
	for i := range l.busy {
		l.busy[i] = make(chan struct{}, 1)
	}
	return l
}

// lock waits no longer than ctx: the store may hang for whoever holds the lock.
func (l *locks) lock(ctx context.Context, ref string) (unlock func(), err error) {
	busy := l.busy[maphash.String(l.seed, ref)%uint64(len(l.busy))]
	select {
	case busy <- struct{}{}:
		return func() { <-busy }, nil
	case <-ctx.Done():
		return nil, &storeError{ctx.Err()}
	}
}
