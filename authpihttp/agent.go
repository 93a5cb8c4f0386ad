package authpihttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
)

// AgentFrom returns who a request is from, behind [App.RequireAgent] or
// [Bearer.Require].
func AgentFrom(ctx context.Context) (agent *authpi.Agent, ok bool) {
	c, ok := ctx.Value(callerKey{}).(caller)
	return c.agent, ok
}

// WithAgent returns a context in which agent is who the request is from, for tests of
// handlers and for middleware of your own. [AgentFrom] and [RequireAccess] read it.
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
	signIn *signIn // nil for an API
	forbid func(w http.ResponseWriter, r *http.Request, scope string)
}

type callerKey struct{}

func (c caller) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
}

// RequireAgent lets signed-in users through, and puts their Agent into the context.
// Tokens that are about to expire are refreshed and stored on the way. Pages get
// Cache-Control: no-store, which next may replace where a page is for everybody.
//
// Nobody is signed in: a page goes to the login and comes back, a posted form to the
// page that it was on, a program gets 401 with JSON. The issuer or the store is
// unreachable, and the tokens have expired: 503 with Retry-After, and nobody is signed
// out for it. A CORS preflight passes without an agent: the CORS layer may stand inside
// or outside. A callback that should have gone to [App.Callback] gets 500 with an error
// that names both paths: sent to the login it would come back for ever.
func (a *App) RequireAgent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPreflight(r) {
			next.ServeHTTP(w, r)
			return
		}
		agent, s, err := a.agentOf(r)
		switch {
		case err == nil:
			// Or the back button shows the page after a sign-out. A handler may replace it.
			noStore(w)
			caller{agent, s, a.forbid}.serve(next, w, r)
		case errors.Is(err, ErrNotSignedIn) && a.opts.IsPage(r):
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
	if isPrefetch(r) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	redirect(w, login)
}

// Agent returns the user that the request is from, for a page that also people who are
// not signed in may see. The error is [ErrNotSignedIn] for those; any other is as
// RequireAgent's 503. It reads the store at each call: a WebSocket or a stream asks
// again from time to time, and so learns that the sign-in has ended.
func (a *App) Agent(r *http.Request) (*authpi.Agent, error) {
	agent, _, err := a.agentOf(r)
	return agent, err
}

func (a *App) agentOf(r *http.Request) (*authpi.Agent, *signIn, error) {
	for _, cookie := range a.signInCookies(r) {
		s := a.signInOf(cookie)
		rec, err := s.read(r.Context())
		if err != nil {
			return nil, nil, err
		}
		if rec != nil {
			agent, err := s.agent(r.Context(), rec)
			return agent, s, err
		}
	}
	return nil, nil, ErrNotSignedIn
}

// agent rebuilds the Agent of a record. Where others have changed that meanwhile it
// goes on with what they stored.
func (s *signIn) agent(ctx context.Context, rec *record) (*authpi.Agent, error) {
	for range tries {
		opts := s.agentOptions()
		if rec.replaced != 0 {
			opts = &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff}
		}
		agent, err := s.app.client.CreateAgent(ctx, rec.tokens, opts)
		switch {
		case err == nil && rec.replaced != 0 && agent.ExpiresWithin(0):
			return nil, ErrNotSignedIn
		case err == nil:
			s.touch(ctx)
			return agent, nil
		case errors.Is(err, errEnded):
			return nil, notSignedIn(err)
		case errors.Is(err, errOvertaken):
		case authpi.SessionEnded(err):
			dropped, dropErr := s.drop(ctx, rec.tokens)
			if dropErr != nil {
				return nil, dropErr
			}
			if dropped {
				return nil, notSignedIn(err)
			}
		default:
			return nil, err
		}
		next, readErr := s.read(ctx)
		if readErr != nil {
			return nil, readErr
		}
		if next == nil {
			return nil, notSignedIn(err)
		}
		rec = next
	}
	return nil, errOvertaken
}

func notSignedIn(err error) error { return fmt.Errorf("%w: %w", ErrNotSignedIn, err) }

func (s *signIn) agentOptions() *authpi.AgentOptions {
	return &authpi.AgentOptions{
		Resources: slices.Clone(s.app.opts.Resources),
		OnRefresh: s.rotate,
		Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			rec, err := s.read(ctx)
			if err != nil || rec == nil || rec.replaced != 0 {
				return authpi.TokenSet{}, err
			}
			return rec.tokens, nil
		},
	}
}

// AgentOptions store what is refreshed in the request's sign-in, for
// [authpi.IdpClient.HTTPClient], TokenSource and Refresh:
//
//	api := client.HTTPClient(agent, app.AgentOptions(r))
//
// They are good for as long as the sign-in is, also after the request.
func (a *App) AgentOptions(r *http.Request) *authpi.AgentOptions {
	s := a.signInOf("")
	if c, ok := r.Context().Value(callerKey{}).(caller); ok && c.signIn != nil {
		s = c.signIn
	} else if cookies := a.signInCookies(r); len(cookies) > 0 {
		s = a.signInOf(cookies[0])
	}
	opts := s.agentOptions()
	opts.OnRefresh = func(ctx context.Context, tokens authpi.TokenSet) error {
		if s.last() == nil {
			if _, err := s.read(ctx); err != nil {
				return err
			}
		}
		err := s.rotate(ctx, tokens)
		// There is nobody to ask again here: what others stored is as good.
		if rec := s.last(); errors.Is(err, errOvertaken) && rec != nil && rec.tokens.ExpiresAt.After(a.now()) {
			return nil
		}
		return err
	}
	return opts
}

// wayBack is the page to come back to after a login: the request's own, or the one
// that a form was on.
func (a *App) wayBack(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return a.returnTo(r.Context(), a.here(r))
	}
	from, err := url.Parse(r.Referer())
	s := a.siteOf(r)
	if err != nil || from.Host == "" || s.normal(from.Host) != s.normal(r.Host) && s.normal(from.Host) != s.host {
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

// wantsPage tells a browser that opens a page from a program, the page's own
// scripts included: only that one can follow a redirect to a login.
func wantsPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	return r.Header.Get("X-Requested-With") == "" && acceptsHTML(r)
}

func acceptsHTML(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(kind), "text/html") && !weighsNothing(params) {
			return true
		}
	}
	return false
}

// weighsNothing finds the weight 0 among the parameters of a media type (RFC 9110
// section 12.4.2).
func weighsNothing(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return err == nil && q == 0
		}
	}
	return false
}
