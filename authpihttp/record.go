package authpihttp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// record is one sign-in. It is kept under a digest of the sign-in's cookie, sealed
// by a key that takes the cookie, too.
type record struct {
	tokens   authpi.TokenSet
	subject  string
	begun    int64  // all times in seconds since the Unix epoch
	seen     int64  // when it was written last
	replaced int64  // when another sign-in of the same user took its place; 0: not
	authTime int64  // of the ID token at sign-in; 0: it had none
	acr      string // likewise
	recent   string // guard of RequireRecent that has begun this sign-in, and its page
	failed   string // guard whose login did not bring what it asked for
	before   string // key of the record that this one replaced

	raw []byte // as read from the store
}

func (rec *record) pack() []byte {
	tokens, _ := rec.tokens.MarshalJSON() // texts and a number
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return append(pack("1", rec.subject, number(rec.begun), number(rec.seen), number(rec.replaced), number(rec.authTime),
		rec.acr, rec.recent, rec.failed, rec.before), tokens...)
}

func unpackRecord(plain []byte) *record {
	p, stored, ok := unpack(plain, 10)
	if !ok || p[0] != "1" {
		return nil
	}
	tokens, err := authpi.ParseTokenSet(stored)
	if err != nil {
		return nil
	}
	number := func(text string) int64 {
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	return &record{
		tokens: tokens, subject: p[1], begun: number(p[2]), seen: number(p[3]), replaced: number(p[4]),
		authTime: number(p[5]), acr: p[6], recent: p[7], failed: p[8], before: p[9],
	}
}

// replacedLife is how long tabs that were under way may read a replaced sign-in.
const replacedLife = time.Minute

// expiry is when a record ends unless it is written again.
func (a *App) expiry(rec *record) time.Time {
	end := time.Unix(rec.begun, 0).Add(a.opts.Lifetime)
	if idle := time.Unix(rec.seen, 0).Add(a.opts.IdleTimeout); idle.Before(end) {
		end = idle
	}
	if soon := time.Unix(rec.replaced, 0).Add(replacedLife); rec.replaced != 0 && soon.Before(end) {
		end = soon
	}
	return end
}

// signIn is a sign-in that a request has come with, or has just begun.
type signIn struct {
	app         *App
	cookie, key string

	mu  sync.Mutex // guards rec
	rec *record    // as read last; nil: it has ended
}

func (a *App) signInOf(cookie string) *signIn {
	sum := sha256.Sum256([]byte(cookie))
	return &signIn{app: a, cookie: cookie, key: base64url.EncodeToString(sum[:])}
}

func (s *signIn) last() *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

func (s *signIn) note(rec *record) *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec = rec
	return rec
}

// read reads the record; nil where the sign-in has ended.
func (s *signIn) read(ctx context.Context) (*record, error) {
	raw, err := s.app.entries.find(ctx, s.key)
	if err != nil {
		return nil, err
	}
	rec := s.open(raw)
	if rec == nil || !s.app.now().Before(s.app.expiry(rec)) {
		return s.note(nil), nil
	}
	rec.raw = raw
	return s.note(rec), nil
}

func (s *signIn) open(raw []byte) *record {
	buffer, _ := s.app.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	plain, ok := s.app.open((*buffer)[:0], "record", s.cookie, s.key, raw)
	if !ok {
		return nil
	}
	rec := unpackRecord(plain)
	clear(plain)
	*buffer = plain
	s.app.buffers.Put(buffer)
	return rec
}

// write stores a record over the one that next was made of.
func (s *signIn) write(ctx context.Context, next record) (written bool, err error) {
	sealed := s.app.seal("record", s.cookie, s.key, next.pack())
	written, err = s.app.entries.write(ctx, s.key, next.raw, sealed, s.app.expiry(&next))
	if written && err == nil {
		next.raw = sealed
		s.note(&next)
	}
	return written, err
}

const tries = 8 // of a change that others keep overtaking

// change changes the record until it is written. It returns nil where the sign-in has
// ended.
func (s *signIn) change(ctx context.Context, apply func(*record)) (*record, error) {
	for range tries {
		rec, err := s.read(ctx)
		if err != nil || rec == nil {
			return nil, err
		}
		next := *rec
		apply(&next)
		if written, err := s.write(ctx, next); err != nil || written {
			return rec, err
		}
	}
	return nil, errOvertaken
}

// rotate stores tokens that were refreshed from those of the record. Where that has
// changed meanwhile the store's set counts.
func (s *signIn) rotate(ctx context.Context, tokens authpi.TokenSet) error {
	rec := s.last()
	for from := rec; ; {
		switch {
		case rec == nil || rec.replaced != 0:
			s.app.revoke(ctx, tokens) // signed out while they were on their way
			return errEnded
		case same(rec.tokens, tokens):
			return nil
		case !same(rec.tokens, from.tokens):
			return errOvertaken
		}
		next := *rec
		next.tokens, next.seen = tokens, s.app.now().Unix()
		written, err := s.write(ctx, next)
		if written || err != nil {
			return err
		}
		if rec, err = s.read(ctx); err != nil {
			return err
		}
	}
}

// same compares what tells one set from another.
func same(a, b authpi.TokenSet) bool {
	return a.AccessToken == b.AccessToken && a.RefreshToken == b.RefreshToken
}

// touch keeps a record from ending for want of requests. A failure does not matter:
// the next request tries again.
func (s *signIn) touch(ctx context.Context) {
	rec, now := s.last(), s.app.now().Unix()
	if rec == nil || rec.replaced != 0 || now-rec.seen <= int64(s.app.opts.IdleTimeout/time.Second)/8 {
		return
	}
	next := *rec
	next.seen = now
	_, _ = s.write(ctx, next)
}

// end removes the record and returns it as it was; nil where it had ended before.
func (s *signIn) end(ctx context.Context) (*record, error) {
	for range tries {
		rec, err := s.read(ctx)
		if err != nil || rec == nil {
			return nil, err
		}
		ended, err := s.app.entries.end(ctx, s.key, rec.raw)
		if err != nil {
			return nil, err
		}
		if ended {
			s.note(nil)
			return rec, nil
		}
	}
	return nil, errOvertaken
}

// drop ends the sign-in after its tokens died, unless it holds others by now.
func (s *signIn) drop(ctx context.Context, dead authpi.TokenSet) (dropped bool, err error) {
	rec, err := s.read(ctx)
	if err != nil || rec == nil {
		return err == nil, err
	}
	if !same(rec.tokens, dead) {
		return false, nil
	}
	return s.app.entries.end(ctx, s.key, rec.raw)
}

// The ID token for the issuer's logout lies beside the record, and outlives it.

func (s *signIn) hintKey() string { return name("authpihttp hint", s.cookie) }

func (s *signIn) hint(ctx context.Context) string {
	sealed, err := s.app.entries.find(ctx, s.hintKey())
	if err != nil {
		return ""
	}
	idToken, _ := s.app.open(nil, "hint", s.cookie, s.hintKey(), sealed)
	return string(idToken)
}

// create stores a new sign-in: first the index by which a logout finds it, then the
// record, and then it looks whether a logout came meanwhile.
func (s *signIn) create(ctx context.Context, rec record, agent *authpi.Agent, began time.Time) error {
	a := s.app
	end := a.now().Add(a.opts.Lifetime)
	if err := a.addToIndexes(ctx, agent, s.key, end); err != nil {
		return err
	}
	hint := a.seal("hint", s.cookie, s.hintKey(), []byte(agent.Tokens.IDToken))
	written, err := a.entries.write(ctx, s.hintKey(), nil, hint, end)
	if err == nil && written {
		written, err = s.write(ctx, rec)
	}
	if err == nil && !written {
		err = errOvertaken // a store that has something under a random key
	}
	if err == nil {
		err = a.checkLogouts(ctx, agent, began)
	}
	if err != nil {
		return errors.Join(err, s.forget(ctx))
	}
	return nil
}

// forget removes all that the sign-in has in the store but the index.
func (s *signIn) forget(ctx context.Context) error {
	s.note(nil)
	return errors.Join(s.app.entries.remove(ctx, s.key), s.app.entries.remove(ctx, s.hintKey()))
}

// strictClaims are those of an Agent's token that this package decides by.
type strictClaims struct {
	acr      string
	authTime int64
}

// claimsOf reads them with the one parser for claims: encoding/json folds the case of
// names.
func claimsOf(agent *authpi.Agent) (c strictClaims) {
	var raw json.RawMessage
	if agent.Claims(&raw) != nil {
		return strictClaims{}
	}
	r := strictjson.NewReader(string(raw))
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "acr":
			c.acr, _ = r.Text()
		case "auth_time":
			literal, _ := r.Number()
			literal, _, _ = strings.Cut(literal, ".") // a fraction is allowed (RFC 7519 section 2)
			c.authTime, _ = strconv.ParseInt(literal, 10, 64)
		default:
			r.Skip()
		}
	}
	if r.End() != nil {
		return strictClaims{}
	}
	return c
}
