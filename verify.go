package authpi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/record"
)

// VerifyAccessToken checks an access token that somebody sent to an API, without
// asking the issuer: a JWT of RFC 9068 section 4 with typ at+jwt, signature, exact
// issuer, audience, exp, iat and nbf. audience is this API's resource identifier;
// empty means the client ID. What was verified is remembered until it expires or its
// key is withdrawn.
//
// The Agent's Tokens hold the access token alone, and AuthTime is zero. The error of
// a refused token is an [*OAuthError] matching [ErrInvalidToken] that names what
// failed, and says so for an ID or refresh token, an API key or a personal token. If
// the issuer's keys are unavailable, the code is transport_error.
func (c *IdpClient) VerifyAccessToken(ctx context.Context, raw, audience string) (*Agent, error) {
	began := c.verifying(ctx)
	agent, err := c.verifyAccessToken(ctx, raw, audience)
	c.logVerified(ctx, record.Access, began, err)
	return agent, err
}

func (c *IdpClient) verifyAccessToken(ctx context.Context, raw, audience string) (*Agent, error) {
	const op = "access token"
	got, typ, err := c.bearerClaims(ctx, op, raw)
	if err != nil {
		return nil, err
	}
	if audience == "" {
		audience = c.cfg.ClientID
	}
	policy, err := c.policy(ctx)
	if err == nil {
		err = refusedClaims(op, policy.AccessToken(&got.Claims, typ, audience))
	}
	if err != nil {
		return nil, err
	}
	got.AuthTime = claims.Date{} // an access token's auth_time is its iat
	return c.newAgent(&got, TokenSet{
		AccessToken: raw, TokenType: bearer, ExpiresAt: got.Expiry.Time(), Scope: got.Scope,
	}), nil
}

// LogoutToken is a verified back-channel logout token (OpenID Connect Back-Channel
// Logout 1.0 section 2.4). SessionID or Subject, or both, say whose sessions to end;
// either may be empty. Remember JTI until ExpiresAt and refuse it the second time.
type LogoutToken struct {
	Issuer, Subject, SessionID, JTI string
	Audience                        []string
	IssuedAt, ExpiresAt             time.Time
}

// VerifyLogoutToken checks the logout_token that the issuer posted (OpenID Connect
// Back-Channel Logout 1.0 section 2.6). It does not remember jti: the caller does,
// for all its processes.
//
// The error of a refused token is an [*OAuthError] matching [ErrInvalidToken].
func (c *IdpClient) VerifyLogoutToken(ctx context.Context, raw string) (*LogoutToken, error) {
	began := c.verifying(ctx)
	token, err := c.verifyLogoutToken(ctx, raw)
	c.logVerified(ctx, record.Logout, began, err)
	return token, err
}

func (c *IdpClient) verifyLogoutToken(ctx context.Context, raw string) (*LogoutToken, error) {
	const op = "logout token"
	got, typ, err := c.bearerClaims(ctx, op, raw)
	if err != nil {
		return nil, err
	}
	policy, err := c.policy(ctx)
	if err == nil {
		err = refusedClaims(op, policy.LogoutToken(&got.Claims, typ))
	}
	if err != nil {
		return nil, err
	}
	return &LogoutToken{
		Issuer: got.Issuer, Subject: got.Subject, SessionID: got.SessionID, JTI: got.JTI,
		Audience: got.Audience.List(), IssuedAt: got.IssuedAt.Time(), ExpiresAt: got.Expiry.Time(),
	}, nil
}

// verifying returns when a verification began; zero where nobody reads its record.
func (c *IdpClient) verifying(ctx context.Context) time.Time {
	if !c.log.Enabled(ctx, record.VerifyLevel) {
		return time.Time{}
	}
	return time.Now()
}

func (c *IdpClient) logVerified(ctx context.Context, kind string, began time.Time, err error) {
	if !began.IsZero() {
		record.Verify{End: endOf(ctx, began, err), Kind: kind}.Log(ctx, c.log)
	}
}

// idTokenPolicy is what an ID token is held against, besides what every one must
// satisfy. A zero field is not checked.
type idTokenPolicy struct {
	op       string
	tokens   TokenSet      // the set that it came in: at_hash is the access token's
	nonce    string        // of the login
	maxAge   time.Duration // of the login; negative: it asked for a fresh one
	subject  string        // whose session it is, on refresh
	previous *tokenClaims  // the ID token that it follows, on refresh
	sentAt   time.Time     // when it was asked for, on refresh
}

// verifyIDToken checks an ID token that came from the token endpoint, in the
// order of OpenID Connect Core section 3.1.3.7, and returns its claims.
func (c *IdpClient) verifyIDToken(ctx context.Context, raw string, want idTokenPolicy) (tokenClaims, error) {
	began := c.verifying(ctx)
	got, err := c.idTokenClaims(ctx, raw, want)
	c.logVerified(ctx, record.ID, began, err)
	return got, err
}

func (c *IdpClient) idTokenClaims(ctx context.Context, raw string, want idTokenPolicy) (tokenClaims, error) {
	token, err := jws.Parse(raw)
	if err != nil {
		return tokenClaims{}, unreadable(want.op, raw, err)
	}
	if raw == want.tokens.RefreshToken || raw == want.tokens.AccessToken {
		return tokenClaims{}, invalidToken(want.op, "id_token", "is another token of the same answer", nil)
	}
	got, err := c.issuersClaims(ctx, want.op, &token, want.subject)
	if err != nil {
		return tokenClaims{}, err
	}
	policy, err := c.policy(ctx)
	if err != nil {
		return tokenClaims{}, err
	}
	policy.SentAt = want.sentAt
	full := claims.IDTokenPolicy{
		Policy: policy, Nonce: want.nonce, MaxAge: want.maxAge, Subject: want.subject,
		AccessToken: want.tokens.AccessToken, Algorithm: token.Algorithm,
	}
	if want.previous != nil {
		full.Previous = &want.previous.Claims
	}
	if err := full.Check(&got.Claims); err != nil {
		return tokenClaims{}, refusedClaims(want.op, err, secretsOf(want.tokens)...)
	}
	return got, nil
}

// issuersClaims returns the claims of an ID token, or of a user info answer, that
// came straight from the issuer: its signature and type hold. An empty subject
// allows any.
func (c *IdpClient) issuersClaims(ctx context.Context, op string, token *jws.Token, subject string) (tokenClaims, error) {
	if err := claims.Untyped(token.Type); err != nil {
		return tokenClaims{}, refusedClaims(op, err)
	}
	got, _, err := c.signedClaims(ctx, op, token, jwks.FromIssuer)
	if jwks.IsUnknownKey(err) {
		err = c.laggingKeys(ctx, op, token.Payload, subject, err)
	}
	return got, err
}

// laggingKeys returns the error for such a token whose key the issuer does not
// publish. It came straight from the issuer, so the key may only be too new: that is
// a passing failure, if the token says, unproved, what it should. Any other is
// refused.
func (c *IdpClient) laggingKeys(ctx context.Context, op, payload, subject string, refused error) error {
	got, err := parseClaims(payload)
	if err != nil {
		return refused
	}
	policy, err := c.policy(ctx)
	if err != nil {
		return err
	}
	if !policy.Plausible(&got.Claims, subject) {
		return refused
	}
	return noAnswer(op+": keys", errLagging)
}

var errLagging = errors.New("kid: the issuer does not publish this key yet; try again")

// verifyStored checks what does not change in a stored set, however long ago it
// expired. The scope beside the tokens proves nothing: the access token's own takes
// its place, if that token is the ID token's user's, and else none does. A set with
// neither ID token nor subject hint, as a machine's, must hold an access token of
// this client; a hint is checked by user info anyway.
func (c *IdpClient) verifyStored(ctx context.Context, tokens *TokenSet) error {
	began := c.verifying(ctx)
	err := c.checkStored(ctx, tokens)
	c.logVerified(ctx, record.Stored, began, err)
	return err
}

func (c *IdpClient) checkStored(ctx context.Context, tokens *TokenSet) error {
	subject := ""
	if tokens.IDToken != "" {
		var err error
		if subject, err = c.verifyStoredIDToken(ctx, tokens.IDToken); err != nil {
			return err
		}
	}
	scope, err := c.storedScope(ctx, tokens.AccessToken, subject)
	unnamed := tokens.IDToken == "" && tokens.SubjectHint == ""
	if err != nil && (unnamed || isPassing(err)) {
		return err
	}
	tokens.Scope = scope
	return nil
}

// storedScope returns the scope that a stored access token itself states, where it
// is a JWT of this client. An empty subject is not compared.
func (c *IdpClient) storedScope(ctx context.Context, raw, subject string) (string, error) {
	const op = "stored access token"
	got, typ, err := c.bearerClaims(ctx, op, raw)
	if err != nil {
		return "", err
	}
	policy, err := c.policy(ctx)
	if err != nil {
		return "", err
	}
	if err := policy.StoredAccessToken(&got.Claims, typ, subject); err != nil {
		return "", refusedClaims(op, err)
	}
	return got.Scope, nil
}

// verifyStoredIDToken returns the token's subject.
func (c *IdpClient) verifyStoredIDToken(ctx context.Context, raw string) (subject string, err error) {
	got, typ, err := c.bearerClaims(ctx, opStoredIDToken, raw)
	if err != nil {
		return "", err
	}
	policy, err := c.policy(ctx)
	if err != nil {
		return "", err
	}
	if err := policy.StoredIDToken(&got.Claims, typ); err != nil {
		return "", refusedClaims(opStoredIDToken, err)
	}
	return got.Subject, nil
}

// bearerClaims returns the claims of a token that anybody may have sent, or changed
// in a store: its signature holds, and nothing else is checked yet. The caller may
// change them.
func (c *IdpClient) bearerClaims(ctx context.Context, op, raw string) (got tokenClaims, typ string, err error) {
	if known, typ := c.verified.Recall(ctx, raw); known != nil {
		got = *known
		got.organizations = claims.CloneOrganizations(known.organizations)
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

// unreadable returns the error for a text that is no JWT. It names what the text
// looks like instead.
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

// refusedToken returns the error for a token that is wrong, or for keys that cannot
// be had.
func refusedToken(op string, err error) error {
	var refused *jws.Error
	if errors.As(err, &refused) {
		return invalidToken(op, refused.Part, refused.Reason, err)
	}
	return noAnswer(op+": keys", err)
}

// isNoJWT reports whether err says that a text is no JWT at all, rather than one
// that does not hold.
func isNoJWT(err error) bool {
	var refused *jws.Error
	return errors.As(err, &refused) && slices.Contains([]string{"format", "length", "header", "payload"}, refused.Part)
}

// issuerIdentity is what tokens and callbacks must come from.
type issuerIdentity struct {
	id         string
	inResponse bool // callbacks carry it (RFC 9207)
}

// issuer returns the exact issuer identifier: the configured one where endpoints
// were given, otherwise the one that discovery states.
func (c *IdpClient) issuer(ctx context.Context) (issuerIdentity, error) {
	if !c.discovers() {
		return issuerIdentity{id: c.endpoints.Issuer}, nil
	}
	m, err := c.metadata.Get(ctx)
	if err != nil {
		return issuerIdentity{}, discoveryError(opDiscovery, err)
	}
	return issuerIdentity{id: m.Issuer, inResponse: m.IssInResponse}, nil
}

// readyToVerify reports whether it is known whose tokens to expect, and where their
// keys are.
func (c *IdpClient) readyToVerify(ctx context.Context) error {
	if !c.discovers() {
		_, err := c.needEndpoint("JWKS", c.endpoints.JWKS)
		return err
	}
	_, err := c.issuer(ctx)
	return err
}

// fetchKeys gets the key set from where the configuration or discovery says it is.
func (c *IdpClient) fetchKeys(ctx context.Context) ([]byte, error) {
	url, err := c.endpoints.JWKS, error(nil)
	if c.discovers() {
		var m endpoint.Metadata
		m, err = c.metadata.Get(ctx)
		url = m.JWKS
	} else {
		_, err = c.needEndpoint("JWKS", url)
	}
	if err != nil {
		return nil, err
	}
	return c.caller.FetchKeys(ctx, url)
}

// policy is what every token is held against.
func (c *IdpClient) policy(ctx context.Context) (claims.Policy, error) {
	issuer, err := c.issuer(ctx)
	if err != nil {
		return claims.Policy{}, err
	}
	return claims.Policy{Issuer: issuer.id, ClientID: c.cfg.ClientID, Now: c.now(), Skew: c.cfg.ClockSkew}, nil
}

// refusedClaims returns the error for a token whose claims do not hold, nil if they
// do.
func refusedClaims(op string, err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	var other *claims.SubjectError
	var refused *claims.Error
	switch {
	case errors.Is(err, claims.ErrNonce):
		return ownError(ErrInvalidNonce, op, err.Error())
	case errors.As(err, &other):
		return subjectMismatch(other.Expected, other.Actual, secrets...)
	case errors.As(err, &refused):
		return invalidToken(op, refused.Part, refused.Reason, nil)
	}
	return invalidToken(op, "payload", err.Error(), err)
}
