package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// home is a place that keeps the tokens of one session: a row of a session store, or a
// cookie.
type home struct {
	w       *world
	session *session
	name    string
	setup   homeSetup

	// Guarded by w.mu:
	versions   []version // as it was written; the last one is how it is
	fails      failure
	failsUntil time.Duration
	behindBy   int // sets, while it lags
}

// version is what a home held from some time on.
type version struct {
	at     time.Duration
	set    *set // nil: nothing, the user has signed out
	tokens authpi.TokenSet
}

func (h *home) String() string { return h.name }

func (v version) String() string {
	if v.set == nil {
		return "nothing"
	}
	return v.set.name
}

// current is what a home holds. w.mu is held.
func (h *home) current() version { return h.versions[len(h.versions)-1] }

// read is what a reader sees, who may be behind. w.mu is held.
func (h *home) read() version {
	seen := h.versions[0]
	for _, v := range h.versions[1:] {
		if v.at+h.setup.lag <= h.w.now() || h.w.lifted {
			seen = v
		}
	}
	return seen
}

func (h *home) write(v version) {
	v.at = h.w.now()
	h.versions = append(h.versions, v)
}

func (h *home) failing() failure {
	if h.w.now() < h.failsUntil {
		return h.fails
	}
	return works
}

// readsFail reports whether an app finds no tokens here now. w.mu is held.
func (h *home) readsFail() bool {
	switch h.failing() {
	case works, writeFails, mixes, lags:
		return false
	}
	return true
}

var (
	errStore = errors.New("sim: the store is unreachable")
	errGone  = errors.New("sim: the session is not in the store any more")
)

// reload is a caller's Reload.
func (h *home) reload(ctx context.Context, c *call) (authpi.TokenSet, error) {
	w := h.w
	w.mu.Lock()
	fails := h.failing()
	takes := w.storeTakes(c, h, fails)
	w.note(c.p, c, "Reload of %v; it %v", h, fails)
	c.reading = true
	w.mu.Unlock()
	if c.nested {
		c.callInside(ctx)
	}
	err := c.p.wait(ctx, takes, fails == deaf)
	w.mu.Lock()
	defer w.mu.Unlock()
	c.reading = false
	if err == nil && (fails == refuses || fails == readFails) {
		err = errStore
	}
	if err != nil {
		w.note(c.p, c, "Reload failed")
		c.reloads = append(c.reloads, reloaded{at: w.now(), failed: true})
		return authpi.TokenSet{}, err
	}
	v := h.read()
	if n := len(h.versions); fails == lags {
		v = h.versions[max(n-1-h.behindBy, 0)]
	}
	if other := h.otherUsers(); fails == mixes && other != nil {
		v = *other
		h.session.mixed = true
	}
	w.note(c.p, c, "Reload returns %v", v)
	c.reloads = append(c.reloads, reloaded{at: w.now(), set: v.set})
	return v.tokens, nil
}

// storeTakes is how long a store needs. Its failure troubles those who share its session.
func (w *world) storeTakes(c *call, h *home, fails failure) time.Duration {
	return w.failing(c, fails, h.session)
}

// otherUsers is what a store that mixes users up returns.
func (h *home) otherUsers() *version {
	for _, s := range h.w.sessions {
		if s.subject != h.session.subject {
			v := s.homes[0].current()
			if v.set != nil {
				return &v
			}
		}
	}
	return nil
}

// save is a caller's OnRefresh.
func (h *home) save(ctx context.Context, c *call, tokens authpi.TokenSet) error {
	w := h.w
	w.mu.Lock()
	run := w.beginOnRefresh(c, tokens)
	fails := h.failing()
	takes := w.storeTakes(c, h, fails)
	w.note(c.p, c, "OnRefresh with %v; the store %v %v", run.set, h, fails)
	w.mu.Unlock()
	if c.nested {
		c.callInside(ctx)
	}
	err := c.p.wait(ctx, takes, fails == deaf)
	w.mu.Lock()
	if err == nil && (fails == refuses || fails == writeFails) {
		err = errStore
	}
	if err == nil {
		err = h.put(run.set, tokens)
	}
	w.note(c.p, c, "OnRefresh with %v has ended: %v", run.set, said(err))
	w.mu.Unlock()
	if errors.Is(err, errGone) && h.setup.kind == conditional {
		// Not written, and gone: what has just come for the session is revoked.
		_ = c.p.client.RevokeToken(revoking(context.WithoutCancel(ctx), works), tokens.RefreshToken, "refresh_token")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	run.err = err
	w.endOnRefresh(run)
	return err
}

// said is an error as the table shows it.
func said(err error) string {
	if err == nil {
		return "fine"
	}
	return err.Error()
}

// put writes a set as the home's kind does. w.mu is held.
func (h *home) put(s *set, tokens authpi.TokenSet) error {
	at := h.current()
	if at.set == nil {
		return errGone
	}
	if s == nil {
		return nil
	}
	if h.setup.kind == conditional && s.index <= at.set.index {
		return nil // somebody has stored its successor, as an app finds out by looking that up
	}
	h.write(version{set: s, tokens: tokens})
	return nil
}

// signIn has a user sign in: a session at the issuer, and its tokens in their homes.
func (w *world) signIn(n int, homes []homeSetup) {
	s := &session{
		name: fmt.Sprintf("s%d", n+1), subject: fmt.Sprintf("usr_%d", n+1), id: fmt.Sprintf("s_%d", n+1), revocationAt: -1,
	}
	w.sessions = append(w.sessions, s)
	first := w.issuer.issue(s, nil, 0, &answers[0])
	tokens := first.tokens(time.Unix(time.Now().Add(w.h.setup.life).Unix(), 0))
	for n, setup := range homes {
		h := &home{w: w, session: s, name: homeName(len(w.sessions)-1, n), setup: setup}
		h.write(version{set: first, tokens: tokens})
		s.homes = append(s.homes, h)
	}
}

// revoker marks a revocation that the app asks for.
type revoker struct{ fails failure }

type revokerKey struct{}

func revoking(ctx context.Context, fails failure) context.Context {
	return context.WithValue(ctx, revokerKey{}, &revoker{fails})
}

// leave signs a user out at one home, or only revokes what is in it. w.mu is held.
func (w *world) leave(p *process, s step) {
	h := w.sessions[s.session].homes[s.home]
	v := h.current()
	if v.set == nil {
		return
	}
	if s.deed == signOut {
		h.write(version{})
	}
	if h.session.revocationAt < 0 {
		h.session.revocationAt = w.now()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	go func() {
		defer cancel()
		err := p.client.RevokeToken(revoking(ctx, s.fails), v.tokens.RefreshToken, "refresh_token")
		w.mu.Lock()
		defer w.mu.Unlock()
		w.noteRevocation(p, v.set)
		w.note(p, nil, "RevokeToken of %v has returned: %v", v.set, said(err))
	}()
}

// noteRevocation notes that a process knows of a revocation by now. w.mu is held.
func (w *world) noteRevocation(p *process, s *set) {
	if s == nil || p.killed {
		return
	}
	if _, known := p.notes[s]; !known {
		p.notes[s] = w.now()
	}
	if s.session.revocationAt < 0 {
		s.session.revocationAt = w.now()
	}
}
