package authpihttp

import (
	"context"
	"encoding/json"
	"time"
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

func (a *App) destroy(ctx context.Context) error {
	if err := a.sessions.Destroy(ctx); err != nil {
		return &storeError{err}
	}
	return nil
}
