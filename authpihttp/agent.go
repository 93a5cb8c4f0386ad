package authpihttp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/intent"
	"github.com/authpi/authpi-idp-go/internal/signin"
)

// AgentFrom returns who a request is from, behind [App.RequireAgent] or
// [Bearer.Require].
func AgentFrom(ctx context.Context) (agent *authpi.Agent, ok bool) {
	c, ok := callerOf(ctx)
	return c.agent, ok
}

// WithAgent returns a context in which agent is who the request is from, for tests
// of handlers and for middleware of your own. [AgentFrom] and [RequireAccess] read
// it. A nil agent is nobody.
func WithAgent(ctx context.Context, agent *authpi.Agent) context.Context {
	forbid := func(w http.ResponseWriter, r *http.Request, _ string) {
		noStore(w)
		logAndWrite(w, r, http.StatusForbidden, ErrForbidden)
	}
	return context.WithValue(ctx, callerKey{}, caller{agent: agent, forbid: forbid})
}

// caller is who a request is from, and how to refuse it something: for want of a
// scope, or where that is empty, of a membership.
type caller struct {
	agent  *authpi.Agent
	signIn *signin.SignIn // nil for an API
	forbid func(w http.ResponseWriter, r *http.Request, scope string)
}

type callerKey struct{}

// callerOf is not ok where nobody has signed in.
func callerOf(ctx context.Context) (c caller, ok bool) {
	c, _ = ctx.Value(callerKey{}).(caller)
	return c, c.agent != nil
}

func (c caller) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
}

// RequireAgent lets signed-in users through, and puts their Agent into the context.
// Tokens that are about to expire are refreshed and stored on the way. Pages get
// Cache-Control: no-store, which next may replace where a page is for everybody.
//
// If nobody is signed in, a page goes to the login and comes back, a posted form
// comes back to the page that it was on, and a program gets 401 with JSON. If the
// store is unreachable, or the issuer is and the tokens have expired, the answer is
// 503 with Retry-After, and nobody is signed out. A CORS preflight passes without an
// agent: the CORS middleware may be inside or outside. Its answer has no body. A
// callback that should have gone to [App.Callback] gets 500 with an error that names
// both paths; it would otherwise lead from login to login.
func (a *App) RequireAgent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if intent.PassPreflight(next, w, r) {
			return
		}
		agent, s, err := a.agentOf(r)
		switch {
		case err == nil:
			// Or the back button shows the page after a sign-out. A handler may
			// replace it.
			noStore(w)
			caller{agent, s, a.forbid}.serve(next, w, r)
		case errors.Is(err, ErrNotSignedIn) && (a.opts.IsPage(r) || intent.Prefetch(r)):
			a.askToSignIn(w, r, a.loginFor(a.wayBack(r)))
		default:
			a.fail(w, r, pageError(err), "")
		}
	})
}

// askToSignIn sends a page to a login.
func (a *App) askToSignIn(w http.ResponseWriter, r *http.Request, login string) {
	if err := a.misplaced(r); err != nil {
		a.failMisplaced(w, r, err)
		return
	}
	noStore(w)
	if intent.Prefetch(r) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	redirect(w, login)
}

// Agent returns the user of the request, for a page that people may also see without
// signing in. The error is [ErrNotSignedIn] if nobody is signed in; any other means
// 503, as in [App.RequireAgent]. Each call reads the store: a WebSocket or a stream
// calls it from time to time, to learn that the sign-in has ended.
func (a *App) Agent(r *http.Request) (*authpi.Agent, error) {
	agent, _, err := a.agentOf(r)
	return agent, err
}

func (a *App) agentOf(r *http.Request) (*authpi.Agent, *signin.SignIn, error) {
	s, rec, err := a.book.Find(r.Context(), a.signInCookies(r))
	switch {
	case err != nil:
		return nil, nil, err
	case rec == nil:
		return nil, nil, ErrNotSignedIn
	}
	agent, err := s.Agent(r.Context(), rec)
	return agent, s, err
}

// AgentOptions returns options that store refreshed tokens in the request's sign-in,
// for [authpi.IdpClient.HTTPClient], TokenSource and Refresh:
//
//	api := client.HTTPClient(agent, app.AgentOptions(r))
//
// They work for as long as the sign-in lasts, also after the request.
func (a *App) AgentOptions(r *http.Request) *authpi.AgentOptions {
	if c, ok := callerOf(r.Context()); ok && c.signIn != nil {
		return c.signIn.DetachedOptions()
	}
	s, _, _ := a.book.Find(r.Context(), a.signInCookies(r)) // the store may be back by then
	return s.DetachedOptions()
}

// wayBack is the page to come back to after a login: the request's own, or the one
// that a form was on.
func (a *App) wayBack(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return a.returnTo(r.Context(), a.here(r))
	}
	from, err := url.Parse(r.Referer())
	s := a.siteOf(r)
	if err != nil || from.Host == "" || s.Normal(from.Host) != s.Normal(r.Host) && s.Normal(from.Host) != s.Host {
		return a.home()
	}
	return a.returnTo(r.Context(), from.RequestURI())
}

// here is the request's own address, as the browser has it. It is not r.URL, which
// http.StripPrefix changes.
func (a *App) here(r *http.Request) string {
	if base := a.opts.BasePath; base != "" && !(within(r.RequestURI, base) && !within(r.URL.EscapedPath(), base)) {
		return base + r.RequestURI
	}
	return r.RequestURI
}

// within reports whether an address is base or below it.
func within(address, base string) bool {
	rest, found := strings.CutPrefix(address, base)
	return found && (rest == "" || rest[0] == '/' || rest[0] == '?')
}
