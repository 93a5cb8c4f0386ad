package authpitest

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"time"
)

// session is what one sign-in at one client gave, from the authorization code to the
// last refresh token.
type session struct {
	id, userID, clientID string
	scopes, resources    []string // the whole grant
	org, nonce, acr      string
	authTime             time.Time // of the real login
	since                time.Time // of its code
	started              bool      // its code was redeemed
	ended                bool
	expires              time.Time // of the newest refresh token
}

type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// refreshToken is a refresh token that was handed out, spent or not.
type refreshToken struct {
	session *session
	expires time.Time
	spent   time.Time // zero: not yet
}

// browser is a browser at which somebody signed in: what prompt=none looks for.
type browser struct {
	userID string
	since  time.Time
}

// EndSession revokes all sessions of a user, as an administrator would: refresh
// tokens, access tokens at userinfo and introspection, pending codes and the sign-in
// at the issuer.
func (s *Server) EndSession(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endSessions(userID)
}

// RevokeSession ends one session, by its ID (sid), and reports whether it was alive.
// The user stays signed in at the issuer: a login with prompt=none starts another
// session.
func (s *Server) RevokeSession(id string) bool {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	ses := s.sessions[id]
	if ses == nil || !ses.live(now) {
		return false
	}
	ses.ended = true
	return true
}

// Session is a sign-in of a user at a client. It holds no token.
type Session struct {
	// ID is the sid claim.
	ID, UserID, ClientID string

	// OrgID is the organization that the session was narrowed to, or empty.
	OrgID string

	// Scopes and Resources are what was granted.
	Scopes, Resources []string

	// Since is when the user came to the client, ExpiresAt when the newest refresh
	// token expires.
	Since, ExpiresAt time.Time
}

// LiveSessions returns the sessions whose tokens still work, the newest first.
func (s *Server) LiveSessions() []Session {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []Session
	for _, ses := range s.sessions {
		if !ses.live(now) {
			continue
		}
		live = append(live, Session{
			ID: ses.id, UserID: ses.userID, ClientID: ses.clientID, OrgID: ses.org,
			Scopes: slices.Clone(ses.scopes), Resources: slices.Clone(ses.resources),
			Since: ses.since, ExpiresAt: ses.expires,
		})
	}
	slices.SortFunc(live, func(a, b Session) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID))
	})
	return live
}

// SessionAlive reports whether the session that a refresh, access or ID token
// belongs to still lives, even if the token itself is spent or expired. It is false
// once the session was revoked, logged out, ended by reuse of a refresh token or has
// run out, and for any other token.
func (s *Server) SessionAlive(token string) bool {
	claims, _, ok := s.verify(token)
	if !ok {
		return false
	}
	sid, _ := claims["sid"].(string)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	ses := s.sessions[sid]
	return ses != nil && ses.live(now)
}

// Sessions returns how many live sessions a user has: one for each code that was
// redeemed.
func (s *Server) Sessions(userID string) int {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, ses := range s.sessions {
		if ses.userID == userID && ses.live(now) {
			n++
		}
	}
	return n
}

// live tells whether the session's tokens still work. The caller holds s.mu.
func (ses *session) live(now time.Time) bool {
	return ses.started && !ses.ended && now.Before(ses.expires)
}

// endSessions ends all sessions of a user, at the issuer too. The caller holds s.mu.
func (s *Server) endSessions(userID string) {
	for _, ses := range s.sessions {
		if ses.userID == userID {
			ses.ended = true
		}
	}
	for id, b := range s.browsers {
		if b.userID == userID {
			delete(s.browsers, id)
		}
	}
}
