package rotate

import (
	"container/heap"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Bounds of a table, running flights and followed tokens aside.
const (
	maxEntries = 16384
	maxBytes   = 64 << 20
	// maxNotes leaves room for the rest where everybody signs out.
	maxNotes = maxEntries / 2
)

// class is how dearly an entry is kept where the room is short: the first leave first,
// but revocations beyond maxNotes leave before them.
type class uint8

const (
	traces  class = iota // that a token is spent
	brief                // remembered for late callers
	orphans              // all that is left of a session
	notes                // revocations
	classes
)

// entry is all that is known of one refresh token.
type entry struct {
	id     string
	fate   *Fate      // nil: nothing, or it is forgotten
	next   *entry     // the token that it became, if another; traces and dead tokens keep it
	before []*entry   // whose next this is
	flight *flight    // that spends it now
	cool   *cooldowns // nil: there is none

	// takers are the calls that have its set, and have not stored it yet, by
	// generation: a token that is reused brings one set after another.
	takers     map[int]int
	generation int
	takerDone  chan struct{} // closed when one of them is done; nil: nobody waits for that
	followers  map[*Follower]struct{}
	rootOf     map[*Follower]struct{} // those that began with it

	// isSpent outlives what the token became: this client has seen it spent, whatever
	// a store says.
	isSpent bool
	refusal *Fate // Refused, which a found set hides
	unsaved bool  // somebody could not store its set

	class  class
	expiry time.Time
	size   int
	place  int // in its class's heap; -1: it is in none
}

// is reports whether the token has this state. A nil entry has none, and one of which
// nothing is known has none, not even Unspent.
func (at *entry) is(want State) bool { return at != nil && at.fate != nil && at.fate.State == want }

// isFinal reports whether the token is no good any more.
func (at *entry) isFinal() bool { return at.is(Refused) || at.is(Dead) }

// hideRefusal keeps what a token was refused for while a store has something in its
// place: that does not let it be sent sooner.
func (at *entry) hideRefusal(by *Fate) {
	switch {
	case !by.Found:
		at.refusal = nil
	case at.is(Refused):
		at.refusal = at.fate
	}
}

// ledTo returns the entries of the tokens that the set with an access token came for:
// at itself, where its refresh token is used again, or those before.
func (at *entry) ledTo(accessToken string) []*entry {
	return slices.DeleteFunc(slices.Concat([]*entry{at}, at.before), func(from *entry) bool {
		return from.fate == nil || from.fate.Found || from.fate.Next.AccessToken != accessToken
	})
}

// isKnown reports whether it is known what the token became, or is.
func (at *entry) isKnown() bool { return at.fate != nil && at.fate.State != Spent }

// leadsTo reports whether one token became another, as far as traces tell.
func (at *entry) leadsTo(another *entry) bool {
	for n := 0; n < maxChain && at != nil && at.next != nil; n++ {
		if at = at.next; at == another {
			return true
		}
	}
	return false
}

// inUse reports whether somebody spends the token, or is about to hand its set over.
func (at *entry) inUse() bool { return at.flight != nil || len(at.takers) > 0 }

// addTakers counts calls that are about to take the latest set of the token.
func (at *entry) addTakers(n int) (generation int) {
	if at.takers == nil {
		at.takers = make(map[int]int)
	}
	at.takers[at.generation] += n
	return at.generation
}

// removeTaker is for one of them that has stored the set, or leaves.
func (at *entry) removeTaker(generation int) {
	if at.takers[generation]--; at.takers[generation] <= 0 {
		delete(at.takers, generation)
	}
	if at.takerDone != nil {
		close(at.takerDone)
		at.takerDone = nil
	}
}

// earlierTakers returns a channel that is closed when one of the takers is done, nil
// where none of them takes a set of an earlier generation.
func (at *entry) earlierTakers(generation int) <-chan struct{} {
	for earlier := range at.takers {
		if earlier >= generation {
			continue
		}
		if at.takerDone == nil {
			at.takerDone = make(chan struct{})
		}
		return at.takerDone
	}
	return nil
}

// table is the only memory of an engine. The zero table is ready to use.
//
// An entry that is not in use lies in the heap of its class (queue, dequeue). There it
// expires, and leaves a trace (fade), or is evicted; both forget what became of the
// token. What has nothing left to say is collected.
type table struct {
	byID   map[string]*entry
	heaps  [classes]byExpiry
	counts int // entries in the heaps
	bytes  int
	spent  Fate // of all traces
	// revoked counts the entries that are Revoked, for who has no time for the lock.
	revoked atomic.Int64
}

// ensure is get, which makes a new entry where there is none.
func (t *table) ensure(id string, now time.Time) *entry {
	if at := t.get(id, now); at != nil {
		return at
	}
	if t.byID == nil {
		t.byID = make(map[string]*entry)
	}
	at := &entry{id: id, place: -1}
	t.byID[id] = at
	return at
}

// get returns the entry of an id, without what has expired; nil: there is none.
func (t *table) get(id string, now time.Time) *entry {
	if at := t.byID[id]; at != nil {
		t.expire(at, now)
	}
	return t.byID[id]
}

// link notes what a token became.
func (t *table) link(at, next *entry) {
	at.next = next
	next.before = append(next.before, at)
}

// unlink forgets what a token became.
func (t *table) unlink(at *entry) {
	next := at.next
	if next == nil {
		return
	}
	at.next = nil
	next.before = slices.DeleteFunc(next.before, func(e *entry) bool { return e == at })
	t.collect(next)
}

// dropGuesses is for a token that became another, which was taken to lead back to it:
// what a store had on that way was no successor.
func (t *table) dropGuesses(from, to *entry, now time.Time) {
	if !from.leadsTo(to) {
		return
	}
	var guesses []*entry
	for at := from; at != to; at = at.next {
		if at.is(Rotated) && at.fate.Found {
			guesses = append(guesses, at)
		}
	}
	for _, at := range guesses {
		t.fade(at, now)
		t.unlink(at)
		t.queue(at, now)
	}
}

// requeue puts an entry where it belongs after a change, and makes room.
func (t *table) requeue(at *entry, now time.Time) {
	t.queue(at, now)
	t.makeRoom(now)
}

// queue puts an entry into its heap, or drops one that has nothing left to say.
func (t *table) queue(at *entry, now time.Time) {
	t.dequeue(at)
	if at.fate == nil && at.cool == nil {
		t.collect(at)
		return
	}
	if at.fate == nil {
		at.class, at.expiry = brief, at.cool.until()
	}
	if at.inUse() {
		return // it stays until that is over
	}
	at.size = at.weigh()
	t.counts++
	t.bytes += at.size
	heap.Push(&t.heaps[at.class], at)
}

// dequeue takes an entry out of its heap.
func (t *table) dequeue(at *entry) {
	if at.place < 0 {
		return
	}
	heap.Remove(&t.heaps[at.class], at.place)
	t.counts--
	t.bytes -= at.size
}

// makeRoom drops what has expired, and then what may leave first.
func (t *table) makeRoom(now time.Time) {
	for i := range t.heaps {
		for h := &t.heaps[i]; h.Len() > 0 && !now.Before((*h)[0].expiry); {
			first := (*h)[0]
			t.dequeue(first) // whatever becomes of it
			t.expire(first, now)
		}
	}
	for t.counts > maxEntries || t.bytes > maxBytes {
		from := &t.heaps[traces]
		switch {
		case from.Len() > 0:
		case t.heaps[notes].Len() > maxNotes:
			from = &t.heaps[notes]
		case t.heaps[brief].Len() > 0:
			from = &t.heaps[brief]
		default:
			from = &t.heaps[orphans]
		}
		t.evict((*from)[0], now)
	}
}

// expire forgets what is too old of an entry.
func (t *table) expire(at *entry, now time.Time) {
	if at.inUse() || now.Before(at.expiry) {
		return
	}
	t.fade(at, now)
	if at.cool.blocking(Optional, now) == nil {
		at.cool = nil
	}
	t.queue(at, now)
}

// fade forgets what a token became. What is left is the refusal that a store's set
// hid, or a trace if it is spent, since a store that lags behind may still have it; or
// nothing.
func (t *table) fade(at *entry, now time.Time) {
	t.dequeue(at)
	switch refusal := at.refusal; {
	case refusal != nil && now.Before(at.expiry):
		t.unlink(at)
		at.fate, at.refusal = refusal, nil
		return
	case !at.isSpent || at.is(Spent):
		t.forget(at, nil, now)
		return
	}
	at.class, at.expiry = traces, now.Add(orphanMemory)
	t.spent.State = Spent
	t.forget(at, &t.spent, now)
}

// evict drops all that is known of a token.
func (t *table) evict(at *entry, now time.Time) {
	t.dequeue(at)
	t.forget(at, nil, now)
	at.cool = nil
	t.collect(at)
}

// forget drops what became of a token, but for what is left of it. If it is spent,
// what led to it goes, too: else a late caller would be handed a set of no use. The
// link to the next one stays, for sign-outs and for the order of Saves.
func (t *table) forget(at *entry, left *Fate, now time.Time) {
	if at.fate == nil {
		return
	}
	if at.fate.State == Revoked {
		t.revoked.Add(-1)
	}
	wasSpent := at.isSpent
	at.fate, at.refusal, at.isSpent = left, nil, left != nil // first: what follows might collect the entry
	for _, from := range slices.Clone(at.before) {
		if !wasSpent || from.is(Spent) {
			continue // it is forgotten, perhaps just now: tokens may lead to each other
		}
		t.fade(from, now)
		t.queue(from, now)
	}
}

// collect drops an entry that nothing needs any more.
func (t *table) collect(at *entry) {
	if at.fate != nil || at.cool != nil || at.inUse() || len(at.before)+len(at.followers)+len(at.rootOf) > 0 {
		return
	}
	t.dequeue(at)
	t.unlink(at)
	if t.byID[at.id] == at {
		delete(t.byID, at.id)
	}
}

// remembered returns a copy for the table: without what is quickly decoded again,
// and much larger than the tokens, and with texts of its own, since they are parts
// of a whole answer, which would stay in memory too.
func remembered(fate *Fate) *Fate {
	own := *fate
	own.Decoded, own.HaveOwner = nil, nil
	own.Next, own.Grant = own.Next.Clone(), strings.Clone(own.Grant)
	return &own
}

// weigh returns what an entry takes in memory, in bytes.
func (at *entry) weigh() int {
	const overhead = 512
	return overhead + len(at.id) + at.fate.weigh() + at.refusal.weigh()
}

func (f *Fate) weigh() int {
	if f == nil {
		return 0
	}
	n := &f.Next
	return f.errSize + len(f.Grant) + len(n.AccessToken) + len(n.TokenType) +
		len(n.RefreshToken) + len(n.IDToken) + len(n.SubjectHint) + len(n.Scope)
}

// byExpiry is a heap of entries, the first to expire on top.
type byExpiry []*entry

func (h byExpiry) Len() int           { return len(h) }
func (h byExpiry) Less(i, j int) bool { return h[i].expiry.Before(h[j].expiry) }
func (h byExpiry) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push is heap.Interface's.
func (h *byExpiry) Push(x any) {
	at := x.(*entry)
	at.place = len(*h)
	*h = append(*h, at)
}

// Pop is heap.Interface's.
func (h *byExpiry) Pop() any {
	last := len(*h) - 1
	at := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	at.place = -1
	return at
}
