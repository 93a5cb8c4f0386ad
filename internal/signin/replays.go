package signin

import (
	"context"
	"crypto/sha256"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Replays remembers logout tokens that were used.
type Replays struct{ *Book }

// Use notes a token by its digest.
func (r Replays) Use(ctx context.Context, id string, until time.Time) (first bool, err error) {
	return r.Once(ctx, r.jti(id), until)
}

// Forget takes a use back.
func (r Replays) Forget(ctx context.Context, id string) error {
	return r.Book.Forget(ctx, r.jti(id))
}

// jti is a key of this client's: another's logout with the same token is its own.
func (r Replays) jti(id string) string { return Name("authpihttp jti", r.identity, id) }

// ReplayID is a digest of what sets a logout token apart: a jti may be long, and is
// the issuer's alone.
func ReplayID(token *authpi.LogoutToken) string {
	return encoded(sha256.Sum256([]byte(token.Issuer + "\n" + token.JTI)))
}

// replayMargin is for clocks that differ: the client accepts a token for its
// ClockSkew after exp, which cannot be asked for and is hardly ever minutes.
const replayMargin = time.Hour

// RememberUntil is until when a logout token that was used must be known. It counts
// from now where the token is accepted after its end.
func RememberUntil(token *authpi.LogoutToken, now time.Time) time.Time {
	until := token.ExpiresAt
	if until.Before(now) {
		until = now
	}
	return until.Add(replayMargin)
}
