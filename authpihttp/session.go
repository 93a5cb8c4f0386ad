package authpihttp

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Session is the part of *scs.SessionManager (github.com/alexedwards/scs/v2) that
// this package needs, so that one satisfies it as it is. A session is data in a
// context, kept in a store under a random token. Only text is put into it.
//
// Methods other than Load may panic for a context without session data: the
// sessions' middleware is missing.
//
// An [App] reads a sign-in and writes it back under a lock of its own. Of two
// processes, or Apps, that write the same one in the same moment the later Commit
// stays, even over newer tokens or a sign-out: Session has no conditional write.
type Session interface {
	// Load gives ctx with the data of the token's session. For a token that the store
	// does not know, or an empty one, it is a new session without a token. An error
	// means that the store could not be asked. A ctx that holds session data already
	// is given back.
	Load(ctx context.Context, token string) (context.Context, error)
	// Commit writes the session to the store now, and gives its token, a new one where
	// it had none, and when it expires there unless it is committed again.
	Commit(ctx context.Context) (token string, expiry time.Time, err error)
	// Token gives the session's token, empty before the first Commit or RenewToken.
	Token(ctx context.Context) string
	// GetString gives the text under key, empty where there is none.
	GetString(ctx context.Context, key string) string
	// Put changes the data in ctx; the middleware commits it with the response.
	Put(ctx context.Context, key string, val any)
	// RenewToken gives the session another token and deletes it under the old one, if
	// it had one.
	RenewToken(ctx context.Context) error
	// Destroy deletes the session from the store, and its data.
	Destroy(ctx context.Context) error
}

// Keys in the browser's session, and in a sign-in record.
const (
	keyLogins = "authpi.logins"
	keyLink   = "authpi.link"

	keyTokens = "authpi.tokens"
	keyHint   = "authpi.id_token" // the last ID token, where the tokens have none
	keySaved  = "authpi.saved"    // seconds since the Unix epoch
	keyRef    = "authpi.ref"      // the record's own token: what walks a store may see its hash only
)

// link is what the browser's session knows of a sign-in.
type link struct {
	Ref     string `json:"ref,omitempty"`  // token of the record; empty: nobody is signed in
	Subject string `json:"sub,omitempty"`  // who is, or was last
	Client  string `json:"client"`         // whose App signed them in
	Life    int64  `json:"life,omitempty"` // seconds that the store keeps a record after a Commit
}

// record is a sign-in: a session of its own, in a context of its own.
type record struct {
	ctx    context.Context
	tokens authpi.TokenSet
	hint   string // the last ID token
	saved  int64
}

// detached is a context without values, for Load would give back the request's
// session out of them. It still ends when the other one does.
type detached struct{ context.Context }

func (detached) Value(any) any { return nil }

// storeError is a failure of the session store, which may pass.
type storeError struct{ cause error }

func (e *storeError) Error() string { return "authpihttp: session store: " + e.cause.Error() }
func (e *storeError) Unwrap() error { return e.cause }

// readLink gives the session's sign-in, if it is one of this App's client.
func (a *App) readLink(ctx context.Context) link {
	l := a.anyLink(ctx)
	if a.identity == "" || l.Client != a.identity {
		return link{}
	}
	return l
}

func (a *App) anyLink(ctx context.Context) (l link) {
	// What cannot be read is nobody's sign-in.
	if json.Unmarshal([]byte(a.sessions.GetString(ctx, keyLink)), &l) != nil {
		return link{}
	}
	return l
}

func (a *App) putLink(ctx context.Context, l link) {
	data, _ := json.Marshal(l) // texts and a number
	a.sessions.Put(ctx, keyLink, string(data))
}

func (a *App) commit(ctx context.Context) error {
	if _, _, err := a.sessions.Commit(ctx); err != nil {
		return &storeError{err}
	}
	return nil
}

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

func (a *App) destroy(ctx context.Context) error {
	if err := a.sessions.Destroy(ctx); err != nil {
		return &storeError{err}
	}
	return nil
}

// locks keep a record from changing between its reading and its writing. Records
// share them by hash, which bounds their number: nobody takes two.
type locks struct {
	seed maphash.Seed
	busy [256]chan struct{}
}

func newLocks() *locks {
	l := &locks{seed: maphash.MakeSeed()}
	for i := range l.busy {
		l.busy[i] = make(chan struct{}, 1)
	}
	return l
}

// lock waits no longer than ctx: the store may hang for whoever holds the lock.
func (l *locks) lock(ctx context.Context, ref string) (unlock func(), err error) {
	busy := l.busy[maphash.String(l.seed, ref)%uint64(len(l.busy))]
	select {
	case busy <- struct{}{}:
		return func() { <-busy }, nil
	case <-ctx.Done():
		return nil, &storeError{ctx.Err()}
	}
}

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
