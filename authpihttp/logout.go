package authpihttp

import (
	"cmp"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/intent"
	"github.com/authpi/authpi-idp-go/internal/signin"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// Logout ends the sign-in here, revokes the refresh token, and sends the browser to
// the issuer's logout, with the ID token as hint. It answers only POST requests of
// this site, so it needs a form:
//
//	<form method="post" action="/auth/logout"><button>Sign out</button></form>
//
// GET shows a page with that button. Logout also works after the tokens have
// expired, and after the issuer has ended the sign-in.
func (a *App) Logout(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if !a.allow(w, r, http.MethodPost, http.MethodGet, http.MethodHead) {
		return
	}
	if r.Method != http.MethodPost {
		writePage(w, http.StatusOK, page{
			Title: "Sign out?", Message: "You will be signed out here and where you signed in.",
			SignOut: a.logoutPath(), Home: a.home(),
		})
		return
	}
	if a.opts.CrossOrigin.Check(r) != nil {
		a.fail(w, r, errCrossOrigin, "")
		return
	}
	hint, was, err := a.signOut(w, r)
	switch {
	case err != nil:
		a.fail(w, r, err, "")
	case !was:
		redirect(w, a.home())
	default:
		a.leave(w, r, hint)
	}
}

// SignOut ends the request's sign-in, removes its cookie, and revokes the refresh
// token. The user stays signed in at the issuer; [App.Logout] goes there. An error
// means that the store is unreachable and the user still signed in. If nobody is
// signed in, it only calls Options.SignedOut.
func (a *App) SignOut(w http.ResponseWriter, r *http.Request) error {
	_, _, err := a.signOut(w, r)
	return err
}

// signOut returns the ID token for the issuer's logout, and whether there was a
// sign-in, or the rest of one.
func (a *App) signOut(w http.ResponseWriter, r *http.Request) (hint string, was bool, err error) {
	for _, cookie := range a.signInCookies(r) {
		was = true
		kept, err := a.book.SignIn(cookie).SignOut(r.Context())
		if err != nil {
			return "", true, err
		}
		hint = cmp.Or(kept, hint)
	}
	if was {
		a.setCookie(w, a.siteOf(r), kindSignIn, "", -1)
	}
	if a.opts.SignedOut != nil {
		a.opts.SignedOut(w, r)
	}
	return hint, was, nil
}

// maxLocation is the longest address that the browser is sent to: a longer one, with
// an ID token of many organizations, is posted as a form.
const maxLocation = 6 << 10

// leave sends the browser to the issuer's logout.
func (a *App) leave(w http.ResponseWriter, r *http.Request, hint string) {
	opts := &authpi.LogoutOptions{IDTokenHint: hint, PostLogoutRedirectURI: a.opts.PostLogoutRedirectURI}
	if after, err := url.Parse(a.opts.PostLogoutRedirectURI); err == nil && after.Path == a.signedOutPath() {
		opts.State = signin.Base64URL.EncodeToString([]byte(signin.Random()))
		opts.PostLogoutRedirectURI = a.onHostOf(r, after)
	}
	location, err := a.client.CreateLogoutURL(opts)
	if err != nil {
		redirect(w, a.home()) // an issuer without a logout of its own
		return
	}
	if hint == "" || len(location) > maxLocation {
		location += "&client_id=" + url.QueryEscape(a.clientID)
		if !strings.Contains(location, "?") {
			location = strings.Replace(location, "&", "?", 1)
		}
	}
	if opts.State != "" {
		a.setCookie(w, a.siteOf(r), kindOut, opts.State, signin.LoginLife)
	}
	if len(location) <= maxLocation {
		redirect(w, location)
		return
	}
	endpoint, query, _ := strings.Cut(location, "?")
	fields, _ := url.ParseQuery(query) // written just now
	writePage(w, http.StatusOK, page{
		Title: "Signing out", Message: "You are signed out here. One more step ends your session where you signed in.",
		Action: endpoint, Fields: fields, Button: "Continue", Submit: true,
	})
}

// onHostOf returns an address of one of the app's hosts on the request's own host,
// where the cookie for it is. Another site's address stays as it is.
func (a *App) onHostOf(r *http.Request, address *url.URL) string {
	origin := address.Scheme + "://" + address.Host
	if !slices.ContainsFunc(a.sites, func(s weburl.Site) bool { return s.Origin == origin }) {
		return address.String()
	}
	return a.siteOf(r).Origin + strings.TrimPrefix(address.String(), origin)
}

func (a *App) signedOutPath() string { return a.opts.BasePath + a.opts.Prefix + "/signed-out" }

// signedOut is where the issuer sends the browser after a logout. Whoever comes
// otherwise is not told that they have signed out.
func (a *App) signedOut(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	s := a.siteOf(r)
	cookie, err := r.Cookie(a.cookieName(s, kindOut))
	state := r.URL.Query().Get("state")
	if err != nil || state == "" || subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(state)) != 1 {
		redirect(w, a.home())
		return
	}
	if r.Method == http.MethodGet && !intent.Prefetch(r) { // else nobody has seen it yet
		a.setCookie(w, s, kindOut, "", -time.Second)
	}
	writePage(w, http.StatusOK, page{
		Title: "You are signed out", Message: "You may close this page.", Again: a.loginPath(), Home: a.home(),
	})
}
