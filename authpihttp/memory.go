package authpihttp

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/recent"
)

// memory is the Store of [New] where it was given none.
type memory struct {
	mu      sync.Mutex // makes CommitIf one step
	entries *recent.Map[string, []byte]
}

func newMemory(now func() time.Time) *memory {
	return &memory{entries: recent.New[string, []byte](recent.Limits{Entries: 1 << 20, Bytes: 512 << 20}, now)}
}

func (m *memory) Find(token string) ([]byte, bool, error) {
	b, found := m.entries.Get(token)
	return b, found, nil
}

func (m *memory) Commit(token string, b []byte, expiry time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(token, b, expiry)
	return nil
}

func (m *memory) put(token string, b []byte, expiry time.Time) {
	const overhead = 256
	m.entries.Put(token, bytes.Clone(b), len(b)+overhead, expiry)
}

func (m *memory) Delete(token string) error {
	return m.Commit(token, nil, time.Time{}) // what has expired is not kept
}

func (m *memory) CommitIf(_ context.Context, token string, old, b []byte, expiry time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	current, found := m.entries.Get(token)
	if found != (old != nil) || !bytes.Equal(current, old) {
		return false, nil
	}
	m.put(token, b, expiry)
	return true, nil
}
