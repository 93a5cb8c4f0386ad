package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// A proxy in front ends TLS and takes /portal away. One passes on a Host of its own,
// the other is set up as docs/production.md shows, and has long addresses to pass.
func TestBehindProxies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		start    startProxy
		deepLink string
		ownHost  bool
	}{
		{"net/http/httputil", reverseProxy, "/portal/files/a%2Fb%5Cc?path=%20y&state=s&code=c", true},
		{"nginx", nginx, "/portal/files/x?path=%20y&state=s&code=c&long=" + strings.Repeat("x", 2800), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			checkProxy(t, tc.deepLink, tc.ownHost, tc.start)
		})
	}
}

// startProxy starts a proxy at listen in front of app.
type startProxy func(t *testing.T, listen string, app *url.URL, cert tls.Certificate)

func checkProxy(t *testing.T, deepLink string, ownHost bool, start startProxy) {
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_proxy", ClientSecret: "hush"})
	t.Cleanup(issuer.Close)
	issuer.AddUser(authpitest.User{ID: "usr_ada"})
	listen := freePort(t)
	front := "https://" + listen
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: "c_proxy", ClientSecret: "hush", RedirectURI: front + "/portal/auth/callback",
	})
	if err != nil {
		t.Fatal(err)
	}
	app := authpihttp.New(client, nil, &authpihttp.Options{BasePath: "/portal", PostLogoutRedirectURI: front + "/portal/auth/signed-out"})
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("/", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		_, _ = fmt.Fprintf(w, "%s at %s by %s", agent.ID, r.RequestURI, r.Host)
	})))
	inner := httptest.NewServer(mux)
	t.Cleanup(inner.Close)
	address, err := url.Parse(inner.URL)
	if err != nil {
		t.Fatal(err)
	}
	cert := selfSigned(t)
	start(t, listen, address, cert)
	b := newBrowser(t, front, cert)

	login := b.get(deepLink, 303)
	if want := "/portal/auth/login?return_to=" + url.QueryEscape(deepLink); login != want {
		t.Fatalf("got %q; want %q", login, want)
	}
	callback, err := issuer.SignIn(b.get(login, 303), "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	if back := b.get(strings.TrimPrefix(callback, front), 303); back != deepLink {
		t.Errorf("came back to %q; want %q", back, deepLink)
	}
	text := b.get(deepLink, 200)
	if !strings.HasPrefix(text, "usr_ada at /files/") || strings.Contains(text, listen) == ownHost {
		t.Errorf("got %q; want the path without the prefix, and the proxy's own host: %t", text, ownHost)
	}
	for _, c := range b.cookies {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || c.Path != "/" {
			t.Errorf("got the cookie %s", c)
		}
	}
	if page := b.get("/portal/auth/login?iss=https://evil.test", 400); !strings.Contains(page, `href="/portal/"`) {
		t.Errorf("got the error page %s; want links below the prefix", page)
	}
	out := b.do(http.MethodPost, "/portal/auth/logout", 303)
	ended, err := url.Parse(out)
	if err != nil || !strings.HasPrefix(out, issuer.URL) {
		t.Fatalf("got %q, %v; want the issuer's logout", out, err)
	}
	if page := b.get("/portal/auth/signed-out?state="+ended.Query().Get("state"), 200); !strings.Contains(page, "You are signed out") {
		t.Errorf("got %s", page)
	}
	b.get(deepLink, 303)
}

func reverseProxy(t *testing.T, listen string, app *url.URL, cert tls.Certificate) {
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(app) // with the Host of app
		r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/portal")
		r.Out.URL.RawPath = strings.TrimPrefix(r.In.URL.EscapedPath(), "/portal")
	}}
	listener, err := tls.Listen("tcp", listen, &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

const nginxConf = `
daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	upstream app { server %[3]s; }
	server {
		listen %[2]s ssl;
		ssl_certificate %[1]s/cert.pem;
		ssl_certificate_key %[1]s/key.pem;
		%[4]s
	}
}
`

// shownConf is what docs/production.md says about nginx.
func shownConf(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/production.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```nginx\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("docs/production.md shows nothing of nginx")
	}
	return block
}

func nginx(t *testing.T, listen string, app *url.URL, cert tls.Certificate) {
	program := needNginx(t)
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"conf":     fmt.Appendf(nil, nginxConf, dir, listen, app.Host, shownConf(t)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "conf"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			said, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("nginx: %s%s", &out, said)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", listen)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nginx does not listen: %v", err)
		}
	}
}

// needNginx returns the program's path. Where it is missing the test is skipped; under
// CI, where .ci/run installs it, it fails.
func needNginx(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("CI is set, so nothing may be skipped: the program nginx is not installed here")
	}
	t.Skip("skipped: the program nginx is not installed here")
	return ""
}

// browser keeps cookies and follows no redirect.
type browser struct {
	t       *testing.T
	front   string
	http    *http.Client
	cookies []*http.Cookie // all that were ever set
}

func newBrowser(t *testing.T, front string, cert tls.Certificate) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(cert.Leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, front: front, http: &http.Client{
		Jar: jar, Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) get(path string, status int) string { return b.do(http.MethodGet, path, status) }

// do returns where a request leads to, or the page's text.
func (b *browser) do(method, path string, status int) string {
	b.t.Helper()
	r, err := http.NewRequest(method, b.front+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		r.Header.Set("Origin", b.front)
	}
	response, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		b.t.Fatalf("%s: got %d %s, %v; want %d", path, response.StatusCode, body, err, status)
	}
	b.cookies = append(b.cookies, response.Cookies()...)
	if location := response.Header.Get("Location"); location != "" {
		return location
	}
	return string(body)
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "proxy"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
