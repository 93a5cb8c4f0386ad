package authpitest

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The grants of the token endpoint.
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
	grantClient  = "client_credentials"
)

// issue is what a grant comes to: the claims of the tokens to sign, collected under
// s.mu.
type issue struct {
	access, id, refresh map[string]any // nil: no such token
	session             *session
	scope               string
	expiresIn           time.Duration
	refreshExpires      time.Time
}

// token is the token endpoint, RFC 6749 section 3.2.
func (s *Server) token(x *exchange) *answer {
	c, refusal := s.authenticate(x.Request)
	if refusal != nil {
		return refusal
	}
	grant := x.PostForm.Get("grant_type")
	now := s.now()
	s.mu.Lock()
	is, fail := s.grant(grant, c, x.PostForm, now)
	if fail == nil {
		s.counts.redemptions[grant]++
	}
	s.mu.Unlock()
	if fail != nil {
		return fail.answer()
	}
	a := jsonAnswer(http.StatusOK, s.issueTokens(is, c, x.fault))
	a.header.Set("Pragma", "no-cache")
	return a
}

func (s *Server) grant(grant string, c Client, form url.Values, now time.Time) (*issue, *oauthError) {
	switch grant {
	case grantCode:
		return s.redeemCode(c, form, now)
	case grantRefresh:
		return s.refresh(c, form, now)
	case grantClient:
		return s.clientCredentials(c, form, now)
	case "":
		return nil, badRequest("invalid_request", "grant_type is missing")
	}
	return nil, badRequest("unsupported_grant_type", "this grant_type is not supported")
}

// redeemCode trades a code, RFC 6749 section 4.1.3 and RFC 7636 section 4.6. A
// failed attempt does not spend the code; a second redemption revokes what the first
// one gave.
func (s *Server) redeemCode(c Client, form url.Values, now time.Time) (*issue, *oauthError) {
	code, fail := s.findCode(c, form, now)
	if fail != nil {
		return nil, fail
	}
	ses := code.session
	resources, fail := chooseResources(form["resource"], ses.resources)
	if fail != nil {
		return nil, fail
	}
	u, fail := s.activeUser(ses)
	if fail != nil {
		return nil, fail
	}
	code.used = true
	ses.started = true
	if len(ses.resources) == 0 {
		ses.resources = resources
	}
	is := s.userTokens(u, ses, ses.scopes, resources, now)
	if is.id != nil && ses.nonce != "" {
		is.id["nonce"] = ses.nonce
	}
	s.addRefreshToken(is, now)
	return is, nil
}

// findCode returns the code that a client may redeem now.
func (s *Server) findCode(c Client, form url.Values, now time.Time) (*authCode, *oauthError) {
	code := s.codes[form.Get("code")]
	switch {
	case form.Get("code") == "":
		return nil, badRequest("invalid_request", "code is missing")
	case code == nil:
		return nil, badRequest("invalid_grant", "unknown authorization code")
	case code.session.clientID != c.ID:
		return nil, badRequest("invalid_grant", "the code was issued to another client")
	case code.used:
		code.session.ended = true
		return nil, badRequest("invalid_grant", "the code was used before")
	case !now.Before(code.expires):
		return nil, badRequest("invalid_grant", "the code has expired")
	case form.Get("redirect_uri") != code.redirectURI:
		return nil, badRequest("invalid_grant", "redirect_uri is not the authorization request's")
	case !verifierFits(form.Get("code_verifier"), code.challenge):
		return nil, badRequest("invalid_grant", "code_verifier does not fit the code_challenge")
	case code.session.ended:
		return nil, badRequest("invalid_grant", "the session has ended")
	}
	return code, nil
}

// refresh spends a refresh token, RFC 6749 section 6. Whatever is wrong with the
// rest of the request is refused before the token is spent.
func (s *Server) refresh(c Client, form url.Values, now time.Time) (*issue, *oauthError) {
	rt, fail := s.findRefreshToken(c, form.Get("refresh_token"), now)
	if fail != nil {
		return nil, fail
	}
	ses := rt.session
	u, fail := s.activeUser(ses)
	if fail != nil {
		return nil, fail
	}
	scopes := ses.scopes
	if asked := splitScope(form.Get("scope")); len(asked) > 0 {
		if !subset(asked, ses.scopes) {
			return nil, badRequest("invalid_scope", "scope exceeds what was granted")
		}
		scopes = asked
	}
	resources, fail := chooseResources(form["resource"], ses.resources)
	if fail != nil {
		return nil, fail
	}
	is := s.userTokens(u, ses, scopes, resources, now)
	if s.opts.OmitIDTokenOnRefresh {
		is.id = nil
	}
	if !s.opts.NoRotation {
		if rt.spent.IsZero() {
			rt.spent = now
		}
		s.addRefreshToken(is, now)
	}
	return is, nil
}

// findRefreshToken returns the refresh token that a client may spend now.
func (s *Server) findRefreshToken(c Client, token string, now time.Time) (*refreshToken, *oauthError) {
	rt := s.refreshes[hashToken(token)]
	switch {
	case token == "":
		return nil, badRequest("invalid_request", "refresh_token is missing")
	case rt == nil || rt.session.clientID != c.ID:
		return nil, badRequest("invalid_grant", "unknown refresh token")
	case rt.session.ended:
		return nil, badRequest("invalid_grant", "the session has ended")
	case !rt.spent.IsZero() && (s.opts.ReuseGrace <= 0 || now.Sub(rt.spent) > s.opts.ReuseGrace):
		rt.session.ended = true
		return nil, badRequest("invalid_grant", "the refresh token was used before")
	case !now.Before(rt.expires):
		return nil, badRequest("invalid_grant", "the refresh token has expired")
	}
	return rt, nil
}

// clientCredentials gives an agent its access token and nothing else, RFC 6749
// section 4.4.
func (s *Server) clientCredentials(c Client, form url.Values, now time.Time) (*issue, *oauthError) {
	if c.Secret == "" {
		return nil, &oauthError{http.StatusUnauthorized, "unauthorized_client", "a public client cannot use client_credentials"}
	}
	resources, fail := chooseResources(form["resource"], nil)
	if fail != nil {
		return nil, fail
	}
	subject := "agt_" + strings.TrimPrefix(c.ID, "c_")
	scope := strings.Join(splitScope(form.Get("scope")), " ")
	access := s.accessClaims(c.ID, subject, "agent", scope, resources, s.opts.AgentTokenLifetime, now)
	if len(s.memberships[subject]) > 0 {
		s.addOrganizations(access, subject, "")
	}
	return &issue{access: access, scope: scope, expiresIn: s.opts.AgentTokenLifetime}, nil
}

func (s *Server) activeUser(ses *session) (*account, *oauthError) {
	u := s.users[ses.userID]
	switch {
	case u == nil:
		return nil, badRequest("invalid_grant", "the user does not exist")
	case u.blocked:
		return nil, badRequest("user_blocked", "the user is blocked")
	}
	return u, nil
}

// verifierFits is the S256 check of RFC 7636 section 4.6, with the lengths of
// section 4.1.
func verifierFits(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(encode(sum[:])), []byte(challenge)) == 1
}

// chooseResources returns the asked-for resources, or the granted ones when none are
// asked for. They may not exceed the granted ones, if there are any (RFC 8707
// section 2.2).
func chooseResources(asked, granted []string) ([]string, *oauthError) {
	if len(asked) == 0 {
		return granted, nil
	}
	for _, r := range asked {
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || strings.Contains(r, "#") {
			return nil, badRequest("invalid_target", "a resource must be an absolute URI without a fragment")
		}
	}
	if len(granted) > 0 && !subset(asked, granted) {
		return nil, badRequest("invalid_target", "resource exceeds what was granted")
	}
	return slices.Clone(asked), nil
}

func splitScope(scope string) []string {
	var out []string
	for _, one := range strings.Fields(scope) {
		if !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	return out
}

func subset(asked, granted []string) bool {
	return !slices.ContainsFunc(asked, func(one string) bool { return !slices.Contains(granted, one) })
}
