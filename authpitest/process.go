package authpitest

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// The endpoints' names, as Fault.Endpoint and Server.Requests know them.
const (
	endpointAuthorize  = "authorize"
	endpointToken      = "token"
	endpointIntrospect = "introspect"
	endpointRevoke     = "revoke"
	endpointUserinfo   = "userinfo"
	endpointLogout     = "logout"
	endpointJWKS       = "jwks"
	endpointDiscovery  = "discovery"
)

// exchange is one request on its way through the server.
type exchange struct {
	*http.Request
	fault   *Fault   // nil: nothing goes wrong
	visitor *visitor // who sits at the browser; nil: see the request
}

// endpoint tells the name, the methods and the handler of a path below the issuer's.
type endpoint struct {
	name    string
	methods []string
	handle  func(*Server, *exchange) *answer
}

func route(path string) (endpoint, bool) {
	get := []string{http.MethodGet, http.MethodHead}
	post := []string{http.MethodPost}
	both := []string{http.MethodGet, http.MethodHead, http.MethodPost}
	switch path {
	case "/authorize":
		return endpoint{endpointAuthorize, both, (*Server).authorize}, true
	case "/token":
		return endpoint{endpointToken, post, (*Server).token}, true
	case "/introspect":
		return endpoint{endpointIntrospect, post, (*Server).introspect}, true
	case "/revoke":
		return endpoint{endpointRevoke, post, (*Server).revoke}, true
	case "/userinfo":
		return endpoint{endpointUserinfo, both, (*Server).userinfo}, true
	case "/logout":
		return endpoint{endpointLogout, both, (*Server).logout}, true
	case "/jwks.json":
		return endpoint{endpointJWKS, get, (*Server).jwks}, true
	case "/.well-known/openid-configuration":
		return endpoint{endpointDiscovery, get, (*Server).discovery}, true
	}
	return endpoint{}, false
}

// process answers one request. An error means that the connection ends without an
// answer.
func (s *Server) process(r *http.Request, v *visitor) (*answer, error) {
	below, ok := strings.CutPrefix(r.URL.Path, s.path)
	if !ok {
		return notFound(), nil
	}
	e, ok := route(below)
	if !ok {
		return notFound(), nil
	}
	// The form is read first: a server hears that its client left only once the body
	// is read.
	r.Body = http.MaxBytesReader(nil, r.Body, maxBody)
	bad := checkForm(e, r)
	f := s.arrive(e.name, r)
	if f == nil {
		return s.handle(e, &exchange{r, nil, v}, bad), nil
	}
	return s.faulty(r.Context(), f, func() *answer {
		return s.handle(e, &exchange{r, f, v}, bad)
	})
}

func (s *Server) handle(e endpoint, x *exchange, bad *oauthError) *answer {
	if !slices.Contains(e.methods, x.Method) {
		a := (&oauthError{http.StatusMethodNotAllowed, "invalid_request", "method not allowed"}).answer()
		a.header.Set("Allow", strings.Join(e.methods, ", "))
		return a
	}
	if bad != nil {
		return bad.answer()
	}
	return e.handle(s, x)
}

// checkForm reads the form of a request and refuses what is not one where one is
// due.
func checkForm(e endpoint, r *http.Request) *oauthError {
	var tooLarge *http.MaxBytesError
	switch err := r.ParseForm(); {
	case errors.As(err, &tooLarge):
		return &oauthError{http.StatusRequestEntityTooLarge, "invalid_request", "body too large"}
	case err != nil:
		return badRequest("invalid_request", "the form cannot be read")
	}
	switch e.name {
	case endpointToken, endpointRevoke, endpointIntrospect:
		mt, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if r.Method == http.MethodPost && mt != "application/x-www-form-urlencoded" {
			return &oauthError{http.StatusUnsupportedMediaType, "invalid_content_type",
				"want application/x-www-form-urlencoded"}
		}
		// RFC 6749 section 3.2: parameters must not be repeated; RFC 8707 lets
		// resource be.
		for name, values := range r.PostForm {
			if len(values) > 1 && name != "resource" {
				return badRequest("invalid_request", "repeated parameter")
			}
		}
	}
	return nil
}

// oauthError is an error answer of RFC 6749 section 5.2.
type oauthError struct {
	status            int
	code, description string
}

func badRequest(code, description string) *oauthError {
	return &oauthError{http.StatusBadRequest, code, description}
}

func (e *oauthError) answer() *answer {
	return jsonAnswer(e.status, map[string]any{"error": e.code, "error_description": e.description})
}

func notFound() *answer {
	return (&oauthError{http.StatusNotFound, "not_found", "no such endpoint"}).answer()
}

func jsonAnswer(status int, v any) *answer {
	return &answer{
		status: status,
		header: http.Header{
			"Content-Type":  {"application/json"},
			"Cache-Control": {"no-store"},
		},
		body: mustJSON(v),
	}
}

// mustJSON panics where a test's own claims cannot be JSON, which is a mistake in
// the test.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("authpitest: " + err.Error())
	}
	return data
}
