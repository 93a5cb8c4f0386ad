package authpi

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/tokens"
)

// ExchangeOptions are what the answer to a code is checked against.
type ExchangeOptions struct {
	printed
	// Nonce is the login's; empty: not checked.
	Nonce string
	// MaxAge is how long ago the user may have signed in (OpenID Connect Core
	// section 3.1.2.1); zero: not checked.
	MaxAge time.Duration
	// RedirectURI is the one that the login named; empty: Config.RedirectURI.
	RedirectURI string
	// Resources are RFC 8707 resource indicators; nil: Config's, empty: none.
	Resources []string
}

// ExchangeCode trades an authorization code for tokens and returns the Agent they
// belong to.
//
// codeVerifier is the one that CreateAuthorizationURL returned for this login; a
// code is good for one exchange. A nil opts checks no nonce: prefer
// [IdpClient.ExchangeCallback].
//
// It returns a [*ConfigurationError] without Config.RedirectURI, an [*OAuthError]
// when the token endpoint refuses or the ID token is missing or does not hold, and
// one wrapping ctx.Err() when ctx ends first.
//
// See RFC 6749 section 4.1.3 and RFC 7636 section 4.5.
func (c *IdpClient) ExchangeCode(ctx context.Context, code, codeVerifier string, opts *ExchangeOptions) (*Agent, error) {
	if opts == nil {
		opts = &ExchangeOptions{}
	}
	if opts.MaxAge < 0 {
		return nil, invalidRequest(opExchange, "MaxAge is negative")
	}
	return c.exchange(ctx, code, codeVerifier, opts)
}

// exchange is ExchangeCode, where a negative MaxAge asks for a fresh sign-in.
func (c *IdpClient) exchange(ctx context.Context, code, codeVerifier string, opts *ExchangeOptions) (*Agent, error) {
	began := time.Now()
	agent, err := c.exchangeOnce(ctx, code, codeVerifier, opts)
	record.Exchange{End: endOf(ctx, began, err)}.Log(ctx, c.log)
	return agent, err
}

func (c *IdpClient) exchangeOnce(ctx context.Context, code, codeVerifier string, opts *ExchangeOptions) (*Agent, error) {
	if err := c.needRedirect(); err != nil {
		return nil, err
	}
	url, err := c.needEndpoint("Token", c.endpoints.Token)
	if err != nil {
		return nil, err
	}
	if code == "" || codeVerifier == "" {
		return nil, invalidRequest(opExchange, "code and code verifier are required")
	}
	redirect, err := c.redirectOr(opExchange, opts.RedirectURI)
	if err != nil {
		return nil, err
	}
	// A code works once: whatever may fail without it fails before it is sent.
	if err := c.readyToVerify(ctx); err != nil {
		return nil, err
	}
	var form endpoint.Params
	form.Add("grant_type", "authorization_code")
	form.Add("code", code)
	form.Add("redirect_uri", cmp.Or(redirect, c.cfg.RedirectURI))
	form.Add("code_verifier", codeVerifier)
	form.AddAll("resource", c.resourcesOr(opts.Resources))
	answer, err := c.requestTokens(ctx, opExchange, codeTokenError, url, &form, code, codeVerifier)
	if err != nil {
		return nil, err
	}
	return c.exchanged(ctx, answer, opts)
}

// exchanged returns the Agent of an answer to a code.
func (c *IdpClient) exchanged(ctx context.Context, answer tokens.Answer, opts *ExchangeOptions) (*Agent, error) {
	set := TokenSet(answer.Set)
	switch {
	case !answer.Usable():
		return nil, invalidResponse(opExchange, answer.Fault(), http.StatusOK, nil)
	case slices.Contains(answer.Odd, "id_token"):
		c.discard(ctx, answer.Set) // a session that nobody may have
		return nil, invalidResponse(opExchange, answer.Fault(), http.StatusOK, nil)
	case set.IDToken == "":
		return nil, invalidToken(opExchange, "id_token", "is missing from the answer", nil)
	}
	claims, err := c.verifyIDToken(ctx, set.IDToken, idTokenPolicy{
		op: opExchange, tokens: set, nonce: opts.Nonce, maxAge: opts.MaxAge,
	})
	if err != nil {
		return nil, err
	}
	return c.newAgent(&claims, set), nil
}

const (
	opExchange = "exchange code"
	opCallback = "callback"
)

// ExchangeCallback checks a callback against the login that it answers and trades
// its code for tokens. callback is r.URL.Query(), or what [ParseCallback] made of
// a text; auth is what [IdpClient.CreateAuthorizationURL] returned, from the
// user's own session.
//
// It checks the state (in constant time), then the issuer's error, the code and the
// iss parameter (RFC 9207), and that none of them is repeated. Only then is the code
// sent. Then it checks the ID token with its nonce, its auth_time if the login set
// MaxAge, and the organization if the login asked for one, since the user can edit
// the address. An error with a wrong iss does not count as the issuer's.
//
// It returns an [*OAuthError]: invalid_state, the issuer's own code such as
// access_denied, invalid_issuer, invalid_organization, invalid_request (also for a
// callback above 64 KiB, which is not read), or as [IdpClient.ExchangeCode] does.
func (c *IdpClient) ExchangeCallback(ctx context.Context, callback url.Values, auth AuthorizationURL) (*Agent, error) {
	if err := c.checkCallback(ctx, callback, auth); err != nil {
		return nil, err
	}
	org, maxAge := auth.requested()
	agent, err := c.exchange(ctx, callback.Get("code"), auth.CodeVerifier, &ExchangeOptions{
		Nonce: auth.Nonce, MaxAge: maxAge, Resources: auth.Resources, RedirectURI: auth.RedirectURI,
	})
	if err == nil && org != "" && agent.OrgID != org {
		return nil, ownError(ErrInvalidOrganization, opCallback, "org_id: the tokens are not of the organization that was asked for")
	}
	return agent, err
}

// checkCallback is all that can be checked before the code is sent.
func (c *IdpClient) checkCallback(ctx context.Context, callback url.Values, auth AuthorizationURL) error {
	if tooLong(callback) {
		return invalidRequest(opCallback, "is longer than 64 KiB")
	}
	if err := checkState(callback, auth); err != nil {
		return err
	}
	for _, name := range []string{"error", "iss", "code"} {
		if len(callback[name]) > 1 {
			return invalidRequest(opCallback, "the parameter "+name+" is repeated (RFC 6749 section 3.1)")
		}
	}
	switch {
	case callback.Get("error") != "":
		return c.callbackRefusal(callback, auth)
	case auth.Nonce == "":
		return ownError(ErrInvalidNonce, opCallback, "the stored login has no nonce")
	case callback.Get("code") == "":
		return invalidRequest(opCallback, "the authorization code is missing")
	}
	return c.checkIss(ctx, callback, auth)
}

// tooLong reports whether a callback's names and values hold more than maxCallback.
func tooLong(callback url.Values) bool {
	left := maxCallback
	for name, values := range callback {
		for _, value := range values {
			if left -= len(name) + len(value) + 2; left < 0 { // a separator and a sign
				return true
			}
		}
	}
	return false
}

// checkState is RFC 6749 section 10.12: an attacker who makes a browser come here
// does not know the state of its login.
func checkState(callback url.Values, auth AuthorizationURL) error {
	got := callback["state"]
	if auth.State != "" && len(got) == 1 && sameSecret(got[0], auth.State) {
		return nil
	}
	e := ownError(ErrInvalidState, opCallback, "the callback does not belong to this login")
	return quoteError(e, callback, auth)
}

// quoteError adds the error of a callback that does not hold. Nobody has proved that
// the issuer said it, but it is what a developer looks for first.
func quoteError(e *OAuthError, callback url.Values, auth AuthorizationURL) *OAuthError {
	if callback.Get("error") != "" {
		e.Description += "; it also says: " + callbackError(callback, auth).said()
	}
	return e
}

// callbackRefusal returns the issuer's error, unless iss names another issuer, whose
// error must not pass for this one's (RFC 9207 section 2.4). No request is made to
// find out who that is, so the one trailing slash that discovery may state is
// ignored.
func (c *IdpClient) callbackRefusal(callback url.Values, auth AuthorizationURL) *OAuthError {
	got, want := callback.Get("iss"), c.endpoints.Issuer
	if c.discovers() {
		got, want = strings.TrimSuffix(got, "/"), strings.TrimRight(c.cfg.IssuerURL, "/")
	}
	if callback.Has("iss") && got != want {
		return quoteError(wrongIssuer(callback, auth, want), callback, auth)
	}
	return callbackError(callback, auth)
}

// callbackError is the authorization endpoint's error (RFC 6749 section 4.1.2.1).
func callbackError(callback url.Values, auth AuthorizationURL) *OAuthError {
	return issuerError(opCallback, callback.Get("error"), callback.Get("error_description"),
		callback.Get("error_uri"), loginSecrets(callback, auth)...)
}

// loginSecrets returns what a callback may hold and no error may show.
func loginSecrets(callback url.Values, auth AuthorizationURL) []string {
	return []string{auth.CodeVerifier, auth.State, auth.Nonce, callback.Get("code"), callback.Get("state")}
}

// checkIss is RFC 9207 section 2.4: the answer must come from the issuer that
// was asked, which ends mix-up attacks.
func (c *IdpClient) checkIss(ctx context.Context, callback url.Values, auth AuthorizationURL) error {
	issuer, err := c.issuer(ctx)
	if err != nil {
		return err
	}
	got, present := callback["iss"]
	if !present && !issuer.inResponse {
		return nil
	}
	if len(got) == 1 && got[0] == issuer.id {
		return nil
	}
	return wrongIssuer(callback, auth, issuer.id)
}

func wrongIssuer(callback url.Values, auth AuthorizationURL, want string) *OAuthError {
	return issuerError(opCallback, codeInvalidIssuer,
		fmt.Sprintf("the parameter iss is %q; want %q (RFC 9207)", callback.Get("iss"), want), "",
		loginSecrets(callback, auth)...)
}

func sameSecret(got, want string) bool {
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// maxCallback bounds a callback's text in bytes; browsers and servers stop far
// below.
const maxCallback = 64 << 10

// ParseCallback reads the parameters of a callback that is not an http.Request: a
// full URL, or a query with or without its question mark. A semicolon is no
// separator.
//
// What cannot be read is an [*OAuthError] with the code invalid_request.
func ParseCallback(raw string) (url.Values, error) {
	if len(raw) > maxCallback {
		return nil, invalidRequest(opCallback, "is longer than 64 KiB")
	}
	values := url.Values{}
	for pair := range strings.SplitSeq(callbackQuery(raw), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		text := name + value
		if nameErr != nil || valueErr != nil || strings.ToValidUTF8(text, "") != text {
			return nil, invalidRequest(opCallback, "holds a parameter that is not encoded as a query is")
		}
		values.Add(name, value)
	}
	return values, nil
}

func callbackQuery(raw string) string {
	before, query, found := strings.Cut(raw, "?")
	if found && !strings.Contains(before, "#") { // a fragment may hold a question mark, too
		query, _, _ = strings.Cut(query, "#")
		return query
	}
	if scheme, _, isURL := strings.Cut(before, ":/"); isURL && !strings.ContainsAny(scheme, "=&%") {
		return "" // a URL without a query
	}
	return raw
}
