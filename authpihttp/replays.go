package authpihttp

import (
	"context"
	"sync"
	"time"
)

// Replays remembers which logout tokens were used. It is safe for concurrent use.
type Replays interface {
	// Use remembers id until the given time, and reports whether it was not
	// remembered yet: of several calls at once one is first. It is SET NX in Redis.
	Use(ctx context.Context, id string, until time.Time) (first bool, err error)
	// Forget takes a use back, after a logout that failed.
	Forget(ctx context.Context, id string) error
}

// memory is a Replays for one process.
type memory struct {
	mu    sync.Mutex // guards until
	until map[string]time.Time
}

const maxReplays = 16384

func newMemory() *memory { return &memory{until: make(map[string]time.Time)} }

func (m *memory) Use(_ context.Context, id string, until time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if known, ok := m.until[id]; ok && now.Before(known) {
		return false, nil
	}
	if len(m.until) >= maxReplays {
		m.makeRoom(now)
	}
	m.until[id] = until
	return true, nil
}

// makeRoom forgets what has expired, or else what will first.
func (m *memory) makeRoom(now time.Time) {
	soonest := ""
	for id, until := range m.until {
		if !now.Before(until) {
			delete(m.until, id)
		} else if soonest == "" || until.Before(m.until[soonest]) {
			soonest = id
		}
	}
	if len(m.until) >= maxReplays {
		delete(m.until, soonest)
	}
}

func (m *memory) Forget(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, id)
	return nil
}
