package simulation_test

import "slices"

// checkReturned wants every call over, long after the last fault.
func (w *world) checkReturned() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if !c.over && !c.p.killed {
			w.violate(inTime, c.p, c, "it has not returned after %v", w.now()-c.start)
		}
	}
}

// waits reports whether a set came for a session that goes on, and is only in the memory
// of its process. w.mu is held.
func (w *world) waits(s *set) bool {
	if !w.h.setup.rotates || s.session.homes[0].setup.kind == worker {
		return false // it matters little, or its sources have it
	}
	came := s.parent != nil && s.receivedBy != nil && !s.receivedBy.killed && s.means == usable
	return came && s.session.goesOn() && !s.reached()
}

// goesOn reports whether nothing has ended a session that its processes know of. w.mu is
// held.
func (s *session) goesOn() bool {
	return s.ended == "" && s.revocationAt < 0 && !s.unusable && !s.mixed
}

// reached reports whether a set got further than into the memory of its process.
func (s *set) reached() bool {
	return s.began || s.returned || s.inError || s.revoked || s.spentBy != nil
}

// has reports whether something holds for a set, or for another one with its refresh
// token: an issuer that does not rotate has one for all.
func (s *set) has(is func(*set) bool) bool {
	return slices.ContainsFunc(s.session.sets, func(other *set) bool { return other.refresh == s.refresh && is(other) })
}

func (s *set) isInError() bool { return s.inError }

func (s *set) isRevoked() bool { return s.revoked }

// judgeProbe wants a set that waits to be found. w.mu is held.
func (w *world) judgeProbe(c *call) {
	if c.session.ended == "" && (c.err != nil || c.got() == nil || c.got().index <= c.haveSet.index) {
		w.violate(nothingLost, c.p, c, "its successor is not there any more: %v", said(c.err))
	}
}

// judgeLastVisit wants a session to be had that nothing has ended. w.mu is held.
func (w *world) judgeLastVisit(c *call) {
	if c.session.goesOn() && c.err != nil {
		w.violate(survives, c.p, c, "nothing has ended the session, and all is well again: %v", c.err)
	}
}

// checkEnd is for what must have happened by the end.
func (w *world) checkEnd() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions {
		for _, x := range w.sendsOf(s) {
			w.checkRefused(x)
			w.checkRevoked(x)
		}
		if s.ended != "" {
			w.excuses[s.ended]++
		}
	}
}

// checkRefused wants a set that cannot be used in the error of whoever sent for it, unless
// the user has signed out.
func (w *world) checkRefused(x *send) {
	if x.c == nil || x.p.killed || x.means != unusable || x.next == nil || !x.next.isRefused() || x.next.has((*set).isInError) || x.next.has((*set).isRevoked) {
		return
	}
	told := x.c.err != nil && x.c.leftAt < 0 && x.settledAt < x.c.ended
	if told && x.set.session.revocationAt < 0 {
		w.violate(nothingLost, x.p, x.c, "no error carries %v", x.next)
	}
}

// checkRevoked wants what came for a token that was revoked meanwhile to be revoked, too.
func (w *world) checkRevoked(x *send) {
	if x.p.killed || x.means != usable || x.next.has((*set).isRevoked) || !w.h.setup.revocation {
		return
	}
	s := x.set
	for _, v := range s.session.sets[:s.index+1] {
		at, noted := x.p.notes[v]
		if noted && at < x.settledAt && w.chained(x.p, v, s, at) {
			w.violate(staysOut, x.p, x.c, "%v came after %v was revoked in this process, and is not revoked", x.next, v)
		}
	}
}
