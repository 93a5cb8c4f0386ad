package authpihttp

import (
	"sync"

	authpi "github.com/authpi/authpi-idp-go"
)

// lineage follows which set the next one is refreshed from. The zero one learns it
// from Reload.
type lineage struct {
	mu          sync.Mutex // guards found and from
	found, from authpi.TokenSet
}

// start is for a set that the caller has, or has just stored.
func (l *lineage) start(tokens authpi.TokenSet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found, l.from = tokens, tokens
}

// reloaded hears what Reload gives. A set that is new there is used first, and may
// be later than one that is being stored; it is spent only once Reload has given it
// again.
func (l *lineage) reloaded(tokens authpi.TokenSet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if same(l.found, tokens) || same(l.from, authpi.TokenSet{}) {
		l.from = tokens
	}
	l.found = tokens
}

func (l *lineage) last() authpi.TokenSet {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.from
}
