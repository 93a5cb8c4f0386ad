package authpihttp_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// store is one in memory that can be away. It has no CommitIf; see conditional.
type store struct {
	now func() time.Time

	mu      sync.Mutex // guards what follows
	items   map[string]item
	finds   int
	writes  int
	changes int           // Commit, CommitIf and Delete
	away    bool          // every call fails
	full    bool          // every change fails
	failsAt map[int]error // the n-th Find fails
	breaks  int           // the change that fails
	onFind  func(n int)   // after the n-th Find has read
	onWrite func()        // before the next write, once
	alter   func([]byte) []byte
}

type item struct {
	data   []byte
	expiry time.Time
}

var errAway = errors.New("store: connection refused by secret.internal:6379")

func newStore(now func() time.Time) *store { return &store{items: map[string]item{}, now: now} }

func (s *store) Find(token string) ([]byte, bool, error) {
	s.mu.Lock()
	s.finds++
	n, hook := s.finds, s.onFind
	i, ok := s.items[token]
	away, err := s.away, s.failsAt[n]
	s.mu.Unlock()
	if hook != nil {
		hook(n)
	}
	switch {
	case away:
		return nil, false, errAway
	case err != nil:
		return nil, false, err
	case !ok || !s.now().Before(i.expiry):
		return nil, false, nil
	}
	return i.data, true, nil
}

func (s *store) Commit(token string, data []byte, expiry time.Time) error {
	_, err := s.write(token, data, expiry, func(item, bool) bool { return true })
	return err
}

func (s *store) write(token string, data []byte, expiry time.Time, may func(item, bool) bool) (bool, error) {
	s.mu.Lock()
	hook := s.onWrite
	s.onWrite = nil
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes++; s.away || s.full || s.changes == s.breaks {
		return false, errAway
	}
	i, found := s.items[token]
	if found && !s.now().Before(i.expiry) {
		i, found = item{}, false
	}
	if !may(i, found) {
		return false, nil
	}
	s.writes++
	if s.alter != nil {
		data = s.alter(data)
	}
	s.items[token] = item{bytes.Clone(data), expiry}
	return true, nil
}

func (s *store) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes++; s.away || s.full || s.changes == s.breaks {
		return errAway
	}
	delete(s.items, token)
	return nil
}

// set changes how the store behaves.
func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *store) copy() map[string]item {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.items)
}

// conditional is a store for several processes.
type conditional struct{ *store }

var _ authpihttp.ConditionalStore = conditional{}

func (s conditional) CommitIf(_ context.Context, token string, old, b []byte, expiry time.Time) (bool, error) {
	return s.write(token, b, expiry, func(i item, found bool) bool {
		return found == (old != nil) && bytes.Equal(i.data, old)
	})
}
