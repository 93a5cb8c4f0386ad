package authpihttp

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/signin"
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
//
// If a login failed, ReturnTo returns the address that it would have come back to:
//
//	var way interface{ ReturnTo() string }
//	if errors.As(err, &way) && way.ReturnTo() != "" { ... }
type ErrorFunc func(w http.ResponseWriter, r *http.Request, status int, err error)

// Reasons for refusing a request, besides the errors of package authpi.
const (
	// ErrNotSignedIn: nobody is signed in here, or no longer.
	ErrNotSignedIn = signin.ErrNotSignedIn
	// ErrForbidden: the caller may not do this, or not in this organization.
	ErrForbidden = sentinel("not allowed")

	errMethod       = sentinel("the method is not allowed here")
	errNoClient     = sentinel("NewBearer needs a client")
	errNobody       = sentinel("the guard stands behind neither RequireAgent nor Bearer.Require")
	errNoLogin      = sentinel("the callback answers no login of this browser")
	errNoCookies    = sentinel("the browser keeps no cookies")
	errCrossOrigin  = sentinel("the request came from another site")
	errTooLong      = sentinel("the login's address is too long")
	errForeign      = sentinel("the login was asked for by another issuer, or for another site")
	errAnswered     = sentinel("the callback was answered by another process")
	errNoEntry      = sentinel("no sign-in to this organization")
	errNotRecent    = sentinel("the sign-in did not bring the age or context that the page wants")
	errStepUp       = sentinel("a more recent or a stronger sign-in is needed")
	errPanicked     = sentinel("Options.SignedIn panicked")
	errOwnState     = sentinel("Options.Authorize may set neither State nor Nonce")
	errResponseMode = sentinel("the response_mode must be query: a cross-site POST carries no cookie")
)

// codeStepUp is the code of RFC 9470 section 3.
const codeStepUp = "insufficient_user_authentication"

// sentinel is an error that equals itself.
type sentinel = signin.Error

// failure is an error with the ways on from it.
type failure struct {
	cause                error
	isPage               bool
	again, signOut, home string // addresses; empty: of no use
	back                 string // where the login would have gone
}

func (e *failure) Error() string    { return e.cause.Error() }
func (e *failure) Unwrap() error    { return e.cause }
func (e *failure) ReturnTo() string { return e.back }

// mistake is one in the application's own setup: nothing that the user did, whatever
// code the cause has.
type mistake struct{ cause error }

func (e *mistake) Error() string { return e.cause.Error() }
func (e *mistake) Unwrap() error { return e.cause }

// pageError keeps the issuer's refusals in the middle of somebody's work from
// passing for a login that did not work.
func pageError(err error) error {
	var oauth *authpi.OAuthError
	if status := statusOf(err); errors.As(err, &oauth) && !errors.Is(err, ErrNotSignedIn) && status < http.StatusInternalServerError {
		return &mistake{err}
	}
	return err
}

// retryPause is what Retry-After says where the issuer does not.
const retryPause = 5 * time.Second

// fail answers a request by what went wrong. again is a login, empty where none
// would help. No way leads back to the address that failed.
func (a *App) fail(w http.ResponseWriter, r *http.Request, err error, again string) {
	noStore(w)
	f := &failure{cause: err}
	_ = errors.As(err, &f) // one that knows the way back
	f.isPage, f.again, f.home = a.opts.IsPage(r), again, a.home()
	if len(a.signInCookies(r)) > 0 {
		f.signOut = a.logoutPath()
	}
	if f.again == "" && f.signOut == "" {
		f.again = a.loginPath()
	}
	here, _, _ := strings.Cut(a.here(r), "?")
	for _, way := range []*string{&f.again, &f.home} {
		place, _, _ := strings.Cut(*way, "?")
		switch {
		case place == here && r.Method == http.MethodGet:
			*way = ""
		case place != "" && a.otherLoopback(r): // the cookies are the other host's
			*way = a.siteOf(r).Origin + *way
		}
	}
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		setRetryAfter(w, err)
	}
	a.opts.Error(w, r, status, f)
}

func (a *App) forbid(w http.ResponseWriter, r *http.Request, _ string) {
	a.fail(w, r, ErrForbidden, "")
}

// statusOf says whose fault an error is: the request's, the configuration's, or
// nobody's, and then it may pass.
func statusOf(err error) int {
	var store *signin.StoreError
	var size *signin.SizeError
	var oauth *authpi.OAuthError
	var own *mistake
	var said sentinel
	switch {
	case errors.As(err, &own), errors.As(err, &size):
		return http.StatusInternalServerError
	case errors.As(err, &store), errors.Is(err, signin.ErrOvertaken):
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrNotSignedIn), errors.Is(err, errStepUp):
		return http.StatusUnauthorized
	case errors.Is(err, ErrForbidden), errors.Is(err, errCrossOrigin), errors.Is(err, errNotRecent):
		return http.StatusForbidden
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed
	case errors.As(err, &oauth):
		return statusOfOAuth(oauth)
	case errors.As(err, &said):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

func statusOfOAuth(e *authpi.OAuthError) int {
	passing := []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}
	switch {
	case e.StatusCode >= http.StatusInternalServerError, slices.Contains(passing, e.StatusCode),
		e.Code == "refresh_error" && e.StatusCode == 0: // the store did not answer in time
		return http.StatusServiceUnavailable
	case e.Code == "invalid_response" && !authpi.SessionEnded(e): // a gateway's page, perhaps
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

// isDenied reports whether the user, or the issuer in their name, has refused.
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
	case errors.Is(err, ErrNotSignedIn), errors.Is(err, ErrForbidden), isDenied(err), errors.Is(err, errCrossOrigin), errors.Is(err, errMethod),
		errors.Is(err, errStepUp), errors.Is(err, errNotRecent):
		return
	}
	logRequest(r, level, status, err)
}

func logRequest(r *http.Request, level slog.Level, status int, err any) {
	const longest = 256 // of what anybody may send
	slog.Default().Log(r.Context(), level, "authpihttp: request failed",
		"method", cut(r.Method, longest), "path", cut(r.URL.Path, longest), "status", status, "error", err)
}

func cut(text string, longest int) string { return text[:min(len(text), longest)] }
