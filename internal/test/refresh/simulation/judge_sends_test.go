package simulation_test

import "time"

// judgeSend judges a refresh token that leaves. w.mu is held.
func (w *world) judgeSend(x *send) {
	p, c, s := x.p, x.c, x.set
	if w.coordinator != nil && x.turn == nil {
		w.violate(coordinated, p, c, "%v is sent outside of Do", s)
	}
	if why := w.revokedHere(p, s); why != nil {
		w.violate(staysOut, p, c, "%v is sent after %v was revoked in this process", s, why)
	}
	if c != nil {
		c.led = append(c.led, x)
		w.judgeLeader(x)
	}
	for _, earlier := range w.sends[s] {
		why, excused := w.excuse(earlier, x)
		if !excused {
			w.violate(sentOnce, p, c, "%v is sent again; the first request, of %v, %s", s, earlier.p, earlier.state())
			why = "a fault"
		}
		if x.excuse == "" || earlier.next != nil {
			x.excuse = why
		}
	}
	if n := len(w.sends[s]); n > 0 {
		w.judgeHoldBack(w.sends[s][n-1], x)
	}
}

func (x *send) state() string {
	if !x.settled {
		return "is on its way"
	}
	return "has ended: " + x.means.String()
}

// judgeLeader judges a request by what its caller had and knew. w.mu is held.
func (w *world) judgeLeader(x *send) {
	p, c, s := x.p, x.c, x.set
	if s.session != c.session {
		w.violate(ownSession, p, c, "%v is sent for somebody of %v", s, c.session)
	}
	w.judgeNeed(x)
	link, ok := p.heard[s]
	known := ok && w.h.setup.rotates && p.jumpedAt < 0
	if known && link < c.start && w.now()-link < w.memory()-time.Second {
		w.violate(newsKept, p, c, "%v is sent, whose successor a store gave %v ago", s, w.now()-link)
	}
	if c.hasReload {
		w.judgeReload(x)
	}
}

// judgeNeed wants nothing spent while there is a set that is good enough. w.mu is held.
func (w *world) judgeNeed(x *send) {
	p, c, s := x.p, x.c, x.set
	if c.kind == create && c.left > w.buffer()+time.Second {
		w.violate(quiet, p, c, "%v is sent, with %v left of the access token", s, c.left)
	}
	left := s.expiresAt() - c.start
	isNew := s.receivedBy == p && s.means == usable && s != c.haveSet && s.grant == c.grant
	known := w.h.setup.rotates && !w.jumped && w.now()-s.receivedAt < w.memory()-time.Second
	if isNew && known && c.kind != refresh && left > w.buffer()+slack {
		w.violate(quiet, p, c, "%v is sent, which has come just now", s)
	}
}

// judgeReload wants the store asked before a token is spent, and its word heeded. Where a
// clock was set by minutes, nobody can tell a newer set from an older one: the tokens here
// are opaque, and their dates the client's.
func (w *world) judgeReload(x *send) {
	p, c, s := x.p, x.c, x.set
	if len(c.reloads) == 0 {
		w.violate(reloadHeeded, p, c, "%v is sent before the store was asked", s)
		return
	}
	switch last := c.reloads[len(c.reloads)-1]; {
	case s.session.ended != "": // there is nothing left to lose
	case last.set != nil && last.set.spentBy != nil && last.set.spentBy.p == p:
		// It knows that the store is behind, though it has forgotten by what.
	case last.failed:
		w.violate(reloadHeeded, p, c, "%v is sent after Reload failed", s)
	case last.set == nil:
		w.violate(reloadHeeded, p, c, "%v is sent after Reload said that nobody is signed in", s)
	case last.set.session == s.session && w.isOlder(p, s, last.set):
		w.violate(reloadHeeded, p, c, "%v is sent after Reload gave %v", s, last.set)
	}
}

// excuse tells why a token that was sent may be sent again. w.mu is held.
func (w *world) excuse(earlier, x *send) (why string, excused bool) {
	same := earlier.p == x.p
	switch {
	case x.set.session.ended != "":
		return "", true // there is nothing left to lose
	case !w.h.setup.rotates:
		return "", !same || earlier.settled || w.givenUp(earlier)
	case earlier.lost() && earlier.p.killed:
		return "a process was killed", true
	case earlier.lost():
		return "an answer was lost", true
	case earlier.settled && earlier.means != usable && earlier.means != unusable:
		return "", true // nothing was spent, or the session is over anyway
	case same:
		return w.excuseHere(earlier, x)
	}
	return w.excuseElsewhere(earlier, x)
}

// lost reports whether the answer to a request never came, as far as its process knows.
func (x *send) lost() bool { return x.settled && (x.means == lost || x.means == unread) }

// excuseHere is excuse for two requests of one process.
func (w *world) excuseHere(earlier, x *send) (why string, excused bool) {
	if !earlier.settled {
		return "it was given up", w.givenUp(earlier)
	}
	if x.c != nil && x.c.home.setup.kind == worker {
		return "", false // its sources share what the client knows for as long as they live
	}
	kept := w.memory()
	if earlier.staysLong() && (kept > 0 || earlier.orphaned()) {
		kept = longKept
	}
	switch {
	case w.now()-earlier.settledAt >= kept-time.Second:
		return "the memory was over", true
	case kept < longKept && earlier.p.jumpedAt >= 0:
		return "a clock jumped", true
	}
	return "", false
}

// staysLong reports whether what came for a token is the last that there is of its
// session, or the token spent for nothing: that is remembered for a day.
func (x *send) staysLong() bool {
	if x.means == unusable {
		return !x.plan.hostile
	}
	return !x.next.reached()
}

// orphaned reports whether whoever sent a request had gone when its answer came.
func (x *send) orphaned() bool {
	return x.c != nil && x.c.over && x.c.ended <= x.settledAt
}

// excuseElsewhere is excuse for requests of two processes.
func (w *world) excuseElsewhere(earlier, x *send) (why string, excused bool) {
	first := earlier.turn
	switch {
	case earlier.p.killed && (first == nil || first.until == 0):
		return "a process was killed", true
	case w.coordinator == nil || first == nil || x.turn == nil:
		return "no coordinator", true
	case first.broken != "":
		return first.broken, true
	case earlier.settled && first.until > 0 && w.now() >= first.until:
		return "the coordinator's memory was over", true
	}
	return "", false
}

// givenUp reports whether nobody waits for a request any more. The process may then only
// guess what became of it.
func (w *world) givenUp(x *send) bool {
	began := x.at
	if x.c != nil {
		began = x.c.start
	}
	return w.now() >= began+w.timeout()
}

// judgeHoldBack wants no request for a token as long as an earlier answer holds it back.
// w.mu is held.
func (w *world) judgeHoldBack(earlier, x *send) {
	p, c := x.p, x.c
	if earlier.p != p || !earlier.settled || p.jumpedAt >= 0 || c == nil {
		return
	}
	until := earlier.settledAt + holdsBack(earlier, x)
	if w.now() < until-tolerance {
		w.violate(heldBack, p, c, "%v is sent %v after the answer %q", x.set, w.now()-earlier.settledAt, earlier.plan.name)
	}
}

// holdsBack is how long one request holds the next one back.
func holdsBack(earlier, x *send) time.Duration {
	byName := x.c.kind == refresh
	hold := time.Duration(0)
	switch earlier.means {
	case passing, unread:
		hold = earlier.plan.holdBack()
		if byName && earlier.plan.header == "" {
			hold = 0
		}
	case undialled:
		if earlier.c == x.c && len(x.c.led) <= 2 {
			return 0 // the one repetition, since nothing has left
		}
	case lost:
	default:
		return 0
	}
	if x.good && !byName {
		hold = max(hold, pause)
	}
	return hold
}

// checkSeenThrough judges a request whose context ends while the answer is on its way.
// w.mu is held.
func (w *world) checkSeenThrough(x *send) {
	if x.p.killed || x.c == nil {
		return
	}
	if took := w.now() - x.c.start; took < w.timeout()-time.Second/2 {
		w.violate(seenThrough, x.p, x.c, "the request with %v is broken off after %v", x.set, took)
	}
}

// judgeUserInfo judges a request to the user info endpoint. w.mu is held.
func (w *world) judgeUserInfo(p *process, c *call, s *set) {
	if c != nil {
		c.asked++
	}
	if c != nil && s != nil {
		s.returned = true // as good as
	}
	if s != nil && p.asked[s] && !w.jumped && w.now() < s.expiresAt()-2*time.Second {
		w.violate(askedOnce, p, c, "the user info of %v is asked for again", s)
	}
}

// revokedHere gives the token whose revocation a process knows to be the end of a set:
// the set itself, or one before or after it as far as this process got them itself.
func (w *world) revokedHere(p *process, s *set) *set {
	for _, v := range s.session.sets {
		if at, noted := p.notes[v]; noted && at < w.now() && w.chained(p, v, s, at) {
			return v
		}
	}
	return nil
}

// chained reports whether a process knows that one of two sets follows from the other.
func (w *world) chained(p *process, a, b *set, at time.Duration) bool {
	if a != b && !w.h.setup.rotates {
		return false // there is one token for all of them
	}
	for _, x := range a.session.sets[min(a.index, b.index)+1 : max(a.index, b.index)+1] {
		known := x.receivedBy == p && x.means == usable && p.jumpedAt < 0
		if !known || x.receivedAt < at-w.memory()+time.Second {
			return false
		}
	}
	return true
}
