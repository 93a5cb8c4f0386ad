// Package endpoint makes the requests to an issuer: bounded in time and size,
// without redirects, sent again only where the first one certainly never left. It
// also finds out where the issuer's endpoints are.
package endpoint

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
)

const (
	// MaxBody is the longest answer that is read, in bytes. A longer one is an
	// error: a cut text can still parse.
	MaxBody = 1 << 20

	// Timeout bounds one request where the caller's http.Client has none.
	Timeout = 30 * time.Second

	maxHeader = 256 << 10

	// maxIdle is how many connections are kept between two crowds of requests. Over
	// HTTP/2 one does; over HTTP/1.1 each request of a crowd needs its own.
	maxIdle = 1024
)

// ErrTooLong is the error for an answer of more than MaxBody bytes.
var ErrTooLong = errors.New("the answer is longer than 1 MiB")

// ErrCut is part of the error for an answer with status 200 whose body did not
// arrive whole, or was too long: what it said has been done.
var ErrCut = errors.New("the answer was lost")

// Caller sends requests. It is safe for concurrent use.
type Caller struct {
	client    *http.Client
	timeout   time.Duration // of one attempt
	userAgent string
	now       func() time.Time
	clock     *awake.Clock
}

// NewCaller makes a Caller over a copy of client that follows no redirects.
// A nil client means one of its own, with connections pooled for one host.
func NewCaller(client *http.Client, version string, now func() time.Time) *Caller {
	if client == nil {
		client = &http.Client{Transport: newTransport()}
	}
	own := *client
	// A redirect of a token request would carry codes and secrets elsewhere.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	timeout := own.Timeout
	if timeout == 0 {
		timeout = Timeout
	}
	// A context does the same without net/http's goroutine for each request, which
	// goes on for all of that time where a round tripper panics.
	own.Timeout = 0
	return &Caller{client: &own, timeout: timeout, userAgent: userAgent(version), now: now, clock: &awake.Clock{}}
}

// Transport is the round tripper that the requests go through.
func (c *Caller) Transport() http.RoundTripper {
	if c.client.Transport == nil {
		return http.DefaultTransport
	}
	return c.client.Transport
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle, // the default of 2 closes connections as fast as a busy login opens them
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // answers are short; what comes packed all the same is read, see readBody
	}
}

func userAgent(version string) string {
	return fmt.Sprintf("authpi-idp-go/%s Go/%s (%s; %s)",
		version, strings.TrimPrefix(runtime.Version(), "go"), runtime.GOOS, runtime.GOARCH)
}

// Request is one request: a GET, or a POST where Form is set.
type Request struct {
	URL    string
	Form   *Params
	Bearer string // access token for the Authorization header
	Accept string // media types beside application/json; usually empty

	BasicID, BasicSecret string // client_secret_basic, where BasicID is set
}

// Answer is what came back, read whole.
type Answer struct {
	Status     int
	Body       string
	RetryAfter time.Duration // zero where the answer names none

	contentType string
}

// MediaType returns the Content-Type without its parameters, in lower case, and
// empty where the answer has none. It is the server's text.
func (a Answer) MediaType() string {
	typ, _, _ := strings.Cut(a.contentType, ";")
	return strings.ToLower(strings.TrimSpace(typ))
}

// Do sends the request and reads the answer. Every status is an answer; an
// error means that none could be had or read.
func (c *Caller) Do(ctx context.Context, r Request) (Answer, error) {
	answer, err := c.once(ctx, r)
	if err != nil && neverSent(err) && ctx.Err() == nil {
		// RFC 6749 codes and refresh tokens work once, so a request that may
		// have arrived is never repeated; this one did not.
		answer, err = c.once(ctx, r)
	}
	return answer, err
}

// once makes one attempt. A panic in a foreign round tripper, or in a body of its
// making, is no answer like any other: its value may hold what was sent, so only
// its type is told, and whoever recovers panics further up must not log it.
func (c *Caller) once(ctx context.Context, r Request) (answer Answer, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			answer, err = Answer{}, fmt.Errorf("the round tripper panicked with a %T", fault)
		}
	}()
	ctx, cancel := c.clock.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := r.build(ctx)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("User-Agent", c.userAgent)
	resp, err := c.client.Do(req)
	if err != nil {
		return Answer{}, withoutURL(err)
	}
	defer discard(resp.Body)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// Its body is the bare connection, which no context and no timeout ends.
		return Answer{Status: resp.StatusCode}, nil
	}
	body, err := readBody(resp)
	if err != nil {
		return Answer{}, cut(resp, fmt.Errorf("reading the answer: %w", err))
	}
	if len(body) > MaxBody {
		if resp.StatusCode < http.StatusInternalServerError {
			return Answer{}, cut(resp, ErrTooLong)
		}
		body = nil // however long its error page, the gateway is unreachable
	}
	return Answer{
		Status: resp.StatusCode,
		// RFC 8259 section 8.1 lets a reader ignore a byte order mark.
		Body:       string(bytes.TrimPrefix(body, []byte("\xEF\xBB\xBF"))),
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), c.now()),

		contentType: resp.Header.Get("Content-Type"),
	}, nil
}

func cut(resp *http.Response, err error) error {
	if resp.StatusCode == http.StatusOK {
		return cutError{err}
	}
	return err
}

// cutError is ErrCut besides what it wraps, without a text of its own.
type cutError struct{ error }

func (e cutError) Is(target error) bool { return target == ErrCut }
func (e cutError) Unwrap() error        { return e.error }

// readBody reads MaxBody bytes and one more at most, before and after unpacking.
// Nobody asks for gzip, but a server may send it all the same (RFC 9110 section
// 12.5.3), and the answer may be the only tokens of a session.
func readBody(resp *http.Response) ([]byte, error) {
	body := io.LimitReader(resp.Body, MaxBody+1)
	if resp.Uncompressed || !strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		return io.ReadAll(body)
	}
	unpacked, err := gzip.NewReader(body)
	if errors.Is(err, io.EOF) {
		return nil, nil // there is none
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(unpacked, MaxBody+1))
}

// discard closes a body. What was read is good whatever becomes of that: it may be
// the only tokens of a session.
func discard(body io.Closer) {
	defer func() { _ = recover() }()
	_ = body.Close()
}

func (r Request) build(ctx context.Context) (*http.Request, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if r.Form != nil {
		method, body = http.MethodPost, strings.NewReader(r.Form.String())
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL, body)
	if err != nil {
		return nil, errors.New("the endpoint's URL cannot be used")
	}
	accept := "application/json"
	if r.Accept != "" {
		accept += ", " + r.Accept
	}
	req.Header.Set("Accept", accept)
	if r.Form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.BasicID != "" {
		req.Header.Set("Authorization", BasicCredentials(r.BasicID, r.BasicSecret))
	}
	if r.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.Bearer)
	}
	return req, nil
}

// BasicCredentials is the Authorization header of client_secret_basic: both
// parts are form-encoded first (RFC 6749 section 2.3.1).
func BasicCredentials(id, secret string) string {
	pair := url.QueryEscape(id) + ":" + url.QueryEscape(secret)
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
}

// neverSent reports whether the connection could not even be dialled.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// withoutURL drops the URL that net/http puts before every error: the caller
// names the endpoint, and a URL may carry what no log should.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// maxRetryAfter bounds what an issuer may ask for; RFC 9110 names no limit.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header in both its forms (RFC 9110 section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	wait := time.Duration(0)
	if seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
		wait = time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
