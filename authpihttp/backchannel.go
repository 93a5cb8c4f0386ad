package authpihttp

import (
	"context"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/bearer"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/signin"
)

// BackchannelOptions configure [BackchannelLogout]. A nil one is fine.
type BackchannelOptions struct {
	// Replays remembers logout tokens that were used. Nil: in this process, at most
	// a million of them. Set it where several processes answer for one client. They are
	// remembered for an hour after they expired: the client's ClockSkew must be
	// shorter.
	Replays Replays
}

// Replays remembers which logout tokens were used. It is safe for concurrent use.
type Replays interface {
	// Use remembers id until the given time, and reports whether it was not
	// remembered yet: of several calls at once one is first. It is SET NX in Redis.
	Use(ctx context.Context, id string, until time.Time) (first bool, err error)
	// Forget takes a use back, after a logout that failed, or a Use.
	Forget(ctx context.Context, id string) error
}

// BackchannelLogout answers the issuer's own requests to end sessions (OpenID
// Connect Back-Channel Logout 1.0), for an app that keeps sign-ins by itself:
// [App.Register] mounts [App.BackchannelLogout]. end gets each verified logout token
// once and ends the sessions that it names: those of its SessionID, or of its
// Subject where it has no SessionID.
//
// The issuer sends neither cookie nor origin: [http.CrossOriginProtection] lets it
// pass, but middleware that wants a CSRF token must exempt it. The answer is 200
// once end has returned nil. Otherwise it is 400 (section 2.8), also for a failure
// of end, and the token may then come again; a line in [slog.Default] says why. The
// context of end ends when the issuer hangs up.
func BackchannelLogout(client *authpi.IdpClient, end func(context.Context, authpi.LogoutToken) error, opts *BackchannelOptions) http.Handler {
	b := &backchannel{client: client, end: end, now: time.Now}
	if opts != nil {
		b.replays = opts.Replays
	}
	if b.replays == nil {
		b.replays = signin.Replays{Book: signin.New(client, &endpoint.Facts{Now: time.Now}, signin.Options{Store: signin.NewMemory(time.Now)})}
	}
	return b
}

// BackchannelLogout ends the sign-ins that the issuer's logout token names (OpenID
// Connect Back-Channel Logout 1.0), without walking through the store. A token is
// used once, among all processes that share a [ConditionalStore].
func (a *App) BackchannelLogout(w http.ResponseWriter, r *http.Request) {
	b := &backchannel{client: a.client, end: a.book.EndNamed, now: a.now, replays: signin.Replays{Book: a.book}}
	b.ServeHTTP(w, r)
}

// FrontchannelLogout is the page that the issuer shows in a hidden frame (OpenID
// Connect Front-Channel Logout 1.0). It ends the sign-ins of the session that iss
// and sid name, with or without a cookie: browsers send none into frames of another
// site.
func (a *App) FrontchannelLogout(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if !a.allow(w, r, http.MethodGet) {
		return
	}
	// The parameters as they stand: a sid may hold a raw semicolon.
	query, err := authpi.ParseCallback("?" + r.URL.RawQuery)
	iss, sid := query["iss"], query["sid"]
	if err == nil && len(iss) == 1 && len(sid) == 1 && sid[0] != "" && strings.TrimRight(iss[0], "/") == a.issuer {
		err = a.book.EndSession(r.Context(), sid[0])
	}
	if err != nil {
		a.fail(w, r, err, "")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusOK)
}

type backchannel struct {
	client  *authpi.IdpClient
	end     func(context.Context, authpi.LogoutToken) error
	replays Replays
	now     func() time.Time
}

func (b *backchannel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeJSON(w, http.StatusMethodNotAllowed, errorBody{"invalid_request", "post the logout token"})
		return
	}
	refused := b.logout(w, r)
	if refused == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	level := slog.LevelInfo // anybody may send one
	if refused.Error == codeLogoutFailed {
		level = slog.LevelWarn // this one is the issuer's
	}
	logRequest(r, level, http.StatusBadRequest, bearer.Quotable("back-channel logout: "+refused.Description+refused.cause))
	writeJSON(w, http.StatusBadRequest, refused.errorBody)
}

// refusedLogout is an answer, and what the log says besides.
type refusedLogout struct {
	errorBody
	cause string
}

const codeLogoutFailed = "logout_failed"

// logout ends the sessions that the request's token names, or returns why not.
func (b *backchannel) logout(w http.ResponseWriter, r *http.Request) *refusedLogout {
	raw, reason := logoutTokenOf(w, r)
	if reason != "" {
		return &refusedLogout{errorBody{"invalid_request", reason}, ""}
	}
	ctx := r.Context()
	token, err := b.client.VerifyLogoutToken(ctx, raw)
	if err != nil {
		refused := refusalFor(err)
		if refused.code == "" {
			setRetryAfter(w, err)
			return &refusedLogout{errorBody{"temporarily_unavailable", "the logout token cannot be verified now"}, ": " + err.Error()}
		}
		return &refusedLogout{errorBody{"invalid_request", bearer.Quotable(refused.description)}, ""}
	}
	switch first, err := b.endOnce(ctx, token); {
	case err != nil:
		setRetryAfter(w, err)
		return &refusedLogout{errorBody{codeLogoutFailed, "the sessions could not be ended; send it again"}, ": " + err.Error()}
	case !first:
		return &refusedLogout{errorBody{"invalid_request", "jti: the logout token was used before"}, ""}
	}
	return nil
}

// endOnce ends the sessions of a token that was not used before. It takes the use back
// if they go on, also in a panic, and where nobody knows whether it was noted.
func (b *backchannel) endOnce(ctx context.Context, token *authpi.LogoutToken) (first bool, err error) {
	id, done := signin.ReplayID(token), false
	defer func() {
		if !done {
			ctx, cancel := signin.Tidying(ctx)
			defer cancel()
			_ = b.replays.Forget(ctx, id)
		}
	}()
	first, err = b.replays.Use(ctx, id, signin.RememberUntil(token, b.now()))
	if err == nil && first {
		err = b.end(ctx, *token)
	}
	done = err == nil
	return first, err
}

// maxLogoutBody is far more than a logout token needs.
const maxLogoutBody = 128 << 10

func logoutTokenOf(w http.ResponseWriter, r *http.Request) (token, reason string) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", "the body must be a form"
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogoutBody)
	if err := r.ParseForm(); err != nil {
		return "", "the form cannot be read, or is too large"
	}
	values := r.PostForm["logout_token"]
	if len(values) != 1 || values[0] == "" {
		return "", "the form must hold one logout_token"
	}
	return values[0], ""
}
