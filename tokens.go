package authpi

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// TokenSet is what a session stores: the tokens of one user or machine. It is a
// plain value; a refresh makes a new one. The zero TokenSet has expired.
//
// Marshalled to JSON it is whole, in the storage form that the Python package
// authpi-idp reads and writes too; printed in any other way it shows no token.
// Two exceptions are Go's own. fmt prints an unexported field of another struct
// without asking this type: keep a TokenSet in an exported field of whatever you
// print. And slog's JSON handler marshals a slice or struct as a whole, tokens
// included: log a TokenSet as an attribute of its own.
type TokenSet struct {
	// AccessToken is sent to APIs; do not parse it.
	AccessToken string
	// TokenType is the scheme for the Authorization header, normally "Bearer".
	TokenType string
	// ExpiresAt is when the access token expires, to the second; in JSON
	// expires_at, seconds since the Unix epoch.
	ExpiresAt time.Time
	// RefreshToken works once. Empty: none, in JSON null, as in the fields below.
	RefreshToken string
	// IDToken is the JWT that names the user and the organizations.
	IDToken string
	// SubjectHint is the user's ID where a refresh brought no ID token. Keep it.
	SubjectHint string
	// Scope is a space-separated list of what was granted.
	Scope string
}

// Names of the storage form, which the token endpoint shares (RFC 6749 section 5.1).
const (
	keyAccessToken  = "access_token"
	keyTokenType    = "token_type"
	keyExpiresAt    = "expires_at"
	keyRefreshToken = "refresh_token"
	keyIDToken      = "id_token"
	keySubjectHint  = "subject_hint"
	keyScope        = "scope"
)

const bearer = "Bearer"

const opStoredTokens = "stored token set"

// ParseTokenSet reads the storage JSON of a TokenSet: an object with access_token
// and expires_at, and whatever else there is. Unknown members are ignored;
// token_type is "Bearer" where it is missing. Names match exactly.
//
// What cannot be read is an [*OAuthError] matching [ErrInvalidToken].
func ParseTokenSet(data []byte) (TokenSet, error) {
	t := TokenSet{TokenType: bearer}
	refuse := func(reason string) (TokenSet, error) {
		return TokenSet{}, ownError(ErrInvalidToken, opStoredTokens, reason)
	}
	// One copy of the text; every field is a part of it.
	r := strictjson.NewReader(string(data))
	if r.Kind() != strictjson.Object {
		return refuse("must be a JSON object")
	}
	var haveAccess, haveExpiry bool
	for m := r.Members(); m.Next(); {
		ok := true
		switch m.Name {
		case keyAccessToken:
			t.AccessToken, haveAccess = r.Text()
		case keyExpiresAt:
			var seconds int64
			seconds, haveExpiry = r.Int()
			t.ExpiresAt = unixTime(seconds)
		case keyTokenType:
			t.TokenType, ok = r.Text()
		case keyRefreshToken:
			t.RefreshToken, ok = r.TextOrNull()
		case keyIDToken:
			t.IDToken, ok = r.TextOrNull()
		case keySubjectHint:
			t.SubjectHint, ok = r.TextOrNull()
		case keyScope:
			t.Scope, ok = r.TextOrNull()
		default:
			r.Skip()
		}
		if !ok {
			return refuse(m.Name + " must be text")
		}
	}
	if err := r.End(); err != nil {
		return refuse(err.Error())
	}
	if !haveAccess {
		return refuse("access_token must be text")
	}
	if !haveExpiry {
		return refuse("expires_at must be whole seconds since the Unix epoch")
	}
	return t, nil
}

// UnmarshalJSON is [ParseTokenSet].
func (t *TokenSet) UnmarshalJSON(data []byte) error {
	parsed, err := ParseTokenSet(data)
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// MarshalJSON writes the storage form, with every token in the clear.
func (t TokenSet) MarshalJSON() ([]byte, error) {
	const frame = 160 // names, punctuation and the number
	dst := make([]byte, 0, frame+len(t.AccessToken)+len(t.RefreshToken)+len(t.IDToken)+len(t.Scope)+len(t.SubjectHint))
	dst = append(dst, `{"`+keyAccessToken+`":`...)
	dst = strictjson.AppendString(dst, t.AccessToken)
	dst = append(dst, `,"`+keyTokenType+`":`...)
	dst = strictjson.AppendString(dst, t.TokenType)
	dst = append(dst, `,"`+keyExpiresAt+`":`...)
	dst = strconv.AppendInt(dst, t.ExpiresAt.Unix(), 10)
	for _, optional := range [...]struct{ name, value string }{
		{`,"` + keyRefreshToken + `":`, t.RefreshToken},
		{`,"` + keyIDToken + `":`, t.IDToken},
		{`,"` + keySubjectHint + `":`, t.SubjectHint},
		{`,"` + keyScope + `":`, t.Scope},
	} {
		dst = append(dst, optional.name...)
		dst = strictjson.AppendStringOrNull(dst, optional.value)
	}
	return append(dst, '}'), nil
}

// OAuth2 gives the tokens as golang.org/x/oauth2 has them, for libraries that
// take its Token. That type does print its tokens. The ID token is in
// Extra("id_token"), the scope in Extra("scope").
func (t TokenSet) OAuth2() *oauth2.Token {
	token := &oauth2.Token{
		AccessToken:  t.AccessToken,
		TokenType:    t.TokenType,
		RefreshToken: t.RefreshToken,
		Expiry:       t.ExpiresAt,
	}
	return token.WithExtra(map[string]any{keyIDToken: t.IDToken, keyScope: t.Scope})
}

// String describes the set without its tokens.
func (t TokenSet) String() string {
	return fmt.Sprintf("authpi.TokenSet{AccessToken:%s TokenType:%q ExpiresAt:%s RefreshToken:%s IDToken:%s SubjectHint:%q Scope:%q}",
		redact.Secret(t.AccessToken), t.TokenType, t.ExpiresAt.UTC().Format(time.RFC3339),
		redact.Secret(t.RefreshToken), redact.Secret(t.IDToken), t.SubjectHint, t.Scope)
}

// Format prints String for every verb and flag.
func (t TokenSet) Format(f fmt.State, _ rune) { redact.Print(f, t.String()) }

// LogValue describes the set without its tokens, for log/slog.
func (t TokenSet) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Time(keyExpiresAt, t.ExpiresAt),
		slog.Bool("has_refresh_token", t.RefreshToken != ""),
		slog.Bool("has_id_token", t.IDToken != ""),
		slog.String(keySubjectHint, t.SubjectHint),
		slog.String(keyScope, t.Scope),
	)
}

// isZero tells whether there is no token at all, as in the session of somebody
// who has signed out.
func (t TokenSet) isZero() bool {
	return t.AccessToken == "" && t.RefreshToken == "" && t.IDToken == ""
}

// remaining is the access token's life in whole seconds, as the Python package
// counts it: negative once it has expired.
func (t TokenSet) remaining(now time.Time) time.Duration {
	const limit = int64(1<<63-1) / int64(time.Second)
	expiry, current := t.ExpiresAt.Unix(), now.Unix()
	seconds := expiry - current
	// Two's complement: the difference overflowed where the signs say so.
	if (expiry < current) != (seconds < 0) {
		seconds = limit
		if expiry < current {
			seconds = -limit
		}
	}
	return time.Duration(min(max(seconds, -limit), limit)) * time.Second
}

func unixTime(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
