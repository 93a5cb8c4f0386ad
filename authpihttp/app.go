// Package authpihttp puts package authpi behind net/http: login, callback and
// logout handlers, middleware for pages and for APIs, and back-channel logout. It
// brings no framework and no session store; it takes yours.
//
//	sessions := scs.New() // github.com/alexedwards/scs/v2, in memory or with any of its stores
//	app := authpihttp.New(client, sessions, nil)
//	sessions.ErrorFunc = app.Unavailable
//
//	mux := http.NewServeMux()
//	app.Register(mux) // GET /auth/login, GET /auth/callback, POST /auth/logout
//	org := func(r *http.Request) string { return r.PathValue("org") }
//	mayRead := authpihttp.RequireAccess("read", "projects", org)
//	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(home)))
//	mux.Handle("GET /orgs/{org}/projects", app.RequireAgent(mayRead(http.HandlerFunc(projects))))
//	return sessions.LoadAndSave(mux)
//
// The client's RedirectURI is then https://your.host/auth/callback. Handlers find
// out who is there with [AgentFrom]. An API is guarded by a [Bearer] instead, and
// the same [RequireAccess] works behind it.
//
// # What is kept where
//
// The browser's session holds logins that are under way, and the name of a sign-in
// record; the tokens are in that record, which is a session of its own in the same
// store. No browser ever hears its name. So a rotated refresh token is stored at
// once, inside OnRefresh, and neither can it overwrite what your handlers put into
// the session meanwhile, nor they it: stores such as scs's write a session whole. A
// request that is under way during a sign-out does not bring the sign-in back.
//
// End a sign-in with [App.SignOut] or the logout handler. Destroying the browser's
// session by other means forgets the record, which then stays in the store until it
// expires there.
//
// # Stores
//
// A *scs.SessionManager is a [Session] as it is. Make the store's failures look
// like the passing ones they are with sessions.ErrorFunc = app.Unavailable.
//
// For a store of your own, the shortest way is an scs.Store: Find, Commit and
// Delete over bytes. Without scs, implement [Session]: a middleware puts a pointer
// to the request's data into its context, Load makes such a context for any token,
// and Commit writes the data back. The type manager in this package's session_test.go
// does so, the middleware included.
//
// Beside gorilla/sessions let gorilla carry nothing but the token, since its cookie
// stores cannot be read without a request: a middleware takes the token out of
// gorilla's session, has scs Load by it, and saves both before the answer's header
// goes out. It is in examples/docs/gorilla.go of the repository, and docs/sessions.md
// goes through it.
//
// # More to read
//
// The repository's docs folder has a page for each task: quickstart, sessions,
// organizations, APIs, replicas, errors and security among them. What is in them is
// compiled, and so is what is here.
package authpihttp

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
)

// App signs people in to a web application and keeps their tokens in its sessions.
// Its handlers are methods for http.ServeMux or any router. They need the sessions'
// middleware around them, such as scs's LoadAndSave. It is safe for concurrent use.
type App struct {
	client       *authpi.IdpClient
	sessions     Session
	opts         Options
	identity     string // of the client, at its issuer; empty: it has no RedirectURI
	redirectPath string // of that
	locks        *locks
	answered     *memory // states of logins that were answered just now
}

// Options configure an [App]. A nil *Options and every zero field are good.
type Options struct {
	// Prefix is the path that [App.Register] mounts the handlers under, "/auth" by
	// default. The login handler must be at Prefix + "/login": people are sent there.
	Prefix string
	// Home is the local path where a login without return_to ends, and a logout that
	// has no issuer to go to. Empty: "/".
	Home string
	// Scopes are asked for at login and must contain "openid". Empty: openid, profile
	// and email.
	Scopes []string
	// Authorize, if set, gives a login's further parameters, for example the
	// organization that the request names. It may return nil.
	Authorize func(r *http.Request) *authpi.AuthorizationOptions
	// Resources are sent with each refresh, as [authpi.AgentOptions] has them.
	Resources []string
	// PostLogoutRedirectURI is where the issuer sends the browser after a logout, as
	// registered there. Empty: it stays at the issuer.
	PostLogoutRedirectURI string
	// CrossOrigin tells which POST requests to the logout handler come from another
	// site. Nil: those of every other origin do.
	CrossOrigin *http.CrossOriginProtection
	// Error answers requests that fail. Nil: [WriteError], with a line in
	// [slog.Default] for each 5xx and each refused callback, but for those that the
	// user cancelled.
	Error ErrorFunc
}

// New makes an App of a client with RedirectURI, and of the sessions to keep the
// tokens in. A nil opts is fine. It panics without a client or sessions, and for
// Options.Scopes without "openid".
//
// The path of RedirectURI must lead to the callback, which Register mounts at
// Options.Prefix + "/callback". New does not insist on the same path, since a proxy
// in front may take a part of it away. A callback that arrives at
// [App.RequireAgent] or the login handler instead gets 500, with an error that
// names both paths: sent to the login it would come back for ever.
//
// Apps of several clients, as those of tenants with an issuer each, may share their
// sessions. A sign-in is good at the Apps of its own client only: an issuer can say
// of anybody what it likes, but not to others. An App whose client has no RedirectURI
// knows no sign-in; [App.EndSession] works there all the same.
func New(client *authpi.IdpClient, sessions Session, opts *Options) *App {
	if client == nil || sessions == nil {
		panic("authpihttp: New needs a client and sessions")
	}
	a := &App{client: client, sessions: sessions, locks: newLocks(), answered: newMemory()}
	a.identity, a.redirectPath = identify(client)
	if opts != nil {
		a.opts = *opts
	}
	o := &a.opts
	o.Prefix = "/" + strings.Trim(o.Prefix, "/")
	if o.Prefix == "/" {
		o.Prefix = "/auth"
	}
	if o.Home == "" {
		o.Home = "/"
	}
	o.Scopes = slices.Clone(o.Scopes)
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"openid", "profile", "email"}
	}
	if !slices.Contains(o.Scopes, "openid") {
		panic(`authpihttp: Options.Scopes must contain "openid"`)
	}
	o.Resources = slices.Clone(o.Resources)
	if o.CrossOrigin == nil {
		o.CrossOrigin = http.NewCrossOriginProtection()
	}
	if o.Error == nil {
		o.Error = logAndWrite
	}
	return a
}

// identify reads who the client is, and the path of its RedirectURI, out of a login
// that nobody takes. Both are empty without a RedirectURI.
func identify(client *authpi.IdpClient) (identity, redirectPath string) {
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		return "", "" // Register and Login say so
	}
	l := login{Auth: *auth}
	redirect, err := url.Parse(l.param("redirect_uri"))
	if err != nil {
		return "", ""
	}
	return l.identity(), cmp.Or(redirect.Path, "/")
}

// Register mounts the handlers: GET login, GET callback and POST logout, under
// Options.Prefix. It panics where the client cannot start a login, for example
// without RedirectURI. New does not: an App may also be there to end sessions only.
//
// Where the path of RedirectURI does not end in that of the callback, it warns in
// [slog.Default]: the user would come back to a page that does not exist.
func (a *App) Register(mux *http.ServeMux) {
	if _, err := a.client.CreateAuthorizationURL(a.opts.Scopes, nil); err != nil {
		panic("authpihttp: Register: the client cannot start a login: " + err.Error())
	}
	if !strings.HasSuffix(a.redirectPath, a.callbackPath()) {
		slog.Warn("authpihttp: the RedirectURI does not lead to the callback",
			"redirect_path", a.redirectPath, "callback_path", a.callbackPath())
	}
	mux.HandleFunc("GET "+a.loginPath(), a.Login)
	mux.HandleFunc("GET "+a.callbackPath(), a.Callback)
	mux.HandleFunc("POST "+a.opts.Prefix+"/logout", a.Logout)
}

func (a *App) loginPath() string { return a.opts.Prefix + "/login" }

func (a *App) callbackPath() string { return a.opts.Prefix + "/callback" }

// loginFor is the login that comes back to a path on this site.
func (a *App) loginFor(back string) string {
	return a.loginPath() + "?return_to=" + url.QueryEscape(back)
}

// allow refuses other methods. A handler may be mounted without one in its pattern.
func (a *App) allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	for _, m := range methods {
		w.Header().Add("Allow", m)
	}
	a.opts.Error(w, r, http.StatusMethodNotAllowed, errMethod)
	return false
}

// redirect sends the browser on by GET, whatever it came by.
func redirect(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

func noStore(w http.ResponseWriter) { w.Header().Set("Cache-Control", "no-store") }
