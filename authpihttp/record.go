package authpihttp

import (
	"context"
	"strconv"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// record is a sign-in: a session of its own, in a context of its own.
type record struct {
	ctx    context.Context
	tokens authpi.TokenSet
	hint   string // the last ID token
	saved  int64  // when, in seconds since the Unix epoch
}

// detached is a context without values, for Load would give back the request's
// session out of them. It still ends when the other one does.
type detached struct{ context.Context }

func (detached) Value(any) any { return nil }

// open reads a record out of the store; nil where it has ended.
func (a *App) open(ctx context.Context, ref string) (*record, error) {
	if ref == "" {
		return nil, nil
	}
	ctx, err := a.sessions.Load(detached{ctx}, ref)
	if err != nil {
		return nil, &storeError{err}
	}
	return a.recordIn(ctx), nil
}

// recordIn is the record that a session is, or nil where it is none.
func (a *App) recordIn(ctx context.Context) *record {
	stored := a.sessions.GetString(ctx, keyTokens)
	if stored == "" || a.sessions.Token(ctx) == "" {
		return nil
	}
	tokens, err := authpi.ParseTokenSet([]byte(stored))
	if err != nil {
		return nil
	}
	rec := &record{ctx: ctx, tokens: tokens, hint: tokens.IDToken}
	if rec.hint == "" {
		rec.hint = a.sessions.GetString(ctx, keyHint)
	}
	rec.saved, _ = strconv.ParseInt(a.sessions.GetString(ctx, keySaved), 10, 64)
	return rec
}

// create stores a new sign-in.
func (a *App) create(ctx context.Context, agent *authpi.Agent) (link, error) {
	ctx, err := a.sessions.Load(detached{ctx}, "")
	if err != nil {
		return link{}, &storeError{err}
	}
	// A token before the first Commit, to be committed along.
	if err := a.sessions.RenewToken(ctx); err != nil {
		return link{}, &storeError{err}
	}
	a.sessions.Put(ctx, keyRef, a.sessions.Token(ctx))
	ref, expiry, err := a.write(&record{ctx: ctx}, agent.Tokens)
	if err != nil {
		return link{}, err
	}
	return link{Ref: ref, Subject: agent.ID, Client: a.identity, Life: int64(time.Until(expiry) / time.Second)}, nil
}

// update stores rotated tokens in the record, unless it holds later ones. from is
// the set that they were refreshed from, as far as it is known: over that one they
// are stored even where they expire earlier, for its refresh token is spent.
func (a *App) update(ctx context.Context, ref string, tokens, from authpi.TokenSet) error {
	unlock, err := a.locks.lock(ctx, ref)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := a.open(ctx, ref)
	switch {
	case err != nil:
		return err
	case rec == nil:
		return errEnded
	case same(rec.tokens, tokens):
		return nil
	case !same(rec.tokens, from) && rec.tokens.ExpiresAt.After(tokens.ExpiresAt):
		return nil
	}
	_, _, err = a.write(rec, tokens)
	return err
}

// same compares what tells one set from another.
func same(a, b authpi.TokenSet) bool {
	return a.AccessToken == b.AccessToken && a.RefreshToken == b.RefreshToken
}

// write is the only way of tokens into the store.
func (a *App) write(rec *record, tokens authpi.TokenSet) (ref string, expiry time.Time, err error) {
	data, err := tokens.MarshalJSON()
	if err != nil {
		return "", time.Time{}, err
	}
	a.sessions.Put(rec.ctx, keyTokens, string(data))
	if tokens.IDToken == "" {
		a.sessions.Put(rec.ctx, keyHint, rec.hint)
	}
	a.sessions.Put(rec.ctx, keySaved, strconv.FormatInt(time.Now().Unix(), 10))
	ref, expiry, err = a.sessions.Commit(rec.ctx)
	if err != nil {
		return "", time.Time{}, &storeError{err}
	}
	return ref, expiry, nil
}

// touch keeps a record from ending before the browser's session does, where the
// store ends sessions that lie idle: it is committed again after an eighth of its
// life. Tokens that are about to be refreshed are committed for that anyway. A
// failure does not matter: the next request tries again.
func (a *App) touch(ctx context.Context, rec *record, l link) {
	if !rec.isDue(l) {
		return
	}
	unlock, err := a.locks.lock(ctx, l.Ref)
	if err != nil {
		return
	}
	defer unlock()
	// Others may have rotated or ended it meanwhile.
	if rec, err := a.open(ctx, l.Ref); err == nil && rec != nil && rec.isDue(l) {
		_, _, _ = a.write(rec, rec.tokens)
	}
}

func (rec *record) isDue(l link) bool {
	now := time.Now().Unix()
	const soon = 60 // seconds
	return l.Life > 0 && now-rec.saved > l.Life/8 && rec.tokens.ExpiresAt.Unix() > now+soon
}

// drop deletes a record whose tokens are of no use any more, unless it holds
// others by now.
func (a *App) drop(ctx context.Context, ref string, tokens authpi.TokenSet) error {
	unlock, err := a.locks.lock(ctx, ref)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := a.open(ctx, ref)
	switch {
	case err != nil:
		return err
	case rec == nil:
		return nil
	case !same(rec.tokens, tokens):
		return errOvertaken
	}
	return a.destroy(rec.ctx)
}

// end deletes a record, and gives what it held; nil where there was none.
func (a *App) end(ctx context.Context, ref string) (*record, error) {
	unlock, err := a.locks.lock(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer unlock()
	rec, err := a.open(ctx, ref)
	if err != nil || rec == nil {
		return nil, err
	}
	return rec, a.destroy(rec.ctx)
}
