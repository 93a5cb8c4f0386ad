package signin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// SignIn is a sign-in that a request has come with, or has just begun.
type SignIn struct {
	book        *Book
	cookie, key string

	settled sync.Once

	mu   sync.Mutex // guards what follows
	olds []*SignIn  // whose place it takes
	rec  *Record    // as read last; nil: it has ended
}

// SignIn returns the one that a cookie's 32 bytes stand for. It reads nothing.
func (b *Book) SignIn(cookie string) *SignIn {
	return &SignIn{book: b, cookie: cookie, key: encoded(sha256.Sum256([]byte(cookie)))}
}

// Find returns the sign-in of the first cookie that has a record, with that. Without
// one the record is nil and the sign-in nobody's; after an error it is the one that
// could not be read.
func (b *Book) Find(ctx context.Context, cookies []string) (*SignIn, *Record, error) {
	for _, cookie := range cookies {
		s := b.SignIn(cookie)
		if rec, err := s.Read(ctx); rec != nil || err != nil {
			return s, rec, err
		}
	}
	return b.SignIn(""), nil, nil
}

// Cookie is what the browser keeps.
func (s *SignIn) Cookie() string { return Base64URL.EncodeToString([]byte(s.cookie)) }

// Last is the record as it was read or written last; nil where it has ended.
func (s *SignIn) Last() *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

func (s *SignIn) note(rec *Record) *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec = rec
	return rec
}

// Read reads the record; nil where the sign-in has ended.
func (s *SignIn) Read(ctx context.Context) (*Record, error) {
	raw, err := s.book.entries.find(ctx, s.key)
	if err != nil {
		return nil, err
	}
	rec := s.open(raw)
	if rec == nil || !s.book.now().Before(s.book.expiry(rec)) {
		return s.note(nil), nil
	}
	rec.raw = raw
	return s.note(rec), nil
}

func (s *SignIn) open(raw []byte) *Record {
	buffer, _ := s.book.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	plain, ok := s.book.open((*buffer)[:0], "record", s.cookie, s.key, raw)
	if !ok {
		return nil
	}
	rec := unpackRecord(plain)
	clear(plain)
	*buffer = plain
	s.book.buffers.Put(buffer)
	return rec
}

// write stores a record over the one that next was made of.
func (s *SignIn) write(ctx context.Context, next Record) (written bool, err error) {
	sealed := s.book.seal("record", s.cookie, s.key, next.pack())
	written, err = s.book.entries.write(ctx, s.key, next.raw, sealed, s.book.expiry(&next))
	if written && err == nil {
		next.raw = sealed
		s.note(&next)
	}
	return written, err
}

const tries = 8 // of a change that others keep overtaking

// change changes the record until it is written, and returns it as it was before;
// nil where the sign-in has ended.
func (s *SignIn) change(ctx context.Context, apply func(*Record)) (*Record, error) {
	for range tries {
		rec, err := s.Read(ctx)
		if err != nil || rec == nil {
			return nil, err
		}
		next := *rec
		apply(&next)
		if written, err := s.write(ctx, next); err != nil || written {
			return rec, err
		}
	}
	return nil, ErrOvertaken
}

// Agent rebuilds the Agent of a record. Where others have changed that meanwhile it
// goes on with what they stored.
func (s *SignIn) Agent(ctx context.Context, rec *Record) (*authpi.Agent, error) {
	for range tries {
		agent, err := s.agentOf(ctx, rec)
		if err == nil {
			s.touch(ctx)
			return agent, nil
		}
		if rec, err = s.inPlaceOf(ctx, rec, err); err != nil {
			return nil, err
		}
	}
	return nil, ErrOvertaken
}

// agentOf makes the agent of a record. That of a replaced one is not refreshed.
func (s *SignIn) agentOf(ctx context.Context, rec *Record) (*authpi.Agent, error) {
	if rec.Replaced == 0 {
		return s.book.client.CreateAgent(ctx, rec.Tokens, s.AgentOptions())
	}
	agent, err := s.book.client.CreateAgent(ctx, rec.Tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
	if err == nil && agent.ExpiresWithin(0) {
		return nil, ErrNotSignedIn
	}
	return agent, err
}

// inPlaceOf returns the record that stands in place of one whose tokens failed, or the
// error that this ends with.
func (s *SignIn) inPlaceOf(ctx context.Context, rec *Record, why error) (*Record, error) {
	switch {
	case errors.Is(why, ErrEnded):
		return nil, notSignedIn(why)
	case errors.Is(why, ErrOvertaken):
	case authpi.SessionEnded(why):
		dropped, err := s.drop(ctx, rec.Tokens)
		if err != nil {
			return nil, err
		}
		if dropped {
			return nil, notSignedIn(why)
		}
	default:
		return nil, why
	}
	next, err := s.Read(ctx)
	if err == nil && next == nil {
		err = notSignedIn(why)
	}
	return next, err
}

func notSignedIn(err error) error { return fmt.Errorf("%w: %w", ErrNotSignedIn, err) }

// AgentOptions store what is refreshed in the record.
func (s *SignIn) AgentOptions() *authpi.AgentOptions {
	return &authpi.AgentOptions{
		Resources: slices.Clone(s.book.resources),
		OnRefresh: s.rotate,
		Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			rec, err := s.Read(ctx)
			if err != nil || rec == nil || rec.Replaced != 0 {
				return authpi.TokenSet{}, err
			}
			return rec.Tokens, nil
		},
	}
}

// DetachedOptions are for whoever has no record at hand, and cannot ask again: what
// others stored meanwhile is as good as what was refreshed here.
func (s *SignIn) DetachedOptions() *authpi.AgentOptions {
	opts := s.AgentOptions()
	opts.OnRefresh = func(ctx context.Context, tokens authpi.TokenSet) error {
		if s.Last() == nil {
			if _, err := s.Read(ctx); err != nil {
				return err
			}
		}
		err := s.rotate(ctx, tokens)
		if rec := s.Last(); errors.Is(err, ErrOvertaken) && rec != nil && rec.Tokens.ExpiresAt.After(s.book.now()) {
			return nil
		}
		return err
	}
	return opts
}

// rotate stores tokens that were refreshed from those of the record. Where that has
// changed meanwhile the store's set counts.
func (s *SignIn) rotate(ctx context.Context, tokens authpi.TokenSet) error {
	rec := s.Last()
	for from := rec; ; {
		switch {
		case rec == nil || rec.Replaced != 0: // while they were on their way
			if rec == nil || !rec.OneSession {
				s.book.Revoke(ctx, tokens)
			}
			return ErrEnded
		case same(rec.Tokens, tokens):
			return nil
		case !same(rec.Tokens, from.Tokens):
			return ErrOvertaken
		}
		next := *rec
		next.Tokens, next.Seen = tokens, s.book.now().Unix()
		written, err := s.write(ctx, next)
		if written || err != nil {
			return err
		}
		if rec, err = s.Read(ctx); err != nil {
			return err
		}
	}
}

// touch keeps a record from ending for want of requests. A failure does not matter:
// the next request tries again.
func (s *SignIn) touch(ctx context.Context) {
	rec, now := s.Last(), s.book.now().Unix()
	if rec == nil || rec.Replaced != 0 || now-rec.Seen <= int64(s.book.idle/time.Second)/8 {
		return
	}
	next := *rec
	next.Seen = now
	_, _ = s.write(ctx, next)
}

// End removes the record and returns it as it was; nil where it had ended before.
func (s *SignIn) End(ctx context.Context) (*Record, error) {
	for range tries {
		rec, err := s.Read(ctx)
		if err != nil || rec == nil {
			return nil, err
		}
		ended, err := s.book.entries.end(ctx, s.key, rec.raw)
		if err != nil {
			return nil, err
		}
		if ended {
			s.note(nil)
			return rec, nil
		}
	}
	return nil, ErrOvertaken
}

// drop ends the sign-in after its tokens died, unless it holds others by now.
func (s *SignIn) drop(ctx context.Context, dead authpi.TokenSet) (dropped bool, err error) {
	rec, err := s.Read(ctx)
	if err != nil || rec == nil {
		return err == nil, err
	}
	if !same(rec.Tokens, dead) {
		return false, nil
	}
	return s.book.entries.end(ctx, s.key, rec.raw)
}

// SignOut ends the sign-in and what is left of it, and revokes its refresh token. It
// returns the ID token for the issuer's logout, also of a sign-in that has ended
// before. After an error the user is still signed in.
func (s *SignIn) SignOut(ctx context.Context) (hint string, err error) {
	hint = s.hint(ctx)
	rec, err := s.End(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := Tidying(ctx)
	defer cancel()
	_ = s.book.entries.remove(ctx, s.hintKey())
	if rec != nil {
		hint = cmp.Or(hint, rec.Tokens.IDToken)
	}
	// A second click on the button comes with the same cookie.
	s.book.left.Put(s.hintKey(), hint, len(hint)+256, s.book.now().Add(time.Minute))
	if rec == nil {
		return hint, nil
	}
	for _, key := range strings.Fields(rec.Before) {
		_ = s.book.entries.remove(ctx, key)
	}
	s.book.Revoke(ctx, rec.Tokens)
	return hint, nil
}

// The ID token for the issuer's logout lies beside the record, and outlives it.

func (s *SignIn) hintKey() string { return Name("authpihttp hint", s.cookie) }

func (s *SignIn) hint(ctx context.Context) string {
	sealed, err := s.book.entries.find(ctx, s.hintKey())
	if err != nil {
		return ""
	}
	idToken, ok := s.book.open(nil, "hint", s.cookie, s.hintKey(), sealed)
	if !ok {
		hint, _ := s.book.left.Get(s.hintKey())
		return hint
	}
	return string(idToken)
}
