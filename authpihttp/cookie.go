package authpihttp

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/signin"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// site is one redirect URI of the client. Only it tells whether a host is reached by
// https: behind a proxy r.TLS is nil, and a header is what anybody says.
type site struct {
	uri, origin, host, path string
	secure                  bool
}

func newSite(redirectURI string) site {
	u, err := url.Parse(redirectURI)
	if err != nil {
		return site{}
	}
	s := site{uri: redirectURI, origin: u.Scheme + "://" + u.Host, path: u.Path, secure: u.Scheme == "https"}
	s.host = s.normal(u.Host)
	if s.path == "" {
		s.path = "/"
	}
	return s
}

// normal leaves out the scheme's own port.
func (s *site) normal(host string) string {
	port := ":80"
	if s.secure {
		port = ":443"
	}
	return strings.TrimSuffix(strings.ToLower(host), port)
}

// siteOf is the redirect URI of the request's host, else the first.
func (a *App) siteOf(r *http.Request) *site {
	for i := range a.sites {
		if s := &a.sites[i]; s.host == s.normal(r.Host) {
			return s
		}
	}
	if len(a.sites) == 0 {
		return &site{secure: true} // the client signs nobody in
	}
	return &a.sites[0]
}

// otherLoopback reports whether the browser has this machine under another name than
// the redirect URI: cookies of one are not sent to the other, but to any port.
func (a *App) otherLoopback(r *http.Request) bool {
	here, there := (&url.URL{Host: r.Host}).Hostname(), (&url.URL{Host: a.siteOf(r).host}).Hostname()
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
func (a *App) cookieName(s *site, kind string) string {
	prefix := ""
	switch {
	case s.secure && kind == kindSignIn && a.opts.CookieDomain != "":
		prefix = "__Secure-"
	case s.secure:
		prefix = "__Host-"
	}
	return prefix + "authpi-" + kind + a.suffix
}

// setCookie sets a cookie for some time, or removes it where that is negative.
func (a *App) setCookie(w http.ResponseWriter, s *site, kind, value string, life time.Duration) {
	cookie := http.Cookie{
		Name: a.cookieName(s, kind), Value: value, Path: "/", MaxAge: int(life / time.Second),
		Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
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
