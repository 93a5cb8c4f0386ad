package rotate

import "sync/atomic"

// Follower keeps an eye on one session for as long as it is used, however long ago
// its first refresh token was spent: what holds tokens over hours, as a token source
// does, needs no luck with the memory. Whoever has it ends it with
// [Engine.Unfollow].
type Follower struct {
	newest  atomic.Pointer[Fate] // what the tokens became; nil: nothing yet
	revoked atomic.Bool
	at      *entry // of the newest token; guarded by Engine.mu; nil: it has none
}

// Newest returns what the tokens became, nil for nothing.
func (f *Follower) Newest() *Fate { return f.newest.Load() }

// Revoked reports whether the session was signed out in this process.
func (f *Follower) Revoked() bool { return f.revoked.Load() }

// Follow begins to follow what set becomes.
func (e *Engine) Follow(set Tokens) *Follower {
	f := &Follower{}
	if set.RefreshToken == "" {
		return f
	}
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	tip, newer := e.newest(e.id(set.RefreshToken), now)
	if newer != nil {
		f.newest.Store(newer)
	}
	if tip == nil && newer != nil {
		return f // its last set has no refresh token
	}
	if tip == nil {
		tip = e.table.ensure(e.id(set.RefreshToken))
	}
	f.watch(tip)
	f.revoked.Store(tip.is(Revoked))
	if tip.is(Reusable) {
		f.newest.Store(tip.fate)
	}
	return f
}

// Unfollow ends it.
func (e *Engine) Unfollow(f *Follower) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.at != nil {
		delete(f.at.followers, f)
		e.table.collect(f.at)
		f.at = nil
	}
}

func (f *Follower) watch(at *entry) {
	if at.followers == nil {
		at.followers = make(map[*Follower]struct{})
	}
	at.followers[f] = struct{}{}
	f.at = at
}

// tellFollowers passes on what became of a token, and has those who follow it follow
// its successor.
func (at *entry) tellFollowers() {
	for f := range at.followers {
		switch at.fate.State {
		case Rotated, Reusable:
			f.newest.Store(at.fate)
		case Revoked:
			f.revoked.Store(true)
		}
		if at.next != nil {
			delete(at.followers, f)
			f.watch(at.next)
		}
	}
}
