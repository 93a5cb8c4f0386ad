package authpi

import (
	"strings"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/recent"
	"github.com/authpi/authpi-idp-go/internal/seal"
)

// rotation is what a spent refresh token became. It is not changed once others see it.
type rotation struct {
	tokens TokenSet
	grant  string // what was asked for, see renewal.grant
	stored bool   // found in the session store: nobody has to store it again
	kept   bool   // the issuer did not rotate: the refresh token is the same
	ended  bool   // it was revoked, and became nothing
	// Both are worked out once, for all who wait.
	next  string  // the id of tokens' refresh token; empty: not yet
	owner *claims // of the ID token; nil: not yet
}

// rotations knows which refresh tokens are being spent in this process, and what
// became of those that were spent lately. It holds tokens, so it never prints.
type rotations struct {
	realm string // issuer and client: equal tokens of two of them differ
	keep  time.Duration
	now   func() time.Time
	spent *recent.Map[string, *rotation] // by the id of the spent token
	vain  *recent.Map[string, error]     // by the id of a token that was spent for tokens that were refused
	waits *recent.Map[string, struct{}]  // ids that are not worth a try for now

	mu      sync.Mutex // guards running
	running map[string]*flight
}

// Bounds of the memory: sessions that refresh within RefreshMemory of each other.
var memoryLimits = recent.Limits{Entries: 16384, Bytes: 64 << 20}

func newRotations(cfg Config) *rotations {
	return &rotations{
		realm:   strings.TrimRight(cfg.IssuerURL, "/") + "\x00" + cfg.ClientID,
		keep:    cfg.RefreshMemory,
		now:     cfg.Now,
		spent:   recent.New[string, *rotation](memoryLimits, cfg.Now),
		vain:    recent.New[string, error](memoryLimits, cfg.Now),
		waits:   recent.New[string, struct{}](memoryLimits, cfg.Now),
		running: make(map[string]*flight),
	}
}

func (s *rotations) id(refreshToken string) string { return seal.ID(s.realm, refreshToken) }

// shortID is enough of an id to find a session's lines in a log.
func (s *rotations) shortID(refreshToken string) string { return s.id(refreshToken)[:12] }

// newest follows the successors of a refresh token as far as they are known. It is
// nil where none is.
func (s *rotations) newest(id string) (newest *rotation) {
	const longest = 1024 // a chain that bites its own tail must end, too
	for range longest {
		next, known := s.spent.Get(id)
		if !known || next.ended && newest == nil {
			return newest // of a revoked token itself the issuer has the last word
		}
		newest = next
		if next.ended || next.kept || next.tokens.RefreshToken == "" {
			return newest
		}
		id = next.next
	}
	return newest
}

// latest is r, or what its tokens became since.
func (s *rotations) latest(r *rotation) *rotation {
	id := r.next
	if id == "" {
		id = s.id(r.tokens.RefreshToken)
	}
	newer := s.newest(id)
	if newer == nil || r.kept && newer.kept {
		return r // of two answers for one token that still works neither is outdated
	}
	return newer
}

func (s *rotations) remember(spent TokenSet, became rotation) {
	s.rememberFor(s.id(spent.RefreshToken), became, s.keep)
}

// orphanMemory is how long a set is remembered that nobody waited for: until the
// session comes back, for these are its only tokens.
const orphanMemory = 24 * time.Hour

func (s *rotations) rememberFor(id string, became rotation, keep time.Duration) {
	expiry := s.now().Add(keep)
	if became.kept && became.tokens.ExpiresAt.Before(expiry) {
		expiry = became.tokens.ExpiresAt
	}
	// Copies: the texts are parts of a whole answer, which would stay in memory too.
	const overhead = 512
	t, size := &became.tokens, overhead
	for _, text := range []*string{&t.AccessToken, &t.TokenType, &t.RefreshToken, &t.IDToken, &t.SubjectHint, &t.Scope, &became.grant} {
		*text = strings.Clone(*text)
		size += len(*text)
	}
	became.owner = nil // quickly decoded again, and much larger than the tokens
	if became.next == "" {
		became.next = s.id(t.RefreshToken)
	}
	s.spent.Put(id, &became, size, expiry)
}

// rememberVain notes why a token was spent in vain. To spend it again would look like
// a thief's doing, and end what the error's tokens may still be good for.
func (s *rotations) rememberVain(id string, why *RefreshError) {
	const overhead = 1024
	t := why.tokens
	s.vain.Put(id, why, len(t.AccessToken)+len(t.RefreshToken)+len(t.IDToken)+len(t.Scope)+overhead, s.now().Add(s.keep))
}

// end notes that a token was revoked: whoever comes late with a token before it
// must not be signed in again from the memory. A flight that spends it just now may
// have its answer already.
func (s *rotations) end(token string) {
	id := s.id(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.running[id]; f != nil {
		f.revoked = true
	}
	s.rememberFor(id, rotation{ended: true}, s.keep)
}

func (s *rotations) pause(refreshToken string) {
	const overhead = 256
	s.waits.Put(s.id(refreshToken), struct{}{}, overhead, s.now().Add(pause))
}

func (s *rotations) paused(refreshToken string) bool {
	_, ok := s.waits.Get(s.id(refreshToken))
	return ok
}
