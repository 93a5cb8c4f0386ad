package authpihttp

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// guard is what [App.RequireRecent] wants of a sign-in.
type guard struct {
	maxAge time.Duration // 0: any; negative: begun by this guard
	acr    []string      // one of them; none: any
}

func (g guard) id() string {
	return name("authpihttp guard", strconv.FormatInt(int64(g.maxAge), 10), strings.Join(g.acr, " "))
}

// freshLife is how long a sign-in that a guard has begun counts for its page.
const freshLife = time.Minute

// RequireRecent lets those through, behind [App.RequireAgent], who have signed in to
// the issuer no longer than maxAge ago, and by one of the authentication contexts acr.
// It goes by auth_time and acr of the ID token.
//
//	mux.Handle("POST /orgs/{org}/delete", app.RequireAgent(app.RequireRecent(5*time.Minute)(del)))
//
// A maxAge of 0 does not look at the age. A negative one asks the user to sign in for
// this page, which then is good for a minute. Others are sent to the issuer once; where
// that does not bring what is wanted, the answer is 403 until they sign in anew. A
// program gets 401. It panics where it would want nothing.
func (a *App) RequireRecent(maxAge time.Duration, acr ...string) func(http.Handler) http.Handler {
	g := guard{maxAge, slices.Clone(acr)}
	if maxAge == 0 && len(acr) == 0 {
		panic("authpihttp: RequireRecent needs an age or an authentication context")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, ok := r.Context().Value(callerKey{}).(caller)
			switch {
			case isPreflight(r):
				next.ServeHTTP(w, r)
			case !ok:
				noStore(w)
				logAndWrite(w, r, http.StatusInternalServerError, errNobody)
			case a.satisfies(r, c, g):
				next.ServeHTTP(w, r)
			case c.signIn != nil && c.signIn.last() != nil && c.signIn.last().failed == g.id():
				a.fail(w, r, errNotRecent, "")
			case a.opts.IsPage(r):
				a.askToSignIn(w, r, a.loginFor(a.wayBack(r), "guard", a.sealGuard(g)))
			default:
				a.fail(w, r, errStepUp, "")
			}
		})
	}
}

func (a *App) satisfies(r *http.Request, c caller, g guard) bool {
	rec := record{}
	if c.signIn != nil && c.signIn.last() != nil {
		rec = *c.signIn.last()
	}
	// A refresh may bring no ID token, or one that says nothing of the sign-in.
	if c.signIn == nil || c.agent.Tokens.IDToken != "" {
		claims := claimsOf(c.agent)
		rec.authTime, rec.acr = cmp.Or(claims.authTime, rec.authTime), cmp.Or(claims.acr, rec.acr)
	}
	if len(g.acr) > 0 && !slices.Contains(g.acr, rec.acr) {
		return false
	}
	now := a.now()
	switch {
	case g.maxAge > 0:
		return rec.authTime > 0 && !now.After(time.Unix(rec.authTime, 0).Add(g.maxAge+a.skew))
	case g.maxAge < 0:
		return rec.recent == pageOf(g.id(), a.wayBack(r)) && !now.After(time.Unix(rec.begun, 0).Add(freshLife))
	}
	return true
}

// judge notes in a new record whether a guard's login brought what that wants.
func (l *login) judge(rec *record, skew time.Duration) {
	if l.guard == "" {
		return
	}
	since := l.began()
	if l.maxAge > 0 {
		since = time.Unix(rec.begun, 0).Add(-l.maxAge)
	}
	recent := l.maxAge == 0 || rec.authTime > 0 && !time.Unix(rec.authTime, 0).Before(since.Add(-skew))
	if !recent || len(l.acr) > 0 && !slices.Contains(l.acr, rec.acr) {
		rec.failed = l.guard
		return
	}
	rec.recent = pageOf(l.guard, l.back)
}

// pageOf names a guard's page.
func pageOf(guard, address string) string {
	page, _, _ := strings.Cut(address, "?")
	return guard + page
}

// apply asks the issuer for what the guard wants.
func (g guard) apply(l *login, opts *authpi.AuthorizationOptions) {
	l.guard, l.acr = g.id(), g.acr
	opts.MaxAge = g.maxAge
	if len(g.acr) > 0 {
		opts.ACRValues = g.acr
	}
	if opts.Prompt = slices.DeleteFunc(slices.Clone(opts.Prompt), func(p string) bool { return p == "none" }); len(opts.Prompt) == 0 {
		opts.Prompt = nil
	}
}

// A guard's wish travels through the login's address, sealed.

func (a *App) sealGuard(g guard) string {
	plain := pack(strconv.FormatInt(int64(g.maxAge), 10), strings.Join(g.acr, " "))
	return base64url.EncodeToString(a.seal("guard", "", "", plain))
}

func (a *App) openGuard(text string) (g guard, ok bool) {
	sealed, err := base64url.DecodeString(text)
	if err != nil || text == "" {
		return guard{}, false
	}
	plain, ok := a.open(nil, "guard", "", "", sealed)
	if !ok {
		return guard{}, false
	}
	p, _, ok := unpack(plain, 2)
	if !ok {
		return guard{}, false
	}
	age, err := strconv.ParseInt(p[0], 10, 64)
	return guard{time.Duration(age), strings.Fields(p[1])}, err == nil
}

// RequireRecent refuses, behind [Bearer.Require], access tokens whose user has signed
// in longer ago than maxAge, or by none of the authentication contexts acr, with 401
// and insufficient_user_authentication (RFC 9470 section 3).
//
// A maxAge of 0 does not look at the age. It panics for another one unless
// BearerOptions.AccessTokensCarryLoginTime is set: auth_time of AuthPI's access tokens
// is their own iat. It also panics for a negative age, and where it would want nothing.
func (b *Bearer) RequireRecent(maxAge time.Duration, acr ...string) func(http.Handler) http.Handler {
	switch {
	case maxAge < 0:
		panic("authpihttp: Bearer.RequireRecent needs an age that is not negative")
	case maxAge > 0 && !b.opts.AccessTokensCarryLoginTime:
		panic("authpihttp: Bearer.RequireRecent can go by no age: see BearerOptions.AccessTokensCarryLoginTime")
	case maxAge == 0 && len(acr) == 0:
		panic("authpihttp: RequireRecent needs an age or an authentication context")
	}
	acr = slices.Clone(acr)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, ok := r.Context().Value(callerKey{}).(caller)
			if isPreflight(r) {
				next.ServeHTTP(w, r)
				return
			}
			if !ok {
				noStore(w)
				logAndWrite(w, r, http.StatusInternalServerError, errNobody)
				return
			}
			claims := claimsOf(c.agent)
			old := maxAge > 0 && (claims.authTime <= 0 || b.now().After(time.Unix(claims.authTime, 0).Add(maxAge+b.skew)))
			if !old && (len(acr) == 0 || slices.Contains(acr, claims.acr)) {
				next.ServeHTTP(w, r)
				return
			}
			why := refusal{status: http.StatusUnauthorized, code: codeStepUp, cause: errStepUp, acr: strings.Join(acr, " ")}
			why.description = "a more recent or a stronger sign-in is required"
			if maxAge > 0 {
				why.maxAge = strconv.FormatInt(int64((maxAge+time.Second-1)/time.Second), 10)
			}
			b.refuse(w, r, why)
		})
	}
}
