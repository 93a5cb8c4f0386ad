package testkit

import (
	"sync"
	"time"
)

// Clock is a clock that a test moves by hand. It starts at a whole second, and its
// times have no monotonic reading.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns one that stands.
func NewClock() *Clock { return &Clock{now: time.Unix(1760000000, 0).UTC()} }

// Now is for Config.Now and Options.Now.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance puts the clock forward; by less than nothing, back.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
