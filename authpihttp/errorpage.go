package authpihttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strconv"

	authpi "github.com/authpi/authpi-idp-go"
)

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
	var body bytes.Buffer
	_ = errorPage.Execute(&body, newPage(r, text, err))
	writeBody(w, status, body.Bytes())
}

// errorBody is how programs are told (RFC 6749 section 5.2).
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	var text bytes.Buffer
	_ = json.NewEncoder(&text).Encode(body)
	writeBody(w, status, text.Bytes())
}

// writeBody says how long the body is. Sessions that could not be stored are found
// out when a page is being written, so its rest may follow: it is cut off there.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
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
