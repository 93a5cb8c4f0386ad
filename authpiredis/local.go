package authpiredis

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// turns lets one call at a time through for each id in this process. They hold
// whatever becomes of Redis.
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

// unsent keeps results that Redis could not be given, for later calls in this
// process. The next one with the same id offers its result again.
type unsent struct {
	mu      sync.Mutex // guards results
	results map[string]result
}

type result struct {
	value  []byte
	expiry time.Time
}

// maxUnsent bounds the results of an outage, of some kilobytes each.
const maxUnsent = 1024

func (u *unsent) get(id string) ([]byte, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r, ok := u.results[id]
	if !ok || !time.Now().Before(r.expiry) {
		delete(u.results, id)
		return nil, false
	}
	return slices.Clone(r.value), true
}

func (u *unsent) put(id string, value []byte, keep time.Duration) {
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	oldest := ""
	for other, r := range u.results {
		if !now.Before(r.expiry) {
			delete(u.results, other)
		} else if oldest == "" || r.expiry.Before(u.results[oldest].expiry) {
			oldest = other
		}
	}
	if len(u.results) >= maxUnsent {
		delete(u.results, oldest)
	}
	u.results[id] = result{slices.Clone(value), now.Add(keep)}
}

func (u *unsent) drop(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.results, id)
}

// outage tells of a Redis that cannot be used: once when it begins, once when it
// is over.
type outage struct {
	log      *slog.Logger
	required bool

	mu      sync.Mutex // guards down and changed
	down    bool
	changed time.Time
}

// note takes the outcome of a command. One that began before the last change was
// noted says nothing new, whenever it ends.
func (o *outage) note(ctx context.Context, began time.Time, err error) {
	o.mu.Lock()
	news := o.down == (err == nil) && began.After(o.changed)
	if news {
		o.down, o.changed = err != nil, time.Now()
	}
	o.mu.Unlock()
	switch {
	case !news:
	case err == nil:
		o.log.InfoContext(ctx, "authpiredis: Redis can be used again")
	case o.required:
		o.log.WarnContext(ctx, "authpiredis: Redis cannot be used; refreshes fail until it is back", "error", err)
	default:
		o.log.WarnContext(ctx, "authpiredis: Redis cannot be used; until it is back, refreshes are coordinated within this process only",
			"error", err)
	}
}
