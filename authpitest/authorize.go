package authpitest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	userField   = "user"   // of the sign-in form: who it is
	cancelField = "cancel" // of the sign-in form: nobody
	cookieName  = "authpitest_session"
)

var promptValues = []string{"none", "login", "consent", "select_account"}

// authCode is an authorization code that waits for its redemption.
type authCode struct {
	session                *session // not started
	redirectURI, challenge string
	expires                time.Time
	used                   bool
}

// visitor is who sits at the browser, as far as the server knows.
type visitor struct {
	userID string // empty: presses Cancel
}

// SignIn does what a browser would with an authorization URL, the user userID
// signing in, and returns the URL that the issuer redirects to, with code, state and
// session_state. A refusal by redirect, such as user_blocked, is such a URL too,
// with error and state. An empty userID presses Cancel: access_denied. With
// prompt=none in authURL the answer is login_required unless the user has signed in
// here before and not been signed out.
//
// It returns an error where a browser would be left with an error page: the client
// or its redirect URI are unknown, the user does not exist, or authURL is not this
// issuer's.
func (s *Server) SignIn(authURL, userID string) (callback string, err error) {
	r, err := http.NewRequest(http.MethodGet, authURL, nil)
	if err != nil {
		return "", errors.New("authpitest: sign in: the authorization URL cannot be read")
	}
	if r.URL.Host != s.host || r.URL.Path != s.path+"/authorize" {
		return "", fmt.Errorf("authpitest: sign in: not a URL of %s/authorize", s.base)
	}
	a, err := s.process(serverSide(r), &visitor{userID})
	if err != nil {
		return "", fmt.Errorf("authpitest: sign in: %w", err)
	}
	if location := a.header.Get("Location"); location != "" {
		return location, nil
	}
	if a.problem == "" {
		a.problem = "status " + strconv.Itoa(a.status)
	}
	return "", errors.New("authpitest: sign in: " + a.problem)
}

// authorize is the authorization endpoint, RFC 6749 section 3.1 and OIDC Core
// section 3.1.2.
func (s *Server) authorize(x *exchange) *answer {
	p := cloneValues(x.Form)
	delete(p, userField)
	delete(p, cancelField)
	c, problem := s.checkClient(p)
	if problem != nil {
		return problem
	}
	if fail := checkAuthorization(p); fail != nil {
		return s.refuse(x, p, fail.code, fail.description)
	}
	return s.answerLogin(x, c, p)
}

// checkClient returns the client that a request names, or what may not be answered by
// redirect.
func (s *Server) checkClient(p url.Values) (Client, *answer) {
	id, uri := p["client_id"], p["redirect_uri"]
	if len(id) != 1 {
		return Client{}, missing("client_id")
	}
	c, known := s.client(id[0])
	switch {
	case !known:
		return c, notRegistered("client_id", id[0], s.clientIDs(), "Options.ClientID (of the issuer command: -client-id)")
	case len(uri) != 1:
		return c, missing("redirect_uri")
	}
	change := "Options.RedirectURIs (of the issuer command: -redirect)"
	if c.ID != s.opts.ClientID {
		change = "Client.RedirectURIs (of the issuer command: redirect_uris in the file of -people)"
	}
	return c, checkReturn("redirect_uri", uri[0], c.RedirectURIs, change)
}

// answerLogin is what becomes of an authorization request that holds.
func (s *Server) answerLogin(x *exchange, c Client, p url.Values) *answer {
	switch {
	case slices.Contains(strings.Fields(p.Get("prompt")), "none"):
		b := s.findBrowser(x)
		if b == nil || tooOld(s.now().Sub(b.since), p.Get("max_age")) {
			return s.refuse(x, p, "login_required", "nobody is signed in")
		}
		return s.admit(x, p, b.userID, b)
	case x.visitor != nil && x.visitor.userID == "" || x.Method == http.MethodPost && x.PostForm.Has(cancelField):
		return s.refuse(x, p, "access_denied", "the user cancelled")
	case x.visitor != nil:
		return s.admit(x, p, x.visitor.userID, nil)
	case x.Method == http.MethodPost && x.PostForm.Has(userField):
		return s.admit(x, p, x.PostForm.Get(userField), nil)
	}
	return s.signInPage(c, p)
}

// checkAuthorization refuses what may be answered by redirect.
func checkAuthorization(p url.Values) *oauthError {
	switch {
	case repeats(p):
		return badRequest("invalid_request", "repeated parameter")
	case p.Has("request"):
		return badRequest("request_not_supported", "request objects are not supported")
	case p.Has("request_uri"):
		return badRequest("request_uri_not_supported", "request objects are not supported")
	case p.Get("response_type") != "code":
		return badRequest("unsupported_response_type", "response_type must be code")
	case p.Has("response_mode") && p.Get("response_mode") != "query":
		return badRequest("invalid_request", "response_mode must be query")
	case len(p.Get("code_challenge")) != 43: // a SHA-256 digest in base64url
		return badRequest("invalid_request", "a code_challenge is required")
	case p.Get("code_challenge_method") != "S256":
		return badRequest("invalid_request", "code_challenge_method must be S256")
	case !validPrompt(strings.Fields(p.Get("prompt"))):
		return badRequest("invalid_request", "prompt is not valid")
	case !validAge(p.Get("max_age")):
		return badRequest("invalid_request", "max_age is not a number of seconds")
	}
	_, fail := chooseResources(p["resource"], nil)
	return fail
}

func repeats(p url.Values) bool {
	for name, values := range p {
		if len(values) > 1 && name != "resource" {
			return true
		}
	}
	return false
}

func validPrompt(prompt []string) bool {
	return subset(prompt, promptValues) && (len(prompt) == 1 || !slices.Contains(prompt, "none"))
}

func validAge(maxAge string) bool {
	n, err := strconv.Atoi(maxAge)
	return maxAge == "" || err == nil && n >= 0
}

func tooOld(age time.Duration, maxAge string) bool {
	if maxAge == "" {
		return false
	}
	n, _ := strconv.Atoi(maxAge)
	return n == 0 || age > time.Duration(n)*time.Second
}

// findBrowser returns the sign-in that a request's cookie, or SignIn's user, already
// has.
func (s *Server) findBrowser(x *exchange) *browser {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.visitor == nil {
		cookie, err := x.Cookie(cookieName)
		if err != nil {
			return nil
		}
		return s.browsers[cookie.Value]
	}
	var newest *browser
	for _, b := range s.browsers {
		if b.userID == x.visitor.userID && (newest == nil || b.since.After(newest.since)) {
			newest = b
		}
	}
	return newest
}

// admit gives a user a code for the client. A nil b is somebody who signs in just
// now.
func (s *Server) admit(x *exchange, p url.Values, userID string, b *browser) *answer {
	now := s.now()
	login := now
	if b != nil {
		login = b.since
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[userID]
	org := p.Get("org")
	switch {
	case u == nil:
		return problemPage("The user does not exist.")
	case u.blocked:
		return s.refuse(x, p, "user_blocked", "the user is blocked")
	case org != "" && !s.isMember(userID, org):
		return s.refuse(x, p, "access_denied", "not a member of this organization")
	}
	scopes := splitScope(p.Get("scope"))
	if len(scopes) == 0 {
		scopes = []string{"openid"}
	}
	acr, _, _ := strings.Cut(strings.TrimSpace(p.Get("acr_values")), " ")
	ses := &session{
		id: "s_" + random(), userID: userID, clientID: p.Get("client_id"),
		scopes: scopes, resources: slices.Clone(p["resource"]), org: org,
		nonce: p.Get("nonce"), acr: acr, authTime: login, since: now,
	}
	s.sessions[ses.id] = ses
	code := random()
	s.codes[code] = &authCode{
		session: ses, redirectURI: p.Get("redirect_uri"), challenge: p.Get("code_challenge"),
		expires: now.Add(codeLifetime),
	}
	a := s.callback(x, p, url.Values{"code": {code}, "session_state": {random()}})
	if b == nil {
		a.header.Add("Set-Cookie", s.rememberBrowser(userID, login))
	}
	return a
}

// rememberBrowser starts a sign-in at the issuer and returns its cookie. The caller
// holds s.mu.
func (s *Server) rememberBrowser(userID string, since time.Time) string {
	id := random()
	s.browsers[id] = &browser{userID, since}
	return (&http.Cookie{
		Name: cookieName, Value: id, Path: s.path + "/", HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(s.base, "https:"),
	}).String()
}

func (s *Server) refuse(x *exchange, p url.Values, code, description string) *answer {
	return s.callback(x, p, url.Values{"error": {code}, "error_description": {description}})
}

// callback redirects to the client with state, and iss where announced (RFC 9207).
func (s *Server) callback(x *exchange, p, query url.Values) *answer {
	if state := p.Get("state"); state != "" {
		query.Set("state", state)
	}
	if s.opts.AnnounceIss {
		query.Set("iss", s.URL)
	}
	return redirectTo(x.Request, p.Get("redirect_uri"), query)
}

// redirectTo adds query to a target that was checked before.
func redirectTo(r *http.Request, target string, query url.Values) *answer {
	if len(query) > 0 {
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + query.Encode()
	}
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther // the browser must not post the form again
	}
	return &answer{status: status, header: http.Header{
		"Location":        {target},
		"Cache-Control":   {"no-store"},
		"Referrer-Policy": {"no-referrer"},
	}}
}
