package authpitest

import "net/http"

// revoke is RFC 7009. A refresh token ends its session, an access token only itself;
// a token that does not work any more is no error.
func (s *Server) revoke(x *exchange) *answer {
	c, token, refusal := s.clientAndToken(x)
	if refusal != nil {
		return refusal
	}
	claims, access := s.checkAccessToken(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	rt := s.refreshes[hashToken(token)]
	if (rt != nil && rt.session.clientID != c.ID) || (access && claims["client_id"] != c.ID) {
		return badRequest("invalid_request", "the token was issued to another client").answer()
	}
	if rt != nil {
		rt.session.ended = true
	}
	if jti, _ := claims["jti"].(string); access && jti != "" {
		s.revoked[jti] = true
	}
	return &answer{status: http.StatusOK, header: http.Header{"Cache-Control": {"no-store"}}}
}

// introspect is RFC 7662. A client sees its own tokens; all others are inactive.
func (s *Server) introspect(x *exchange) *answer {
	c, token, refusal := s.clientAndToken(x)
	if refusal != nil {
		return refusal
	}
	claims, kind := s.introspected(token)
	if claims == nil || claims["client_id"] != c.ID {
		return jsonAnswer(http.StatusOK, map[string]any{"active": false})
	}
	claims["active"], claims["token_type"] = true, kind
	return jsonAnswer(http.StatusOK, claims)
}

// introspected returns the claims of an access or refresh token that works, else
// nil.
func (s *Server) introspected(token string) (map[string]any, string) {
	if claims, ok := s.checkAccessToken(token); ok {
		return claims, "Bearer"
	}
	claims, _, ok := s.verify(token)
	if !ok {
		return nil, ""
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	rt := s.refreshes[hashToken(token)]
	if rt == nil || rt.session.ended || !rt.spent.IsZero() || !now.Before(rt.expires) {
		return nil, ""
	}
	return claims, "refresh_token"
}

// clientAndToken reads what both requests hold. A non-nil answer is the refusal.
func (s *Server) clientAndToken(x *exchange) (c Client, token string, refusal *answer) {
	c, refusal = s.authenticate(x.Request)
	if refusal != nil {
		return Client{}, "", refusal
	}
	token = x.PostForm.Get("token")
	if token == "" {
		return Client{}, "", badRequest("invalid_request", "token is missing").answer()
	}
	return c, token, nil
}
