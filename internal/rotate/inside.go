package rotate

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// inside marks the context of a callback with the tokens that it is about.
type inside struct {
	engine *Engine
	tokens [2]string // refresh tokens; the second may be empty
	outer  *inside
	over   atomic.Bool // the callback has returned
}

type insideKey struct{}

// mark marks a context as long as a callback runs.
func (e *Engine) mark(ctx context.Context, refreshToken, another string) (marked context.Context, in *inside) {
	outer, _ := ctx.Value(insideKey{}).(*inside)
	in = &inside{engine: e, outer: outer, tokens: [2]string{refreshToken, another}}
	return context.WithValue(ctx, insideKey{}, in), in
}

func (in *inside) end() { in.over.Store(true) }

// isInside reports whether the call comes out of a callback about the same tokens,
// or those before or after them: to wait for what waits for it would take all of the
// time.
func (c *call) isInside() bool {
	in, _ := c.ctx.Value(insideKey{}).(*inside)
	if in == nil || c.id == "" {
		return false
	}
	e := c.engine
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.lastOf(c.id, now)
	about := func(refreshToken string) bool { return e.lastOf(e.ID(refreshToken), now) == own }
	for ; in != nil; in = in.outer {
		if in.engine == e && !in.over.Load() && slices.ContainsFunc(in.tokens[:], about) {
			return true
		}
	}
	return false
}

// lastOf returns the id of the last known successor of a token. e.mu is held.
func (e *Engine) lastOf(id string, now time.Time) string {
	if tip, _ := e.newest(id, now); tip != nil {
		return tip.id
	}
	return id
}

// answerInside returns what is known, and stores nothing: the outer call does that.
func (c *call) answerInside() error {
	e := c.engine
	now := e.Now()
	e.mu.Lock()
	tip, set := e.latest(c.currentID, now)
	if set == nil {
		set = c.made
	}
	revoked := tip.is(Revoked)
	e.mu.Unlock()
	switch {
	case revoked:
		return ErrRevoked
	case set == nil || !c.suits(set, now):
		return ErrInside
	}
	return c.Caller.Accept(set)
}
