package browser

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// site is a small app of authpihttp and its issuer, both on loopback sockets. Every
// page behind the guard says who is there and where.
type site struct {
	t      *testing.T
	issuer *authpitest.Server
	app    *authpihttp.App
	mux    *http.ServeMux
	port   string
	url    string // by 127.0.0.1

	mu   sync.Mutex // guards seen
	seen []visit
}

// visit is a request, and how it was answered.
type visit struct {
	method, host, path, purpose string
	status                      int
	cookie                      bool // one was set
}

type siteOptions struct {
	client  authpi.Config
	options authpihttp.Options
}

func newSite(t *testing.T, change func(s *site, o *siteOptions)) *site {
	t.Helper()
	needChromium(t)
	s := &site{t: t, mux: http.NewServeMux(), issuer: authpitest.NewServer(&authpitest.Options{ClientID: "c_site", ClientSecret: "hush"})}
	t.Cleanup(s.issuer.Close)
	s.issuer.AddUser(authpitest.User{ID: "usr_ada", Name: ada, Email: "ada@example.com"})
	s.issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, s.port, _ = net.SplitHostPort(listener.Addr().String())
	s.url = "http://127.0.0.1:" + s.port
	o := siteOptions{client: authpi.Config{IssuerURL: s.issuer.URL, ClientID: "c_site", ClientSecret: "hush", RedirectURI: s.url + "/auth/callback"}}
	o.options.PostLogoutRedirectURI = s.url + "/auth/signed-out"
	if change != nil {
		change(s, &o)
	}
	client, err := authpi.NewIdpClient(o.client)
	if err != nil {
		t.Fatal(err)
	}
	s.app = authpihttp.New(client, nil, &o.options)
	s.app.Register(s.mux)
	s.mux.Handle("/", s.app.RequireAgent(http.HandlerFunc(s.page)))
	s.mux.HandleFunc("GET /public", func(w http.ResponseWriter, r *http.Request) { s.write(w, "Public", "Nobody in particular.", "") })
	s.mux.HandleFunc("GET /favicon.ico", http.NotFound)
	server := &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// page is every guarded page.
func (s *site) page(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	s.write(w, "Page "+r.URL.RequestURI(), "For "+agent.ID, `<form method="post" action="`+s.base()+`/auth/logout"><button>Sign out</button></form>`)
}

func (s *site) base() string { return "" }

func (s *site) write(w http.ResponseWriter, title, text, more string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>%s</title><link rel="icon" href="data:,"></head><body><main><h1>%s</h1><p>%s</p>%s</main></body></html>`,
		title, title, text, more)
}

// serve notes each request.
func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	v := visit{method: r.Method, host: r.Host, path: r.URL.Path, purpose: r.Header.Get("Sec-Purpose"), status: http.StatusOK}
	s.mux.ServeHTTP(&noting{w, &v}, r)
	v.cookie = w.Header().Get("Set-Cookie") != ""
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, v)
}

type noting struct {
	http.ResponseWriter
	v *visit
}

func (n *noting) WriteHeader(status int) {
	n.v.status = status
	n.ResponseWriter.WriteHeader(status)
}

// visits are those so far to paths that begin so.
func (s *site) visits(prefix string) (all []visit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.seen {
		if strings.HasPrefix(v.path, prefix) {
			all = append(all, v)
		}
	}
	return all
}

// signInAt opens a page and goes through the issuer's.
func (b *tab) signInAt(url string) {
	b.t.Helper()
	b.open(url)
	b.press("fieldset", ada)
	b.see("For usr_ada")
}
