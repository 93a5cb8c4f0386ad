package authpitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong once or several times. What is set of it
// happens in this order: Refuse; Delay; Drop; Status or Body in place of the answer,
// else the request is processed, with IDToken; Malform; DelayAnswer; DropAnswer.
type Fault struct {
	// Endpoint is the one it hits: "authorize", "token", "userinfo", "jwks",
	// "discovery", "revoke", "introspect" or "logout". Empty: any.
	Endpoint string

	// Grant narrows it to token requests with this grant_type: "authorization_code",
	// "refresh_token" or "client_credentials". Empty: any request.
	Grant string

	// Times is how many matching requests it hits. Zero: one. Negative: all of them
	// until [Server.ClearFaults].
	Times int

	// Refuse fails an in-memory server's client as if nobody listened: a dial error,
	// and the request is not counted. Over a socket it is as Drop.
	Refuse bool

	// Delay passes before the request is processed, unless its context ends first.
	Delay time.Duration

	// Drop cuts the connection before the request is processed. Over a socket, Go's
	// HTTP client itself sends a GET again if its connection had been in use before.
	Drop bool

	// Status answers in place of the issuer, with Body.
	Status int

	// Body is the answer's body when Status is set; on its own it comes with status
	// 200.
	Body string

	// ContentType of Status and Body; application/json by default.
	ContentType string

	// RetryAfter is the answer's Retry-After header, for example "7".
	RetryAfter string

	// IDToken changes the ID token before it is signed, the header as [Server.Sign]
	// takes it: alg may also be "none" or "HS256", and the member _signature with
	// the value "bad" spoils the signature. A kid that is left alone follows a
	// changed alg. A fault with an IDToken hits only token requests by authorization
	// code or refresh token.
	IDToken func(header, claims map[string]any)

	// Malform changes the answer's body. The request was processed.
	Malform func(body []byte) []byte

	// DelayAnswer passes after the request was processed, unless its context ends
	// first.
	DelayAnswer time.Duration

	// DropAnswer cuts the connection after the request was processed: a refresh
	// token is spent, and its successor lost.
	DropAnswer bool
}

type pendingFault struct {
	Fault
	left int // negative: no end
}

var errClosed = errors.New("authpitest: server closed")

// Inject queues a fault. A request suffers at most one fault, the oldest that
// matches it. It panics for an Endpoint or a Grant that does not exist: such a fault
// would never happen, and the test would pass for nothing.
func (s *Server) Inject(f Fault) {
	mustKnow("Fault.Endpoint", f.Endpoint, endpointNames)
	mustKnow("Fault.Grant", f.Grant, grantNames)
	s.mu.Lock()
	defer s.mu.Unlock()
	left := f.Times
	if left == 0 {
		left = 1
	}
	s.faults = append(s.faults, &pendingFault{f, left})
}

var (
	endpointNames = []string{
		endpointAuthorize, endpointToken, endpointUserinfo, endpointJWKS, endpointDiscovery,
		endpointRevoke, endpointIntrospect, endpointLogout,
	}
	grantNames = []string{grantCode, grantRefresh, grantClient}
)

func mustKnow(field, name string, known []string) {
	if name != "" && !slices.Contains(known, name) {
		panic(fmt.Sprintf("authpitest: unknown %s %q: want one of %s", field, name, strings.Join(known, ", ")))
	}
}

// ClearFaults forgets the faults that have not happened yet.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// PendingFaults returns the faults that have not happened yet, the oldest first.
// Their Times is how many requests they still hit.
func (s *Server) PendingFaults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending []Fault
	for _, f := range s.faults {
		copied := f.Fault
		copied.Times = f.left
		pending = append(pending, copied)
	}
	return pending
}

// takeFault returns the fault that this request suffers, or nil. The caller holds
// s.mu.
func (s *Server) takeFault(endpoint, grant string) *Fault {
	for i, f := range s.faults {
		if !f.matches(endpoint, grant) {
			continue
		}
		if f.left > 0 {
			if f.left--; f.left == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		return &f.Fault
	}
	return nil
}

func (f *Fault) matches(endpoint, grant string) bool {
	switch {
	case f.Endpoint != "" && f.Endpoint != endpoint:
		return false
	case f.Grant != "" && (endpoint != endpointToken || f.Grant != grant):
		return false
	case f.IDToken != nil && (endpoint != endpointToken || (grant != grantCode && grant != grantRefresh)):
		return false
	}
	return true
}

// faulty runs process with everything around it that f asks for. An error means no
// answer.
func (s *Server) faulty(ctx context.Context, f *Fault, process func() *answer) (*answer, error) {
	if f.Refuse {
		return nil, errRefused
	}
	if err := s.wait(ctx, f.Delay); err != nil {
		return nil, err
	}
	if f.Drop {
		return nil, io.EOF // what net/http's client says of it
	}
	a := f.answer()
	if a == nil {
		a = process()
	}
	if f.RetryAfter != "" {
		a.header.Set("Retry-After", f.RetryAfter)
	}
	if f.Malform != nil {
		a.body = f.Malform(bytes.Clone(a.body))
	}
	if err := s.wait(ctx, f.DelayAnswer); err != nil {
		return nil, err
	}
	if f.DropAnswer {
		return nil, io.EOF
	}
	return a, nil
}

// answer is what the fault says in place of the issuer, or nil.
func (f *Fault) answer() *answer {
	if f.Status == 0 && f.Body == "" {
		return nil
	}
	a := &answer{status: f.Status, header: http.Header{}, body: []byte(f.Body)}
	setDefault(&a.status, http.StatusOK)
	a.header.Set("Content-Type", "application/json")
	if f.ContentType != "" {
		a.header.Set("Content-Type", f.ContentType)
	}
	return a
}

func (s *Server) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.closing:
		return errClosed
	}
}
