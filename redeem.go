package authpi

import (
	"context"
	"errors"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/jws"
)

// redeem sends the refresh token to the issuer (RFC 6749 section 6), once, and
// verifies what comes back. Its error is a *RefreshError, or a *ConfigurationError;
// where it carries tokens the old ones are spent.
func (c *IdpClient) redeem(ctx context.Context, current TokenSet, r *renewal) (rotation, error) {
	url, err := c.needEndpoint("Token", c.endpoints.Token)
	if err != nil {
		return rotation{}, err
	}
	var form endpoint.Params
	form.Add("grant_type", "refresh_token")
	form.Add("refresh_token", current.RefreshToken)
	form.AddList("scope", r.scopes)
	form.AddAll("resource", r.resources)
	asked := c.now()
	tokens, err := c.requestTokens(ctx, opRefresh, codeRefreshError, url, &form, secretsOf(current)...)
	if tokens.RefreshToken == "" {
		tokens.RefreshToken = current.RefreshToken
	}
	if tokens.Scope == "" {
		tokens.Scope = current.Scope
	}
	if err == nil {
		err = c.verifyOrDropIDToken(ctx, r.agent.ID, current, &tokens, asked)
	}
	if err != nil {
		failed := &RefreshError{cause: err}
		if tokens.AccessToken != "" {
			failed.tokens = &tokens
		}
		return rotation{}, failed
	}
	c.log.InfoContext(ctx, "authpi: refresh token spent", "key", c.rotations.shortID(current.RefreshToken),
		"expires_at", tokens.ExpiresAt)
	return rotation{tokens: tokens, grant: r.grant(), kept: tokens.RefreshToken == current.RefreshToken}, nil
}

// keysWait is how long a rotated set waits for the issuer's keys.
const keysWait = 5 * time.Second

// verifyOrDropIDToken verifies the new ID token against the old one. A token that
// was checked and refused is an error. One that cannot be checked now, or is no
// JWT, must not cost the session: the set is stored without it, under the subject's
// name, and the identity comes from the user info endpoint.
func (c *IdpClient) verifyOrDropIDToken(ctx context.Context, subject string, current TokenSet, tokens *TokenSet, asked time.Time) error {
	if tokens.IDToken != "" {
		err := c.verifyRefreshed(ctx, subject, current, *tokens, asked)
		if err == nil || isRefused(err) {
			return err
		}
		c.log.WarnContext(ctx, "authpi: ID token of a refresh could not be checked and is left out",
			"key", c.rotations.shortID(current.RefreshToken), "error", err)
	}
	tokens.IDToken, tokens.SubjectHint = "", subject
	return nil
}

func (c *IdpClient) verifyRefreshed(ctx context.Context, subject string, current, tokens TokenSet, asked time.Time) error {
	previous, _ := storedClaims(current.IDToken) // says nothing where it cannot be read
	want := expectation{op: opRefresh, tokens: tokens, subject: subject, previous: &previous, asked: asked}
	limited, cancel := context.WithTimeout(ctx, keysWait)
	defer cancel()
	_, err := c.verifyIDToken(limited, tokens.IDToken, want)
	return err
}

// isRefused tells an ID token that was checked and does not hold from one that is
// no JWT at all or could not be checked.
func isRefused(err error) bool {
	var e *OAuthError
	if !errors.As(err, &e) || e.Code != string(ErrInvalidToken) && e.Code != codeSubjectMismatch {
		return false
	}
	var format *jws.Error
	if errors.As(err, &format) {
		switch format.Part {
		case "format", "length", "header", "payload":
			return false
		}
	}
	return true
}

// spentInVain gives the error of a refresh token that was spent for tokens that were
// refused, and nil for any other.
func spentInVain(err error) *RefreshError {
	var e *RefreshError
	if errors.As(err, &e) && e.tokens != nil && SessionEnded(err) {
		return e
	}
	return nil
}
