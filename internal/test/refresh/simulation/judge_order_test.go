package simulation_test

import "time"

// isOlder reports whether one set is older than another, as far as a process can tell.
// Where the issuer does not rotate both work. Of what others have rotated only dates tell,
// which have whole seconds, or the others themselves; where a clock was set, neither does.
func (w *world) isOlder(p *process, one, another *set) bool {
	if one.index >= another.index {
		return false
	}
	apart := another.expiresAt()-one.expiresAt() > time.Second
	if w.h.setup.rotates {
		apart = another.expiresAt().Truncate(time.Second) != one.expiresAt().Truncate(time.Second) || w.othersTell(p, one, another)
	}
	return apart && !w.jumped || w.h.setup.rotates && p.gotAll(one, another)
}

// gotAll reports whether a process itself got all sets after one, up to another.
func (p *process) gotAll(one, another *set) bool {
	for _, s := range one.session.sets[one.index+1 : another.index+1] {
		if s.receivedBy != p {
			return false
		}
	}
	return true
}

// othersTell reports whether a process can still learn from others that one set became
// another.
func (w *world) othersTell(p *process, one, another *set) bool {
	for _, s := range one.session.sets[one.index+1 : another.index+1] {
		if !s.published(w.now()) && s.receivedBy != p {
			return false
		}
	}
	return w.troubledUntil < w.now()-w.timeout()
}

// published reports whether the coordinator has the answer that a set came with.
func (s *set) published(now time.Duration) bool {
	t := s.parent.spentBy.turn
	return t != nil && t.broken == "" && now < t.until
}

// isForgotten reports whether a process has spent a set, or heard that another has, and has
// forgotten for what. Any other one is better then, unless that is known to have led to it.
func (w *world) isForgotten(p *process, one, spent *set) bool {
	x := spent.spentBy
	forgotten := x != nil && (x.p == p || p.told[x.next]) && x.settled && w.now()-x.settledAt >= w.memory()-time.Second
	return forgotten && !p.gotAll(one, spent)
}
