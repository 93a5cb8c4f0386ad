// Package authpihttp signs users in to a web application on net/http: login,
// callback and logout handlers, a store of sign-ins, middleware for pages and for
// APIs, and back-channel logout.
//
//	app := authpihttp.New(client, nil, &authpihttp.Options{PostLogoutRedirectURI: "http://127.0.0.1:8080/auth/signed-out"})
//	mux := http.NewServeMux()
//	app.Register(mux) // /auth/login, /auth/callback, /auth/logout and the issuer's own requests
//	mayRead := authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") })
//	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(home)))
//	mux.Handle("GET /orgs/{org}/projects", app.RequireAgent(mayRead(http.HandlerFunc(projects))))
//
// The client's RedirectURI is then http://127.0.0.1:8080/auth/callback. [AgentFrom]
// returns the user in a handler. [NewBearer] makes a guard for APIs, and the same
// [RequireAccess] works behind it.
//
// # What is kept where
//
// A sign-in is one cookie and one record in the store. The cookie holds 32 random
// bytes. The record is stored under their digest, sealed with a key made of the
// cookie and [Options].Keys, so neither store nor cookie alone holds a usable token.
// Your own sessions, of whatever library, are separate; Options.SignedIn and
// SignedOut keep them in step.
//
// A login under way is a cookie of its own, for ten minutes, and nothing in the
// store. So tabs do not disturb each other, and crawlers leave nothing behind.
//
// Only the handlers set cookies. A guarded page may stream, or be a WebSocket.
//
// # More to read
//
// The repository's docs folder has a page for each task: quickstart, sessions,
// organizations, APIs, many processes, production, errors and troubleshooting.
package authpihttp

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/intent"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/signin"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// App signs people in to a web application. Its handlers are methods for
// http.ServeMux or any router. It is safe for concurrent use.
type App struct {
	client   *authpi.IdpClient
	opts     Options
	issuer   string
	clientID string
	suffix   string       // of cookie names
	sites    weburl.Sites // by the client's redirect URIs; none: it signs nobody in
	now      func() time.Time
	book     *signin.Book
	notices  record.Notices // of hosts that no redirect URI has

	mu       sync.Mutex                  // makes a look at answered and a note there one step
	answered *fresh.Map[string, *answer] // callbacks, by login
}

// Options configure an [App]. A nil *Options is fine, and so is every zero field.
type Options struct {
	// Prefix is the path that [App.Register] mounts the handlers under, "/auth" by
	// default. The login handler must be at Prefix + "/login": people are sent
	// there.
	Prefix string
	// BasePath is what a proxy in front strips from the start of each path, such as
	// "/portal". Every address that leaves the app has it again.
	BasePath string
	// Home is the local path, without BasePath, where a login without return_to
	// ends, and a logout if the issuer has none. Empty: "/".
	Home string
	// Scopes are asked for at login and must contain "openid". Empty: openid,
	// profile and email.
	Scopes []string
	// Authorize, if set, returns a login's further parameters, for example the
	// organization that the request names. It may return nil, and may not set State
	// or Nonce.
	Authorize func(r *http.Request) *authpi.AuthorizationOptions
	// Resources are sent with each refresh, as [authpi.AgentOptions] has them.
	Resources []string
	// PostLogoutRedirectURI is where the issuer sends the browser after a logout, as
	// registered there. Empty: it stays at the issuer. Prefix + "/signed-out" is a
	// page that says so, and sends home whoever has not signed out. With several
	// redirect URIs it is on the host of the sign-out: register it for each.
	PostLogoutRedirectURI string
	// CookieDomain lets all hosts of a domain share a sign-in, such as example.com.
	// Each host under it is trusted with it. Empty: a sign-in is of one host.
	CookieDomain string
	// Keys seal what is in the store and in login cookies: the first seals, all of
	// them open. Each has at least 32 bytes. Empty: one from the client secret. A
	// public client has no secret: without Keys its sign-ins end with the process,
	// and several processes cannot share them.
	Keys [][]byte
	// Lifetime is how long a sign-in lasts, IdleTimeout how long without a request.
	// 0: 7 days and 12 hours, as at AuthPI.
	Lifetime, IdleTimeout time.Duration
	// IsPage reports whether a request opens a page, and so can be sent to a login.
	// A program gets 401. Nil: it accepts text/html and is no script's.
	IsPage func(*http.Request) bool
	// SignedIn, if set, is called after each sign-in, before the answer is written:
	// renew the app's own session here, and empty it if it belongs to another user,
	// who may not have signed out. An error or a panic undoes the sign-in; whoever
	// was signed in before stays.
	SignedIn func(http.ResponseWriter, *http.Request, *authpi.Agent) error
	// SignedOut, if set, is called after a sign-out by [App.SignOut] or
	// [App.Logout].
	SignedOut func(http.ResponseWriter, *http.Request)
	// CrossOrigin decides which POST requests to the logout handler come from
	// another site. Nil: those of every origin but the request's and the redirect
	// URIs'.
	CrossOrigin *http.CrossOriginProtection
	// Error answers requests that fail. Nil: [WriteError], with a line in
	// [slog.Default] for each 5xx and each refused callback, but for those that the
	// user cancelled.
	Error ErrorFunc
}

// Format prints the options without their keys, for every verb and flag.
func (o Options) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "authpihttp.Options{Prefix:%q BasePath:%q Home:%q Scopes:%q}", o.Prefix, o.BasePath, o.Home, o.Scopes)
}

// New makes an App of a client with RedirectURI, and of the store to keep sign-ins
// in. A nil store keeps them in memory, bounded, for development and tests; a nil
// opts is fine. It panics without a client, for Options.Scopes without "openid", for
// a key below 32 bytes, and for a redirect URI outside of Options.CookieDomain.
//
// The path of each redirect URI must lead to the callback: it is Options.BasePath +
// Options.Prefix + "/callback".
//
// Apps of several clients, as those of tenants with an issuer each, may share a
// store. They are told apart by issuer and client ID: a sign-in is good at the Apps
// of its own client only.
func New(client *authpi.IdpClient, store Store, opts *Options) *App {
	if client == nil {
		panic("authpihttp: New needs a client")
	}
	var facts endpoint.Facts
	client.Facts(&facts)
	a := &App{client: client, issuer: facts.Issuer, clientID: facts.ClientID, now: facts.Now}
	if opts != nil {
		a.opts = *opts
	}
	a.opts.setDefaults()
	a.sites = weburl.NewSites(facts.RedirectURIs)
	a.checkSites()
	if store == nil {
		store = signin.NewMemory(a.now)
	}
	a.book = signin.New(client, &facts, signin.Options{
		Store: store, Keys: a.opts.Keys, Lifetime: a.opts.Lifetime, IdleTimeout: a.opts.IdleTimeout, Resources: a.opts.Resources,
	})
	a.opts.Keys = nil // nobody prints them
	a.suffix = a.book.Suffix()
	a.answered = fresh.NewMap[string, *answer](fresh.Limits{Entries: 4096, Bytes: 32 << 20}, a.now)
	return a
}

func (o *Options) setDefaults() {
	o.Prefix = "/" + strings.Trim(cmp.Or(strings.Trim(o.Prefix, "/"), "auth"), "/")
	if o.BasePath = strings.Trim(o.BasePath, "/"); o.BasePath != "" {
		o.BasePath = "/" + o.BasePath
	}
	o.Home = cmp.Or(o.Home, "/")
	o.Scopes = slices.Clone(o.Scopes)
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"openid", "profile", "email"}
	}
	if !slices.Contains(o.Scopes, "openid") {
		panic(`authpihttp: Options.Scopes must contain "openid"`)
	}
	o.Resources = slices.Clone(o.Resources)
	if slices.ContainsFunc(o.Keys, func(key []byte) bool { return len(key) < 32 }) {
		panic("authpihttp: a key in Options.Keys has less than 32 bytes")
	}
	if o.Lifetime <= 0 {
		o.Lifetime = 7 * 24 * time.Hour
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 12 * time.Hour
	}
	if o.IsPage == nil {
		o.IsPage = intent.Page
	}
	if o.Error == nil {
		o.Error = logAndWrite
	}
}

// checkSites holds the redirect URIs against CookieDomain, and lets their origins
// sign out.
func (a *App) checkSites() {
	a.opts.CookieDomain = strings.ToLower(strings.TrimPrefix(a.opts.CookieDomain, "."))
	own := a.opts.CrossOrigin == nil
	if own {
		a.opts.CrossOrigin = http.NewCrossOriginProtection()
	}
	for _, s := range a.sites {
		host := (&url.URL{Host: s.Host}).Hostname()
		if domain := a.opts.CookieDomain; domain != "" && host != domain && !strings.HasSuffix(host, "."+domain) {
			panic("authpihttp: the redirect URI " + s.URI + " is outside of Options.CookieDomain")
		}
		if own {
			_ = a.opts.CrossOrigin.AddTrustedOrigin(s.Origin) // a native app's has no origin
		}
	}
}

// Register mounts the handlers under Options.Prefix: login (GET, and POST for logins
// that a third party initiates), callback, logout (GET shows a page with the
// button), signed-out and backchannel-logout. It panics where the client cannot
// start a login, for example without RedirectURI.
//
// Behind an [http.CrossOriginProtection] of the whole app, POST to login and to logout
// need its AddInsecureBypassPattern, as the example has it: a third party's login
// comes from another site, and logout refuses those by itself.
//
// For each redirect URI whose path is not the callback's, which is Options.BasePath +
// Options.Prefix + "/callback", it logs a warning to [slog.Default]: the user would
// come back to a page that does not exist.
func (a *App) Register(mux *http.ServeMux) {
	if _, err := a.client.CreateAuthorizationURL(a.opts.Scopes, nil); err != nil {
		panic("authpihttp: Register: the client cannot start a login: " + err.Error())
	}
	for _, s := range a.sites {
		if s.Path != a.callbackPath() {
			slog.Warn("authpihttp: the RedirectURI does not lead to the callback",
				"redirect_host", s.Host, "redirect_path", s.Path, "callback_path", a.callbackPath())
		}
	}
	mux.HandleFunc("GET "+a.opts.Prefix+"/login", a.Login)
	mux.HandleFunc("POST "+a.opts.Prefix+"/login", a.Login)
	mux.HandleFunc("GET "+a.opts.Prefix+"/callback", a.Callback)
	mux.HandleFunc("GET "+a.opts.Prefix+"/logout", a.Logout)
	mux.HandleFunc("POST "+a.opts.Prefix+"/logout", a.Logout)
	mux.HandleFunc("GET "+a.opts.Prefix+"/signed-out", a.signedOut)
	mux.HandleFunc("POST "+a.opts.Prefix+"/backchannel-logout", a.BackchannelLogout)
}

// Addresses as the browser has them.

func (a *App) loginPath() string    { return a.opts.BasePath + a.opts.Prefix + "/login" }
func (a *App) callbackPath() string { return a.opts.BasePath + a.opts.Prefix + "/callback" }
func (a *App) logoutPath() string   { return a.opts.BasePath + a.opts.Prefix + "/logout" }
func (a *App) home() string         { return a.opts.BasePath + a.opts.Home }

// loginFor is the login that comes back to a path on this site.
func (a *App) loginFor(back string, params ...string) string {
	query := url.Values{}
	if back != a.home() {
		query.Set("return_to", back)
	}
	for i := 0; i+1 < len(params); i += 2 {
		query.Set(params[i], params[i+1])
	}
	if len(query) == 0 {
		return a.loginPath()
	}
	return a.loginPath() + "?" + query.Encode()
}

// allow refuses other methods. A handler may be mounted without one in its pattern.
func (a *App) allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	for _, m := range methods {
		w.Header().Add("Allow", m)
	}
	a.fail(w, r, errMethod, "")
	return false
}

// redirect sends the browser on by GET, whatever it came by.
func redirect(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

func noStore(w http.ResponseWriter) { w.Header().Set("Cache-Control", "no-store") }
