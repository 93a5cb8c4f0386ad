package authpihttp

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// ErrorFunc answers a request that failed, with status. The headers that the status
// asks for, such as Retry-After or WWW-Authenticate, and Cache-Control are set
// already. err is for the log and for [errors.Is] and [errors.As]: it wraps what
// package authpi returned. It holds no token, but show it to nobody.
//
//	opts.Error = func(w http.ResponseWriter, r *http.Request, status int, err error) {
//		slog.ErrorContext(r.Context(), "sign-in", "status", status, "error", err)
//		authpihttp.WriteError(w, r, status, err)
//	}
type ErrorFunc func(w http.ResponseWriter, r *http.Request, status int, err error)

// What requests are refused for, besides the errors of package authpi.
const (
	// ErrNotSignedIn: nobody is signed in here, or no longer.
	ErrNotSignedIn = sentinel("not signed in")
	// ErrForbidden: the caller may not do this, or not in this organization.
	ErrForbidden = sentinel("not allowed")

	errMethod      = sentinel("the method is not allowed here")
	errNoClient    = sentinel("NewBearer needs a client")
	errNobody      = sentinel("RequireAccess stands behind neither RequireAgent nor Bearer")
	errNoLogin     = sentinel("the callback answers no login of this browser")
	errCrossOrigin = sentinel("the request came from another site")
	errEnded       = sentinel("signed out meanwhile")
	errTooLong     = sentinel("the login's address is too long")
	errAnswered    = sentinel("the callback is being answered by another request")
	errNoEntry     = sentinel("no sign-in to this organization")
	errOvertaken   = sentinel("the session was refreshed by another request meanwhile")
)

// sentinel is an error that equals itself. As a constant it cannot be replaced.
type sentinel string

func (s sentinel) Error() string { return "authpihttp: " + string(s) }

// failure is an error with the addresses to go on from.
type failure struct {
	cause error
	again string // where to try again; empty: the same address
	home  string
}

func (e *failure) Error() string { return e.cause.Error() }
func (e *failure) Unwrap() error { return e.cause }

// mistake is one in the application's own setup: nothing that the user did, whatever
// code the cause has.
type mistake struct{ cause error }

func (e *mistake) Error() string { return e.cause.Error() }
func (e *mistake) Unwrap() error { return e.cause }

// retryPause is what Retry-After says where the issuer does not.
const retryPause = 5 * time.Second

// fail answers a request by what went wrong. again is where to try again, empty for
// the same address.
func (a *App) fail(w http.ResponseWriter, r *http.Request, err error, again string) {
	noStore(w)
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		setRetryAfter(w, err)
	}
	defer beginAnswer(w, status)()
	a.opts.Error(w, r, status, &failure{err, again, a.opts.Home})
}

func (a *App) forbid(w http.ResponseWriter, r *http.Request, _ string) {
	a.fail(w, r, ErrForbidden, a.opts.Home)
}

// Unavailable answers a request that failed for a passing reason: 503 with
// Retry-After. So does a session that could not be loaded or stored, of which scs
// tells an ErrorFunc:
//
//	sessions.ErrorFunc = app.Unavailable
//
// Where an App is answering the request with an error just now, that one stays, and
// a line in [slog.Default] tells of this one unless both are a 503.
func (a *App) Unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if !isLabelled(err) {
		err = &storeError{err}
	}
	if status := answerOf(w); status != 0 {
		if status != http.StatusServiceUnavailable {
			logFailure(r, http.StatusServiceUnavailable, err)
		}
		return
	}
	a.fail(w, r, &passing{err}, "")
}

// passing is an error that counts as such, whatever it is.
type passing struct{ cause error }

func (e *passing) Error() string { return e.cause.Error() }
func (e *passing) Unwrap() error { return e.cause }

// isLabelled tells whether an error says where it comes from, as those of this
// package and of package authpi do.
func isLabelled(err error) bool {
	var (
		oauth *authpi.OAuthError
		store *storeError
		own   sentinel
	)
	return errors.As(err, &oauth) || errors.As(err, &store) || errors.As(err, &own)
}

// statusOf tells whose fault an error is: the request's, the configuration's, or
// nobody's, and then it may pass.
func statusOf(err error) int {
	var store *storeError
	var oauth *authpi.OAuthError
	var own *mistake
	var away *passing
	switch {
	case errors.As(err, &own):
		return http.StatusInternalServerError
	case errors.As(err, &away), errors.As(err, &store), errors.Is(err, errOvertaken):
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrNotSignedIn):
		return http.StatusUnauthorized
	case errors.Is(err, ErrForbidden), errors.Is(err, errCrossOrigin):
		return http.StatusForbidden
	case errors.Is(err, errNoLogin), errors.Is(err, errTooLong):
		return http.StatusBadRequest
	case errors.As(err, &oauth):
		return statusOfOAuth(oauth)
	}
	return http.StatusInternalServerError
}

func statusOfOAuth(e *authpi.OAuthError) int {
	switch e.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return http.StatusServiceUnavailable
	}
	switch {
	case e.StatusCode >= http.StatusInternalServerError:
		return http.StatusServiceUnavailable
	case e.Code == "transport_error", e.Code == "server_error", e.Code == "temporarily_unavailable":
		return http.StatusServiceUnavailable
	case isDenied(e), errors.Is(e, authpi.ErrUserBlocked):
		return http.StatusForbidden
	case e.Code == "invalid_request", authpi.SessionEnded(e):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// isDenied tells a refusal of the user, or of the issuer in their name.
func isDenied(err error) bool {
	var oauth *authpi.OAuthError
	return errors.As(err, &oauth) && oauth.Code == "access_denied"
}

func setRetryAfter(w http.ResponseWriter, err error) {
	pause := retryPause
	var oauth *authpi.OAuthError
	if errors.As(err, &oauth) && oauth.RetryAfter > 0 {
		pause = oauth.RetryAfter
	}
	seconds := int64((pause + time.Second - 1) / time.Second)
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
}

// logAndWrite is where Options.Error is nil: nobody else would hear of a mistake in
// the setup, or why logins do not work.
func logAndWrite(w http.ResponseWriter, r *http.Request, status int, err error) {
	logFailure(r, status, err)
	WriteError(w, r, status, err)
}

// logFailure leaves out what happens every day. The path goes without its query,
// which may hold a code.
func logFailure(r *http.Request, status int, err error) {
	level := slog.LevelWarn
	switch {
	case status >= http.StatusInternalServerError:
		level = slog.LevelError
	case errors.Is(err, ErrNotSignedIn), errors.Is(err, ErrForbidden), isDenied(err), errors.Is(err, errCrossOrigin), errors.Is(err, errMethod):
		return
	}
	const longest = 256 // of what anybody may send
	slog.Default().Log(r.Context(), level, "authpihttp: request failed",
		"method", cut(r.Method, longest), "path", cut(r.URL.Path, longest), "status", status, "error", err)
}

func cut(text string, longest int) string { return text[:min(len(text), longest)] }
