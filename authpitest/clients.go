package authpitest

import (
	"crypto/sha256"
	"crypto/subtle"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Client is an application registered with the issuer.
type Client struct {
	// ID is the client_id. Secret is empty for a public client.
	ID, Secret string

	// Name is what the sign-in page calls the client; by default its ID.
	Name string

	// RedirectURIs are compared exactly. Empty: any absolute URI without a fragment.
	RedirectURIs []string

	// Algorithm signs this client's tokens; by default [Options.Algorithm].
	Algorithm string
}

// AddClient registers a client, or replaces the one with its ID.
func (s *Server) AddClient(c Client) {
	if c.ID == "" {
		panic("authpitest: a client needs an ID")
	}
	setDefault(&c.Algorithm, s.opts.Algorithm)
	mustAlgorithm(c.Algorithm)
	c.RedirectURIs = slices.Clone(c.RedirectURIs)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c.ID] = c
}

// RemoveClient unregisters a client. Its sessions stay, and their tokens cannot be
// refreshed until the client is back.
func (s *Server) RemoveClient(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, id)
}

// ClientID returns the first client's ID, from [Options].
func (s *Server) ClientID() string { return s.opts.ClientID }

// ClientSecret returns the first client's secret, empty if it is public.
func (s *Server) ClientSecret() string { return s.opts.ClientSecret }

func (s *Server) client(id string) (Client, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.clients[id]
	return c, ok
}

func (s *Server) clientIDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.clients))
}

// redirectable refuses what no browser should be sent to.
func redirectable(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.Fragment != "" || strings.Contains(uri, "#") {
		return false
	}
	switch u.Scheme {
	case "javascript", "data", "vbscript":
		return false
	case "http", "https":
		return u.Host != ""
	}
	return true
}

// authenticate finds the client that sent a form, by HTTP Basic or by form
// parameters (RFC 6749 section 2.3.1). A non-nil answer is the refusal.
func (s *Server) authenticate(r *http.Request) (Client, *answer) {
	form := r.PostForm
	id, secret := form.Get("client_id"), form.Get("client_secret")
	basic := false
	if user, password, ok := r.BasicAuth(); ok {
		basic = true
		var errU, errP error
		user, errU = url.QueryUnescape(user)
		password, errP = url.QueryUnescape(password)
		switch {
		case errU != nil || errP != nil:
			return Client{}, refuseClient(basic)
		case form.Has("client_secret") || (id != "" && id != user):
			return Client{}, badRequest("invalid_request", "more than one way of client authentication").answer()
		}
		id, secret = user, password
	}
	if id == "" {
		return Client{}, refuseClient(basic)
	}
	c, known := s.client(id)
	// Digests make the comparison independent of both lengths.
	got, want := sha256.Sum256([]byte(secret)), sha256.Sum256([]byte(c.Secret))
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || !known {
		return Client{}, refuseClient(basic)
	}
	return c, nil
}

func refuseClient(basic bool) *answer {
	a := (&oauthError{http.StatusUnauthorized, "invalid_client", "client authentication failed"}).answer()
	if basic {
		a.header.Set("WWW-Authenticate", `Basic realm="authpitest"`)
	}
	return a
}
