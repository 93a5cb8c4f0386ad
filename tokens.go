package authpi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
	"github.com/authpi/authpi-idp-go/internal/tokens"
)

// TokenSet is what a session stores: the tokens of one user or machine. It is a
// plain value; a refresh makes a new one. The zero TokenSet has expired.
//
// Its JSON holds all of it, in the storage form that the Python package authpi-idp
// reads and writes, too. Printed in any other way it shows no token. Go has two
// exceptions. fmt prints an unexported field of another struct without asking its
// type: keep a TokenSet in an exported field of whatever you print. And slog's JSON
// handler marshals a slice or struct as a whole, tokens included: log a TokenSet as
// an attribute of its own.
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

const bearer = tokens.Bearer

const (
	opStoredTokens  = "stored token set"
	opStoredIDToken = "stored ID token"
)

// ParseTokenSet reads the storage JSON of a TokenSet: an object with access_token
// and expires_at, and whatever else there is. Unknown members are ignored;
// token_type is "Bearer" where it is missing. Names match exactly.
//
// What cannot be read is an [*OAuthError] matching [ErrInvalidToken].
func ParseTokenSet(data []byte) (TokenSet, error) {
	set, err := tokens.Parse(data)
	if err != nil {
		return TokenSet{}, ownError(ErrInvalidToken, opStoredTokens, err.Error())
	}
	return TokenSet(set), nil
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
func (t TokenSet) MarshalJSON() ([]byte, error) { return tokens.Set(t).JSON(), nil }

// OAuth2 returns the tokens as golang.org/x/oauth2 has them, for libraries that
// take its Token. That type does print its tokens. The ID token is in
// Extra("id_token"), the scope in Extra("scope").
func (t TokenSet) OAuth2() *oauth2.Token {
	token := &oauth2.Token{
		AccessToken:  t.AccessToken,
		TokenType:    t.TokenType,
		RefreshToken: t.RefreshToken,
		Expiry:       t.ExpiresAt,
	}
	return token.WithExtra(map[string]any{"id_token": t.IDToken, "scope": t.Scope})
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
		slog.Time("expires_at", t.ExpiresAt),
		slog.Bool("has_refresh_token", t.RefreshToken != ""),
		slog.Bool("has_id_token", t.IDToken != ""),
		slog.String("subject_hint", t.SubjectHint),
		slog.String("scope", t.Scope),
	)
}

// isZero reports whether there is no token at all, as in the session of somebody who
// has signed out.
func (t TokenSet) isZero() bool { return tokens.Set(t).IsZero() }

// remaining is the access token's life in whole seconds, negative once it has
// expired.
func (t TokenSet) remaining(now time.Time) time.Duration { return tokens.Set(t).Remaining(now) }

// buffer is how long before its expiry a set is refreshed: at most half of its life,
// else a token that lives hardly longer than the configured buffer would be
// refreshed by every request.
func (t TokenSet) buffer(configured time.Duration) time.Duration {
	for _, raw := range []string{t.AccessToken, t.IDToken} {
		if issued, ok := dateOf(raw, "iat"); ok {
			return min(configured, max(t.ExpiresAt.Sub(issued), 0)/2)
		}
	}
	return configured
}

// isDue reports whether a set whose access token lives for remaining is to be
// refreshed. One without a refresh token serves to its end.
func (t TokenSet) isDue(remaining, configured time.Duration) bool {
	return remaining <= 0 || t.RefreshToken != "" && remaining <= configured && remaining <= t.buffer(configured)
}

// compare returns a number below zero where t was issued before another set, and
// above zero where after: by when the user signed in, then by when the tokens were
// issued, and where they do not say, by when they expire.
func (t *TokenSet) compare(another *TokenSet) int {
	for _, by := range [...]struct{ claim, own, other string }{
		{"auth_time", t.IDToken, another.IDToken},
		{"iat", t.AccessToken, another.AccessToken},
		{"iat", t.IDToken, another.IDToken},
	} {
		own, ok := dateOf(by.own, by.claim)
		other, otherOK := dateOf(by.other, by.claim)
		if ok && otherOK && !own.Equal(other) {
			return own.Compare(other)
		}
	}
	return cmp.Compare(t.ExpiresAt.Unix(), another.ExpiresAt.Unix())
}

// dateOf reads a date of a token, where that is a JWT. Nothing is verified: all that
// depends on it is when a caller refreshes, and with which of its own sets.
func dateOf(raw, claim string) (at time.Time, ok bool) {
	payload, err := jws.UnverifiedPayload(raw)
	if err != nil {
		return time.Time{}, false
	}
	var date claims.Date
	r := strictjson.NewReader(payload)
	for m := r.Members(); m.Next(); {
		if m.Name == claim {
			date = claims.ReadDate(&r)
		}
	}
	return date.Time(), date.Valid && r.End() == nil
}

// tokenClaims are what a token says, with the memberships in their public form.
type tokenClaims struct {
	claims.Claims
	organizations []Organization
}

func parseClaims(text string) (tokenClaims, error) {
	c, orgs, err := claims.Parse[Organization](text)
	return tokenClaims{c, orgs}, err
}

// agentOf decodes who the tokens belong to. It verifies nothing.
func (c *IdpClient) agentOf(tokens TokenSet) (*Agent, error) {
	if tokens.IDToken != "" {
		decoded, err := storedClaims(tokens.IDToken)
		if err != nil {
			return nil, err
		}
		return c.newAgent(&decoded, tokens), nil
	}
	id := tokens.SubjectHint
	if id == "" && tokens.RefreshToken != "" {
		return nil, invalidToken(opStoredTokens, "sub", "a refresh token without ID token or subject_hint belongs to nobody", nil)
	}
	if id == "" {
		id = c.cfg.ClientID // client credentials bring neither of the two
	}
	return &Agent{ID: id, Type: principalType(id), Tokens: tokens, now: c.now}, nil
}

// newAgent makes the Agent that claims describe.
func (c *IdpClient) newAgent(from *tokenClaims, tokens TokenSet) *Agent {
	agent := &Agent{
		ID:            from.Subject,
		Type:          principalType(from.Subject),
		Email:         from.Email,
		EmailVerified: from.EmailVerified.Value,
		OrgID:         from.OrgID,
		SessionID:     from.SessionID,
		Tokens:        tokens,
		Organizations: from.organizations,
		claims:        from.JSON,
		now:           c.now,
	}
	if from.AuthTime.Valid {
		agent.AuthTime = from.AuthTime.Time()
	}
	return agent
}

func principalType(id string) PrincipalType {
	switch {
	case strings.HasPrefix(id, "agt_"):
		return PrincipalAgent
	case strings.HasPrefix(id, "key_"):
		return PrincipalAPIKey
	case strings.HasPrefix(id, "tok_"):
		return PrincipalPersonalToken
	}
	return PrincipalUser
}

// clone returns a copy that shares nothing that its owner could change.
func (a *Agent) clone() *Agent {
	own := *a
	own.Organizations = claims.CloneOrganizations(a.Organizations)
	return &own
}

func storedClaims(idToken string) (tokenClaims, error) {
	payload, err := jws.UnverifiedPayload(idToken)
	if err != nil {
		return tokenClaims{}, invalidToken(opStoredIDToken, "format", "is no JWT", err)
	}
	parsed, err := parseClaims(payload)
	if err != nil {
		return tokenClaims{}, invalidToken(opStoredIDToken, "payload", err.Error(), err)
	}
	if parsed.Subject == "" {
		return tokenClaims{}, invalidToken(opStoredIDToken, "sub", "is missing", nil)
	}
	return parsed, nil
}

func decodeClaims(text string, v any) error {
	if text == "" {
		text = "{}"
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("authpi: claims: %w", err)
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// post sends a form to one of the issuer's endpoints as this client. secrets are
// what the form holds and no error may show.
func (c *IdpClient) post(ctx context.Context, op, url string, form *endpoint.Params, secrets ...string) (endpoint.Answer, error) {
	request := endpoint.Request{URL: url, Form: form}
	if c.cfg.ClientSecret != "" && c.cfg.AuthMethod == AuthMethodBasic {
		request.BasicID, request.BasicSecret = c.cfg.ClientID, c.cfg.ClientSecret
	} else {
		form.Add("client_id", c.cfg.ClientID)
		form.AddSet("client_secret", c.cfg.ClientSecret)
	}
	answer, err := c.caller.Do(ctx, request)
	if err != nil {
		return answer, requestFailed(op, err, c.withOwn(secrets)...)
	}
	return answer, nil
}

// requestTokens asks the token endpoint and reads its answer (RFC 6749 section 5).
// Where that has a fault it returns what there is all the same: see [tokens.Answer].
// fallback is the code for a refusal that names none.
func (c *IdpClient) requestTokens(ctx context.Context, op, fallback, url string, form *endpoint.Params, secrets ...string) (tokens.Answer, error) {
	sentAt := c.now()
	resp, err := c.post(ctx, op, url, form, secrets...)
	if err != nil {
		return tokens.Answer{}, err
	}
	if resp.Status != http.StatusOK {
		return tokens.Answer{}, c.refusal(op, fallback, resp, secrets...)
	}
	answer := tokens.ReadAnswer(resp.Body, earlier(sentAt, c.now()))
	if answer.Usable() {
		return answer, nil
	}
	// A 200 may still be an error (RFC 6749 section 5.2 says 400, not all obey).
	if e := c.refusal(op, codeInvalidResponse, resp, secrets...); e.Code != codeInvalidResponse {
		return tokens.Answer{}, e
	}
	return answer, nil
}

// discard revokes, at the issuer, a set that nobody may have (RFC 7009).
func (c *IdpClient) discard(ctx context.Context, set tokens.Set) {
	token, hint := set.RefreshToken, "refresh_token"
	if token == "" {
		token, hint = set.AccessToken, "access_token"
	}
	if token == "" || c.endpoints.Revocation == "" {
		return
	}
	ctx, cancel := c.clock.WithTimeout(context.WithoutCancel(ctx), discardTime)
	defer cancel()
	if err := c.revokeAtIssuer(ctx, token, hint); err != nil {
		record.NotRevoked(ctx, c.log, err)
	}
}

// discardTime limits one revocation in discard.
const discardTime = 5 * time.Second

// revokeAtIssuer is RFC 7009 section 2.
func (c *IdpClient) revokeAtIssuer(ctx context.Context, token, tokenTypeHint string) error {
	const op = "revoke token"
	url, err := c.needEndpoint("Revocation", c.endpoints.Revocation)
	if err != nil {
		return err
	}
	var form endpoint.Params
	form.Add("token", token)
	form.AddSet("token_type_hint", tokenTypeHint)
	answer, err := c.post(ctx, op, url, &form, token)
	if err != nil {
		return err
	}
	if answer.Status != http.StatusOK {
		return c.refusal(op, codeRevocationError, answer, token)
	}
	return nil
}
