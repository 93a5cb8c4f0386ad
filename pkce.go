package authpi

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// AuthorizationURL is one started login: where to send the browser, and what the
// callback is checked against. Keep it in the user's session until then; its JSON
// holds everything. Printed in any other way it shows no secret.
type AuthorizationURL struct {
	// URL is where to redirect the browser to.
	URL string
	// CodeVerifier proves at the token endpoint that this app started the login
	// (RFC 7636 section 4.1). Never send it to the browser in the clear.
	CodeVerifier string
	// State comes back in the callback, Nonce in the ID token.
	State, Nonce string
	// RedirectURI is where the issuer sends the browser back to. Empty:
	// Config.RedirectURI.
	RedirectURI string
	// Resources are the RFC 8707 resource indicators of this login, nil for the
	// client's own.
	Resources []string
}

// AuthorizationOptions are the parts of an authorization request that differ
// from login to login. A zero value leaves its parameter out, unless the field says
// otherwise.
type AuthorizationOptions struct {
	printed
	// State and Nonce, where empty, are made of 32 random bytes each, in base64url.
	State, Nonce string
	// RedirectURI is one of Config.RedirectURIs, or Config.RedirectURI; empty: that
	// one.
	RedirectURI string
	// Org asks for tokens of one organization only. [IdpClient.ExchangeCallback]
	// refuses tokens of another organization, or of all.
	Org string
	// Resources are RFC 8707 resource indicators, order and repeats kept; nil
	// means Config.Resources, empty means none.
	Resources []string
	// Prompt is any of none, login, consent, select_account (OpenID Connect Core
	// section 3.1.2.1).
	Prompt []string
	// MaxAge is how long ago the user may have signed in, in whole seconds. Zero: it
	// is not sent. Negative: max_age=0, a fresh sign-in.
	// [IdpClient.ExchangeCallback] checks it; Prompt login alone is only a request.
	MaxAge time.Duration
	// ACRValues are authentication context classes, most wanted first.
	ACRValues []string
	// LoginHint is an e-mail address or the like for the sign-in form.
	LoginHint string
	// Extra is anything else. It may not replace what the flow itself sets.
	Extra url.Values
}

// Parameters of the authorization request that the flow sets, and those that
// could replace them all (RFC 9101): Extra may hold none of them.
var reserved = [...]string{
	"client_id", "redirect_uri", "response_type", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "org", "resource", "prompt",
	"max_age", "acr_values", "login_hint", "request", "request_uri",
}

// CreateAuthorizationURL starts a login with the authorization code flow and PKCE
// (RFC 6749 section 4.1, RFC 7636 with S256, OpenID Connect Core section 3.1.2.1).
// It makes no request. scopes must contain "openid". A nil opts is fine.
//
//	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
//	// keep auth in the session, then: http.Redirect(w, r, auth.URL, http.StatusFound)
//
// It returns a [*ConfigurationError] without Config.RedirectURI, and an
// [*OAuthError] with the code invalid_request for options that cannot be sent, such
// as a RedirectURI that is none of Config's.
func (c *IdpClient) CreateAuthorizationURL(scopes []string, opts *AuthorizationOptions) (*AuthorizationURL, error) {
	if opts == nil {
		opts = &AuthorizationOptions{}
	}
	if err := c.needRedirect(); err != nil {
		return nil, err
	}
	if _, err := c.needEndpoint("Authorization", c.endpoints.Authorization); err != nil {
		return nil, err
	}
	if err := checkAuthorization(scopes, opts); err != nil {
		return nil, err
	}
	redirect, err := c.redirectOr("authorization URL", opts.RedirectURI)
	if err != nil {
		return nil, err
	}
	verifier, state, nonce, challenge := drawSecrets()
	auth := &AuthorizationURL{
		CodeVerifier: verifier,
		State:        cmp.Or(opts.State, state),
		Nonce:        cmp.Or(opts.Nonce, nonce),
		RedirectURI:  redirect,
		Resources:    c.resourcesOr(opts.Resources),
	}
	auth.URL = c.authorizationQuery(scopes, auth, challenge, opts)
	return auth, nil
}

func checkAuthorization(scopes []string, opts *AuthorizationOptions) error {
	const op = "authorization URL"
	switch {
	case len(scopes) == 0:
		return invalidRequest(op, "scopes are required")
	case !slices.Contains(scopes, "openid"):
		return invalidRequest(op, `scopes must contain "openid", one scope for each element (OpenID Connect Core section 3.1.2.1)`)
	case len(opts.Prompt) > 1 && slices.Contains(opts.Prompt, "none"):
		return invalidRequest(op, "the prompt none stands alone (OpenID Connect Core section 3.1.2.1)")
	case opts.MaxAge > 0 && opts.MaxAge%time.Second != 0:
		return invalidRequest(op, "MaxAge must be whole seconds")
	}
	for name := range opts.Extra {
		if slices.Contains(reserved[:], name) {
			return invalidRequest(op, "Extra may not set "+name)
		}
	}
	return nil
}

// authorizationBase is the part of the URL that every login to one redirect URI has.
func authorizationBase(cfg Config, e Endpoints, redirectURI string) string {
	var q endpoint.Params
	q.StartQuery(e.Authorization)
	q.Add("client_id", cfg.ClientID)
	q.Add("redirect_uri", redirectURI)
	q.Add("response_type", "code")
	q.Add("code_challenge_method", "S256")
	return q.String()
}

// authorizationQuery writes the URL into one buffer: every login passes here.
func (c *IdpClient) authorizationQuery(scopes []string, auth *AuthorizationURL, challenge string, opts *AuthorizationOptions) string {
	base := c.authorization
	if auth.RedirectURI != "" {
		base = authorizationBase(*c.cfg, c.endpoints, auth.RedirectURI)
	}
	var q endpoint.Params
	q.StartQuery(base)
	q.AddList("scope", scopes)
	addSecret(&q, "state", auth.State, opts.State)
	q.AddPlain("code_challenge", challenge)
	addSecret(&q, "nonce", auth.Nonce, opts.Nonce)
	q.AddSet("org", opts.Org)
	q.AddSet("login_hint", opts.LoginHint)
	q.AddList("prompt", opts.Prompt)
	q.AddList("acr_values", opts.ACRValues)
	if opts.MaxAge != 0 {
		q.Add("max_age", strconv.FormatInt(int64(max(opts.MaxAge, 0)/time.Second), 10))
	}
	q.AddAll("resource", auth.Resources)
	q.AddEncoded(opts.Extra.Encode())
	return q.String()
}

// addSecret writes a secret that was made here as it is, and escapes a caller's own.
func addSecret(q *endpoint.Params, name, value, given string) {
	if given == "" {
		q.AddPlain(name, value)
	} else {
		q.Add(name, value)
	}
}

const (
	secretBytes = 32 // RFC 7636 section 7.1 asks for 256 bits
	secretChars = 43 // 32 bytes in base64url without padding
)

// drawSecrets returns the texts of one login: verifier, state and nonce, drawn in
// one read, and the S256 challenge of the verifier (RFC 7636 section 4.2). They
// share one allocation.
func drawSecrets() (verifier, state, nonce, challenge string) {
	var raw [4 * secretBytes]byte
	var text [4 * secretChars]byte
	_, _ = rand.Read(raw[:3*secretBytes]) // never fails: it ends the process instead
	encode := func(i int) {
		base64.RawURLEncoding.Encode(text[i*secretChars:], raw[i*secretBytes:(i+1)*secretBytes])
	}
	for i := range 3 {
		encode(i)
	}
	digest := sha256.Sum256(text[:secretChars])
	copy(raw[3*secretBytes:], digest[:])
	encode(3)
	all := string(text[:])
	part := func(i int) string { return all[i*secretChars : (i+1)*secretChars] }
	return part(0), part(1), part(2), part(3)
}

// requested reads what the login asked for out of its own URL, which is what was
// stored. maxAge is as in AuthorizationOptions.
func (a AuthorizationURL) requested() (org string, maxAge time.Duration) {
	u, err := url.Parse(a.URL)
	if err != nil {
		return "", 0
	}
	// The last of them: the endpoint's own query stands in front.
	last := func(name string) string {
		values := u.Query()[name]
		if len(values) == 0 {
			return ""
		}
		return values[len(values)-1]
	}
	org = last("org")
	// Zero where there is no number, and the nearest one where it is too large.
	seconds, err := strconv.ParseInt(last("max_age"), 10, 32)
	if err == nil && seconds == 0 {
		return org, -1
	}
	return org, time.Duration(max(seconds, 0)) * time.Second
}

// MarshalJSON writes the storage form, which the Python package reads and writes
// too, with the verifier in the clear.
func (a AuthorizationURL) MarshalJSON() ([]byte, error) {
	dst := append([]byte(nil), `{"url":`...)
	dst = strictjson.AppendString(dst, a.URL)
	dst = append(dst, `,"code_verifier":`...)
	dst = strictjson.AppendString(dst, a.CodeVerifier)
	dst = append(dst, `,"state":`...)
	dst = strictjson.AppendString(dst, a.State)
	dst = append(dst, `,"nonce":`...)
	dst = strictjson.AppendString(dst, a.Nonce)
	if a.RedirectURI != "" {
		dst = append(dst, `,"redirect_uri":`...)
		dst = strictjson.AppendString(dst, a.RedirectURI)
	}
	dst = append(dst, `,"resources":`...)
	if a.Resources == nil {
		return append(dst, "null}"...), nil
	}
	return append(strictjson.AppendStrings(dst, a.Resources), '}'), nil
}

// UnmarshalJSON reads the storage form. What cannot be read is an [*OAuthError]
// with the code invalid_request.
func (a *AuthorizationURL) UnmarshalJSON(data []byte) error {
	const op = "stored authorization"
	r := strictjson.NewReader(string(data))
	var parsed AuthorizationURL
	texts := 0 // of the four; no name comes twice
	redirectOK, resourcesOK := true, true
	for m := r.Members(); m.Next(); {
		if field := parsed.text(m.Name); field != nil {
			var ok bool
			if *field, ok = r.Text(); ok {
				texts++
			}
			continue
		}
		switch m.Name {
		case "redirect_uri":
			parsed.RedirectURI, redirectOK = r.TextOrNull()
		case "resources":
			parsed.Resources, resourcesOK = r.TextsOrNull()
		}
	}
	switch err := r.End(); {
	case err != nil:
		return invalidRequest(op, err.Error())
	case texts < 4:
		return invalidRequest(op, "must be a JSON object whose url, code_verifier, state and nonce are text")
	case !redirectOK:
		return invalidRequest(op, "redirect_uri must be text")
	case !resourcesOK:
		return invalidRequest(op, "resources must be a list of texts")
	}
	*a = parsed
	return nil
}

// text returns the field of a text that every login has, nil for every other name.
func (a *AuthorizationURL) text(name string) *string {
	switch name {
	case "url":
		return &a.URL
	case "code_verifier":
		return &a.CodeVerifier
	case "state":
		return &a.State
	case "nonce":
		return &a.Nonce
	}
	return nil
}

// String describes the login without its secrets; the URL is cut at its query.
func (a AuthorizationURL) String() string {
	place, _, _ := strings.Cut(a.URL, "?")
	return fmt.Sprintf("authpi.AuthorizationURL{URL:%q CodeVerifier:%s State:%s Nonce:%s RedirectURI:%q Resources:%q}",
		place, redact.Secret(a.CodeVerifier), redact.Secret(a.State), redact.Secret(a.Nonce), a.RedirectURI, a.Resources)
}

// Format prints String for every verb and flag.
func (a AuthorizationURL) Format(f fmt.State, _ rune) { redact.Print(f, a.String()) }

// LogValue describes the login without its secrets, for log/slog.
func (a AuthorizationURL) LogValue() slog.Value { return slog.StringValue(a.String()) }
