package authpitest

import (
	"maps"
	"net/http"
	"strings"
	"time"
)

// userinfo is the endpoint of OIDC Core section 5.3: the user as of now, by the
// scopes of the access token.
func (s *Server) userinfo(x *exchange) *answer {
	scheme, token, _ := strings.Cut(x.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		a := (&oauthError{http.StatusUnauthorized, "invalid_token", "a bearer token is required"}).answer()
		a.header.Set("WWW-Authenticate", `Bearer realm="authpitest"`) // RFC 6750 section 3.1: no error code
		return a
	}
	claims, ok := s.checkAccessToken(strings.TrimSpace(token))
	if !ok {
		return refuseBearer()
	}
	sub, _ := claims["sub"].(string)
	scope, _ := claims["scope"].(string)
	org, _ := claims["org_id"].(string)

	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[sub]
	if u == nil || u.blocked {
		return refuseBearer()
	}
	if sid, _ := claims["sid"].(string); org == "" && s.sessions[sid] != nil {
		// A token without org_id may still be a narrowed one: its user left the
		// organization.
		org = s.sessions[sid].org
	}
	out := u.profile(strings.Fields(scope))
	s.addOrganizations(out, sub, org)
	out["created_at"], out["updated_at"] = u.CreatedAt.Unix(), u.UpdatedAt.Unix()
	maps.Copy(out, u.Claims)
	out["sub"] = sub
	return jsonAnswer(http.StatusOK, out)
}

func refuseBearer() *answer {
	a := (&oauthError{http.StatusUnauthorized, "invalid_token", "the access token does not work"}).answer()
	a.header.Set("WWW-Authenticate", `Bearer realm="authpitest", error="invalid_token"`)
	return a
}

// checkAccessToken returns the claims of an access token that still works. Those
// that AccessToken made belong to no session and work until they expire.
func (s *Server) checkAccessToken(token string) (map[string]any, bool) {
	claims, typ, ok := s.verify(token)
	if !ok || (typ != "at+jwt" && typ != "application/at+jwt") || claims["iss"] != s.URL {
		return nil, false
	}
	exp, ok := claims["exp"].(float64)
	if !ok || !s.now().Before(time.Unix(int64(exp), 0)) {
		return nil, false
	}
	jti, _ := claims["jti"].(string)
	sid, _ := claims["sid"].(string)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ses := s.sessions[sid]; s.revoked[jti] || (ses != nil && ses.ended) {
		return nil, false
	}
	return claims, true
}
