package endpoint_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
)

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, status int, header http.Header, body io.Reader) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body), Request: r}
}

func caller(f transport) *endpoint.Caller {
	return endpoint.NewCaller(&http.Client{Transport: f}, "1.2.3", time.Now)
}

func TestDo(t *testing.T) {
	t.Parallel()
	form := func() *endpoint.Params { var p endpoint.Params; p.Add("a", "b c"); return &p }
	tests := []struct {
		name    string
		request endpoint.Request
		method  string
		body    string
		auth    string
	}{
		{"get", endpoint.Request{}, "GET", "", ""},
		{"bearer", endpoint.Request{Bearer: "tok"}, "GET", "", "Bearer tok"},
		{"form", endpoint.Request{Form: form()}, "POST", "a=b+c", ""},
		{"empty form", endpoint.Request{Form: &endpoint.Params{}}, "POST", "", ""},
		{"basic", endpoint.Request{Form: form(), BasicID: "c 1", BasicSecret: "p:w"}, "POST", "a=b+c", "Basic YysxOnAlM0F3"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.request.URL = "https://idp.example/x?y=z"
			got, err := caller(func(r *http.Request) (*http.Response, error) {
				var body []byte
				if r.Body != nil {
					body, _ = io.ReadAll(r.Body)
				}
				if r.Method != tc.method || string(body) != tc.body || r.Header.Get("Authorization") != tc.auth || r.URL.RawQuery != "y=z" {
					t.Errorf("got %s %s with %q and %q", r.Method, r.URL, body, r.Header.Get("Authorization"))
				}
				if isForm := r.Header.Get("Content-Type") == "application/x-www-form-urlencoded"; isForm != (tc.method == "POST") {
					t.Errorf("got Content-Type %q", r.Header.Get("Content-Type"))
				}
				if !strings.HasPrefix(r.Header.Get("User-Agent"), "authpi-idp-go/1.2.3 Go/") || r.Header.Get("Accept") != "application/json" {
					t.Errorf("got %v; want User-Agent and Accept", r.Header)
				}
				return answer(r, 207, http.Header{"Retry-After": {"9"}}, strings.NewReader("\xEF\xBB\xBF{}")), nil
			}).Do(t.Context(), tc.request)
			if want := (endpoint.Answer{Status: 207, Body: "{}", RetryAfter: 9 * time.Second}); err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestDoBounds(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{endpoint.MaxBody: nil, endpoint.MaxBody + 1: endpoint.ErrTooLong} {
		got, err := caller(func(r *http.Request) (*http.Response, error) {
			return answer(r, 200, nil, strings.NewReader(strings.Repeat("a", size))), nil
		}).Do(t.Context(), endpoint.Request{URL: "https://idp.example"})
		if !errors.Is(err, want) || err == nil && len(got.Body) != size || err != nil && got != (endpoint.Answer{}) {
			t.Errorf("%d bytes: got %d bytes, %v; want %v", size, len(got.Body), err, want)
		}
	}
	cut := errors.New("cut off")
	_, err := caller(func(r *http.Request) (*http.Response, error) {
		return answer(r, 200, nil, io.MultiReader(strings.NewReader("{"), failing{cut})), nil
	}).Do(t.Context(), endpoint.Request{URL: "https://idp.example"})
	if !errors.Is(err, cut) || !strings.Contains(err.Error(), "reading the answer") {
		t.Errorf("got %v; want it to wrap the cause", err)
	}
	_, err = caller(nil).Do(t.Context(), endpoint.Request{URL: "https://idp.example/%zz?code=secret"})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v; want an error without the URL", err)
	}
}

// Without Accept-Encoding a server may send any coding (RFC 9110 section 12.5.3),
// and a bucket that holds a key set compressed has no other.
func TestCompressedThoughNobodyAsked(t *testing.T) {
	t.Parallel()
	pack := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		return b.String()
	}
	for _, tc := range []struct {
		name, coding, body string
		unpacked           bool // by the round tripper, which left the header as it was
		want               string
		err                error
	}{
		{"gzip", "gzip", pack("\xEF\xBB\xBF{}"), false, "{}", nil},
		{"in capitals", "GZIP", pack("{}"), false, "{}", nil},
		{"unpacked already", "gzip", "{}", true, "{}", nil},
		{"no body", "gzip", "", false, "", nil},
		{"as much as may be", "gzip", pack(strings.Repeat("a", endpoint.MaxBody)), false, strings.Repeat("a", endpoint.MaxBody), nil},
		{"a bomb", "gzip", pack(strings.Repeat("a", 10*endpoint.MaxBody)), false, "", endpoint.ErrTooLong},
		{"nothing without end", "gzip", strings.Repeat(pack(""), endpoint.MaxBody/16), false, "", io.ErrUnexpectedEOF},
		{"cut off", "gzip", pack("{}")[:20], false, "", io.ErrUnexpectedEOF},
		{"not gzip", "gzip", "{} and more than ten bytes", false, "", gzip.ErrHeader},
		{"another coding", "br", "{}", false, "{}", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := caller(func(r *http.Request) (*http.Response, error) {
				resp := answer(r, 200, http.Header{"Content-Encoding": {tc.coding}}, strings.NewReader(tc.body))
				resp.Uncompressed = tc.unpacked
				return resp, nil
			}).Do(t.Context(), endpoint.Request{URL: "https://idp.example"})
			if !errors.Is(err, tc.err) || got.Body != tc.want {
				t.Errorf("got %d bytes, %v; want %d, %v", len(got.Body), err, len(tc.want), tc.err)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestRepeats(t *testing.T) {
	t.Parallel()
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tests := []struct {
		name string
		ctx  context.Context
		errs []error // of the attempts in turn; nil: an answer
		sent int
		ok   bool
	}{
		{"no error", t.Context(), []error{nil}, 1, true},
		{"one dial error", t.Context(), []error{dial, nil}, 2, true},
		{"two dial errors", t.Context(), []error{dial, dial, nil}, 2, false},
		{"end of file", t.Context(), []error{io.EOF, nil}, 1, false},
		{"dial error, then end of file", t.Context(), []error{dial, io.EOF, nil}, 2, false},
		{"dial error after the caller left", ctx, []error{dial, nil}, 1, false},
	}
	for _, tc := range tests {
		sent := 0
		_, err := caller(func(r *http.Request) (*http.Response, error) {
			sent++
			if tc.ctx == ctx {
				cancel()
			}
			if err := tc.errs[sent-1]; err != nil {
				return nil, err
			}
			return answer(r, 200, nil, strings.NewReader("")), nil
		}).Do(tc.ctx, endpoint.Request{URL: "https://idp.example"})
		if (err == nil) != tc.ok || sent != tc.sent {
			t.Errorf("%s: got %d requests and %v; want %d", tc.name, sent, err, tc.sent)
		}
		var withURL *url.Error
		if errors.As(err, &withURL) {
			t.Errorf("%s: got %v; want no URL in the error", tc.name, err)
		}
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ given, want time.Duration }{"default": {0, 30 * time.Second}, "the client's": {time.Second, time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			client := &http.Client{Timeout: tc.given, Transport: transport(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			})}
			start := time.Now()
			_, err := endpoint.NewCaller(client, "0", time.Now).Do(t.Context(), endpoint.Request{URL: "https://idp.example"})
			if got := time.Since(start); err == nil || got != tc.want {
				t.Errorf("%s: got %v after %v; want an error after %v", name, err, got, tc.want)
			}
			if client.Timeout != tc.given || client.CheckRedirect != nil {
				t.Errorf("%s: got the caller's client changed", name)
			}
		})
	}
}

func TestOwnClient(t *testing.T) {
	t.Parallel()
	hits := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("got Accept-Encoding %q; want none", r.Header.Get("Accept-Encoding"))
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	c := endpoint.NewCaller(nil, "0", time.Now)
	got, err := c.Do(t.Context(), endpoint.Request{URL: server.URL})
	if err != nil || got.Status != 307 || hits != 1 {
		t.Errorf("got %+v, %v after %d requests; want the redirect as the answer", got, err, hits)
	}
	if own, ok := c.Transport().(*http.Transport); !ok || own == http.DefaultTransport || own.TLSClientConfig != nil && own.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("got %T; want a transport of its own", c.Transport())
	}
	if endpoint.NewCaller(&http.Client{}, "0", time.Now).Transport() != http.DefaultTransport {
		t.Error("a client without transport: got another; want the default one")
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	write := func(p *endpoint.Params) {
		p.Add("a", "1&2=3 +%/ä~-_.")
		p.AddSet("empty", "")
		p.AddSet("set", "x")
		p.AddAll("r", []string{"b", "a", "b"})
		p.AddAll("none", nil)
		p.AddList("scope", []string{"openid", "e mail"})
		p.AddList("no", nil)
		p.AddEncoded("")
		p.AddEncoded("y=z&y=w")
		p.Add("", "")
	}
	const want = "a=1%262%3D3+%2B%25%2F%C3%A4~-_.&set=x&r=b&r=a&r=b&scope=openid+e+mail&y=z&y=w&="
	var form endpoint.Params
	write(&form)
	if got := form.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for base, start := range map[string]string{
		"https://idp.example/a": "https://idp.example/a?", "https://idp.example/a?t=1": "https://idp.example/a?t=1&", "": "?",
	} {
		var q, bare endpoint.Params
		q.StartQuery(base)
		write(&q)
		if got := q.String(); got != start+want {
			t.Errorf("got  %s\nwant %s", got, start+want)
		}
		bare.StartQuery(base)
		if got := bare.String(); got != base {
			t.Errorf("without parameters: got %s; want %s", got, base)
		}
	}
}

// Names are ours; values are anybody's.
func FuzzParams(f *testing.F) {
	f.Fuzz(func(t *testing.T, first, second string) {
		var p endpoint.Params
		p.Add("a", first)
		p.AddList("b", []string{first, second})
		if got, want := p.String(), "a="+url.QueryEscape(first)+"&b="+url.QueryEscape(first+" "+second); got != want {
			t.Errorf("got %s; want %s as net/url writes it", got, want)
		}
		back, err := url.ParseQuery(p.String())
		if err != nil || back.Get("a") != first || back.Get("b") != first+" "+second {
			t.Errorf("got %q, %v back; want %q and %q", back, err, first, second)
		}
	})
}

// A foreign round tripper may panic with all that it was given.
func TestPanicsAreErrors(t *testing.T) {
	t.Parallel()
	const secret = "what was sent"
	for name, tc := range map[string]struct {
		answer transport
		ok     bool
	}{
		"round tripper": {func(*http.Request) (*http.Response, error) { panic(secret) }, false},
		"Read": {func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: moody{read: secret}, Request: r}, nil
		}, false},
		"Close, when all was read": {func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: moody{close: secret}, Request: r}, nil
		}, true},
	} {
		got, err := caller(tc.answer).Do(t.Context(), endpoint.Request{URL: "https://idp.example"})
		if (err == nil) != tc.ok || tc.ok && got.Status != 200 {
			t.Errorf("%s: got %+v, %v; want an answer: %t", name, got, err, tc.ok)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v; want the value of the panic hidden", name, err)
		}
	}
}

// moody panics with what is set, and is empty otherwise.
type moody struct{ read, close any }

func (m moody) Read([]byte) (int, error) {
	if m.read != nil {
		panic(m.read)
	}
	return 0, io.EOF
}

func (m moody) Close() error {
	if m.close != nil {
		panic(m.close)
	}
	return nil
}

// A status speaks for itself, however long the page that comes with it.
func TestLongErrorKeepsItsStatus(t *testing.T) {
	t.Parallel()
	got, err := caller(func(r *http.Request) (*http.Response, error) {
		return answer(r, 503, http.Header{"Retry-After": {"9"}}, strings.NewReader(strings.Repeat("a", endpoint.MaxBody+1))), nil
	}).Do(t.Context(), endpoint.Request{URL: "https://idp.example"})
	if want := (endpoint.Answer{Status: 503, RetryAfter: 9 * time.Second}); err != nil || got != want {
		t.Errorf("got %d, %d bytes, %v; want status 503 alone", got.Status, len(got.Body), err)
	}
}
