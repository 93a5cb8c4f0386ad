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
	at   *entry // of the newest token; nil: it has none
	root *entry // of the token that it began with
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
	now, id := e.Now(), e.ID(set.RefreshToken)
	e.mu.Lock()
	defer e.mu.Unlock()
	tip, newer := e.newest(id, now)
	f.setRoot(e.table.ensure(id, now))
	f.newest.Store(newer)
	if tip == nil {
		tip = f.root
	}
	f.follow(tip)
	return f
}

// Unfollow ends a Follower. A second call does nothing.
func (e *Engine) Unfollow(f *Follower) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.at != nil {
		delete(f.at.followers, f)
		e.table.collect(f.at)
		f.at = nil
	}
	if f.root != nil {
		delete(f.root.rootOf, f)
		e.table.collect(f.root)
		f.root = nil
	}
}

// setRoot keeps the entry of the first token: whoever comes with it later learns
// what the follower knows.
func (f *Follower) setRoot(at *entry) {
	if at.rootOf == nil {
		at.rootOf = make(map[*Follower]struct{})
	}
	at.rootOf[f] = struct{}{}
	f.root, f.at = at, at
}

// knower returns a follower that knows what a token became, where the table has
// forgotten it: one that began with it, or one that stands where the traces lead. Nil:
// there is none. Which one is chance: they differ only where what a store had was
// replaced.
func (e *Engine) knower(at *entry) *Follower {
	if at == nil || at.is(Rotated) {
		return nil
	}
	for f := range at.rootOf {
		if f.isCurrent(e) {
			return f
		}
	}
	if !at.is(Spent) {
		return nil
	}
	for n := 0; n < maxChain && at.next != nil; n++ {
		at = at.next
	}
	for f := range at.followers {
		if f.isCurrent(e) {
			return f
		}
	}
	return nil
}

// isCurrent reports whether a follower has the set of where it stands. One that went on
// over traces may know an earlier one, which is spent.
func (f *Follower) isCurrent(e *Engine) bool {
	set := f.Newest()
	return set != nil && f.at != nil && (set.Next.RefreshToken == "" || e.ID(set.Next.RefreshToken) == f.at.id)
}

// known returns what the tokens became that a follower began with; nil: nothing that is
// of use.
func (e *Engine) known(f *Follower) *Fate {
	if f == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !f.isCurrent(e) {
		return nil
	}
	return f.Newest()
}

// follow goes on to the last known successor of a token, and follows that.
func (f *Follower) follow(at *entry) {
	for range maxChain {
		switch {
		case at.is(Revoked):
			f.revoked.Store(true)
		case at.is(Rotated), at.is(Reusable):
			f.newest.Store(at.fate)
		}
		if at.next == nil {
			break
		}
		at = at.next
	}
	f.standAt(at)
}

func (f *Follower) standAt(at *entry) {
	delete(f.at.followers, f)
	if at.followers == nil {
		at.followers = make(map[*Follower]struct{})
	}
	at.followers[f] = struct{}{}
	f.at = at
}

// tellFollowers passes on what became of a token.
func (at *entry) tellFollowers() {
	for f := range at.followers {
		f.follow(at)
	}
}

// recallFollowers is for a token that is about to become something else: followers
// further on that have no current set, and did not begin there, stand at it again.
// e.mu is held.
func (e *Engine) recallFollowers(at *entry) {
	for n, next := 0, at.next; n < maxChain && next != nil; n++ {
		for f := range next.followers {
			if !f.isCurrent(e) && !at.leadsTo(f.root) {
				f.standAt(at)
			}
		}
		next = next.next
	}
}
