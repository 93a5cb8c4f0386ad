package authpihttp

import (
	"net/http"
	"net/url"

	"github.com/authpi/authpi-idp-go/internal/bearer"
)

// Metadata returns the API's metadata document (RFC 9728 section 2) and the pattern
// to mount it at, which is where refusals point to:
//
//	mux.Handle(api.Metadata())
//
// The pattern holds the path alone. Without BearerOptions.Resource the document is
// not found.
func (b *Bearer) Metadata() (pattern string, handler http.Handler) {
	pattern = "GET " + bearer.WellKnown
	if b.metadata == "" {
		return pattern, http.NotFoundHandler()
	}
	if u, err := url.Parse(b.metadata); err == nil {
		pattern = "GET " + u.EscapedPath()
	}
	document := resourceMetadata{
		Resource:             b.opts.Resource,
		AuthorizationServers: b.opts.AuthorizationServers,
		ScopesSupported:      b.opts.ScopesSupported,
		BearerMethods:        []string{"header"},
	}
	return pattern, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "public, max-age=3600")
		h.Set("Access-Control-Allow-Origin", "*") // it is public, and scripts of other sites are clients, too
		writeJSON(w, http.StatusOK, document)
	})
}

type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
}
