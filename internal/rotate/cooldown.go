package rotate

import (
	"errors"
	"time"
)

// cooldowns are those of one token, by the most urgent calls that each blocks.
type cooldowns [Named + 1]cooldown

// cooldown ends by the client's clock or by the process's own, whichever is first,
// since a clock may be set back. The zero cooldown is over.
type cooldown struct {
	err   error
	until time.Time // by the client's clock
	began time.Time // by the process's
	wait  time.Duration
}

func (c *cooldown) left(now time.Time) time.Duration {
	return max(min(c.until.Sub(now), c.wait-time.Since(c.began)), 0)
}

// blocking returns the longest cooldown that blocks a call, nil for none.
func (all *cooldowns) blocking(urgency Urgency, now time.Time) *cooldown {
	if all == nil {
		return nil
	}
	var longest *cooldown
	for i := range all[urgency:] {
		c := &all[int(urgency)+i]
		if left := c.left(now); left > 0 && (longest == nil || left > longest.left(now)) {
			longest = c
		}
	}
	return longest
}

// until is when the last of them ends.
func (all *cooldowns) until() (last time.Time) {
	for _, c := range all {
		if c.until.After(last) {
			last = c.until
		}
	}
	return last
}

// heldBack returns the error of a call that a cooldown holds back, nil for none. e.mu
// is held.
func (c *call) heldBack(tip *entry, now time.Time) error {
	for _, at := range [...]*entry{tip, c.engine.table.get(c.id, now)} {
		if at == nil {
			continue
		}
		if cool := at.cool.blocking(c.Urgency, now); cool != nil {
			return &HeldError{Err: cool.err, Until: time.Now().Add(cool.left(now))}
		}
	}
	return nil
}

// coolDown has a call that was not urgent, and failed for a passing reason, keep
// others from trying again at once. Who is held back must not make that longer.
func (c *call) coolDown(err error) {
	var held *HeldError
	if c.Urgency != Optional || errors.As(err, &held) || errors.Is(err, c.ctx.Err()) || !c.engine.passing(err) {
		return
	}
	e := c.engine
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cool(e.table.ensure(c.id, now), Optional, cooldown{err: err, wait: softCooldown}, now)
}

// cool begins a cooldown that blocks calls up to an urgency, unless a longer one
// does. e.mu is held.
func (e *Engine) cool(at *entry, blocks Urgency, c cooldown, now time.Time) {
	if at.cool == nil {
		at.cool = &cooldowns{}
	}
	if at.cool[blocks].left(now) >= c.wait {
		return
	}
	c.began, c.until = time.Now(), now.Add(c.wait)
	e.table.dequeue(at)
	at.cool[blocks] = c
	e.table.requeue(at, now)
}
