package authpihttp

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/signin"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// siteOf is the redirect URI of the request's host, else the first.
func (a *App) siteOf(r *http.Request) *weburl.Site {
	s, _ := a.sites.Of(r.Host)
	return s
}

// otherLoopback reports whether the browser has this machine under another name than
// the redirect URI: cookies of one are not sent to the other, but to any port.
func (a *App) otherLoopback(r *http.Request) bool {
	here, there := (&url.URL{Host: r.Host}).Hostname(), (&url.URL{Host: a.siteOf(r).Host}).Hostname()
	return !strings.EqualFold(here, there) && weburl.Loopback(here) && weburl.Loopback(there)
}

// Kinds of cookies, as they stand in the name.
const (
	kindSignIn = ""
	kindRetry  = "retry-"  // a login was begun anew a moment ago
	kindSilent = "silent-" // prompt=none has failed a moment ago
	kindOut    = "out-"    // the state of a logout
)

// cookieName is the cookie's name on a site. A browser takes one of these prefixes
// over https alone, and from this host alone but where CookieDomain says otherwise.
func (a *App) cookieName(s *weburl.Site, kind string) string {
	prefix := ""
	switch {
	case s.Secure && kind == kindSignIn && a.opts.CookieDomain != "":
		prefix = "__Secure-"
	case s.Secure:
		prefix = "__Host-"
	}
	return prefix + "authpi-" + kind + a.suffix
}

// setCookie sets a cookie for some time, or removes it where that is negative.
func (a *App) setCookie(w http.ResponseWriter, s *weburl.Site, kind, value string, life time.Duration) {
	cookie := http.Cookie{
		Name: a.cookieName(s, kind), Value: value, Path: "/", MaxAge: int(life / time.Second),
		Secure: s.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if life < 0 {
		cookie.MaxAge = -1
	}
	if kind == kindSignIn {
		cookie.Domain = a.opts.CookieDomain
	}
	http.SetCookie(w, &cookie)
}

func (a *App) hasCookie(r *http.Request, kind string) bool {
	_, err := r.Cookie(a.cookieName(a.siteOf(r), kind))
	return err == nil
}

// signInCookies are the request's, decoded. There are several where a host and its
// domain each have one; nobody needs more than a few.
func (a *App) signInCookies(r *http.Request) (cookies []string) {
	const most = 4
	for _, c := range r.CookiesNamed(a.cookieName(a.siteOf(r), kindSignIn)) {
		if b, err := signin.Base64URL.DecodeString(c.Value); err == nil && len(b) == 32 && len(cookies) < most {
			cookies = append(cookies, string(b))
		}
	}
	return cookies
}
