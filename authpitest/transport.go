package authpitest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
)

// memoryTransport is the http.RoundTripper of a server without a socket. It
// processes each request in the goroutine that sends it.
type memoryTransport struct{ s *Server }

// Client returns an HTTP client for this server, a new one at each call over a
// shared transport. It follows no redirects: a redirect is an answer
// (http.ErrUseLastResponse).
//
// For a server without a socket it is the only way in. It then runs the issuer in
// the caller's goroutine, gives up a delayed request when the request's context
// ends, and answers requests for other hosts with a dial error.
func (s *Server) Client() *http.Client {
	c := &http.Client{
		Transport: memoryTransport{s},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	if s.socket != nil {
		c.Transport = s.socket.Client().Transport
	}
	return c
}

func (t memoryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	ctx := req.Context()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case t.s.closed.Load():
		return nil, errRefused
	case req.URL.Host != t.s.host:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{
			Err: "no such host", Name: req.URL.Hostname(), IsNotFound: true,
		}}
	}
	a, err := t.s.process(serverSide(req), nil)
	if err != nil {
		return nil, err
	}
	return a.response(req), nil
}

// errRefused is what a client sees when nobody listens: a request that was never
// sent.
var errRefused error = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

// serverSide makes of a request as a client builds it one as a handler gets it.
func serverSide(req *http.Request) *http.Request {
	r := req.Clone(req.Context())
	r.Form, r.PostForm, r.MultipartForm = nil, nil, nil
	r.RequestURI = req.URL.RequestURI()
	r.RemoteAddr = "192.0.2.1:1234"
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}

// answer is a whole response, kept until the faults are done with it.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	problem string // for SignIn: why no redirect was possible
}

func (a *answer) writeTo(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may be gone: nobody left to tell
}

func (a *answer) response(req *http.Request) *http.Response {
	header := a.header.Clone()
	header.Set("Content-Length", strconv.Itoa(len(a.body)))
	body := a.body
	if req.Method == http.MethodHead {
		body = nil
	}
	return &http.Response{
		Status:     strconv.Itoa(a.status) + " " + http.StatusText(a.status),
		StatusCode: a.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(a.body)),
		Request:       req,
	}
}
