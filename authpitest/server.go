// Package authpitest provides an OpenID Connect issuer that behaves like AuthPI, in
// the process of the test that uses it. It is to a login what net/http/httptest is
// to a server.
//
//	srv := authpitest.NewServer(nil)
//	defer srv.Close()
//	srv.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com", EmailVerified: true})
//	srv.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Scopes: []string{"projects:**"}})
//
// Configure the client under test with srv.URL, srv.ClientID() and srv.ClientSecret(),
// let it make its authorization URL, and sign somebody in as a browser would:
//
//	callback, err := srv.SignIn(authURL, "usr_ada")
//
// The callback is the redirect URL with code and state, for the code under test.
//
// # Socket or memory
//
// [NewServer] listens on a loopback port, and people can sign in at its /authorize
// page with a browser. [NewInMemory] has no socket and starts no goroutine: only its
// [Server.Client] reaches it, in the caller's goroutine, so it works inside
// testing/synctest bubbles, where an hour of [Fault.Delay] costs no time.
// [Server.Handler] mounts either one elsewhere.
//
// # Time
//
// Tokens expire by the issuer's own clock: [Options.Now] plus what [Server.Advance]
// added. The client under test should go by it too, by authpi.Config{Now: srv.Now}:
// one call of Advance then makes an access token expire for both.
//
// # Making things fail
//
// [Server.Inject] queues a [Fault]: a delay, an HTTP status, a cut connection before
// or after the request was processed, a malformed answer, an ID token with wrong
// contents. Users can be blocked or removed, sessions ended ([Server.EndSession],
// [Server.RevokeSession]) and keys rotated ([Server.RotateKeys]). [Server.Sign],
// [Server.AccessToken] and [Server.LogoutToken] make tokens without a login, good
// ones and forged ones. [Server.Requests], [Server.Grants] and [Server.Redemptions]
// count the requests of the client under test.
//
// # What it imitates
//
// Authorization code flow with PKCE (S256, always required), refresh tokens that
// work once and whose reuse ends the session, client credentials, organizations in
// the tokens, the choice of one by the org parameter, resource indicators (RFC
// 8707), userinfo, introspection (RFC 7662), revocation (RFC 7009) and RP-initiated
// logout. Access tokens carry the typ header at+jwt (RFC 9068), ID and refresh
// tokens none. Where AuthPI's public pages leave its behaviour open, such as what
// reuse of a refresh token triggers, this issuer follows the RFCs and what other
// providers do; AuthPI itself may differ.
//
// It is for tests and local development: whoever reaches it may sign in as anyone.
// The command authpitest/issuer serves it to a browser.
package authpitest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is an issuer. [NewServer] and [NewInMemory] make one; its methods are safe
// for concurrent use.
type Server struct {
	// URL is the issuer URL to configure, for example http://127.0.0.1:34567/i_test.
	// It ends in a slash only with [Options.TrailingSlash]. Read it, do not change
	// it.
	URL string

	opts   Options
	base   string // URL without a trailing slash; endpoints are below it
	path   string // the path of base, "" at the root
	host   string // of base, as a request's URL has it
	offset atomic.Int64

	socket    *httptest.Server // nil in memory
	closed    atomic.Bool
	closing   chan struct{} // nil in memory: a channel from outside would keep a synctest bubble awake
	closeOnce sync.Once

	// mu guards everything below. It is never held while a fault waits, a key signs
	// or a hook of the test runs.
	mu          sync.Mutex
	clients     map[string]Client
	users       map[string]*account
	userOrder   []string
	memberships map[string][]Organization // by subject
	sessions    map[string]*session       // by sid
	codes       map[string]*authCode
	refreshes   map[tokenHash]*refreshToken
	revoked     map[string]bool // jti of access tokens revoked one by one
	browsers    map[string]*browser
	keys        keyring
	faults      []*pendingFault
	counts      counters
}

// NewServer starts an issuer on a free port of the loopback interface. A nil opts
// takes the defaults. It panics if it cannot listen or if opts make no sense, as
// httptest.NewServer does.
func NewServer(opts *Options) *Server {
	s := newServer(opts)
	if s.opts.BaseURL != "" {
		panic("authpitest: Options.BaseURL is for NewInMemory; NewServer takes its socket's address")
	}
	s.closing = make(chan struct{})
	s.socket = httptest.NewUnstartedServer(s.Handler())
	s.setBase("http://" + s.socket.Listener.Addr().String())
	s.socket.Start()
	return s
}

// NewInMemory makes an issuer without a socket, at https://idp.authpi.test/i_test
// unless opts say otherwise. Only the client of [Server.Client] reaches it, so the
// client under test needs authpi.Config{HTTPClient: srv.Client()}. A nil opts takes
// the defaults; it panics if opts make no sense.
func NewInMemory(opts *Options) *Server {
	s := newServer(opts)
	base := s.opts.BaseURL
	if base == "" {
		base = "https://idp.authpi.test"
	}
	s.setBase(base)
	return s
}

func newServer(opts *Options) *Server {
	o := opts.withDefaults()
	s := &Server{
		opts:        o,
		clients:     map[string]Client{},
		users:       map[string]*account{},
		memberships: map[string][]Organization{},
		sessions:    map[string]*session{},
		codes:       map[string]*authCode{},
		refreshes:   map[tokenHash]*refreshToken{},
		revoked:     map[string]bool{},
		browsers:    map[string]*browser{},
		keys:        newKeyring(),
		counts:      newCounters(),
	}
	s.AddClient(Client{ID: o.ClientID, Secret: o.ClientSecret, RedirectURIs: o.RedirectURIs})
	return s
}

func (s *Server) setBase(origin string) {
	u, err := url.Parse(strings.TrimRight(origin, "/"))
	if err != nil || u.Host == "" || (u.Path != "" && u.Path != "/") {
		panic("authpitest: not a scheme and host: " + origin)
	}
	s.path = strings.TrimRight("/"+strings.Trim(s.opts.Path, "/"), "/")
	s.host = u.Host
	s.base = u.Scheme + "://" + u.Host + s.path
	s.URL = s.base
	if s.opts.TrailingSlash {
		s.URL += "/"
	}
}

// Close shuts the server down: delays end, connections close, and an in-memory
// server's client answers connection refused. Closing again does nothing.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		s.closed.Store(true)
		if s.socket != nil {
			close(s.closing)
			s.socket.Close()
		}
	})
}

// Advance moves the issuer's clock forward by d, on top of [Options.Now]. A negative
// d moves it back. Delays of faults stay as long as they are.
func (s *Server) Advance(d time.Duration) { s.offset.Add(int64(d)) }

// Now is the issuer's clock. A client under test that has it as its own, as in
// authpi.Config{Now: srv.Now}, stays together with the issuer after
// [Server.Advance].
func (s *Server) Now() time.Time { return s.now() }

func (s *Server) now() time.Time { return s.opts.Now().Add(time.Duration(s.offset.Load())) }

// Handler returns the issuer as a handler, to mount it in a server of your own. It
// answers below the path of [Server.URL], so mount it at the root or at that path
// without http.StripPrefix, and name your server's address in [Options.BaseURL].
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := s.process(r, nil)
		if err != nil {
			panic(http.ErrAbortHandler) // net/http cuts the connection and logs nothing
		}
		a.writeTo(w)
	})
}
