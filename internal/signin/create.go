package signin

import (
	"context"
	"errors"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Create stores a new sign-in under a cookie that nobody knew before: first the
// index by which a logout finds it, then the record, and then it looks whether a
// logout came since the sign-in began. Those of the other cookies stay until it
// settles. Where it fails, it is undone.
func (b *Book) Create(ctx context.Context, agent *authpi.Agent, l *Login, began time.Time, cookies []string) (*SignIn, error) {
	if agent.Tokens.RefreshToken == "" && !agent.Tokens.ExpiresAt.After(began) {
		return nil, ErrExpired // the next page would only send the user back here
	}
	s := b.SignIn(Random())
	if err := s.create(ctx, agent, l, began, cookies); err != nil {
		return nil, errors.Join(err, s.Undo(ctx, agent))
	}
	return s, nil
}

func (s *SignIn) create(ctx context.Context, agent *authpi.Agent, l *Login, began time.Time, cookies []string) error {
	b, now := s.book, s.book.now()
	var before []string
	var steps []step
	for _, cookie := range cookies {
		old := b.SignIn(cookie)
		last, err := old.Read(ctx)
		if err != nil {
			return err
		}
		if last == nil {
			continue
		}
		s.olds, before = append(s.olds, old), append(before, old.key)
		if now.Before(time.Unix(last.Begun, 0).Add(replacedLife)) { // those that it replaced may be read, too
			before = append(before, strings.Fields(last.Before)...)
		}
		if last.Subject == agent.ID {
			steps = last.steps
		}
	}
	rec := b.judge(l, agent, steps)
	rec.Tokens, rec.Subject, rec.Begun, rec.Seen = agent.Tokens, agent.ID, now.Unix(), now.Unix()
	rec.Before = strings.Join(before[:min(len(before), maxBefore)], " ")
	return s.store(ctx, rec, agent, now.Add(b.lifetime), began)
}

// Settle puts a new sign-in in the place of those that the browser had. It does so
// once, whoever calls.
func (s *SignIn) Settle(ctx context.Context, agent *authpi.Agent) {
	s.settled.Do(func() {
		for _, old := range s.inPlaceOfOthers() {
			_ = old.giveWay(ctx, agent) // or it ends by itself
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.olds = nil // their tokens are not to be kept
	})
}

func (s *SignIn) inPlaceOfOthers() []*SignIn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.olds
}

// Undo takes back a new sign-in, so that those of the other cookies stay. Its refresh
// token is revoked, but where the issuer has one of them in the same session.
func (s *SignIn) Undo(ctx context.Context, agent *authpi.Agent) error {
	err := s.forget(ctx)
	for _, old := range s.inPlaceOfOthers() {
		if rec := old.Last(); rec != nil && s.book.inSession(ctx, rec.Tokens, agent) {
			return err
		}
	}
	s.book.Revoke(ctx, agent.Tokens)
	return err
}

func (s *SignIn) store(ctx context.Context, rec Record, agent *authpi.Agent, end, began time.Time) error {
	b := s.book
	if err := b.addToIndexes(ctx, agent, s.key, end); err != nil {
		return err
	}
	hint := b.seal("hint", s.cookie, s.hintKey(), []byte(agent.Tokens.IDToken))
	written, err := b.entries.write(ctx, s.hintKey(), nil, hint, end)
	if err == nil && written {
		written, err = s.write(ctx, rec)
	}
	switch {
	case err != nil:
		return err
	case !written:
		return ErrOvertaken // a store that has something under a random key
	}
	return b.checkLogouts(ctx, agent, began)
}

// giveWay ends a sign-in that another one follows. Its refresh token is revoked, but
// where the issuer has both in one session, which that would end. Tabs of the same
// user that are under way may read it for a moment.
func (s *SignIn) giveWay(ctx context.Context, agent *authpi.Agent) error {
	_ = s.book.entries.remove(ctx, s.hintKey())
	rec := s.Last()
	var err error
	if rec.Subject == agent.ID {
		now := s.book.now().Unix()
		rec, err = s.change(ctx, func(rec *Record) {
			if rec.Replaced == 0 {
				rec.OneSession = s.book.inSession(ctx, rec.Tokens, agent)
				rec.Replaced, rec.Tokens.RefreshToken = now, ""
			}
		})
	} else {
		rec, err = s.End(ctx)
	}
	if err != nil || rec == nil || rec.Replaced != 0 {
		return err
	}
	if !s.book.inSession(ctx, rec.Tokens, agent) {
		s.book.Revoke(ctx, rec.Tokens)
	}
	return nil
}

// inSession reports whether the issuer has tokens in one session with an agent's.
func (b *Book) inSession(ctx context.Context, tokens authpi.TokenSet, agent *authpi.Agent) bool {
	last, err := b.client.CreateAgent(ctx, tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
	return err == nil && last.SessionID != "" && last.SessionID == agent.SessionID
}

// forget removes all that the sign-in has in the store but the index.
func (s *SignIn) forget(ctx context.Context) error {
	s.note(nil)
	return errors.Join(s.book.entries.remove(ctx, s.key), s.book.entries.remove(ctx, s.hintKey()))
}
