package authpi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
)

// VerifyAccessToken checks an access token that somebody sent to an API, without
// asking the issuer: a JWT of RFC 9068 section 4 with typ at+jwt, signature, exact
// issuer, audience, exp, iat and nbf. audience is this API's resource identifier;
// empty means the client ID. What was verified is remembered until it expires or its
// key is withdrawn.
//
// The Agent's Tokens hold the access token alone, and AuthTime is zero. A refused
// token gives an [*OAuthError] matching [ErrInvalidToken] that names what failed;
// an ID or refresh token, an API key or personal token is refused by that name.
// Where the issuer's keys cannot be had the code is transport_error.
func (c *IdpClient) VerifyAccessToken(ctx context.Context, raw, audience string) (*Agent, error) {
	const op = "access token"
	got, typ, err := c.bearerClaims(ctx, op, raw)
	if err != nil {
		return nil, err
	}
	if !isAccessToken(typ) {
		return nil, invalidToken(op, "typ", "is not at+jwt (RFC 9068 section 4): this is "+kindOf(got, typ), nil)
	}
	if err := c.checkIssuer(ctx, &got, op); err != nil {
		return nil, err
	}
	if audience == "" {
		audience = c.cfg.ClientID
	}
	if !got.Audience.Contains(audience) {
		return nil, invalidToken(op, "aud", fmt.Sprintf("is another API's; want %q", audience), nil)
	}
	if err := c.checkTimes(&got, op, time.Time{}); err != nil {
		return nil, err
	}
	if got.Subject == "" {
		return nil, invalidToken(op, "sub", "is missing", nil)
	}
	got.AuthTime = claims.Date{} // an access token's auth_time is its iat
	return c.newAgent(&got, TokenSet{
		AccessToken: raw, TokenType: bearer, ExpiresAt: got.Expiry.Time(), Scope: got.Scope,
	}), nil
}

// LogoutToken is a verified back-channel logout token (OpenID Connect Back-Channel
// Logout 1.0 section 2.4). SessionID or Subject, or both, say whose sessions to end;
// the one that is not said is empty. Remember JTI until ExpiresAt and refuse it the
// second time.
type LogoutToken struct {
	Issuer, Subject, SessionID, JTI string
	Audience                        []string
	IssuedAt, ExpiresAt             time.Time
}

// VerifyLogoutToken checks the logout_token that the issuer posted (OpenID Connect
// Back-Channel Logout 1.0 section 2.6). It keeps no record of jti: that is the
// caller's, who knows how many processes there are.
//
// A refused token gives an [*OAuthError] matching [ErrInvalidToken].
func (c *IdpClient) VerifyLogoutToken(ctx context.Context, raw string) (*LogoutToken, error) {
	const op = "logout token"
	got, typ, err := c.bearerClaims(ctx, op, raw)
	if err != nil {
		return nil, err
	}
	refuse := func(part, reason string) (*LogoutToken, error) {
		return nil, invalidToken(op, part, reason, nil)
	}
	if isTyped(typ) && !slices.Contains([]string{"logout+jwt", "application/logout+jwt"}, strings.ToLower(typ)) {
		return refuse("typ", fmt.Sprintf("is %q; want logout+jwt", typ))
	}
	if err := c.checkIssuer(ctx, &got, op); err != nil {
		return nil, err
	}
	if !got.Audience.Contains(c.cfg.ClientID) {
		return refuse("aud", "is another client's")
	}
	if err := c.checkTimes(&got, op, time.Time{}); err != nil {
		return nil, err
	}
	switch {
	case got.Subject == "" && got.SessionID == "":
		return refuse("sub", "and sid are both missing")
	case !got.Logout:
		return refuse("event", "is no back-channel logout")
	case got.Nonce.Present:
		return refuse("nonce", "is present, as in an ID token")
	case got.JTI == "":
		return refuse("jti", "is missing")
	}
	return &LogoutToken{
		Issuer: got.Issuer, Subject: got.Subject, SessionID: got.SessionID, JTI: got.JTI,
		Audience: got.Audience.List(), IssuedAt: got.IssuedAt.Time(), ExpiresAt: got.Expiry.Time(),
	}, nil
}

// bearerClaims are the claims of a token that anybody may have sent, or changed
// in a store: its signature holds, nothing else is checked yet. The caller may
// change them.
func (c *IdpClient) bearerClaims(ctx context.Context, op, raw string) (got tokenClaims, typ string, err error) {
	if got, typ, ok := c.verified.Recall(ctx, raw); ok {
		got.organizations = claims.CloneOrganizations(got.organizations)
		return got, typ, nil
	}
	token, err := jws.Parse(raw)
	if err != nil {
		return tokenClaims{}, "", unreadable(op, raw, err)
	}
	got, key, err := c.signedClaims(ctx, op, &token, jwks.Untrusted)
	if err != nil {
		return tokenClaims{}, "", err
	}
	if got.Expiry.Valid {
		c.verified.Remember(raw, &token, key, got.Expiry.Time())
	}
	return got, token.Type, nil
}

// unreadable is the error of a text that is no JWT, by the name of what it is.
func unreadable(op, raw string, err error) error {
	reason := ""
	switch {
	case strings.HasPrefix(raw, bearer+" "):
		reason = `starts with "Bearer ": pass the token alone`
	case strings.HasPrefix(raw, "ptk_"):
		reason = "is a personal token (ptk_...), which only the issuer can check"
	case strings.HasPrefix(raw, "key_") && strings.Contains(raw, ":"):
		reason = "is an API key (key_...), which only the issuer can check"
	default:
		return refusedToken(op, err)
	}
	return refusedToken(op, &jws.Error{Part: "format", Reason: reason})
}

// signedClaims verifies the signature, by an algorithm that the client chose and not
// the token (RFC 8725 section 3.1), and only then looks at what was signed.
func (c *IdpClient) signedClaims(ctx context.Context, op string, token *jws.Token, from jwks.Source) (tokenClaims, jwks.Key, error) {
	if !slices.Contains(c.cfg.SigningAlgorithms, token.Algorithm) {
		return tokenClaims{}, jwks.Key{}, invalidToken(op, "alg", fmt.Sprintf("%s is not accepted here", token.Algorithm), nil)
	}
	key, err := c.keys.Verify(ctx, token, from)
	if err != nil {
		return tokenClaims{}, jwks.Key{}, refusedToken(op, err)
	}
	got, err := parseClaims(token.Payload)
	if err != nil {
		return tokenClaims{}, jwks.Key{}, invalidToken(op, "payload", err.Error(), err)
	}
	return got, key, nil
}

// refusedToken tells a token that is wrong from keys that cannot be had.
func refusedToken(op string, err error) error {
	var refused *jws.Error
	if errors.As(err, &refused) {
		return invalidToken(op, refused.Part, refused.Reason, err)
	}
	return noAnswer(op+": keys", err)
}

// isNoJWT tells a text that is no JWT at all from one that is and does not hold.
func isNoJWT(err error) bool {
	var refused *jws.Error
	return errors.As(err, &refused) && slices.Contains([]string{"format", "length", "header", "payload"}, refused.Part)
}

// checkIssuer wants the very issuer (RFC 8725 section 3.8): issuers may share signing
// keys, so this is what keeps one tenant's tokens out of another.
func (c *IdpClient) checkIssuer(ctx context.Context, got *tokenClaims, op string) error {
	issuer, err := c.issuer(ctx)
	if err != nil {
		return err
	}
	if got.Issuer != issuer.id {
		return invalidToken(op, "iss", fmt.Sprintf("is %q; want %q", got.Issuer, issuer.id), nil)
	}
	return nil
}

// checkTimes is for every kind of token: exp and iat required, nbf where there (RFC
// 7519 sections 4.1.4 to 4.1.6; RFC 9068 section 2.2 and both OpenID specifications
// require the first two). A token that was asked for need only have held between then
// and now: a machine may have slept, or had its clock set, while it was on its way.
func (c *IdpClient) checkTimes(got *tokenClaims, op string, asked time.Time) error {
	now, skew := c.now(), c.cfg.ClockSkew
	first, last := now, now
	if !asked.IsZero() {
		first, last = earlier(asked, now), later(asked, now)
	}
	refuse := func(part, reason string) error { return invalidToken(op, part, reason, nil) }
	switch {
	case !got.Expiry.Valid:
		return refuse("exp", "is missing or no date")
	case !first.Before(got.Expiry.Time().Add(skew)):
		return refuse("exp", "has passed, at "+got.Expiry.Time().Format(time.RFC3339))
	case !got.IssuedAt.Valid:
		return refuse("iat", "is missing or no date")
	case last.Before(got.IssuedAt.Time().Add(-skew)):
		return refuse("iat", "lies ahead, at "+got.IssuedAt.Time().Format(time.RFC3339))
	case got.NotBefore.Present && !got.NotBefore.Valid:
		return refuse("nbf", "is no date")
	case got.NotBefore.Present && last.Before(got.NotBefore.Time().Add(-skew)):
		return refuse("nbf", "lies ahead, at "+got.NotBefore.Time().Format(time.RFC3339))
	}
	return nil
}

// checkTimesSaid is for a signed answer that needs no dates: those that it has count.
func (c *IdpClient) checkTimesSaid(got *tokenClaims, op string) error {
	said, now := *got, claims.Date{Seconds: c.now().Unix(), Present: true, Valid: true}
	if !said.IssuedAt.Present {
		said.IssuedAt = now
	}
	if !said.Expiry.Present {
		now.Seconds++
		said.Expiry = now
	}
	return c.checkTimes(&said, op, time.Time{})
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// isAccessToken is RFC 9068 section 4: the type sets access tokens apart from all
// else that the issuer signs.
func isAccessToken(typ string) bool {
	return slices.Contains([]string{"at+jwt", "application/at+jwt"}, strings.ToLower(typ))
}

// isTyped tells whether typ names a kind of JWT (RFC 8725 section 3.11), whatever
// stands behind it: a media type may have parameters. ID tokens have none, or plain
// JWT.
func isTyped(typ string) bool {
	return strings.Contains(strings.ToLower(typ), "+jwt")
}

// kindOf guesses what else than an access token it was, for the error's reader.
func kindOf(got tokenClaims, typ string) string {
	switch {
	case isTyped(typ):
		return fmt.Sprintf("a token of type %q", typ)
	case got.Nonce.Present || got.AccessTokenHash.Present || got.Email != "" || got.organizations != nil:
		return "an ID token"
	}
	return "an ID token or a refresh token"
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
