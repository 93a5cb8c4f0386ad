package authpitest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// userTokens collects the claims of the access token and, where openid was granted,
// of the ID token. The ID token follows the whole grant, whatever a refresh narrows.
// The caller holds s.mu.
func (s *Server) userTokens(u *account, ses *session, scopes, resources []string, now time.Time) *issue {
	scope := strings.Join(scopes, " ")
	access := s.accessClaims(ses.clientID, u.ID, "user", scope, resources, s.opts.AccessTokenLifetime, now)
	access["sid"] = ses.id
	s.addOrganizations(access, u.ID, ses.org)
	is := &issue{access: access, session: ses, scope: scope, expiresIn: s.opts.AccessTokenLifetime}
	if !slices.Contains(ses.scopes, "openid") {
		return is
	}
	id := u.profile(ses.scopes)
	s.addOrganizations(id, u.ID, ses.org)
	maps.Copy(id, u.Claims)
	if ses.acr != "" {
		id["acr"] = ses.acr
	}
	maps.Copy(id, map[string]any{
		"iss":       s.URL,
		"sub":       u.ID,
		"aud":       ses.clientID,
		"exp":       now.Add(s.opts.IDTokenLifetime).Unix(),
		"iat":       now.Unix(),
		"auth_time": ses.authTime.Unix(),
		"sid":       ses.id,
		"jti":       newUUID(),
	})
	is.id = id
	return is
}

func (s *Server) accessClaims(clientID, subject, kind, scope string, resources []string, life time.Duration, now time.Time) map[string]any {
	var aud any = clientID
	switch len(resources) {
	case 0:
	case 1:
		aud = resources[0]
	default:
		aud = resources
	}
	return map[string]any{
		"iss":       s.URL,
		"sub":       subject,
		"aud":       aud,
		"exp":       now.Add(life).Unix(),
		"iat":       now.Unix(),
		"auth_time": now.Unix(), // AuthPI's access tokens say when they were made, not when the login was
		"jti":       newUUID(),
		"client_id": clientID,
		"scope":     scope,
		"dat":       map[string]any{"type": kind},
	}
}

// addRefreshToken adds the claims of a refresh token to an issue. The caller holds
// s.mu.
func (s *Server) addRefreshToken(is *issue, now time.Time) {
	ses := is.session
	is.refreshExpires = now.Add(s.opts.RefreshTokenLifetime)
	if is.refreshExpires.After(ses.expires) {
		ses.expires = is.refreshExpires
	}
	is.refresh = map[string]any{
		"iss":       s.URL,
		"sub":       ses.userID,
		"aud":       ses.clientID,
		"exp":       is.refreshExpires.Unix(),
		"iat":       now.Unix(),
		"jti":       newUUID(),
		"sid":       ses.id,
		"client_id": ses.clientID,
		"scope":     strings.Join(ses.scopes, " "),
	}
}

// issueTokens signs what was collected and makes the token endpoint's answer of it.
func (s *Server) issueTokens(is *issue, c Client, f *Fault) map[string]any {
	access := s.sign(c.Algorithm, is.access, map[string]any{"typ": "at+jwt"})
	out := map[string]any{
		"access_token": access,
		"token_type":   "Bearer",
		"expires_in":   int64(is.expiresIn / time.Second),
		"scope":        is.scope,
	}
	if is.id != nil {
		out["id_token"] = s.signIDToken(is.id, access, c, f)
	}
	if is.refresh != nil {
		token := s.sign(c.Algorithm, is.refresh, nil)
		s.mu.Lock()
		s.refreshes[hashToken(token)] = &refreshToken{session: is.session, expires: is.refreshExpires}
		s.mu.Unlock()
		out["refresh_token"] = token
	}
	return out
}

func (s *Server) signIDToken(claims map[string]any, access string, c Client, f *Fault) string {
	hash := leftHalfHash(c.Algorithm, access)
	claims["at_hash"] = hash
	if f == nil || f.IDToken == nil {
		return s.sign(c.Algorithm, claims, nil)
	}
	s.mu.Lock()
	kid := s.keys.current[c.Algorithm].id
	s.mu.Unlock()
	header := map[string]any{"alg": c.Algorithm, "kid": kid}
	f.IDToken(header, claims)
	if alg, _ := header["alg"].(string); alg != c.Algorithm && slices.Contains(algorithms, alg) {
		// A hook that only wants another algorithm gets a token that is right
		// otherwise.
		if header["kid"] == kid {
			s.mu.Lock()
			header["kid"] = s.keys.current[alg].id
			s.mu.Unlock()
		}
		if claims["at_hash"] == hash {
			claims["at_hash"] = leftHalfHash(alg, access)
		}
	}
	return s.signExactly(c.Algorithm, claims, header)
}

// AccessToken returns a valid access token that no login led to, for tests of an
// API: typ at+jwt, iss, aud and client_id the first client's, sub "usr_test", dat
// with type user, scope "openid profile email", and exp, iat, auth_time and jti.
// Each of claims replaces one, or removes it if it is nil.
func (s *Server) AccessToken(claims map[string]any) string {
	all := s.accessClaims(s.opts.ClientID, defaultSubject, "user", "openid profile email", nil, s.opts.AccessTokenLifetime, s.now())
	return s.Sign(override(all, claims), map[string]any{"typ": "at+jwt"})
}

// LogoutToken returns a valid back-channel logout token (OIDC Back-Channel Logout
// 1.0 section 2.4): typ logout+jwt, iss, aud the first client, sub "usr_test", iat,
// exp in two minutes, jti and events. Each of claims replaces one, or removes it if
// it is nil.
func (s *Server) LogoutToken(claims map[string]any) string {
	now := s.now()
	all := map[string]any{
		"iss":    s.URL,
		"sub":    defaultSubject,
		"aud":    s.opts.ClientID,
		"iat":    now.Unix(),
		"exp":    now.Add(2 * time.Minute).Unix(),
		"jti":    newUUID(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	return s.Sign(override(all, claims), map[string]any{"typ": "logout+jwt"})
}

func override(claims, by map[string]any) map[string]any {
	maps.Copy(claims, by)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}
