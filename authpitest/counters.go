package authpitest

import (
	"maps"
	"net/http"
	"net/url"
)

// counters is what the server remembers of its requests.
type counters struct {
	requests, grants, redemptions map[string]int
	lastForm                      url.Values
	lastHeader                    http.Header
}

func newCounters() counters {
	return counters{requests: map[string]int{}, grants: map[string]int{}, redemptions: map[string]int{}}
}

// arrive counts a request and gives it its fault.
func (s *Server) arrive(endpoint string, r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	grant := ""
	if endpoint == endpointToken {
		grant = r.PostForm.Get("grant_type")
	}
	f := s.takeFault(endpoint, grant)
	if f != nil && f.Refuse && s.socket == nil {
		return f
	}
	s.counts.requests[endpoint]++
	switch endpoint {
	case endpointToken:
		s.counts.grants[grant]++
		fallthrough
	case endpointRevoke, endpointIntrospect:
		s.counts.lastForm = cloneValues(r.PostForm)
		s.counts.lastHeader = r.Header.Clone()
	}
	return f
}

// Requests returns how many requests reached an endpoint, named as in
// [Fault.Endpoint], including those that failed. An empty name counts all endpoints.
func (s *Server) Requests(endpoint string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if endpoint != "" {
		return s.counts.requests[endpoint]
	}
	sum := 0
	for _, n := range s.counts.requests {
		sum += n
	}
	return sum
}

// Grants returns how many token requests with this grant_type arrived, including
// refused ones.
func (s *Server) Grants(grant string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.grants[grant]
}

// Redemptions returns how many token requests with this grant_type were answered
// with tokens, including those whose answer was lost.
func (s *Server) Redemptions(grant string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.redemptions[grant]
}

// ResetCounters sets all counts to zero and forgets the last form and header.
func (s *Server) ResetCounters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = newCounters()
}

// LastForm returns the form of the last token, revocation or introspection request,
// or nil.
func (s *Server) LastForm() url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cloneValues(s.counts.lastForm)
}

// LastHeader returns the header of the last token, revocation or introspection
// request, or nil.
func (s *Server) LastHeader() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.lastHeader.Clone()
}

func cloneValues(v url.Values) url.Values {
	out := maps.Clone(v)
	for name, values := range out {
		out[name] = append([]string(nil), values...)
	}
	return out
}
