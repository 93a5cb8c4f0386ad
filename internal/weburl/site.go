package weburl

import (
	"net/url"
	"strings"
)

// Site is where browsers have an app, by one redirect URI of its client. Only that
// tells whether a host is reached by https: behind a proxy the request's own
// connection is none, and a header is what anybody says.
type Site struct {
	URI    string // the redirect URI
	Origin string
	Host   string // as Normal has it
	Path   string // of the redirect URI, escaped
	Secure bool
}

// NewSite reads a redirect URI that was checked before.
func NewSite(redirectURI string) Site {
	u, err := url.Parse(redirectURI)
	if err != nil {
		return Site{}
	}
	s := Site{URI: redirectURI, Origin: u.Scheme + "://" + u.Host, Path: u.EscapedPath(), Secure: u.Scheme == "https"}
	s.Host = s.Normal(u.Host)
	if s.Path == "" {
		s.Path = "/"
	}
	return s
}

// Normal returns a host in lower case, without the scheme's own port.
func (s *Site) Normal(host string) string {
	port := ":80"
	if s.Secure {
		port = ":443"
	}
	return strings.TrimSuffix(strings.ToLower(host), port)
}

// Sites are those of one app. Without any, its client signs nobody in.
type Sites []Site

// NewSites reads redirect URIs.
func NewSites(redirectURIs []string) (sites Sites) {
	for _, uri := range redirectURIs {
		sites = append(sites, NewSite(uri))
	}
	return sites
}

// Of returns the site of a request's host, and whether there is one: else it is the
// first.
func (s Sites) Of(host string) (site *Site, known bool) {
	for i := range s {
		if s[i].Host == s[i].Normal(host) {
			return &s[i], true
		}
	}
	return s.First(), false
}

// First returns the site of the client's own RedirectURI.
func (s Sites) First() *Site {
	if len(s) == 0 {
		return &Site{Secure: true}
	}
	return &s[0]
}
