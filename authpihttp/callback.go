package authpihttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	authpi "github.com/authpi/authpi-idp-go"
)

// Callback is where the issuer sends the browser back to: the client's RedirectURI.
// It checks the answer against the login that this browser has under way, stores the
// tokens, gives the session a new ID and goes on to where the login came from. A
// login answers one callback. Somebody who is signed in and comes back here, by the
// back button or a reload, is sent to Options.Home. It answers GET.
func (a *App) Callback(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	w.Header().Set("Referrer-Policy", "no-referrer") // the address holds the code
	if !a.allow(w, r, http.MethodGet) {
		return
	}
	ctx, query := r.Context(), r.URL.Query()
	answered, err := a.takeLogin(ctx, query.Get("state"))
	if errors.Is(err, errAnswered) {
		redirect(w, answered.ReturnTo) // where the first one goes, signed in or not
		return
	}
	if err != nil {
		a.fail(w, r, err, a.loginPath())
		return
	}
	if answered == nil {
		a.answerUnknown(w, r)
		return
	}
	again := a.loginFor(answered.ReturnTo)
	agent, err := a.client.ExchangeCallback(ctx, query, answered.Auth)
	if isDenied(err) && answered.param("org") != "" {
		err = fmt.Errorf("%w: %w", errNoEntry, err)
	}
	if err != nil {
		a.fail(w, r, err, again)
		return
	}
	if err := a.signIn(ctx, agent); err != nil {
		a.revoke(ctx, agent.Tokens)
		a.fail(w, r, err, again)
		return
	}
	redirect(w, answered.ReturnTo)
}

// answerUnknown is for a callback that answers no login of this browser.
func (a *App) answerUnknown(w http.ResponseWriter, r *http.Request) {
	rec, err := a.open(r.Context(), a.readLink(r.Context()).Ref)
	switch {
	case err != nil:
		a.fail(w, r, err, a.loginPath())
	case rec != nil:
		redirect(w, a.opts.Home)
	default:
		a.fail(w, r, errNoLogin, a.loginPath())
	}
}

// signIn makes the browser's session the agent's. The tokens are stored first, in a
// record that nobody can reach yet; then the session gets another ID, so that
// whoever knew it before knows nothing.
func (a *App) signIn(ctx context.Context, agent *authpi.Agent) error {
	fresh, err := a.create(ctx, agent)
	if err != nil {
		return err
	}
	last := a.anyLink(ctx)
	if err := a.renew(ctx, last, fresh); err != nil {
		_, _ = a.end(ctx, fresh.Ref)
		return err
	}
	_, _ = a.end(ctx, last.Ref) // nobody can reach it any more
	return nil
}

// renew links the session to a sign-in under a new ID. What the last user left in
// the session is not for another one.
func (a *App) renew(ctx context.Context, last, fresh link) error {
	change := a.sessions.RenewToken
	if last.Subject != "" && (last.Subject != fresh.Subject || last.Client != fresh.Client) {
		change = a.sessions.Destroy
	}
	if err := change(ctx); err != nil {
		return &storeError{err}
	}
	a.putLink(ctx, fresh)
	return a.commit(ctx)
}
