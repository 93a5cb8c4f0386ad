package authpitest

import (
	"net/http"
	"net/url"
)

// logout is OIDC RP-Initiated Logout 1.0, with the id_token_hint that AuthPI asks
// for. The hint may have expired.
func (s *Server) logout(x *exchange) *answer {
	claims, _, ok := s.verify(x.Form.Get("id_token_hint"))
	aud, _ := claims["aud"].(string)
	_, known := s.client(aud)
	asked := x.Form.Get("client_id")
	switch {
	case !ok || claims["iss"] != s.URL || !known:
		return problemPage("The application sent no valid id_token_hint.")
	case asked != "" && asked != aud:
		return problemPage("The id_token_hint belongs to another client.")
	}
	target := x.Form.Get("post_logout_redirect_uri")
	if target != "" {
		const change = "Options.PostLogoutRedirectURIs (of the issuer command: -after-logout)"
		if problem := checkReturn("post_logout_redirect_uri", target, s.opts.PostLogoutRedirectURIs, change); problem != nil {
			return problem
		}
	}
	sub, _ := claims["sub"].(string)
	sid, _ := claims["sid"].(string)
	s.endSession(sid, sub)
	if target == "" {
		return messagePage(http.StatusOK, "Signed out", "You are signed out. You may close this page.")
	}
	query := url.Values{}
	if state := x.Form.Get("state"); state != "" {
		query.Set("state", state)
	}
	return redirectTo(x.Request, target, query)
}

// endSession ends a session, and the sign-ins of its user's browsers.
func (s *Server) endSession(sid, sub string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ses := s.sessions[sid]; ses != nil {
		ses.ended = true
	}
	for id, b := range s.browsers {
		if b.userID == sub {
			delete(s.browsers, id)
		}
	}
}
