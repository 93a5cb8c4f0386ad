package testkit

import (
	"context"
	"fmt"
	"sync"

	authpi "github.com/authpi/authpi-idp-go"
)

// Coordinator does in memory what Redis does for several processes: a lock for
// each id, and the results.
type Coordinator struct {
	mu      sync.Mutex // guards all below
	Results map[string][]byte
	locks   map[string]chan struct{}
	ids     []string // of every Do, in order
	within  map[string]int
	Doubled []string // ids that one process asked for twice at once
}

// NewCoordinator returns one that knows no result.
func NewCoordinator() *Coordinator {
	return &Coordinator{Results: map[string][]byte{}, locks: map[string]chan struct{}{}, within: map[string]int{}}
}

// Do is for authpi.RefreshCoordinator.
func (c *Coordinator) Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	c.ids = append(c.ids, id)
	lock := c.locks[id]
	if lock == nil {
		lock = make(chan struct{}, 1)
		c.locks[id] = lock
	}
	c.mu.Unlock()
	select {
	case lock <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-lock }()
	c.mu.Lock()
	known, ok := c.Results[id]
	c.mu.Unlock()
	if ok {
		return known, nil
	}
	result, err := spend(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Results[id] = result
	return result, nil
}

// Published is how many results there are.
func (c *Coordinator) Published() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.Results)
}

// process is the coordinator as one process sees it: it notes where an id is asked
// for twice at once.
func (c *Coordinator) process(name string) authpi.RefreshCoordinator {
	return CoordinatorFunc(func(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
		key := name + " " + id
		c.mu.Lock()
		if c.within[key]++; c.within[key] > 1 {
			c.Doubled = append(c.Doubled, key)
		}
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.within[key]--
		}()
		return c.Do(ctx, id, spend)
	})
}

// CoordinatorFunc is a coordinator that is one function.
type CoordinatorFunc func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error)

// Do calls the function.
func (do CoordinatorFunc) Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	return do(ctx, id, spend)
}

// Processes is several clients that share a coordinator.
func Processes(e *Env, shared *Coordinator, n int) []*authpi.IdpClient {
	clients := make([]*authpi.IdpClient, n)
	for i := range clients {
		clients[i] = e.NewClient(func(cfg *authpi.Config) { cfg.Coordinator = shared.process(fmt.Sprint(i)) })
	}
	return clients
}
