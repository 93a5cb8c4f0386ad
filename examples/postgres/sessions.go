package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go"
)

// Sessions keeps token sets in a [Store], for an app without package authpihttp.
type Sessions struct {
	Store    *Store
	Client   *authpi.IdpClient
	Lifetime time.Duration // since the last refresh; zero: 7 days
}

// ErrEnded is OnRefresh's error for a session that was deleted in the meantime.
var ErrEnded = errors.New("postgres: the session has ended")

// Session is a session as this request has read it.
type Session struct {
	Tokens authpi.TokenSet // zero: nobody is signed in

	sessions *Sessions
	id       string

	mu   sync.Mutex // guards all below
	read []byte     // nil: there is no such session
	seen record
}

// record is what is stored. Before distinguishes an older set that comes late from a
// newer one; their times cannot.
type record struct {
	Tokens authpi.TokenSet `json:"tokens"`
	Before []string        `json:"before,omitempty"` // labels of the refresh tokens that were here before
}

const maxBefore = 32

func label(refreshToken string) string {
	digest := sha256.Sum256([]byte(refreshToken))
	return hex.EncodeToString(digest[:8])
}

// Create stores the tokens of somebody who has just signed in, under a new id.
func (s *Sessions) Create(ctx context.Context, id string, tokens authpi.TokenSet) error {
	data, err := json.Marshal(record{Tokens: tokens})
	if err != nil {
		return err
	}
	written, err := s.Store.CommitIf(ctx, id, nil, data, s.expiry())
	if err == nil && !written {
		err = errors.New("postgres: there is such a session")
	}
	return err
}

// Load reads a session. One that has ended has zero Tokens.
func (s *Sessions) Load(ctx context.Context, id string) (*Session, error) {
	session := &Session{sessions: s, id: id}
	var err error
	session.Tokens, err = session.reload(ctx)
	return session, err
}

// Delete ends a session, whatever is under way. Then revoke its refresh token.
func (s *Sessions) Delete(ctx context.Context, id string) error { return s.Store.DeleteCtx(ctx, id) }

// Options are what CreateAgent needs to keep the session.
func (s *Session) Options() *authpi.AgentOptions {
	return &authpi.AgentOptions{OnRefresh: s.save, Reload: s.reload}
}

// save is OnRefresh. It stores the tokens only over what this request has read, or
// over what another request has written since if that is older. If the session was
// deleted, it stays so, and the tokens are revoked.
func (s *Session) save(ctx context.Context, tokens authpi.TokenSet) error {
	for !s.knows(tokens) { // else another request was faster
		old, next := s.next(tokens)
		if old == nil {
			return s.revoke(ctx, tokens)
		}
		data, err := json.Marshal(next)
		if err != nil {
			return err
		}
		written, err := s.sessions.Store.CommitIf(ctx, s.id, old, data, s.sessions.expiry())
		if err != nil {
			return err
		}
		if written {
			s.set(data, next)
			continue
		}
		if _, err := s.reload(ctx); err != nil {
			return err
		}
	}
	return nil
}

// next returns what was read, and what is to be stored over it.
func (s *Session) next(tokens authpi.TokenSet) (old []byte, next record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = record{tokens, s.seen.Before}
	if spent := s.seen.Tokens.RefreshToken; spent != tokens.RefreshToken {
		next.Before = append(slices.Clone(next.Before), label(spent))
		next.Before = next.Before[max(0, len(next.Before)-maxBefore):]
	}
	return s.read, next
}

func (s *Session) set(read []byte, seen record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read, s.seen = read, seen
}

// knows reports whether tokens, or later ones, were stored when it read last.
func (s *Session) knows(tokens authpi.TokenSet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.Tokens.AccessToken == tokens.AccessToken || slices.Contains(s.seen.Before, label(tokens.RefreshToken))
}

func (s *Session) revoke(ctx context.Context, tokens authpi.TokenSet) error {
	if err := s.sessions.Client.RevokeToken(ctx, tokens.RefreshToken, "refresh_token"); err != nil {
		return fmt.Errorf("%w, and its last refresh token could not be revoked: %w", ErrEnded, err)
	}
	return ErrEnded
}

// reload is Reload: it returns a zero set for a session that has ended.
func (s *Session) reload(ctx context.Context) (authpi.TokenSet, error) {
	data, found, err := s.sessions.Store.FindCtx(ctx, s.id)
	if err != nil {
		return authpi.TokenSet{}, err
	}
	var stored record
	if found {
		if err := json.Unmarshal(data, &stored); err != nil {
			return authpi.TokenSet{}, err
		}
	}
	s.set(data, stored)
	return stored.Tokens, nil
}

func (s *Sessions) expiry() time.Time {
	return time.Now().Add(orDefault(s.Lifetime, 7*24*time.Hour))
}
