package authpi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
)

// expectation is what an ID token is held against, besides what every one must
// satisfy. A zero field is not checked.
type expectation struct {
	op       string
	tokens   TokenSet      // the set that it came in: at_hash is the access token's
	nonce    string        // of the login
	maxAge   time.Duration // of the login; negative: it asked for a fresh one
	subject  string        // whose session it is, on refresh
	previous *tokenClaims  // the ID token that it follows, on refresh
	asked    time.Time     // when it was asked for, on refresh
}

// verifyIDToken checks an ID token that came from the token endpoint, in the
// order of OpenID Connect Core section 3.1.3.7, and gives its claims.
func (c *IdpClient) verifyIDToken(ctx context.Context, raw string, want expectation) (tokenClaims, error) {
	token, err := jws.Parse(raw)
	if err != nil {
		return tokenClaims{}, unreadable(want.op, raw, err)
	}
	if raw == want.tokens.RefreshToken || raw == want.tokens.AccessToken {
		return tokenClaims{}, invalidToken(want.op, "id_token", "is another token of the same answer", nil)
	}
	if err := checkNotTyped(token.Type, want.op); err != nil {
		return tokenClaims{}, err
	}
	got, err := c.issuersClaims(ctx, &token, want)
	if err != nil {
		return tokenClaims{}, err
	}
	if err := c.checkIDToken(ctx, &got, want); err != nil {
		return tokenClaims{}, err
	}
	if err := checkAccessHash(&got, token.Algorithm, want); err != nil {
		return tokenClaims{}, err
	}
	return got, nil
}

// issuersClaims are the claims of a token that came straight from the issuer: its
// signature holds, nothing else is checked yet.
func (c *IdpClient) issuersClaims(ctx context.Context, token *jws.Token, want expectation) (tokenClaims, error) {
	got, _, err := c.signedClaims(ctx, want.op, token, jwks.FromIssuer)
	if jwks.IsUnknownKey(err) {
		err = c.laggingKeys(ctx, token.Payload, want, err)
	}
	return got, err
}

// laggingKeys is the error of an ID token whose key the issuer does not publish. It came
// straight from the token endpoint, so the key may only be too new: a passing failure,
// if the token says, without proof, what it should. Anything else is refused.
func (c *IdpClient) laggingKeys(ctx context.Context, payload string, want expectation, refused error) error {
	got, err := parseClaims(payload)
	if err != nil {
		return refused
	}
	issuer, err := c.issuer(ctx)
	if err != nil {
		return err
	}
	if got.Issuer != issuer.id || !got.Audience.Contains(c.cfg.ClientID) || got.Subject == "" {
		return refused
	}
	if want.subject != "" && got.Subject != want.subject {
		return refused
	}
	return noAnswer(want.op+": keys", errLagging)
}

var errLagging = errors.New("kid: the issuer does not publish this key yet; try again")

// checkIDToken goes through the claims: whose token it is, for whom, when, and for
// which login (OpenID Connect Core section 3.1.3.7, points 2 to 13) or session
// (section 12.2).
func (c *IdpClient) checkIDToken(ctx context.Context, got *tokenClaims, want expectation) error {
	refuse := func(part, reason string) error { return invalidToken(want.op, part, reason, nil) }
	if err := c.checkIssuer(ctx, got, want.op); err != nil {
		return err
	}
	if !got.Audience.Contains(c.cfg.ClientID) {
		return refuse("aud", "is another client's")
	}
	if got.AuthorizedParty.Present && got.AuthorizedParty.Value != c.cfg.ClientID {
		return refuse("azp", "is another client's")
	}
	if got.Audience.Several() && !got.AuthorizedParty.Present {
		return refuse("azp", "is missing beside several audiences")
	}
	if err := c.checkTimes(got, want.op, want.asked); err != nil {
		return err
	}
	if want.nonce != "" && !sameSecret(got.Nonce.Value, want.nonce) {
		return ownError(ErrInvalidNonce, want.op, "nonce: the ID token does not belong to this login")
	}
	if err := c.checkAuthTime(got, want); err != nil {
		return err
	}
	if got.Subject == "" {
		return refuse("sub", "is missing")
	}
	if want.subject != "" && got.Subject != want.subject {
		return subjectMismatch(want.subject, got.Subject, secretsOf(want.tokens)...)
	}
	if want.previous != nil {
		return checkContinuity(got, want)
	}
	return nil
}

// checkAuthTime holds the issuer to the max_age that the login asked for (OpenID
// Connect Core section 3.1.3.7, point 13).
func (c *IdpClient) checkAuthTime(got *tokenClaims, want expectation) error {
	if want.maxAge == 0 {
		return nil
	}
	if !got.AuthTime.Valid {
		return invalidToken(want.op, "auth_time", "is missing or no date, although max_age was asked for", nil)
	}
	if c.now().After(got.AuthTime.Time().Add(max(want.maxAge, 0) + c.cfg.ClockSkew)) {
		return invalidToken(want.op, "auth_time", "is longer ago than max_age", nil)
	}
	return nil
}

// checkContinuity is OpenID Connect Core section 12.2: what both tokens say must
// be the same, and the audience must still hold what it held.
func checkContinuity(got *tokenClaims, want expectation) error {
	before := want.previous
	refuse := func(part string) error {
		return invalidToken(want.op, part, "differs from the ID token before the refresh", nil)
	}
	if before.Issuer != "" && got.Issuer != before.Issuer {
		return refuse("iss")
	}
	for _, audience := range before.Audience.List() {
		if !got.Audience.Contains(audience) {
			return refuse("aud")
		}
	}
	if got.AuthTime.Present && before.AuthTime.Present && got.AuthTime != before.AuthTime {
		return refuse("auth_time")
	}
	if got.AuthorizedParty.Present && before.AuthorizedParty.Present && got.AuthorizedParty != before.AuthorizedParty {
		return refuse("azp")
	}
	if got.Nonce.Present && before.Nonce.Present && !sameSecret(got.Nonce.Value, before.Nonce.Value) {
		return refuse("nonce")
	}
	return nil
}

// checkAccessHash is OpenID Connect Core section 3.1.3.6: the left half of the
// access token's digest, by the digest of the signature's algorithm.
func checkAccessHash(got *tokenClaims, alg string, want expectation) error {
	if !got.AccessTokenHash.Present {
		return nil
	}
	algorithm, _ := jws.Hash(alg) // it has one: the signature held
	if sameSecret(got.AccessTokenHash.Value, leftHalf(algorithm.New(), want.tokens.AccessToken)) {
		return nil
	}
	// No standard names a digest for EdDSA; issuers use the curve's own or SHA-256.
	if alg == "EdDSA" && sameSecret(got.AccessTokenHash.Value, leftHalf(sha256.New(), want.tokens.AccessToken)) {
		return nil
	}
	return invalidToken(want.op, "at_hash", "is not the access token's", nil)
}

func leftHalf(h hash.Hash, token string) string {
	_, _ = h.Write([]byte(token))
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// verifyStored checks what does not change in a stored set, however long ago it
// expired. The scope beside the tokens is nobody's word: it becomes the access
// token's own, if that is the same user's as the ID token. A set with neither ID
// token nor subject hint, as a machine's, must hold an access token of this client;
// a hint is checked by user info anyway.
func (c *IdpClient) verifyStored(ctx context.Context, tokens *TokenSet) error {
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

// storedScope is what a stored access token says itself, where it is a JWT of this
// client. An empty subject is not compared.
func (c *IdpClient) storedScope(ctx context.Context, raw, subject string) (string, error) {
	const op = "stored access token"
	got, typ, err := c.bearerClaims(ctx, op, raw)
	if err != nil {
		return "", err
	}
	if !isAccessToken(typ) {
		return "", invalidToken(op, "typ", "is not at+jwt", nil)
	}
	if err := c.checkIssuer(ctx, &got, op); err != nil {
		return "", err
	}
	if got.ClientID != c.cfg.ClientID {
		return "", invalidToken(op, "client_id", "is another client's", nil)
	}
	if subject != "" && got.Subject != subject {
		return "", invalidToken(op, "sub", "is not the ID token's", nil)
	}
	return got.Scope, nil
}

const opStoredIDToken = "stored ID token"

// verifyStoredIDToken gives the token's subject.
func (c *IdpClient) verifyStoredIDToken(ctx context.Context, raw string) (subject string, err error) {
	got, typ, err := c.bearerClaims(ctx, opStoredIDToken, raw)
	if err != nil {
		return "", err
	}
	if err := checkNotTyped(typ, opStoredIDToken); err != nil {
		return "", err
	}
	if err := c.checkIssuer(ctx, &got, opStoredIDToken); err != nil {
		return "", err
	}
	if !got.Audience.Contains(c.cfg.ClientID) {
		return "", invalidToken(opStoredIDToken, "aud", "is another client's", nil)
	}
	return got.Subject, nil
}

// checkNotTyped refuses every other kind of JWT: the issuer signs them all with the
// same keys (RFC 8725 section 3.11).
func checkNotTyped(typ, op string) error {
	if isTyped(typ) {
		return invalidToken(op, "typ", fmt.Sprintf("is %q, which no ID token has", typ), nil)
	}
	return nil
}
