package simulation_test

import (
	"context"
	"errors"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// beginOnRefresh judges an OnRefresh that begins. w.mu is held.
func (w *world) beginOnRefresh(c *call, tokens authpi.TokenSet) *refreshing {
	p, s := c.p, w.issuer.lookUp(tokens)
	run := &refreshing{c: c, set: s, began: w.now()}
	if s == nil || s.session != c.session {
		w.violate(ownSession, p, c, "OnRefresh gets %v", version{set: s})
		run.set = c.session.sets[0]
		return run
	}
	if p.killed {
		return run
	}
	w.judgeOnRefresh(run)
	w.judgeOrder(run)
	c.refreshed = append(c.refreshed, run)
	p.handing[run] = true
	s.began = true
	if newest := p.handed[c.session]; newest == nil || newest.index < s.index {
		p.handed[c.session] = s
	}
	return run
}

// judgeOnRefresh judges what a caller's OnRefresh gets, and when. w.mu is held.
func (w *world) judgeOnRefresh(run *refreshing) {
	p, c, s := run.c.p, run.c, run.set
	if c.over && c.kind != source {
		w.violate(beforeReturn, p, c, "OnRefresh with %v begins %v after the call has returned", s, w.now()-c.ended)
	}
	for _, earlier := range c.refreshed {
		if earlier.set == s {
			w.violate(onceEach, p, c, "OnRefresh gets %v again", s)
		}
		if w.isOlder(p, s, earlier.set) {
			w.violate(inOrder, p, c, "OnRefresh gets %v after %v", s, earlier.set)
		}
	}
	if s.isRefused() {
		w.violate(refusedStays, p, c, "OnRefresh gets %v", s)
	}
	if why := w.revokedHere(p, s); why != nil {
		w.violate(staysOut, p, c, "OnRefresh gets %v after %v was revoked in this process", s, why)
	}
}

// judgeOrder wants no older set after a newer one, and none while its predecessor is
// still being stored, as far as the process knows which is which. w.mu is held.
func (w *world) judgeOrder(run *refreshing) {
	p, c, s := run.c.p, run.c, run.set
	newest := p.handed[c.session]
	if newest != nil && newest.index > s.index && w.chained(p, s, newest, w.now()) {
		w.violate(inOrder, p, c, "OnRefresh gets %v after %v in this process", s, newest)
	}
	for other := range p.handing {
		older := other.set.session == s.session && other.set.index < s.index
		if older && w.now()-other.began < w.timeout() && w.chained(p, other.set, s, w.now()) {
			w.violate(inOrder, p, c, "OnRefresh gets %v while another one stores %v", s, other.set)
		}
	}
}

// endOnRefresh notes the end of an OnRefresh. Its caller must not have left it behind,
// unless it took too long, or began too late for all of its time. What a source refreshes
// is the source's, whichever request it was that needed it. w.mu is held.
func (w *world) endOnRefresh(run *refreshing) {
	c := run.c
	run.over, run.ended = true, w.now()
	delete(c.p.handing, run)
	leftBehind := c.over && c.kind != source && !c.p.killed && run.ended > c.ended+tolerance
	if leftBehind && !errors.Is(run.err, context.DeadlineExceeded) && run.ended-run.began < w.timeout()-time.Second/2 {
		w.violate(beforeReturn, c.p, c, "OnRefresh with %v went on when the call had returned", run.set)
	}
}

// heardError is a caller's OnRefreshError.
func (w *world) heardError(c *call, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.p.killed {
		return
	}
	c.heard = append(c.heard, err)
	w.note(c.p, c, "OnRefreshError: %v", said(err))
	switch {
	case err == nil:
		w.violate(toldOnce, c.p, c, "OnRefreshError gets no error")
	case len(c.heard) > 1 && c.kind != source:
		w.violate(toldOnce, c.p, c, "OnRefreshError is called twice")
	case c.over && c.kind != source:
		w.violate(toldOnce, c.p, c, "OnRefreshError is called after the call has returned")
	case c.leftAt >= 0 && errors.Is(err, context.Canceled):
		w.violate(toldOnce, c.p, c, "OnRefreshError is told of the caller's own leaving")
	}
}

// judgeTold wants OnRefreshError called for a refresh that failed, and for no other. Those
// who wait for a source share its call.
func (w *world) judgeTold(c *call) {
	var failed *authpi.RefreshError
	if c.err == nil && len(c.heard) > 0 {
		w.violate(toldOnce, c.p, c, "OnRefreshError was called, and the call succeeds")
	}
	wants := c.hasOnRefresh && c.kind == create && c.leftAt < 0
	if wants && errors.As(c.err, &failed) && len(c.heard) == 0 {
		w.violate(toldOnce, c.p, c, "OnRefreshError was not called")
	}
}
