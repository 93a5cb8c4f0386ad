package authpihttp

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Bounds of the logins that one browser may have under way.
const (
	maxLogins      = 25
	maxLoginBytes  = 4 << 10 // of their cookies together: servers refuse long headers
	loginLife      = 10 * time.Minute
	maxAuthURL     = 8 << 10 // no server takes a longer one
	maxLoginParams = 64 << 10
)

// login is one that is under way. The browser has its seed in a cookie of its own; what
// else must be known travels inside state, sealed.
type login struct {
	seed  string // when it was begun, and 32 random bytes
	id    string // 22 characters: the start of state, and in the cookie's name
	state string

	back      string // the address to come back to
	org       string
	redirect  string // the redirect URI; empty: the client's first
	maxAge    time.Duration
	resources []string // nil: the client's
	silent    bool     // prompt=none
	guard     string   // of RequireRecent that asked for it
	acr       []string // what that wants, one of them
}

func newLogin(now time.Time) *login {
	seed := make([]byte, 8+32)
	binary.BigEndian.PutUint64(seed, uint64(now.Unix()))
	_, _ = rand.Read(seed[8:]) // never fails
	l := &login{seed: string(seed)}
	l.id = l.secret("id")[:22]
	return l
}

// secret derives one of the login's texts from its seed. Each has 43 characters.
func (l *login) secret(what string) string { return name("authpihttp login "+what, l.seed) }

func (l *login) began() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64([]byte(l.seed[:8]))), 0)
}

func (l *login) isOver(now time.Time) bool { return !now.Before(l.began().Add(loginLife)) }

func (l *login) pack() []byte {
	resources := "" // nil is not the same as none
	if l.resources != nil {
		resources = "r" + string(pack(l.resources...))
	}
	return pack(l.back, l.org, l.redirect, strconv.FormatInt(int64(l.maxAge), 10), strconv.FormatBool(l.silent),
		resources, strconv.Itoa(len(l.resources)), l.guard, strings.Join(l.acr, " "))
}

func (l *login) unpack(plain []byte) (ok bool) {
	p, _, ok := unpack(plain, 9)
	if !ok {
		return false
	}
	l.back, l.org, l.redirect, l.silent, l.guard, l.acr = p[0], p[1], p[2], p[4] == "true", p[7], strings.Fields(p[8])
	age, _ := strconv.ParseInt(p[3], 10, 64)
	l.maxAge = time.Duration(age)
	if packed, has := strings.CutPrefix(p[5], "r"); has {
		count, _ := strconv.Atoi(p[6])
		l.resources, _, ok = unpack([]byte(packed), count)
	}
	return ok
}

// Login starts a login and sends the browser to the issuer. The query parameter
// return_to is the address on this site to come back to; whatever is not plainly one
// counts as Options.Home.
//
// It answers GET, and POST for a login that a third party initiates (OpenID Connect
// Core 1.0 section 4): iss must be the client's issuer, target_link_uri an address of
// this site. HEAD starts nothing, nor does a browser that fetches in advance.
func (a *App) Login(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if !a.allow(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	switch {
	case isPrefetch(r):
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
	l := newLogin(a.now())
	l.back = a.returnTo(r.Context(), params.Get("return_to"))
	location, err := a.begin(r, l, params)
	if err != nil {
		a.fail(w, r, err, "")
		return
	}
	if a.otherLoopback(r) {
		slog.Default().WarnContext(r.Context(), "authpihttp: the login comes back to another host name, which does not get this one's cookies",
			"host", cut(r.Host, 256), "redirect_host", a.siteOf(r).host)
	}
	if a.hasCookie(r, kindSilent) {
		a.setCookie(w, a.siteOf(r), kindSilent, "", -1)
	}
	a.pruneLogins(w, r)
	a.setCookie(w, a.siteOf(r), l.id+"-", a.loginCookie(l), loginLife)
	redirect(w, location)
}

// loginParams are a login's own. Those of a third party are held against section 4 of
// OpenID Connect Core 1.0, and target_link_uri becomes return_to.
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
		back := strings.TrimPrefix(target, a.siteOf(r).origin)
		if _, _, ok := localPath(back); !ok {
			return nil, errForeign
		}
		params.Set("return_to", back)
	}
	return params, nil
}

// begin makes the issuer's address of a login.
func (a *App) begin(r *http.Request, l *login, params url.Values) (location string, err error) {
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
	l.silent = slices.Contains(opts.Prompt, "none")
	if asked, ok := a.openGuard(params.Get("guard")); ok {
		asked.apply(l, opts)
	}
	opts.RedirectURI = cmp.Or(opts.RedirectURI, a.siteOf(r).uri)
	l.org, l.maxAge, l.resources = opts.Org, opts.MaxAge, opts.Resources
	if opts.RedirectURI != a.sites[0].uri {
		l.redirect = opts.RedirectURI
	}
	l.state = l.id + base64url.EncodeToString(a.seal("state", "", l.id, l.pack()))
	opts.State, opts.Nonce = l.state, l.secret("nonce")
	return a.authURL(opts, l)
}

// authURL is the address, with the challenge of the login's own verifier.
func (a *App) authURL(opts *authpi.AuthorizationOptions, l *login) (string, error) {
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
	return strings.Replace(auth.URL, challenge(auth.CodeVerifier), challenge(l.secret("verifier")), 1), nil
}

// challenge is S256 of RFC 7636 section 4.2.
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64url.EncodeToString(sum[:])
}

// auth is what the callback is checked against.
func (l *login) auth(now time.Time) authpi.AuthorizationURL {
	asked := url.Values{}
	if l.org != "" {
		asked.Set("org", l.org)
	}
	switch {
	case l.guard != "": // the guard says what it lacks; the sign-in itself is good
	case l.maxAge > 0:
		asked.Set("max_age", strconv.FormatInt(int64(l.maxAge/time.Second), 10))
	case l.maxAge < 0: // since the login began
		asked.Set("max_age", strconv.FormatInt(max(int64(now.Sub(l.began())/time.Second), 0)+1, 10))
	}
	return authpi.AuthorizationURL{
		URL: "?" + asked.Encode(), CodeVerifier: l.secret("verifier"), State: l.state, Nonce: l.secret("nonce"),
		RedirectURI: l.redirect, Resources: l.resources,
	}
}

func (a *App) loginCookie(l *login) string {
	return base64url.EncodeToString(a.seal("login", "", l.id, []byte(l.seed)))
}

// openLogin reads a login's cookie; nil where it is none of ours.
func (a *App) openLogin(id, value string) *login {
	sealed, err := base64url.DecodeString(value)
	if err != nil {
		return nil
	}
	seed, ok := a.open(nil, "login", "", id, sealed)
	if !ok || len(seed) != 8+32 {
		return nil
	}
	l := &login{seed: string(seed)}
	if l.id = l.secret("id")[:22]; l.id != id {
		return nil
	}
	return l
}

// loginOf is the login that a state belongs to, if its cookie came with the request.
func (a *App) loginOf(r *http.Request, state string) *login {
	if len(state) < 22 {
		return nil
	}
	for _, c := range r.CookiesNamed(a.cookieName(a.siteOf(r), state[:22]+"-")) {
		if l := a.openLogin(state[:22], c.Value); l != nil {
			return l
		}
	}
	return nil
}

// openState reads what travels inside state.
func (a *App) openState(state string) (l login, ok bool) {
	if len(state) < 22 {
		return login{}, false
	}
	sealed, err := base64url.DecodeString(state[22:])
	if err != nil {
		return login{}, false
	}
	plain, ok := a.open(nil, "state", "", state[:22], sealed)
	return l, ok && l.unpack(plain)
}

// pruneLogins removes the oldest logins that were begun and left, so that there is
// room for one more. Unreadable ones go first.
func (a *App) pruneLogins(w http.ResponseWriter, r *http.Request) {
	type cookie struct {
		kind  string
		began int64
		size  int
	}
	s := a.siteOf(r)
	suffix := "-" + a.suffix
	prefix := strings.TrimSuffix(a.cookieName(s, "-"), suffix)
	var all []cookie
	total := 0
	for _, c := range r.Cookies() {
		id, ok := strings.CutPrefix(c.Name, prefix)
		id, isLogin := strings.CutSuffix(id, suffix)
		if !ok || !isLogin || len(id) != 22 {
			continue
		}
		found := cookie{kind: id + "-", size: len(c.Name) + len(c.Value) + 3}
		if l := a.openLogin(id, c.Value); l != nil {
			found.began = l.began().Unix()
		}
		all, total = append(all, found), total+found.size
	}
	slices.SortStableFunc(all, func(x, y cookie) int { return cmp.Compare(x.began, y.began) })
	const another = 160 // bytes of the one to come
	for len(all) >= maxLogins || len(all) > 0 && total > maxLoginBytes-another {
		a.setCookie(w, s, all[0].kind, "", -1)
		total -= all[0].size
		all = all[1:]
	}
}

// misplaced tells whether a request is a callback of ours that reached another
// handler than Callback, and why. A page of the application may have the same
// parameters: ours answers a login of this browser, or comes to RedirectURI. A proxy
// may have taken the start of that path away.
func (a *App) misplaced(r *http.Request) error {
	query := r.URL.Query()
	if !query.Has("state") || !query.Has("code") && !query.Has("error") {
		return nil
	}
	s := a.siteOf(r)
	atRedirect := r.URL.Path != "" && strings.HasSuffix(s.path, r.URL.Path)
	if !atRedirect && a.loginOf(r, query.Get("state")) == nil {
		return nil
	}
	return &mistake{misplacedError{redirect: s.path, callback: a.opts.Prefix + "/callback"}}
}

// failMisplaced answers it. To try again at the same address would not help.
func (a *App) failMisplaced(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Referrer-Policy", "no-referrer") // the address holds the code
	a.fail(w, r, err, "")
}

// silentFailure reports whether prompt=none has brought nobody.
func silentFailure(err error) bool {
	var oauth *authpi.OAuthError
	return errors.As(err, &oauth) && slices.Contains([]string{
		"login_required", "interaction_required", "consent_required", "account_selection_required",
	}, oauth.Code)
}
