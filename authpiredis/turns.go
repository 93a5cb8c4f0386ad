package authpiredis

import (
	"context"
	"sync"
)

// turns lets one call at a time through for each id in this process.
type turns struct {
	mu   sync.Mutex // guards busy
	busy map[string]chan struct{}
}

func (t *turns) enter(ctx context.Context, id string) (leave func(), err error) {
	for {
		t.mu.Lock()
		ahead, taken := t.busy[id]
		if !taken {
			mine := make(chan struct{})
			t.busy[id] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.busy, id)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-ahead:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
