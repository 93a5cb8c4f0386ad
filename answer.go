package authpi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

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

// withOwn adds the client's own secrets to those of one request.
func (c *IdpClient) withOwn(secrets []string) []string {
	if c.cfg.ClientSecret == "" {
		return secrets
	}
	_, basic, _ := strings.Cut(endpoint.BasicCredentials(c.cfg.ClientID, c.cfg.ClientSecret), " ")
	return append([]string{c.cfg.ClientSecret, basic}, secrets...)
}

// requestTokens asks the token endpoint and reads its answer (RFC 6749 section
// 5). fallback is the code for a refusal that names none.
func (c *IdpClient) requestTokens(ctx context.Context, op, fallback, url string, form *endpoint.Params, secrets ...string) (TokenSet, error) {
	asked := c.now()
	answer, err := c.post(ctx, op, url, form, secrets...)
	if err != nil {
		return TokenSet{}, err
	}
	if answer.Status != http.StatusOK {
		return TokenSet{}, c.refusal(op, fallback, answer, secrets...)
	}
	tokens, reason := readTokens(answer.Body, earlier(asked, c.now()))
	if reason == "" {
		return tokens, nil
	}
	// A 200 may still be an error (RFC 6749 section 5.2 says 400, not all obey).
	if e := c.refusal(op, codeInvalidResponse, answer, secrets...); e.Code != codeInvalidResponse {
		return TokenSet{}, e
	}
	return tokens, invalidResponse(op, reason, answer.Status, nil)
}

// defaultLifetime is assumed where the answer does not say, in seconds.
const defaultLifetime = 3600

// readTokens reads a token answer (RFC 6749 section 5.1). Where something is
// wrong it says what, and gives what it could read all the same: these may be the
// only tokens of a session. Their life is counted from start: a machine may have
// slept, or had its clock set, while the answer was on its way.
func readTokens(body string, start time.Time) (tokens TokenSet, reason string) {
	tokens.TokenType = bearer
	lifetime := int64(defaultLifetime)
	r := strictjson.NewReader(body)
	if r.Kind() != strictjson.Object {
		return TokenSet{}, "the answer is no JSON object"
	}
	for m := r.Members(); m.Next(); {
		ok := true
		switch m.Name {
		case keyAccessToken:
			tokens.AccessToken, ok = r.Text()
		case keyTokenType:
			tokens.TokenType, ok = r.Text()
		case keyRefreshToken:
			tokens.RefreshToken, ok = r.TextOrNull()
		case keyIDToken:
			tokens.IDToken, ok = r.TextOrNull()
		case keyScope:
			tokens.Scope, ok = r.TextOrNull()
		case "expires_in":
			lifetime = readLifetime(&r)
		}
		if !ok {
			reason = m.Name + " is no text"
		}
	}
	if err := r.End(); err != nil {
		return TokenSet{}, "the answer cannot be read: " + err.Error()
	}
	if reason == "" && tokens.AccessToken == "" {
		reason = "access_token is missing"
	}
	tokens.ExpiresAt = unixTime(start.Unix() + lifetime)
	return tokens, reason
}

// maxLifetime keeps a lifetime, in seconds, from overflowing a date: ten years.
const maxLifetime = 10 * 366 * 24 * 3600

// readLifetime reads expires_in: a number, or digits in a text. Anything else
// counts as the default, since the tokens are too dear to be thrown away for it.
func readLifetime(r *strictjson.Reader) int64 {
	var literal string
	var ok bool
	if r.Kind() == strictjson.String {
		text, _ := r.Text()
		inner := strictjson.NewReader(text)
		literal, ok = inner.Number()
		ok = ok && inner.End() == nil
	} else {
		literal, ok = r.Number()
	}
	seconds, isNumber := wholeSeconds(literal)
	if !ok || !isNumber {
		return defaultLifetime
	}
	return min(max(seconds, -maxLifetime), maxLifetime)
}

// refusal reads an error answer (RFC 6749 section 5.2), JSON or not.
func (c *IdpClient) refusal(op, fallback string, answer endpoint.Answer, secrets ...string) *OAuthError {
	code, description, uri := fallback, "", ""
	r := strictjson.NewReader(answer.Body)
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "error":
			if text, ok := r.Text(); ok {
				code = text
			}
		case "error_description":
			description, _ = r.Text()
		case "error_uri":
			uri, _ = r.Text()
		}
	}
	if r.End() != nil {
		code, description, uri = fallback, "", "" // half an error is none
	}
	if description == "" {
		description = fmt.Sprintf("the issuer answered with status %d", answer.Status)
	}
	e := issuerError(op, code, description, uri, c.withOwn(secrets)...)
	e.StatusCode, e.RetryAfter = answer.Status, answer.RetryAfter
	return e
}
