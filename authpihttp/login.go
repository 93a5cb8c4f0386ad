package authpihttp

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/intent"
	"github.com/authpi/authpi-idp-go/internal/signin"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// Bounds of what anybody may ask for.
const (
	maxAuthURL     = 8 << 10 // no server takes a longer one
	maxLoginParams = 64 << 10
)

// Login starts a login and sends the browser to the issuer. The query parameter
// return_to is the address on this site to come back to; whatever is not plainly one
// counts as Options.Home.
//
// It answers GET, and POST for a login that a third party initiates (OpenID Connect
// Core 1.0 section 4): iss must be the client's issuer, target_link_uri an address
// of this site. HEAD starts nothing, nor does a prefetch.
func (a *App) Login(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if !a.allow(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	switch {
	case intent.Prefetch(r):
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusOK)
		return
	}
	if err := a.misplaced(r); err != nil {
		a.failMisplaced(w, r, err)
		return
	}
	params, err := a.loginParams(w, r)
	if err == nil && params.Has("retry") && !a.hasCookie(r, kindRetry) {
		err = errNoCookies
	}
	if err != nil {
		a.fail(w, r, err, "")
		return
	}
	l := signin.NewLogin(a.now())
	l.Back = a.returnTo(r.Context(), params.Get("return_to"))
	location, err := a.begin(r, l, params)
	if err != nil {
		a.fail(w, r, err, "")
		return
	}
	a.warnOfHost(r)
	if a.hasCookie(r, kindSilent) {
		a.setCookie(w, a.siteOf(r), kindSilent, "", -1)
	}
	a.pruneLogins(w, r)
	a.setCookie(w, a.siteOf(r), l.ID+"-", a.book.CookieOf(l), signin.LoginLife)
	redirect(w, location)
}

// warnOfHost says that a login comes back to a host which does not get the request's
// cookies. Where only a proxy has changed Host, all goes well with one redirect URI,
// and wrong with a second.
func (a *App) warnOfHost(r *http.Request) {
	s, known := a.sites.Of(r.Host)
	host := s.Normal(cut(r.Host, 256))
	if !known && a.notices.First(host, a.now()) {
		slog.Default().WarnContext(r.Context(), "authpihttp: the login comes back to another host", "host", host, "redirect_host", s.Host)
	}
}

// loginParams are a login's own. Those of a third party are held against section 4
// of OpenID Connect Core 1.0, and target_link_uri becomes return_to.
func (a *App) loginParams(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	params := r.URL.Query()
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxLoginParams)
		if err := r.ParseForm(); err != nil {
			return nil, errTooLong
		}
		params = r.PostForm
	}
	if !params.Has("iss") {
		if r.Method == http.MethodPost {
			return nil, errForeign
		}
		return params, nil
	}
	if strings.TrimRight(params.Get("iss"), "/") != a.issuer {
		return nil, errForeign
	}
	if target := params.Get("target_link_uri"); target != "" {
		back, own := strings.CutPrefix(target, a.siteOf(r).Origin)
		if own && (back == "" || back[0] == '?') {
			back = "/" + back // the same address (RFC 3986 section 6.2.3)
		}
		if _, _, ok := weburl.Local(back, maxReturnTo); !ok {
			return nil, errForeign
		}
		params.Set("return_to", back)
	}
	return params, nil
}

// begin makes the issuer's address of a login.
func (a *App) begin(r *http.Request, l *signin.Login, params url.Values) (location string, err error) {
	opts := &authpi.AuthorizationOptions{}
	if a.opts.Authorize != nil {
		if own := a.opts.Authorize(r); own != nil {
			*opts = *own
		}
	}
	if opts.State != "" || opts.Nonce != "" {
		return "", &mistake{errOwnState}
	}
	if params.Has("iss") {
		opts.LoginHint = cmp.Or(opts.LoginHint, params.Get("login_hint"))
	}
	if params.Has("again") && len(opts.Prompt) == 0 {
		opts.Prompt = []string{"login"} // or the issuer says the same at once
	}
	if slices.Contains(opts.Prompt, "none") && a.hasCookie(r, kindSilent) {
		opts.Prompt = nil // it has failed a moment ago
	}
	l.Silent = slices.Contains(opts.Prompt, "none")
	l.OwnMaxAge = opts.MaxAge
	if asked, ok := a.book.OpenGuard(params.Get("guard")); ok {
		asked.AddTo(l, opts)
	}
	opts.RedirectURI = cmp.Or(opts.RedirectURI, a.siteOf(r).URI)
	l.Org, l.MaxAge, l.Resources = opts.Org, opts.MaxAge, opts.Resources
	if opts.RedirectURI != a.sites.First().URI {
		l.Redirect = opts.RedirectURI
	}
	a.book.SealState(l)
	opts.State, opts.Nonce = l.State, l.Secret("nonce")
	return a.authURL(opts, l)
}

// authURL is the address, with the challenge of the login's own verifier.
func (a *App) authURL(opts *authpi.AuthorizationOptions, l *signin.Login) (string, error) {
	auth, err := a.client.CreateAuthorizationURL(a.opts.Scopes, opts)
	if err != nil {
		return "", &mistake{err}
	}
	if len(auth.URL) > maxAuthURL { // Authorize may have taken what the request says
		return "", errTooLong
	}
	u, err := url.Parse(auth.URL)
	if err != nil {
		return "", &mistake{err}
	}
	for _, mode := range u.Query()["response_mode"] {
		if mode != "query" { // a POST of another site carries no cookie of ours
			return "", &mistake{errResponseMode}
		}
	}
	return strings.Replace(auth.URL, signin.Challenge(auth.CodeVerifier), l.Challenge(), 1), nil
}

// loginOf is the login that a state belongs to, if its cookie came with the request.
func (a *App) loginOf(r *http.Request, state string) *signin.Login {
	if len(state) < signin.IDSize {
		return nil
	}
	id := state[:signin.IDSize]
	for _, c := range r.CookiesNamed(a.cookieName(a.siteOf(r), id+"-")) {
		if l := a.book.OpenLogin(id, c.Value); l != nil {
			return l
		}
	}
	return nil
}

// pruneLogins removes the oldest logins that were begun and left, so that there is
// room for one more. Unreadable ones go first.
func (a *App) pruneLogins(w http.ResponseWriter, r *http.Request) {
	s := a.siteOf(r)
	prefix, suffix, _ := strings.Cut(a.cookieName(s, "*-"), "*")
	for _, id := range a.book.Prune(r.Cookies(), prefix, suffix) {
		a.setCookie(w, s, id+"-", "", -1)
	}
}

// misplaced returns an error for a callback of ours that reached another handler than
// Callback; it says why. A page of the application may have the same
// parameters: ours answers a login of this browser, or comes to RedirectURI. A proxy
// may have taken the start of that path away.
func (a *App) misplaced(r *http.Request) error {
	query := r.URL.Query()
	if !query.Has("state") || !query.Has("code") && !query.Has("error") {
		return nil
	}
	s := a.siteOf(r)
	atRedirect := r.URL.Path != "" && strings.HasSuffix(s.Path, r.URL.EscapedPath())
	if !atRedirect && a.loginOf(r, query.Get("state")) == nil {
		return nil
	}
	if s.Path != a.callbackPath() {
		return &mistake{fmt.Errorf("authpihttp: the client's RedirectURI has path %q, but the callback is mounted at %q", s.Path, a.callbackPath())}
	}
	return &mistake{fmt.Errorf("authpihttp: a callback did not reach the callback handler, which must be mounted at %q", a.opts.Prefix+"/callback")}
}

// failMisplaced answers it. To try again at the same address would not help.
func (a *App) failMisplaced(w http.ResponseWriter, r *http.Request, err error) {
	hideAddress(w)
	a.fail(w, r, err, "")
}

// silentFailure reports whether prompt=none has brought nobody.
func silentFailure(err error) bool {
	var oauth *authpi.OAuthError
	return errors.As(err, &oauth) && slices.Contains([]string{
		"login_required", "interaction_required", "consent_required", "account_selection_required",
	}, oauth.Code)
}
