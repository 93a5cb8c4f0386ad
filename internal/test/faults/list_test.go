package faults_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing/iotest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// faultKind is what a fault leaves of an answer.
type faultKind int

const (
	silent  faultKind = iota // there is none
	usable                   // it is odd, but says what it should
	tooLong                  // it does not end in time
	junk                     // status 200, and nothing to be made of it
	refused                  // another status
)

// fault is one way to fail, for whatever is asked.
type fault struct {
	name      string
	kind      faultKind
	status    int           // of refused
	says      string        // the error code in its body, if any
	retry     time.Duration // what its Retry-After means
	processed bool          // the issuer has done its part, and a rotated token is lost with the answer
	undialled bool          // the request was certainly not sent
	deadline  time.Duration // the caller's; zero: none
	answer    func(v *victim) (*http.Response, error)
}

// passing reports whether the same request may succeed later.
func (f *fault) passing() bool {
	return f.kind == silent || f.kind == refused && (f.status >= 500 || f.status == 408 || f.status == 425 || f.status == 429)
}

// allFaults is every way that a round tripper or the server behind it can fail.
func allFaults() []fault {
	var all []fault
	for _, group := range [][]fault{unsentFaults(), lostFaults(), bodyFaults(), junkFaults(), statusFaults(), redirectFaults()} {
		all = append(all, group...)
	}
	return all
}

// unsentFaults never reach the issuer, though only for some is that certain.
func unsentFaults() []fault {
	fails := func(err error) func(*victim) (*http.Response, error) {
		return func(*victim) (*http.Response, error) { return nil, err }
	}
	op := func(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }
	return []fault{
		{name: "connection refused", undialled: true, answer: fails(op("dial", syscall.ECONNREFUSED))},
		{name: "no such host", undialled: true, answer: fails(op("dial", &net.DNSError{Err: "no such host"}))},
		{name: "proxy away", answer: fails(op("proxyconnect", syscall.ECONNREFUSED))},
		{name: "unknown certificate authority", answer: fails(x509.UnknownAuthorityError{})},
		{name: "certificate of another host", answer: fails(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"})},
		{name: "TLS alert", answer: fails(op("remote error", errors.New("tls: handshake failure")))},
		{name: "reset before it was sent", answer: fails(op("write", syscall.ECONNRESET))},
		{name: "broken pipe", answer: fails(op("write", syscall.EPIPE))},
		{name: "cancelled by nobody", answer: fails(context.Canceled)},
		{name: "no answer and no error", answer: fails(nil)},
		{name: "an error that shows all", answer: func(v *victim) (*http.Response, error) {
			return nil, fmt.Errorf("sending %s: %w", v.sent, errors.New(v.sent))
		}},
		{name: "a panic", answer: func(v *victim) (*http.Response, error) { panic(v.sent) }},
		{name: "a panic with an error", answer: func(v *victim) (*http.Response, error) { panic(errors.New(v.sent)) }},
		{name: "nothing ever comes", answer: func(v *victim) (*http.Response, error) { return nil, v.hang(forever) }},
		{name: "nothing comes in the caller's time", deadline: 3 * time.Second, answer: func(v *victim) (*http.Response, error) {
			return nil, v.hang(forever)
		}},
	}
}

// lostFaults let the issuer do its part and then lose the answer.
func lostFaults() []fault {
	fails := func(err error) func(*victim) (*http.Response, error) {
		return func(v *victim) (*http.Response, error) {
			v.processed()
			return nil, err
		}
	}
	body := func(change func(v *victim, whole []byte) io.Reader) func(*victim) (*http.Response, error) {
		return func(v *victim) (*http.Response, error) {
			resp, whole := v.processed()
			again := v.with(resp, change(v, whole))
			again.ContentLength = int64(len(whole)) + 100
			return again, nil
		}
	}
	return []fault{
		{name: "reset after it was sent", processed: true, answer: fails(&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET})},
		{name: "end of file", processed: true, answer: fails(io.EOF)},
		{name: "unexpected end of file", processed: true, answer: fails(io.ErrUnexpectedEOF)},
		{name: "too many headers for the transport", processed: true, answer: fails(errors.New("net/http: server response headers exceeded 262144 bytes; aborted"))},
		{name: "the header never comes", processed: true, answer: func(v *victim) (*http.Response, error) {
			v.processed()
			return nil, v.hang(forever)
		}},
		{name: "truncated body", processed: true, answer: body(func(_ *victim, whole []byte) io.Reader {
			return broken(whole[:len(whole)/2], io.ErrUnexpectedEOF)
		})},
		{name: "truncated by one byte", processed: true, answer: body(func(_ *victim, whole []byte) io.Reader {
			return broken(whole[:max(len(whole)-1, 0)], io.ErrUnexpectedEOF)
		})},
		{name: "whole body, then a reset", processed: true, answer: body(func(v *victim, whole []byte) io.Reader {
			return broken(whole, fmt.Errorf("reset: %s", v.sent))
		})},
		{name: "body drips", processed: true, answer: body(func(v *victim, whole []byte) io.Reader {
			return &drip{v, &endless{1 << 20}, time.Second}
		})},
		{name: "body drips past the caller's time", processed: true, deadline: 3 * time.Second, answer: body(func(v *victim, whole []byte) io.Reader {
			return &drip{v, &endless{1 << 20}, time.Second}
		})},
		{name: "body of a bad chunk", processed: true, answer: body(func(*victim, []byte) io.Reader {
			return broken([]byte("{"), errors.New("invalid byte in chunk length"))
		})},
		{name: "body that is no gzip", processed: true, answer: body(func(*victim, []byte) io.Reader {
			return broken(nil, gzip.ErrHeader)
		})},
		{name: "reading the body panics", processed: true, answer: body(func(v *victim, whole []byte) io.Reader {
			return panicking{bytes.NewReader(whole), v.sent, nil}
		})},
		{name: "reading and closing the body panic", processed: true, answer: body(func(v *victim, whole []byte) io.Reader {
			return panicking{bytes.NewReader(whole), v.sent, v.sent}
		})},
	}
}

// bodyFaults are answers that are strange in form and right in what they say, and
// those that go on for ever.
func bodyFaults() []fault {
	change := func(change func(v *victim, resp *http.Response, whole []byte) *http.Response) func(*victim) (*http.Response, error) {
		return func(v *victim) (*http.Response, error) {
			resp, whole := v.processed()
			return change(v, resp, whole), nil
		}
	}
	body := func(body func(v *victim, whole []byte) io.Reader) func(*victim) (*http.Response, error) {
		return change(func(v *victim, resp *http.Response, whole []byte) *http.Response {
			return v.with(resp, body(v, whole))
		})
	}
	header := func(set func(resp *http.Response)) func(*victim) (*http.Response, error) {
		return change(func(v *victim, resp *http.Response, whole []byte) *http.Response {
			again := v.with(resp, bytes.NewReader(whole))
			set(again)
			return again
		})
	}
	long := func(length, said int64, status int) func(*victim) (*http.Response, error) {
		return func(v *victim) (*http.Response, error) {
			resp := v.with(testkit.Reply(v.r, status, nil, ""), &endless{length})
			resp.ContentLength = said
			return resp, nil
		}
	}
	return []fault{
		{name: "header after a second", kind: usable, answer: func(v *victim) (*http.Response, error) {
			if err := v.hang(time.Second); err != nil {
				return nil, err
			}
			return v.issuer()
		}},
		{name: "body byte by byte", kind: usable, answer: body(func(_ *victim, whole []byte) io.Reader {
			return iotest.OneByteReader(bytes.NewReader(whole))
		})},
		{name: "body with its end at once", kind: usable, answer: body(func(_ *victim, whole []byte) io.Reader {
			return iotest.DataErrReader(bytes.NewReader(whole))
		})},
		{name: "closing the body panics", kind: usable, answer: body(func(v *victim, whole []byte) io.Reader {
			return panicking{bytes.NewReader(whole), nil, v.sent}
		})},
		{name: "wrong content type", kind: usable, answer: header(func(r *http.Response) { r.Header.Set("Content-Type", "text/html") })},
		{name: "no content type", kind: usable, answer: header(func(r *http.Response) { r.Header.Del("Content-Type") })},
		{name: "HTTP/1.0", kind: usable, answer: header(func(r *http.Response) {
			r.Proto, r.ProtoMinor, r.Close = "HTTP/1.0", 0, true
		})},
		{name: "byte order mark", kind: usable, answer: body(func(_ *victim, whole []byte) io.Reader {
			return io.MultiReader(strings.NewReader("\xEF\xBB\xBF"), bytes.NewReader(whole))
		})},
		{name: "100,000 headers", kind: usable, answer: header(func(r *http.Response) { r.Header = manyHeaders() })},
		{name: "1 GiB", kind: tooLong, answer: long(1<<30, 1<<30, 200)},
		{name: "chunks without end", kind: tooLong, answer: long(1<<62, -1, 200)},
		{name: "1 GiB of an error", kind: refused, status: 503, answer: long(1<<30, 1<<30, 503)},
	}
}

// manyHeaders is made once: it is only read.
var manyHeaders = sync.OnceValue(func() http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := range 100_000 {
		h[fmt.Sprint("X-", i)] = []string{"x"}
	}
	return h
})

// junkFaults lose the answer in another way.
func junkFaults() []fault {
	says := func(text string, contentType string) func(*victim) (*http.Response, error) {
		return func(v *victim) (*http.Response, error) {
			v.processed()
			resp := testkit.Reply(v.r, http.StatusOK, nil, strings.ReplaceAll(text, "SENT", v.sent))
			resp.Header.Set("Content-Type", contentType)
			return resp, nil
		}
	}
	const json, html = "application/json", "text/html; charset=utf-8"
	all := []fault{
		{name: "a page", answer: says("<html>Sign in to the hotel's network SENT</html>", html)},
		{name: "an empty body", answer: says("", json)},
		{name: "null", answer: says("null", json)},
		{name: "an array", answer: says(`["SENT"]`, json)},
		{name: "a text", answer: says(`"SENT"`, json)},
		{name: "half an object", answer: says(`{"access_token":"SENT`, json)},
		{name: "two objects", answer: says(`{}{"SENT":1}`, json)},
		{name: "a repeated member", answer: says(`{"sub":"SENT","sub":"SENT","keys":[]}`, json)},
		{name: "invalid UTF-8", answer: says("{\"sub\":\"\xff\xfe SENT\"}", json)},
		{name: "a byte of nothing", answer: says("{\"a\":\"\x00\"}", json)},
		{name: "deep nesting", answer: says(`{"a":`+strings.Repeat("[", 100_000), json)},
		{name: "compressed though nobody asked", answer: says(zipped(), json)},
		{name: "a reply of another protocol", answer: says("SSH-2.0-OpenSSH_9.6", "application/octet-stream")},
	}
	for i := range all {
		all[i].kind, all[i].processed = junk, true
	}
	return all
}

// zipped is 10 MiB of nothing, as a bomb is packed.
var zipped = sync.OnceValue(func() string {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	_, _ = w.Write(make([]byte, 10<<20))
	_ = w.Close()
	return b.String()
})

// statusFaults are answers of other statuses. None was processed.
func statusFaults() []fault {
	var all []fault
	add := func(name string, status int, says, retryAfter string, retry time.Duration) {
		all = append(all, fault{name: name, kind: refused, status: status, says: says, retry: retry, answer: func(v *victim) (*http.Response, error) {
			body := "nothing to see for " + v.sent
			if says != "" {
				body = fmt.Sprintf(`{"error":%q,"error_description":%q,"error_uri":%q}`, says, "no "+v.sent, "https://idp.example/?"+v.sent)
			}
			resp := testkit.Reply(v.r, status, nil, body)
			if retryAfter != "" {
				resp.Header.Set("Retry-After", retryAfter)
			}
			return resp, nil
		}})
	}
	for _, status := range []int{201, 206, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 504, 999} {
		add(fmt.Sprintf("status %d", status), status, "", "", 0)
	}
	add("429 and seconds", 429, "slow_down", "7", 7*time.Second)
	add("429 and far too long", 429, "slow_down", "99999999999", 24*time.Hour)
	add("429 and a negative time", 429, "slow_down", "-1", 0)
	add("429 and words", 429, "", "when hell freezes", 0)
	add("503 and a date", 503, "", "Fri, 31 Dec 1999 23:59:59 GMT", 0) // a bubble begins a second later
	add("503 and a date far ahead", 503, "temporarily_unavailable", "Fri, 31 Dec 9999 23:59:59 GMT", 24*time.Hour)
	add("invalid_grant", 400, "invalid_grant", "", 0)
	add("invalid_client", 401, "invalid_client", "", 0)
	add("user_blocked", 403, "user_blocked", "", 0)
	add("invalid_grant with a 503", 503, "invalid_grant", "", 0)
	all = append(all, fault{name: "another protocol", kind: refused, status: 101, answer: func(v *victim) (*http.Response, error) {
		resp := testkit.Reply(v.r, 101, nil, "")
		connection, _ := io.Pipe() // heeds no context, as net/http's does not either
		resp.Body = connection
		return resp, nil
	}})
	for _, status := range []int{204, 205, 304} {
		all = append(all, fault{name: fmt.Sprintf("status %d without body", status), kind: refused, status: status, answer: func(v *victim) (*http.Response, error) {
			resp := testkit.Reply(v.r, status, nil, "")
			resp.Body = http.NoBody
			return resp, nil
		}})
	}
	return all
}

// redirectFaults would carry secrets elsewhere.
func redirectFaults() []fault {
	var all []fault
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		for i, location := range []string{
			"https://evil.example/take", "http://idp.authpi.test/i_test/token", "javascript:alert(1)", "file:///etc/passwd", "the same address", "",
		} {
			if i > 0 && status != 302 && status != 307 {
				continue
			}
			all = append(all, fault{
				name: fmt.Sprintf("%d to %q", status, location), kind: refused, status: status,
				answer: func(v *victim) (*http.Response, error) {
					resp := testkit.Reply(v.r, status, nil, "moved with "+v.sent)
					switch location {
					case "":
					case "the same address":
						resp.Header.Set("Location", v.r.URL.String())
					default:
						resp.Header.Set("Location", location+"?"+v.sent)
					}
					return resp, nil
				},
			})
		}
	}
	return append(all, fault{name: "302 to what is no address", kind: silent, answer: func(v *victim) (*http.Response, error) {
		resp := testkit.Reply(v.r, 302, nil, "")
		resp.Header.Set("Location", "http://[::1/%zz "+v.sent)
		return resp, nil
	}})
}
