package authpi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// OAuthError is what the issuer, or a check of this package, said. Match it by code
// with [errors.Is] and the Err constants, or read its fields with [errors.As]. No
// field ever holds a token, code, verifier or secret: what an issuer echoes is
// masked.
type OAuthError struct {
	// Code is the error code of RFC 6749 section 5.2, of OpenID Connect Core section
	// 3.1.2.6, or one of this package where the issuer gave none: token_error,
	// refresh_error, userinfo_error, revocation_error, introspection_error,
	// invalid_state, invalid_nonce, invalid_organization, invalid_request,
	// invalid_token, token_expired, subject_mismatch, invalid_issuer (RFC 9207),
	// invalid_response (an answer that cannot be read) and transport_error (no
	// answer at all).
	Code string
	// Description says what went wrong, for developers; it may be empty.
	Description string
	// URI is the issuer's error_uri; usually empty.
	URI string
	// StatusCode is the HTTP status of the answer, zero where there was none.
	StatusCode int
	// RetryAfter is how long the issuer asks to wait, zero if it does not say.
	RetryAfter time.Duration

	op      string // what was being done, for the text
	cause   error
	verdict verdict
}

// verdict is what an error says of a session, where its code and status do not tell.
type verdict uint8

const (
	byCode     verdict = iota
	endsIt             // a refusal of the refresh token, whatever the code
	leavesIt           // a refusal of this request alone
	answerLost         // nobody knows: the same tokens may be tried again
)

func (e *OAuthError) Error() string {
	parts := []string{"authpi"}
	for _, part := range []string{e.op, e.Code, e.Description} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause, for example a context's or the network's error.
func (e *OAuthError) Unwrap() error { return e.cause }

// Is reports whether target is the Err constant of this error's code.
func (e *OAuthError) Is(target error) bool {
	code, ok := target.(errorCode)
	return ok && string(code) == e.Code
}

// said is code and description without what was being done.
func (e *OAuthError) said() string {
	if e.Description == "" {
		return e.Code
	}
	return e.Code + ": " + e.Description
}

// passing reports whether the same request may succeed later: no answer came, or
// one that speaks of the issuer's state and not of the request.
func (e *OAuthError) passing() bool {
	switch e.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.StatusCode >= 500 || e.Code == codeTransport || e.verdict == answerLost
}

// Bounds of a wait that an issuer asks for.
const (
	maxWait     = 5 * time.Minute
	defaultWait = 5 * time.Second // for a 429 that names none
)

// wait is how long the issuer asks to be left alone: Retry-After, in bounds.
func (e *OAuthError) wait() time.Duration {
	if e.RetryAfter == 0 && e.StatusCode == http.StatusTooManyRequests {
		return defaultWait
	}
	return min(e.RetryAfter, maxWait)
}

// retryIn returns the same error for while a wait goes on, with what is left of it
// in whole seconds.
func (e *OAuthError) retryIn(left time.Duration) *OAuthError {
	own := *e
	own.RetryAfter = max((left + time.Second - 1).Truncate(time.Second), time.Second)
	return &own
}

// cooldown is a wait that the issuer has asked for.
type cooldown struct {
	current atomic.Pointer[cooldownUntil]
}

type cooldownUntil struct {
	err   *OAuthError
	until time.Time
}

// begin begins a wait, if err asks for one.
func (w *cooldown) begin(err error, now time.Time) {
	var e *OAuthError
	if !errors.As(err, &e) || !e.passing() {
		return
	}
	if wait := e.wait(); wait > 0 {
		w.current.Store(&cooldownUntil{e, now.Add(wait)})
	}
}

// left returns the error that began the wait, with what is left of it; nil: there is
// none.
func (w *cooldown) left(now time.Time) error {
	current := w.current.Load()
	if current == nil || !now.Before(current.until) {
		return nil
	}
	if left := current.until.Sub(now); left <= maxWait {
		return current.err.retryIn(left)
	}
	return nil // the clock was set back
}

// isPassing reports whether the same refresh may succeed later.
func isPassing(err error) bool {
	var e *OAuthError
	return errors.As(err, &e) && e.passing()
}

// hasLeft reports whether err is the caller's own leaving.
func hasLeft(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// endOf describes for the log how an operation ended that began at began for the
// caller with ctx.
func endOf(ctx context.Context, began time.Time, err error) record.End {
	end := record.End{Took: time.Since(began), Outcome: record.OK}
	if err == nil {
		return end
	}
	end.Outcome, end.Code, end.Error = record.Refused, "configuration", err.Error()
	var e *OAuthError
	if errors.As(err, &e) {
		end.Code, end.Status = e.Code, e.StatusCode
		if e.passing() {
			end.Outcome = record.Failed
		}
		if e.Code == string(ErrInvalidToken) && e.StatusCode == 0 { // a check of our own
			end.Part, _, _ = strings.Cut(e.Description, ":")
		}
	}
	if hasLeft(ctx, err) {
		end.Outcome = record.Canceled
	}
	return end
}

// errorCode is a sentinel that equals every OAuthError of its code. As a
// constant it cannot be replaced by anybody.
type errorCode string

func (c errorCode) Error() string { return "authpi: " + string(c) }

// Constants for [errors.Is]. Each matches an [*OAuthError] with its code.
const (
	// ErrTokenExpired: the access token has expired and there is no refresh token.
	ErrTokenExpired errorCode = "token_expired"
	// ErrInvalidToken: a token, or a stored token set, was refused or cannot be
	// read.
	ErrInvalidToken errorCode = "invalid_token"
	// ErrInvalidState: the callback does not belong to this login (RFC 6749 section
	// 10.12).
	ErrInvalidState errorCode = "invalid_state"
	// ErrInvalidOrganization: the tokens are for another organization than the login
	// asked for.
	ErrInvalidOrganization errorCode = "invalid_organization"
	// ErrInvalidNonce: the ID token does not belong to this login (OpenID Connect
	// Core section 3.1.3.7).
	ErrInvalidNonce errorCode = "invalid_nonce"
	// ErrInvalidGrant: a code or refresh token is spent, expired or revoked (RFC
	// 6749 section 5.2).
	ErrInvalidGrant errorCode = "invalid_grant"
	// ErrInsufficientScope: the token may not do this (RFC 6750 section 3.1).
	ErrInsufficientScope errorCode = "insufficient_scope"
	// ErrSessionExpired: the session at the issuer, or in the app's own store, is
	// over.
	ErrSessionExpired errorCode = "session_expired"
	// ErrUserBlocked: the issuer has blocked this user.
	ErrUserBlocked errorCode = "user_blocked"
	// ErrAccountLinkingRequired: the identity must be linked to an account first.
	ErrAccountLinkingRequired errorCode = "account_linking_required"
	// ErrInteractionRequired: prompt=none, but the user has to do something (OpenID
	// Connect Core section 3.1.2.6).
	ErrInteractionRequired errorCode = "interaction_required"
	// ErrLoginRequired: prompt=none, but nobody is signed in at the issuer.
	ErrLoginRequired errorCode = "login_required"
	// ErrConsentRequired: prompt=none, but the user has not consented yet.
	ErrConsentRequired errorCode = "consent_required"
)

// Codes of this package for which there is no sentinel.
const (
	codeInvalidRequest  = "invalid_request"
	codeInvalidResponse = "invalid_response"
	codeInvalidIssuer   = "invalid_issuer"
	codeSubjectMismatch = "subject_mismatch"
	codeTransport       = "transport_error"

	codeTokenError         = "token_error"
	codeRefreshError       = "refresh_error"
	codeUserInfoError      = "userinfo_error"
	codeRevocationError    = "revocation_error"
	codeIntrospectionError = "introspection_error"
)

// SessionEnded reports whether the user has to sign in again: the refresh token is
// spent or revoked, the session is over, the identity was refused. It is false if
// the same tokens may be tried again, as after a timeout, a 429 or a 5xx, and for
// errors that are not of this package.
//
// Any refusal of a refresh ends the session, except for codes that concern the
// client or the request: invalid_client, unauthorized_client,
// unsupported_grant_type, invalid_request, invalid_scope, invalid_target, and
// access_denied if the request named resources or scopes.
func SessionEnded(err error) bool {
	var e *OAuthError
	if !errors.As(err, &e) || e.passing() {
		return false
	}
	if e.verdict != byCode {
		return e.verdict == endsIt
	}
	switch errorCode(e.Code) {
	case ErrTokenExpired, ErrInvalidToken, ErrInvalidState, ErrInvalidNonce, ErrInvalidGrant, ErrInvalidOrganization,
		ErrSessionExpired, ErrUserBlocked, ErrAccountLinkingRequired,
		ErrInteractionRequired, ErrLoginRequired, ErrConsentRequired,
		codeSubjectMismatch, codeInvalidIssuer, "access_denied":
		return true
	}
	return false
}

// RefreshError says that new tokens were not received, verified or stored. It
// unwraps to an [*OAuthError], through a [*SubjectMismatchError] if the new tokens
// are another user's.
type RefreshError struct {
	cause  error
	tokens func() TokenSet // nil: the issuer sent none; a function, since no print looks into one
}

func carry(set TokenSet) func() TokenSet { return func() TokenSet { return set } }

func (e *RefreshError) Error() string {
	if e.cause == nil {
		return "authpi: refresh failed" // one that a test made up
	}
	return e.cause.Error()
}

// Unwrap returns the [*OAuthError] or [*SubjectMismatchError].
func (e *RefreshError) Unwrap() error { return e.cause }

// Tokens returns the token set that the issuer sent before something failed: the
// old refresh token is spent, so these are the only tokens of this session.
//
// If OnRefresh failed, store them in another way, or just try again: the next
// CreateAgent with the old tokens passes them to OnRefresh again, for 24 hours. If
// an ID token was refused, or the old refresh token revoked, do NOT sign anybody in
// with them; revoke them. ok is false if the issuer sent no tokens.
func (e *RefreshError) Tokens() (tokens TokenSet, ok bool) {
	if e.tokens == nil {
		return TokenSet{}, false
	}
	return e.tokens(), true
}

// SubjectMismatchError says that tokens or user info belong to another user
// than the agent they were asked for (OpenID Connect Core sections 5.3.2 and
// 12.2). It unwraps to an [*OAuthError] with the code subject_mismatch.
type SubjectMismatchError struct {
	// Expected is the agent's subject, Actual the one that came.
	Expected, Actual string
}

// subjectMismatch masks what was sent in the subject that came, which may be an
// echo.
func subjectMismatch(expected, actual string, secrets ...string) *SubjectMismatchError {
	return &SubjectMismatchError{Expected: expected, Actual: redact.Text(actual, secrets...)}
}

func (e *SubjectMismatchError) Error() string { return e.oauth().Error() }

// Unwrap returns the [*OAuthError].
func (e *SubjectMismatchError) Unwrap() error { return e.oauth() }

func (e *SubjectMismatchError) oauth() *OAuthError {
	return &OAuthError{
		Code:        codeSubjectMismatch,
		Description: redact.Text(fmt.Sprintf("the claim sub is %q; want %q", e.Actual, e.Expected)),
	}
}

// ConfigurationError says that the client's configuration cannot do what was
// asked. The developer has to fix it, never the user.
type ConfigurationError struct {
	// Field is the name of the field in [Config], or in authpihttp.BearerOptions,
	// Reason what is wrong with it.
	Field, Reason string
}

func (e *ConfigurationError) Error() string {
	return "authpi: configuration: " + e.Field + " " + e.Reason
}

// invalidToken refuses a token for the claim or header named part. The reason
// may quote values of the token, so it goes through the mask.
func invalidToken(op, part, reason string, cause error) *OAuthError {
	return &OAuthError{
		Code: string(ErrInvalidToken), Description: redact.Text(part + ": " + reason), op: op, cause: cause,
	}
}

// ownError is what a check of this package found, told in its own words.
func ownError(code errorCode, op, reason string) *OAuthError {
	return &OAuthError{Code: string(code), Description: reason, op: op}
}

func invalidRequest(op, reason string) *OAuthError { return ownError(codeInvalidRequest, op, reason) }

// issuerError is an error in the issuer's own words, with all that was sent to it
// masked.
func issuerError(op, code, description, uri string, secrets ...string) *OAuthError {
	return &OAuthError{
		Code:        redact.Text(code, secrets...),
		Description: redact.Text(description, secrets...),
		URI:         redact.Text(uri, secrets...),
		op:          op,
	}
}

// invalidResponse is for an answer that came but cannot be read. status is zero
// where it was not even read to its end.
func invalidResponse(op, reason string, status int, cause error) *OAuthError {
	return &OAuthError{Code: codeInvalidResponse, Description: reason, StatusCode: status, op: op, cause: cause}
}

// requestFailed is for a request without an answer that could be read whole.
func requestFailed(op string, cause error, secrets ...string) *OAuthError {
	if errors.Is(cause, endpoint.ErrTooLong) {
		return invalidResponse(op, cause.Error(), 0, cause)
	}
	return noAnswer(op, cause, secrets...)
}

// noAnswer is for what never got an answer. The cause's text may hold what was
// sent, as a foreign http.RoundTripper may print anything.
func noAnswer(op string, cause error, secrets ...string) *OAuthError {
	cause = masked(cause, secrets...)
	return &OAuthError{Code: codeTransport, Description: cause.Error(), op: op, cause: cause}
}

// masked returns a foreign error with a text without the secrets, and hides the
// texts behind it: reporters print whole chains. What it is can still be asked.
func masked(err error, secrets ...string) error {
	return &maskedError{text: redact.Text(err.Error(), secrets...), hidden: func() error { return err }}
}

type maskedError struct {
	text   string
	hidden func() error // a function, since no print looks into one
}

func (e *maskedError) Error() string        { return e.text }
func (e *maskedError) Is(target error) bool { return errors.Is(e.hidden(), target) }
func (e *maskedError) As(target any) bool   { return errors.As(e.hidden(), target) }

// refusal reads an error answer (RFC 6749 section 5.2), JSON or not. fallback is the
// code where it names none.
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

// withOwn adds the client's own secrets to those of one request.
func (c *IdpClient) withOwn(secrets []string) []string {
	if c.cfg.ClientSecret == "" {
		return secrets
	}
	_, basic, _ := strings.Cut(endpoint.BasicCredentials(c.cfg.ClientID, c.cfg.ClientSecret), " ")
	return append([]string{c.cfg.ClientSecret, basic}, secrets...)
}

// secretsOf are what of token sets no error may show.
func secretsOf(sets ...TokenSet) (secrets []string) {
	for _, t := range sets {
		secrets = append(secrets, t.AccessToken, t.RefreshToken, t.IDToken)
	}
	return secrets
}
