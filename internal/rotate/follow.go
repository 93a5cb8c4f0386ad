package rotate

import "sync/atomic"

// Follower keeps an eye on one session for as long as it is used, however long ago
// its first refresh token was spent: what holds tokens over hours, as a token source
// does, needs no luck with the memory. Whoever has it ends it with
// [Engine.Unfollow].
type Follower struct {
	newest  atomic.Pointer[Fate] // what the tokens became; nil: nothing yet
	revoked atomic.Bool
	// Guarded by Engine.mu.
	at    *entry // of the newest token; nil: it has none
	began *entry // of the token that it began with
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
	now, id := e.Now(), e.id(set.RefreshToken)
	e.mu.Lock()
	defer e.mu.Unlock()
	tip, newer := e.newest(id, now)
	f.begin(e.table.ensure(id))
	if newer != nil {
		f.newest.Store(newer)
	}
	if tip == nil && newer != nil {
		return f // its last set has no refresh token
	}
	if tip == nil {
		tip = f.began
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
	if f.began != nil {
		delete(f.began.began, f)
		e.table.collect(f.began)
		f.began = nil
	}
}

// begin keeps the entry of a token: whoever comes with it later learns what the
// follower knows.
func (f *Follower) begin(at *entry) {
	if at.began == nil {
		at.began = make(map[*Follower]struct{})
	}
	at.began[f] = struct{}{}
	f.began = at
}

// followed returns a follower that began with this token, nil for none.
func (at *entry) followed() *Follower {
	if at == nil {
		return nil
	}
	for f := range at.began {
		return f
	}
	return nil
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
