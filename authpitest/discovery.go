package authpitest

import "net/http"

// discovery answers with the metadata of OpenID Connect Discovery 1.0.
func (s *Server) discovery(*exchange) *answer {
	auth := []string{"client_secret_basic", "client_secret_post", "none"}
	doc := map[string]any{
		"issuer":                                        s.URL,
		"authorization_endpoint":                        s.base + "/authorize",
		"token_endpoint":                                s.base + "/token",
		"introspection_endpoint":                        s.base + "/introspect",
		"revocation_endpoint":                           s.base + "/revoke",
		"userinfo_endpoint":                             s.base + "/userinfo",
		"end_session_endpoint":                          s.base + "/logout",
		"jwks_uri":                                      s.base + "/jwks.json",
		"response_types_supported":                      []string{"code"},
		"response_modes_supported":                      []string{"query"},
		"grant_types_supported":                         []string{grantCode, grantRefresh, grantClient},
		"subject_types_supported":                       []string{"public"},
		"id_token_signing_alg_values_supported":         algorithms,
		"code_challenge_methods_supported":              []string{"S256"},
		"prompt_values_supported":                       promptValues,
		"scopes_supported":                              []string{"openid", "profile", "email", "phone"},
		"token_endpoint_auth_methods_supported":         auth,
		"revocation_endpoint_auth_methods_supported":    auth,
		"introspection_endpoint_auth_methods_supported": auth,
		"request_parameter_supported":                   false,
		"request_uri_parameter_supported":               false,
	}
	if s.opts.AnnounceIss {
		doc["authorization_response_iss_parameter_supported"] = true
	}
	a := jsonAnswer(http.StatusOK, doc)
	a.header.Set("Cache-Control", "public, max-age=86400")
	return a
}
