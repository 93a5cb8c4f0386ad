// Package signin keeps the sign-ins of one client in a store: a record for each,
// sealed by a key that takes the cookie, and an index by which a logout finds it. It
// knows nothing of HTTP but what a cookie holds.
package signin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// Options are what a Book needs besides its client. All are required but Keys.
type Options struct {
	Store                 Store
	Keys                  [][]byte // the first seals, all open; none: from the client secret, else random
	Lifetime, IdleTimeout time.Duration
	Resources             []string // of each refresh
}

// Book holds the sign-ins of one client. It is safe for concurrent use.
type Book struct {
	client         *authpi.IdpClient
	identity       string          // issuer and client ID: all that tells one Book's sign-ins from another's
	keys           func() []string // a function, so that fmt cannot print them
	lifetime, idle time.Duration
	resources      []string
	skew           time.Duration
	now            func() time.Time
	entries        *entries
	left           *fresh.Map[string, string] // hints of sign-outs of a moment ago
	buffers        sync.Pool                  // for records that are being read
}

// New makes a Book. The client's facts come from its Facts method.
func New(client *authpi.IdpClient, facts *endpoint.Facts, opts Options) *Book {
	var keys []string
	for _, key := range opts.Keys {
		keys = append(keys, string(key))
	}
	switch {
	case len(keys) > 0:
	case facts.SecretDigest != nil:
		keys = []string{string(facts.SecretDigest)}
	default:
		keys = []string{Random()}
	}
	return &Book{
		client: client, identity: string(Pack(facts.Issuer, facts.ClientID)), keys: func() []string { return keys },
		lifetime: opts.Lifetime, idle: opts.IdleTimeout, resources: opts.Resources,
		skew: facts.ClockSkew, now: facts.Now,
		entries: newEntries(opts.Store, facts.Now),
		left:    fresh.NewMap[string, string](fresh.Limits{Entries: 4096, Bytes: 16 << 20}, facts.Now),
	}
}

// Suffix is 8 characters that tell this client's cookies from another's.
func (b *Book) Suffix() string { return Name("authpihttp name", b.identity)[:8] }

// Once notes something under a key until a time, and reports whether nobody had
// before, in any process that shares a Conditional store.
func (b *Book) Once(ctx context.Context, key string, until time.Time) (first bool, err error) {
	return b.entries.write(ctx, key, nil, []byte("once"), until)
}

// Forget takes back what Once noted.
func (b *Book) Forget(ctx context.Context, key string) error { return b.entries.remove(ctx, key) }

// tidyLimit is for a store that does not answer.
const tidyLimit = 5 * time.Second

// Tidying returns a context for what must not be left half done when its request
// ends.
func Tidying(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), tidyLimit)
}

// revocationLimit is short: a user is waiting, and the session is gone already.
const revocationLimit = 3 * time.Second

// Revoke gives a refresh token back to the issuer. It does what it can: where that
// fails, the token is good until it expires.
func (b *Book) Revoke(ctx context.Context, tokens authpi.TokenSet) {
	if tokens.RefreshToken == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revocationLimit)
	defer cancel()
	err := b.client.RevokeToken(ctx, tokens.RefreshToken, "refresh_token")
	var none *authpi.ConfigurationError // the issuer revokes nothing
	if err != nil && !errors.As(err, &none) {
		slog.Default().WarnContext(ctx, "authpihttp: a refresh token could not be revoked", "error", err)
	}
}

// Claims are those of an Agent's token that a sign-in is judged by.
type Claims struct {
	ACR      string
	AuthTime int64 // seconds since the Unix epoch; 0: there is none
}

// ClaimsOf reads them with the one parser for claims: encoding/json folds the case
// of names.
func ClaimsOf(agent *authpi.Agent) (c Claims) {
	var raw json.RawMessage
	if agent.Claims(&raw) != nil {
		return Claims{}
	}
	r := strictjson.NewReader(string(raw))
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "acr":
			c.ACR, _ = r.Text()
		case "auth_time":
			if date := claims.ReadDate(&r); date.Valid {
				c.AuthTime = date.Seconds
			}
		default:
			r.Skip()
		}
	}
	if r.End() != nil {
		return Claims{}
	}
	return c
}
