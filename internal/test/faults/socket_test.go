package faults_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// peer is a server that says what it likes, and knows which connections are open.
type peer struct {
	url string

	mu       sync.Mutex // guards all below
	open     int
	requests int
	spent    int // refresh requests
}

// newPeer listens on a loopback port. answer gets each request that could be read,
// or, where early is set, the connection before anything was.
func newPeer(t *testing.T, early bool, answer func(conn net.Conn, r *http.Request)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{url: "http://" + l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(conn, early, answer) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return p
}

func (p *peer) serve(conn net.Conn, early bool, answer func(net.Conn, *http.Request)) {
	p.count(&p.open, 1)
	defer p.count(&p.open, -1)
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute)) // whatever the client does
	if early {
		answer(conn, nil)
		return
	}
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	p.count(&p.requests, 1)
	if err := r.ParseForm(); err == nil && r.Form.Get("refresh_token") != "" {
		p.count(&p.spent, 1)
	}
	answer(conn, r)
	_, _ = io.Copy(io.Discard, conn) // until the client has closed it
}

func (p *peer) count(n *int, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n += by
}

func (p *peer) get(n *int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *n
}

const okHeader = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

// says answers with a text.
func says(text string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, text) }
}

// pours answers with a header and then with as much of part as the client takes.
func pours(header, part string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) {
		part := strings.Repeat(part, 1+(32<<10)/len(part))
		_, err := io.WriteString(conn, header)
		for n := 0; err == nil && n < 1<<30; n += len(part) {
			_, err = io.WriteString(conn, part)
		}
	}
}

// drips answers byte by byte.
func drips(header, part string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) {
		_, err := io.WriteString(conn, header)
		for i := 0; err == nil; i++ {
			_, err = conn.Write([]byte{part[i%len(part)]})
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// resets closes a connection without a farewell.
func resets(conn net.Conn, _ *http.Request) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// bomb is 10 MiB in a few, for clients that say they take gzip and for those that do
// not.
func bomb(conn net.Conn, _ *http.Request) {
	packed := zipped()
	_, _ = fmt.Fprintf(conn, okHeader+"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(packed), packed)
}

// What net/http makes of a server that misbehaves, over real connections: a typed
// error in time, no connection and no goroutine left, and one refresh request at
// most.
func TestFaultsOverSockets(t *testing.T) {
	elsewhere := newPeer(t, false, says(okHeader+"\r\n"))
	const length = "Content-Length: 1073741824\r\n\r\n"
	for _, tc := range []struct {
		name   string
		early  bool
		hangs  bool // only the caller's deadline ends it
		answer func(net.Conn, *http.Request)
		codes  []string
	}{
		{"closed before the request", true, false, func(net.Conn, *http.Request) {}, noAnswerCodes},
		{"reset before the request", true, false, resets, noAnswerCodes},
		{"reset after the request", false, false, resets, noAnswerCodes},
		{"no answer", false, true, func(net.Conn, *http.Request) {}, noAnswerCodes},
		{"header drips", false, true, drips("HTTP/1.1 200 OK\r\nX: ", "x"), noAnswerCodes},
		{"body drips", false, true, drips(okHeader+length, " "), noAnswerCodes},
		{"chunks drip", false, true, drips(okHeader+"Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"), noAnswerCodes},
		{"truncated body", false, false, func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, okHeader+length+"{}")
			resets(conn, nil)
		}, noAnswerCodes},
		{"no HTTP at all", false, false, says("SSH-2.0-OpenSSH_9.6\r\n"), noAnswerCodes},
		{"header that is none", false, false, says("HTTP/1.1 200 OK\r\n\x00\r\n\r\n"), noAnswerCodes},
		{"status that is none", false, false, says("HTTP/1.1 2000 OK\r\n\r\n"), noAnswerCodes},
		{"two lengths", false, false, says(okHeader + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}"), noAnswerCodes},
		{"bad chunk", false, false, says(okHeader + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), noAnswerCodes},
		{"100,000 headers", false, false, func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, okHeader+strings.Repeat("X-Yes: x\r\n", 100_000)+"Connection: close\r\nContent-Length: 0\r\n\r\n")
		}, append([]string{"invalid_response"}, noAnswerCodes...)}, // the caller's own client may take more
		{"header without end", false, false, pours("HTTP/1.1 200 OK\r\nX: ", "x"), noAnswerCodes},
		{"1 GiB", false, false, pours(okHeader+length, " "), []string{"invalid_response"}},
		{"chunks without end", false, false, pours(okHeader+"Transfer-Encoding: chunked\r\n\r\n", "10\r\n                \r\n"), []string{"invalid_response"}},
		{"HTTP/1.0 without end", false, false, pours("HTTP/1.0 200 OK\r\n\r\n", " "), []string{"invalid_response"}},
		{"compressed bomb", false, false, bomb, []string{"invalid_response"}},
		{"informational answers without end", false, false, pours("", "HTTP/1.1 103 Early Hints\r\n\r\n"), noAnswerCodes},
		{"protocol switched", false, false, says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), statusCodes},
		{"redirect elsewhere", false, false, says("HTTP/1.1 307 Temporary Redirect\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + elsewhere.url + "\r\n\r\n"), statusCodes},
		{"no content", false, false, says("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), statusCodes},
	} {
		t.Run(tc.name, func(t *testing.T) {
			limit := time.Minute // a busy machine may take its time
			if tc.hangs {
				limit = 100 * time.Millisecond
			}
			for _, own := range []bool{true, false} {
				p := newPeer(t, tc.early, tc.answer)
				callPeer(t, p, own, limit, tc.codes)
			}
		})
	}
	if n := elsewhere.get(&elsewhere.open) + elsewhere.get(&elsewhere.requests); n != 0 {
		t.Errorf("a redirect was followed")
	}
}

var (
	noAnswerCodes = []string{"transport_error"}
	statusCodes   = []string{"refresh_error", "userinfo_error", "invalid_response"}
)

// What callPeer sends, and no error may show.
const (
	secretAccess  = "AccessTokenSecretAAAA"
	secretRefresh = "RefreshTokenSecretBBBB"
	secretClient  = "ClientSecretDDDD"
)

// callPeer makes calls of each kind: a form with a refresh token, a bearer token,
// and nothing secret at all. own is a client without Config.HTTPClient.
func callPeer(t *testing.T, p *peer, own bool, limit time.Duration, codes []string) {
	t.Helper()
	cfg := authpi.Config{
		IssuerURL: p.url, ClientID: "c_1", ClientSecret: secretClient, RefreshTimeout: limit,
		Endpoints: authpi.Endpoints{Token: p.url + "/token", UserInfo: p.url + "/userinfo", JWKS: p.url + "/jwks"},
	}
	if !own {
		cfg.HTTPClient = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tokens := authpi.TokenSet{AccessToken: secretAccess, RefreshToken: secretRefresh, SubjectHint: "usr_1"}
	for name, call := range map[string]func(context.Context) error{
		"CreateAgent": func(ctx context.Context) error { _, err := client.CreateAgent(ctx, tokens, nil); return err },
		"UserInfo": func(ctx context.Context) error {
			_, err := client.UserInfo(ctx, &authpi.Agent{ID: "usr_1", Tokens: tokens})
			return err
		},
		"DiscoverEndpoints": func(ctx context.Context) error {
			_, err := authpi.DiscoverEndpoints(ctx, p.url, cfg.HTTPClient)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		start := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(start); took > limit+time.Minute {
			t.Errorf("%s: took %s; want %s", name, took, limit)
		}
		wantOneOf(t, name, err, codes)
		for _, one := range testkit.ErrorChain(err) {
			testkit.WantHidden(t, fmt.Sprintf("%s: %v %+v %#v", name, one, one, one), secretAccess, secretRefresh, secretClient)
		}
	}
	if n := p.get(&p.spent); n > 1 {
		t.Errorf("the refresh token was sent %d times; want once", n)
	}
	testkit.Eventually(t, fmt.Sprintf("each fault costs its connection (own client: %t)", own), func() bool { return p.get(&p.open) == 0 })
	testkit.WantNoGoroutines(t)
}

func wantOneOf(t *testing.T, name string, err error, codes []string) {
	t.Helper()
	var e *authpi.OAuthError
	if errors.As(err, &e) && slices.Contains(codes, e.Code) && !authpi.SessionEnded(err) {
		return
	}
	t.Errorf("%s: got %v; want one of %q, and no end of the session", name, err, codes)
}

// Whatever is wrong with TLS, nothing is sent.
func TestTLSFaults(t *testing.T) {
	quiet := func(s *httptest.Server) *httptest.Server {
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of clients that leave
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	var requests sync.Map
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests.Store(r.Host, true) })
	foreign := quiet(httptest.NewUnstartedServer(handler))
	old := httptest.NewUnstartedServer(handler)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11} //nolint:gosec // what must be refused
	quiet(old)
	plain := newPeer(t, true, says("HTTP/1.1 400 Bad Request\r\n\r\n"))
	mute := newPeer(t, true, func(conn net.Conn, _ *http.Request) {
		_ = conn.SetDeadline(time.Now().Add(time.Second)) // the client goes on by itself, for its 10 s
		_, _ = io.Copy(io.Discard, conn)
	})
	for name, url := range map[string]string{
		"unknown authority": foreign.URL, "old version": old.URL, "no TLS at all": strings.Replace(plain.url, "http:", "https:", 1),
		"no handshake": strings.Replace(mute.url, "http:", "https:", 1),
	} {
		t.Run(name, func(t *testing.T) {
			callPeer(t, &peer{url: url}, true, 200*time.Millisecond, noAnswerCodes)
		})
	}
	requests.Range(func(host, _ any) bool {
		t.Errorf("a request reached %s", host)
		return true
	})
}
