package main

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

const (
	maxSessions = 10_000
	maxLogins   = 8                // that one browser may have open at a time
	loginLife   = 15 * time.Minute // how long a browser may take to sign in
	sessionLife = 12 * time.Hour   // since the last request
)

// session is one browser's: first its open logins, then its tokens.
type session struct {
	id        string
	used      time.Time
	logins    map[string]authpi.AuthorizationURL // by state
	tokens    authpi.TokenSet
	rotations int
	rotatedAt time.Time
}

func (s session) signedIn() bool { return s.tokens.AccessToken != "" }

// sessions are kept in memory: a restart of the app signs everybody out.
type sessions struct {
	mu     sync.Mutex // guards byID and every session in it
	byID   map[string]*session
	secure bool // cookies only by https
	now    func() time.Time
}

func (s *sessions) cookie(value string, maxAge int) *http.Cookie {
	name := "session"
	if s.secure {
		name = "__Host-session"
	}
	lax := http.SameSiteLaxMode // the issuer's redirect back brings the cookie along
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: lax, Secure: s.secure}
}

// find returns a copy of the request's session, the zero one if there is none.
func (s *sessions) find(r *http.Request) (found session) {
	cookie, err := r.Cookie(s.cookie("", 0).Name)
	if err != nil {
		return found
	}
	s.with(cookie.Value, func(one *session) {
		if !s.isOver(one) {
			one.used = s.now()
			found = *one
		}
	})
	return found
}

func (s *sessions) isOver(one *session) bool {
	idle := s.now().Sub(one.used)
	return idle > sessionLife || idle > loginLife && !one.signedIn()
}

// start gives the browser a new session under a new random ID.
func (s *sessions) start(w http.ResponseWriter, tokens authpi.TokenSet) session {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	fresh := &session{
		id: base64.RawURLEncoding.EncodeToString(random), used: s.now(),
		logins: map[string]authpi.AuthorizationURL{}, tokens: tokens,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, old := range s.byID {
		if s.isOver(old) || len(s.byID) >= maxSessions {
			delete(s.byID, id)
		}
	}
	s.byID[fresh.id] = fresh
	http.SetCookie(w, s.cookie(fresh.id, 0))
	return *fresh
}

// with gives a session that may be changed, and reports whether there is one.
func (s *sessions) with(id string, do func(*session)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byID[id]
	if one != nil {
		do(one)
	}
	return one != nil
}

// end forgets a session and returns its last tokens.
func (s *sessions) end(id string) (last authpi.TokenSet) {
	s.with(id, func(one *session) {
		last = one.tokens
		delete(s.byID, id)
	})
	return last
}

func (s *sessions) openLogin(id string, auth authpi.AuthorizationURL) {
	s.with(id, func(one *session) {
		if len(one.logins) == maxLogins {
			clear(one.logins)
		}
		one.logins[auth.State] = auth
	})
}

// takeLogin finds the login that a callback answers, which then works no more.
func (s *sessions) takeLogin(id, state string) (auth authpi.AuthorizationURL, ok bool) {
	s.with(id, func(one *session) {
		auth, ok = one.logins[state]
		delete(one.logins, state)
	})
	return auth, ok
}

// load is for AgentOptions.Reload: no tokens where the user has signed out meanwhile.
func (s *sessions) load(id string) (tokens authpi.TokenSet) {
	s.with(id, func(one *session) { tokens = one.tokens })
	return tokens
}

// save is for AgentOptions.OnRefresh. Requests that shared a refresh each save the same
// set; an older one never replaces a newer one. False: the session has ended.
func (s *sessions) save(id string, tokens authpi.TokenSet) bool {
	return s.with(id, func(one *session) {
		if tokens.AccessToken != one.tokens.AccessToken && !tokens.ExpiresAt.Before(one.tokens.ExpiresAt) {
			one.tokens, one.rotatedAt, one.rotations = tokens, s.now(), one.rotations+1
		}
	})
}
