package authpihttp

import (
	"context"
	"net/http"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Logout signs the user out: here, of the refresh token, and at the issuer, where
// the browser is sent with the last ID token as hint. It answers POST requests of
// this site only, so mount it behind a form:
//
//	<form method="post" action="/auth/logout"><button>Sign out</button></form>
func (a *App) Logout(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if !a.allow(w, r, http.MethodPost) {
		return
	}
	if a.opts.CrossOrigin.Check(r) != nil {
		a.fail(w, r, errCrossOrigin, a.opts.Home)
		return
	}
	rec, err := a.signOut(r.Context())
	if err != nil {
		a.fail(w, r, err, a.opts.Home)
		return
	}
	redirect(w, a.logoutURL(rec))
}

// SignOut ends the sign-in of the session in ctx, and the session with everything
// in it, and revokes the refresh token. The user stays signed in at the issuer;
// [App.Logout] goes there. An error means that the user is still signed in: the
// store could not be asked. Where nobody is signed in it does nothing but end the
// session.
func (a *App) SignOut(ctx context.Context) error {
	_, err := a.signOut(ctx)
	return err
}

// signOut gives the sign-in that it ended, or nil.
func (a *App) signOut(ctx context.Context) (*record, error) {
	rec, err := a.end(ctx, a.readLink(ctx).Ref)
	if err != nil {
		return nil, err
	}
	// The sign-in has ended now, whatever becomes of the browser's session.
	err = a.destroy(ctx)
	if rec != nil {
		a.revoke(ctx, rec.tokens)
		err = nil
	}
	return rec, err
}

// logoutURL is where to go after a sign-out.
func (a *App) logoutURL(rec *record) string {
	if rec == nil || rec.hint == "" {
		return a.opts.Home
	}
	url, err := a.client.CreateLogoutURL(&authpi.LogoutOptions{
		IDTokenHint:           rec.hint,
		PostLogoutRedirectURI: a.opts.PostLogoutRedirectURI,
	})
	if err != nil {
		return a.opts.Home // an issuer without a logout of its own
	}
	return url
}

// revocationLimit is short: a user is waiting, and the session is gone already.
const revocationLimit = 3 * time.Second

// revoke gives a refresh token back to the issuer. It does what it can.
func (a *App) revoke(ctx context.Context, tokens authpi.TokenSet) {
	if tokens.RefreshToken == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revocationLimit)
	defer cancel()
	_ = a.client.RevokeToken(ctx, tokens.RefreshToken, "refresh_token")
}
