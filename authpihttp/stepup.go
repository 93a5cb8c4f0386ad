package authpihttp

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/intent"
	"github.com/authpi/authpi-idp-go/internal/signin"
)

// RequireRecent, behind [App.RequireAgent], lets users pass who have signed in to
// the issuer within maxAge, and by one of the authentication contexts acr. It reads
// auth_time and acr of the ID token.
//
//	mux.Handle("POST /orgs/{org}/delete", app.RequireAgent(app.RequireRecent(5*time.Minute)(del)))
//
// Others are sent to the issuer once; if that does not help, the answer is 403 until
// they sign in again, and for an Agent of [WithAgent] at once. A program gets 401. A
// maxAge of 0 means any age. A negative one asks for a sign-in for this page, which
// then counts for a minute. RequireRecent panics if it is to require nothing, or an
// empty context.
func (a *App) RequireRecent(maxAge time.Duration, acr ...string) func(http.Handler) http.Handler {
	g := signin.Guard{MaxAge: maxAge, ACR: slices.Clone(acr)}
	mustRequire(maxAge, acr)
	return behind(func(w http.ResponseWriter, r *http.Request, c caller) bool {
		var rec *signin.Record
		if c.signIn != nil {
			rec = c.signIn.Last()
		}
		switch {
		case a.book.Satisfied(g, rec, c.agent, a.wayBack(r)):
			return true
		case a.book.GivesUp(g, rec, a.wayBack(r)):
			a.fail(w, r, errNotRecent, "")
		case a.opts.IsPage(r) || intent.Prefetch(r):
			a.askToSignIn(w, r, a.loginFor(a.wayBack(r), "guard", a.book.SealGuard(g)))
		default:
			a.fail(w, r, errStepUp, "")
		}
		return false
	})
}

// mustRequire panics for what requires nothing: an empty context would be that of
// every token without acr.
func mustRequire(maxAge time.Duration, acr []string) {
	if maxAge == 0 && len(acr) == 0 {
		panic("authpihttp: RequireRecent needs an age or an authentication context")
	}
	if slices.ContainsFunc(acr, func(one string) bool { return one == "" || strings.Contains(one, " ") }) {
		panic("authpihttp: RequireRecent needs each authentication context for itself, and none that is empty")
	}
}

// RequireRecent, behind [Bearer.Require], refuses access tokens whose user signed in
// longer ago than maxAge, or by none of the authentication contexts acr, with 401
// and insufficient_user_authentication (RFC 9470 section 3).
//
// A maxAge of 0 means any age. Any other one panics unless
// BearerOptions.AccessTokensCarryLoginTime is set, since auth_time of AuthPI's
// access tokens is their own iat. RequireRecent also panics for a negative age, and
// if it is to require nothing, or an empty context.
func (b *Bearer) RequireRecent(maxAge time.Duration, acr ...string) func(http.Handler) http.Handler {
	switch {
	case maxAge < 0:
		panic("authpihttp: Bearer.RequireRecent needs an age that is not negative")
	case maxAge > 0 && !b.opts.AccessTokensCarryLoginTime:
		panic("authpihttp: Bearer.RequireRecent can go by no age: see BearerOptions.AccessTokensCarryLoginTime")
	}
	mustRequire(maxAge, acr)
	acr = slices.Clone(acr)
	why := refusal{status: http.StatusUnauthorized, code: codeStepUp, cause: errStepUp, acr: strings.Join(acr, " ")}
	why.description = "a more recent or a stronger sign-in is required"
	if maxAge > 0 {
		why.maxAge = strconv.FormatInt(int64((maxAge+time.Second-1)/time.Second), 10)
	}
	return behind(func(w http.ResponseWriter, r *http.Request, c caller) bool {
		claims := signin.ClaimsOf(c.agent)
		old := maxAge > 0 && (claims.AuthTime <= 0 || b.now().After(time.Unix(claims.AuthTime, 0).Add(maxAge+b.skew)))
		if old || len(acr) > 0 && !slices.Contains(acr, claims.ACR) {
			b.refuse(w, r, why)
			return false
		}
		return true
	})
}
