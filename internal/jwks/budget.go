package jwks

import (
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/jws"
)

const (
	burst       = 2
	replenished = 10 * time.Second
)

// budget is a token bucket: burst fetches at once, and one more for every ten
// seconds.
type budget struct {
	left int
	last time.Time // when the bucket was full, or was given its last fetch
}

// take takes one fetch from the bucket, unless it is empty.
func (b *budget) take(now time.Time) bool {
	b.replenish(now)
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

// putBack undoes take.
func (b *budget) putBack() { b.left = min(b.left+1, burst) }

// empty reports whether take would take nothing.
func (b *budget) empty(now time.Time) bool {
	b.replenish(now)
	return b.left == 0
}

// refill undoes all that was taken.
func (b *budget) refill() { b.left = burst }

// replenish adds what has come in until now. A clock that was moved back adds
// nothing, and the wait for the next fetch begins again.
func (b *budget) replenish(now time.Time) {
	elapsed := now.Sub(b.last)
	if b.left == burst || elapsed < 0 {
		b.last = now
		return
	}
	n := elapsed / replenished
	b.left = int(min(time.Duration(b.left)+n, burst))
	b.last = b.last.Add(n * replenished)
}

// payer is the token that causes a fetch, and pays if it does not help.
type payer struct {
	set   *Set
	token jws.Token // a copy, as the caller may leave
	none  bool      // there is none: any set helps Trusts
	from  Source
}

func (s *Set) payerOf(t *jws.Token, from Source) payer {
	if t == nil {
		return payer{set: s, none: true, from: from}
	}
	return payer{set: s, token: *t, from: from}
}

func (p *payer) helpedBy(set *fresh.Copy[*snapshot]) bool {
	return set != nil && (p.none || set.Value.has(&p.token))
}

// firstFetch are the terms of a fetch without a usable set. It was due anyway, so it
// is charged only once it is known that it did not help. Fetches that fail again are
// charged too. Once the budget is used up, callers get the last failure until it has
// filled up: else every made-up token would be a request to an issuer in trouble. A
// token from the issuer may always try: it has cost a login, which would be lost.
type firstFetch struct{ payer }

// Allow reports whether there is something left of the budget.
func (f *firstFetch) Allow() bool {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	return f.from == FromIssuer || !f.set.budgets[f.from].empty(f.set.now())
}

// Ended charges the fetch if it was wasted. A first failure is free; it is those who
// try again that pay, unless they come with a token from the issuer.
func (f *firstFetch) Ended(set *fresh.Copy[*snapshot], before error) {
	helped := f.helpedBy(set)
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	if set != nil && before != nil {
		// What failures took is given back: whoever they kept waiting may come now.
		f.set.budgets[Untrusted].refill()
	}
	if !helped && (set != nil || before != nil && f.from == Untrusted) {
		f.set.budgets[f.from].take(f.set.now())
	}
}

// extraFetch are the terms of a fetch for a token that the set at hand does not
// help. It is paid for beforehand; what it cost is given back if it helps.
type extraFetch struct {
	payer
	refused bool // the budget was used up
}

// Allow takes the fetch from the budget.
func (f *extraFetch) Allow() bool {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	f.refused = !f.set.budgets[f.from].take(f.set.now())
	return !f.refused
}

// Ended puts back what the fetch has cost, if it helped.
func (f *extraFetch) Ended(set *fresh.Copy[*snapshot], _ error) {
	if !f.helpedBy(set) {
		return
	}
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	f.set.budgets[f.from].putBack()
}
