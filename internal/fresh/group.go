package fresh

import (
	"context"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
)

// Group lets callers that want the same thing at the same time share one fetch of
// it. It keeps nothing. All methods are safe for concurrent use.
type Group[K comparable, T any] struct {
	timeout time.Duration
	clock   awake.Clock

	mu      sync.Mutex // guards flights
	flights map[K]*flight[T]
}

// NewGroup returns a Group whose fetches are given up after timeout, by time in which
// the process ran.
func NewGroup[K comparable, T any](timeout time.Duration) *Group[K, T] {
	return &Group[K, T]{timeout: timeout, flights: make(map[K]*flight[T])}
}

// Do returns what fetch returns, or what that of a caller with the same key does
// that is under way. The context of fetch has the group's timeout and the values of
// ctx; it does not end with ctx. Do itself does, with an error that wraps ctx.Err().
func (g *Group[K, T]) Do(ctx context.Context, key K, fetch func(context.Context) (T, error)) (T, error) {
	f, err := g.joinOrLaunch(ctx, key, fetch)
	if err != nil {
		return *new(T), err
	}
	return f.wait(ctx)
}

func (g *Group[K, T]) joinOrLaunch(ctx context.Context, key K, fetch func(context.Context) (T, error)) (*flight[T], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flights[key]; f != nil {
		return f, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err // nobody would wait for it
	}
	f := launch(ctx, &g.clock, g.timeout, fetch, func(context.Context, T, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.flights, key)
	})
	g.flights[key] = f
	return f, nil
}
