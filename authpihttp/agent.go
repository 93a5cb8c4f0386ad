package authpihttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
)

// AgentFrom gives who a request is from, behind [App.RequireAgent] or
// [Bearer.Require].
func AgentFrom(ctx context.Context) (agent *authpi.Agent, ok bool) {
	c, ok := ctx.Value(callerKey{}).(caller)
	return c.agent, ok
}

// caller is who a request is from, and how to refuse it something: for want of a
// scope, or where that is empty, of a membership.
type caller struct {
	agent  *authpi.Agent
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
// Nobody is signed in: a page goes to the login and comes back, a program gets 401
// with JSON. The issuer or the store is away, and the tokens have expired: 503 with
// Retry-After, and nobody is signed out for it. A callback that should have gone to
// [App.Callback]: 500, as [New] has it.
func (a *App) RequireAgent(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, err := a.Agent(r)
		switch {
		case err == nil:
			// Or the back button shows the page after a sign-out. A handler may replace it.
			noStore(w)
			caller{agent, a.forbid}.serve(next, w, r)
		case errors.Is(err, ErrNotSignedIn) && wantsPage(r):
			if err := a.misplaced(r); err != nil {
				a.failMisplaced(w, r, err)
				return
			}
			noStore(w)
			redirect(w, a.loginURL(r))
		default:
			a.fail(w, r, err, "")
		}
	})
}

// Agent gives the user that the request's session belongs to, for a page that also
// people who are not signed in may see. The error is [ErrNotSignedIn] for those,
// whose session may have ended just now; any other is as RequireAgent's 503.
func (a *App) Agent(r *http.Request) (*authpi.Agent, error) {
	ctx := r.Context()
	l := a.readLink(ctx)
	if l.Ref == "" {
		return nil, ErrNotSignedIn
	}
	rec, err := a.open(ctx, l.Ref)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		a.putLink(ctx, link{Subject: l.Subject, Client: l.Client})
		return nil, ErrNotSignedIn
	}
	a.touch(ctx, rec, l)
	agent, err := a.client.CreateAgent(ctx, rec.tokens, a.agentOptions(l.Ref, rec.tokens))
	if err == nil || !errors.Is(err, errEnded) && !authpi.SessionEnded(err) {
		return agent, err
	}
	if err := a.drop(ctx, l.Ref, rec.tokens); err != nil {
		return nil, err
	}
	a.putLink(ctx, link{Subject: l.Subject, Client: l.Client})
	return nil, fmt.Errorf("%w: %w", ErrNotSignedIn, err)
}

// AgentOptions store what is refreshed in the session of ctx, for
// [authpi.IdpClient.HTTPClient], TokenSource and Refresh:
//
//	api := client.HTTPClient(agent, app.AgentOptions(r.Context()))
//
// They are good for as long as the sign-in is, also after the request.
func (a *App) AgentOptions(ctx context.Context) *authpi.AgentOptions {
	var loaded authpi.TokenSet
	if agent, ok := AgentFrom(ctx); ok {
		loaded = agent.Tokens
	}
	return a.agentOptions(a.readLink(ctx).Ref, loaded)
}

// agentOptions are for the record that loaded came from; a zero set: not known.
func (a *App) agentOptions(ref string, loaded authpi.TokenSet) *authpi.AgentOptions {
	var line lineage
	line.start(loaded)
	return &authpi.AgentOptions{
		Resources: slices.Clone(a.opts.Resources),
		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error {
			err := a.update(ctx, ref, tokens, line.last())
			if errors.Is(err, errEnded) {
				a.revoke(ctx, tokens) // signed out while they were on their way
			}
			if err == nil {
				line.start(tokens)
			}
			return err
		},
		Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			rec, err := a.open(ctx, ref)
			if err != nil || rec == nil {
				return authpi.TokenSet{}, err
			}
			line.reloaded(rec.tokens)
			return rec.tokens, nil
		},
	}
}

// loginURL is the login, with the way back for what can be asked for again. That is
// no callback, not even another service's: its code belongs into no further address.
func (a *App) loginURL(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || looksLikeCallback(r) {
		return a.loginPath()
	}
	// Not r.URL, which http.StripPrefix changes.
	back := a.returnTo(r.RequestURI)
	if back == a.opts.Home {
		return a.loginPath()
	}
	return a.loginFor(back)
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
