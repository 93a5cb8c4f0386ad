package signin

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
)

// Memory is a store for development and tests, bounded and expiring.
type Memory struct {
	mu      sync.Mutex // makes CommitIf one step
	entries *fresh.Map[string, []byte]
}

// NewMemory makes a store that reads the time from now.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{entries: fresh.NewMap[string, []byte](fresh.Limits{Entries: 1 << 20, Bytes: 512 << 20}, now)}
}

// Find returns an entry that has not expired.
func (m *Memory) Find(token string) ([]byte, bool, error) {
	b, found := m.entries.Get(token)
	return b, found, nil
}

// Commit keeps an entry until expiry.
func (m *Memory) Commit(token string, b []byte, expiry time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(token, b, expiry)
	return nil
}

func (m *Memory) put(token string, b []byte, expiry time.Time) {
	const overhead = 256
	m.entries.Put(token, bytes.Clone(b), len(b)+overhead, expiry)
}

// Delete removes an entry.
func (m *Memory) Delete(token string) error {
	return m.Commit(token, nil, time.Time{}) // what has expired is not kept
}

// CommitIf writes b only over old.
func (m *Memory) CommitIf(_ context.Context, token string, old, b []byte, expiry time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	current, found := m.entries.Get(token)
	if found != (old != nil) || !bytes.Equal(current, old) {
		return false, nil
	}
	m.put(token, b, expiry)
	return true, nil
}
