package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// faultWire lets one endpoint of an issuer fail and watches what passes: bodies that
// nobody closes, tokens that are sent twice or in an address, requests that go
// astray.
type faultWire struct {
	base http.RoundTripper
	log  *testkit.Log
	host string // of the issuer

	mu       sync.Mutex // guards all below
	fault    *fault     // nil: none
	endpoint string     // the one that fails; empty: all
	hits     int        // how often it did
	open     int        // bodies that are not closed
	read     int64      // bytes of answers
	spent    map[string]int
	astray   []string // hosts
	urls     []string
}

func (w *faultWire) RoundTrip(r *http.Request) (*http.Response, error) {
	v := &victim{w: w, r: r, sent: testkit.SentBy(r)}
	f := w.note(v)
	if r.URL.Host != w.host {
		return w.watch(testkit.Reply(r, http.StatusOK, nil, "{}")), nil
	}
	if f == nil {
		return v.issuer()
	}
	resp, err := f.answer(v)
	return w.watch(resp), err
}

// note counts a request and returns the fault that it meets.
func (w *faultWire) note(v *victim) *fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.urls = append(w.urls, v.r.URL.String())
	if v.r.URL.Host != w.host {
		w.astray = append(w.astray, v.r.URL.Host)
		return nil
	}
	f := w.fault
	if w.endpoint != "" && w.endpoint != endpointOf(v.r) {
		f = nil
	}
	if f != nil {
		w.hits++
	}
	if token := testkit.Form(v.r).Get("refresh_token"); token != "" && (f == nil || !f.undialled) {
		w.spent[token]++
	}
	return f
}

// set begins anew: endpoint fails with f from now on. A nil f is no fault.
func (w *faultWire) set(endpoint string, f *fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endpoint, w.fault, w.hits, w.read, w.astray, w.urls = endpoint, f, 0, 0, nil, nil
	w.spent = map[string]int{}
}

// met reports whether any request met the fault.
func (w *faultWire) met() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hits > 0
}

// endpointOf names a request's endpoint as [authpitest.Fault] does.
func endpointOf(r *http.Request) string {
	last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch last {
	case "openid-configuration":
		return "discovery"
	case "jwks.json":
		return "jwks"
	}
	return last
}

// watch counts an answer's body as open until it is closed.
func (w *faultWire) watch(resp *http.Response) *http.Response {
	if resp == nil || resp.Body == nil {
		return resp
	}
	if _, watched := resp.Body.(*watchedBody); !watched {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open++
		resp.Body = &watchedBody{ReadCloser: resp.Body, w: w}
	}
	return resp
}

type watchedBody struct {
	io.ReadCloser
	w    *faultWire
	once sync.Once
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.w.read += int64(n)
	return n, err
}

func (b *watchedBody) Close() error {
	b.once.Do(func() {
		b.w.mu.Lock()
		defer b.w.mu.Unlock()
		b.w.open--
	})
	return b.ReadCloser.Close()
}

// problems are what no call may leave behind, whatever went wrong.
func (w *faultWire) problems() (problems []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if w.open != 0 {
		add("%d bodies are still open", w.open)
	}
	for _, n := range w.spent {
		if n > 1 {
			add("a refresh token was sent %d times", n)
		}
	}
	for _, host := range w.astray {
		if host != faultAPI {
			add("a request went to %s", host)
		}
	}
	if limit := int64(w.hits+4) * (1<<20 + 64<<10); w.read > limit {
		add("%d bytes were read; want at most %d", w.read, limit)
	}
	for _, url := range w.urls {
		if w.log.Knows(url) {
			add("an address holds a secret")
		}
	}
	return problems
}

// faultAPI is an API that is no part of the issuer.
const faultAPI = "api.example"

// victim is a request that meets a fault.
type victim struct {
	w    *faultWire
	r    *http.Request
	sent string
}

// issuer has the request processed as if nothing were wrong.
func (v *victim) issuer() (*http.Response, error) {
	resp, err := v.w.base.RoundTrip(v.r)
	return v.w.watch(resp), err
}

// processed has the issuer process the request, and returns its whole answer.
func (v *victim) processed() (resp *http.Response, body []byte) {
	resp, err := v.issuer()
	if err != nil {
		panic(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	return resp, body
}

// with is an answer with another body.
func (v *victim) with(resp *http.Response, body io.Reader) *http.Response {
	closer, ok := body.(io.ReadCloser)
	if !ok {
		closer = io.NopCloser(body)
	}
	again := *resp
	again.Body, again.ContentLength, again.Header = closer, -1, resp.Header.Clone()
	again.Header.Del("Content-Length")
	return &again
}

// hang waits for the end of the request, as net/http's transport does.
func (v *victim) hang(d time.Duration) error {
	select {
	case <-v.r.Context().Done():
		return context.Cause(v.r.Context())
	case <-time.After(d):
		return nil
	}
}

const forever = 1000 * time.Hour

// drip is one byte of text at a time, until the request ends.
type drip struct {
	v    *victim
	text io.Reader
	wait time.Duration
}

func (d *drip) Read(p []byte) (int, error) {
	if err := d.v.hang(d.wait); err != nil {
		return 0, err
	}
	return d.text.Read(p[:1])
}

// endless is a body that is made as it is read.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.left)
	e.left -= n
	for i := range n {
		p[i] = ' '
	}
	return int(n), nil
}

// broken is text, then an error.
func broken(text []byte, err error) io.Reader {
	return io.MultiReader(bytes.NewReader(text), failingReader{err})
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// panicking is a body whose Read or Close panics with what was sent.
type panicking struct {
	io.Reader
	read, close any // what each panics with; nil: it does not
}

func (p panicking) Read(b []byte) (int, error) {
	if p.read != nil {
		panic(p.read)
	}
	return p.Reader.Read(b)
}

func (p panicking) Close() error {
	if p.close != nil {
		panic(p.close)
	}
	return nil
}

// faultEnv is an issuer behind a wire that can fail.
type faultEnv struct {
	*testkit.Env
	wire *faultWire
}

// newFaultEnv is for a bubble.
func newFaultEnv(e *testkit.Env, edit func(*authpi.Config)) *faultEnv {
	w := &faultWire{base: e.Config.HTTPClient.Transport, log: e.Log, spent: map[string]int{}}
	w.host = strings.Split(e.Issuer.URL, "/")[2]
	e.Config.HTTPClient = &http.Client{Transport: w}
	if edit != nil {
		edit(&e.Config)
	}
	e.Client = e.NewClient(nil)
	return &faultEnv{e, w}
}

// typed reports whether err is one of the package's own, as every error must be.
func typed(err error) bool {
	var oauth *authpi.OAuthError
	var config *authpi.ConfigurationError
	return errors.As(err, &oauth) || errors.As(err, &config)
}

// accessToken and logoutToken are the issuer's, and secret.
func (e *faultEnv) accessToken() string { return e.keep(e.Issuer.AccessToken(nil)) }
func (e *faultEnv) logoutToken() string { return e.keep(e.Issuer.LogoutToken(nil)) }

func (e *faultEnv) keep(secret string) string {
	e.Log.Secret(secret)
	return secret
}
