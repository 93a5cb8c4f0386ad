package authpihttp

import (
	"encoding/json"
	"errors"
	"html/template"
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
func (a *App) Unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if !isLabelled(err) {
		err = &storeError{err}
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
	case errors.Is(err, ErrNotSignedIn), errors.Is(err, ErrForbidden), errors.Is(err, errCrossOrigin), errors.Is(err, errMethod):
		return
	}
	const longest = 256 // of what anybody may send
	slog.Default().Log(r.Context(), level, "authpihttp: request failed",
		"method", cut(r.Method, longest), "path", cut(r.URL.Path, longest), "status", status, "error", err)
}

func cut(text string, longest int) string { return text[:min(len(text), longest)] }

// WriteError is the answer of this package where Options.Error is nil: a plain page
// for people, JSON for programs, told apart by Accept. It says what to do, and
// nothing of err. It does not log.
func WriteError(w http.ResponseWriter, r *http.Request, status int, err error) {
	text := messageOf(status, err)
	h := w.Header()
	h.Add("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	if !wantsPage(r) {
		writeJSON(w, status, errorBody{text.code, text.message})
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_ = errorPage.Execute(w, newPage(r, text, err))
}

// errorBody is how programs are told (RFC 6749 section 5.2).
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

type message struct{ code, title, message string }

// messageOf is what people and programs are told.
func messageOf(status int, err error) message {
	switch {
	case errors.Is(err, authpi.ErrUserBlocked):
		return message{"user_blocked", "You cannot sign in", "This account is blocked. Please ask whoever runs this site."}
	case errors.Is(err, authpi.ErrAccountLinkingRequired):
		return message{"account_linking_required", "Your accounts are not linked yet", "Please sign in the way you did before, and link this one in your account."}
	case errors.Is(err, errCrossOrigin):
		return message{"cross_origin", "That did not come from this site", "Please go back and press the button here."}
	case errors.Is(err, errTooLong):
		return message{"invalid_request", "Sign-in did not work", "The address that you came by is too long."}
	case errors.Is(err, errNoEntry):
		return message{"access_denied", "You are not signed in there", "It was cancelled, or your account does not belong to this organization."}
	}
	switch status {
	case http.StatusBadRequest:
		return message{"invalid_request", "Sign-in did not work", "It took too long, was already used, or was started in another browser. Please try again."}
	case http.StatusUnauthorized:
		return message{"login_required", "Please sign in", "You are not signed in, or no longer."}
	case http.StatusForbidden:
		if errors.Is(err, ErrForbidden) {
			return message{"forbidden", "Not allowed", "Your account may not do this here."}
		}
		return message{"access_denied", "Sign-in was cancelled", "You can try again whenever you like."}
	case http.StatusMethodNotAllowed:
		return message{"method_not_allowed", "That cannot be opened", "This address is for a form."}
	case http.StatusServiceUnavailable:
		return message{"temporarily_unavailable", "One moment, please", "Something we need is not answering. Please try again in a few seconds."}
	}
	return message{"server_error", "Something is wrong here", "It is our fault, not yours. Please try again later."}
}

type page struct {
	Title, Message string
	Offer          bool   // whether trying again makes sense
	Again          string // where; empty: this very address
	Home           string // empty: it is of no use
}

// newPage leads on from every error: a form cannot be sent again by a link, and what
// is forbidden stays so.
func newPage(r *http.Request, text message, err error) page {
	p := page{Title: text.title, Message: text.message}
	var f *failure
	if errors.As(err, &f) {
		p.Again, p.Home = f.again, f.home
	}
	switch {
	case p.Again != "" && p.Again == p.Home:
		p.Again = ""
	case r.Method == http.MethodGet && r.URL.Path == p.Home:
		p.Offer, p.Home = true, ""
	default:
		p.Offer = p.Again != "" || r.Method == http.MethodGet
	}
	return p
}

var errorPage = template.Must(template.New("error").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<style>
body { font: 1.1rem/1.6 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 34rem; margin: 15vh auto; padding: 0 1.5rem }
h1 { font-size: 1.6rem }
a { color: #0b57d0 }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #181818 } a { color: #a8c7fa } }
</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Message}}</p>
{{if .Offer}}<p><a href="{{.Again}}">Try again</a></p>
{{end}}{{with .Home}}<p><a href="{{.}}">To the start page</a></p>
{{end -}}
</main>
</body>
</html>
`))
