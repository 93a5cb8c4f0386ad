package authpihttp

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Bounds of the logins that one browser may have under way.
const (
	maxLogins  = 8
	loginLife  = 10 * time.Minute
	maxAuthURL = 8 << 10 // no server takes a longer one
)

// login is one that is under way. Each tab may have its own.
type login struct {
	Auth     authpi.AuthorizationURL `json:"auth"`
	ReturnTo string                  `json:"return_to"`
	Started  int64                   `json:"started"` // seconds since the Unix epoch
}

// param is what the login asks the issuer for.
func (l login) param(name string) string {
	u, err := url.Parse(l.Auth.URL)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

// identity is the client that the login is for, at its issuer.
func (l login) identity() string {
	endpoint, _, _ := strings.Cut(l.Auth.URL, "?")
	return endpoint + " " + l.param("client_id")
}

// answers tells whether a callback with this state answers the login.
func (a *App) answers(l login, state string) bool {
	return state != "" && subtle.ConstantTimeCompare([]byte(l.Auth.State), []byte(state)) == 1 && l.identity() == a.identity
}

// Login starts a login and sends the browser to the issuer. The query parameter
// return_to is the path on this site to come back to; whatever is not plainly such
// a path counts as Options.Home. It answers GET and HEAD.
func (a *App) Login(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if !a.allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	if err := a.misplaced(r); err != nil {
		a.failMisplaced(w, r, err)
		return
	}
	var opts *authpi.AuthorizationOptions
	if a.opts.Authorize != nil {
		opts = a.opts.Authorize(r)
	}
	auth, err := a.client.CreateAuthorizationURL(a.opts.Scopes, opts)
	if err != nil {
		a.fail(w, r, &mistake{err}, a.opts.Home)
		return
	}
	if len(auth.URL) > maxAuthURL { // Authorize may have taken what the request says
		a.fail(w, r, errTooLong, a.opts.Home)
		return
	}
	ctx := r.Context()
	back := a.returnTo(r.URL.Query().Get("return_to"))
	a.putLogins(ctx, append(a.readLogins(ctx), login{*auth, back, time.Now().Unix()}))
	// Committed here and not with the response: the issuer's answer may be quick, and
	// a store that is down is found out before the user has signed in.
	if err := a.commit(ctx); err != nil {
		a.fail(w, r, err, "")
		return
	}
	redirect(w, auth.URL)
}

// takeLogin removes the login with this state from the session, so that it answers
// one callback, and gives it. It is nil where there is none. With errAnswered another
// request, which has a copy of the same session, is answering it just now: to send
// its code once more would end the sign-in (RFC 6749 section 4.1.2).
func (a *App) takeLogin(ctx context.Context, state string) (*login, error) {
	logins := a.readLogins(ctx)
	i := slices.IndexFunc(logins, func(l login) bool { return a.answers(l, state) })
	if i < 0 {
		return nil, nil
	}
	taken := logins[i]
	state = taken.Auth.State // the callback's is a part of the request line, which would stay in memory too
	const copiesEnd = time.Minute
	if first, _ := a.answered.Use(ctx, state, time.Now().Add(copiesEnd)); !first {
		return &taken, errAnswered
	}
	a.putLogins(ctx, slices.Delete(logins, i, i+1))
	err := a.commit(ctx)
	if err != nil {
		_ = a.answered.Forget(ctx, state) // nothing was sent: it may come again
	}
	return &taken, err
}

// readLogins gives the logins that may still be answered, the oldest first. What
// cannot be read is none.
func (a *App) readLogins(ctx context.Context) (logins []login) {
	if json.Unmarshal([]byte(a.sessions.GetString(ctx, keyLogins)), &logins) != nil {
		return nil
	}
	oldest := time.Now().Add(-loginLife).Unix()
	return slices.DeleteFunc(logins, func(l login) bool { return l.Started <= oldest })
}

func (a *App) putLogins(ctx context.Context, logins []login) {
	text := ""
	if len(logins) > 0 {
		data, _ := json.Marshal(logins[max(0, len(logins)-maxLogins):]) // texts and numbers
		text = string(data)
	}
	a.sessions.Put(ctx, keyLogins, text)
}
