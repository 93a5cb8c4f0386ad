package authpihttp

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/intent"
)

// WriteError answers a refused request as this package does if Options.Error is nil:
// by a plain page for people, by JSON for programs, as Accept or Options.IsPage
// says. The answer says what to do, and nothing about err. WriteError does not log.
func WriteError(w http.ResponseWriter, r *http.Request, status int, err error) {
	text, isPage := messageOf(status, err), intent.Page(r)
	var f *failure
	if errors.As(err, &f) {
		isPage = f.isPage
	} else {
		f = &failure{}
	}
	w.Header().Add("Vary", "Accept")
	if !isPage {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		writeJSON(w, status, errorBody{text.code, text.message})
		return
	}
	writePage(w, status, page{Title: text.title, Message: text.message, Again: f.again, SignOut: f.signOut, Home: f.home})
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

func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

type message struct{ code, title, message string }

// messageOf is what people and programs are told.
func messageOf(status int, err error) message {
	for _, m := range [...]struct {
		of error
		message
	}{
		{authpi.ErrUserBlocked, message{"user_blocked", "You cannot sign in", "This account is blocked. Please ask whoever runs this site."}},
		{authpi.ErrAccountLinkingRequired, message{"account_linking_required", "Your accounts are not linked yet", "Please sign in the way you did before, and link this one in your account."}},
		{authpi.ErrInvalidOrganization, message{"invalid_organization", "You are not signed in there", "The sign-in was for another organization. Please try again."}},
		{errCrossOrigin, message{"cross_origin", "That did not come from this site", "Please go back and press the button here."}},
		{errTooLong, message{"invalid_request", "Sign-in did not work", "The address that you came by is too long."}},
		{errForeign, message{"invalid_request", "Sign-in did not work", "The link that you came by is not for this site."}},
		{errNoCookies, message{"cookies_required", "Your browser keeps no cookies for this site", "Signing in needs them. Please allow cookies for this site, and try again."}},
		{errNoLogin, message{"invalid_request", "Sign-in did not work", "Your browser did not bring back what it was given when the sign-in began. Please allow cookies for this site, and try again."}},
		{errNoEntry, message{"access_denied", "You are not signed in there", "It was cancelled, or your account does not belong to this organization."}},
		{errNotRecent, message{codeStepUp, "This needs a stronger sign-in", "The last sign-in was not what this page asks for. Please sign out, and sign in again."}},
		{errStepUp, message{codeStepUp, "Please sign in again", "This needs a more recent or a stronger sign-in."}},
	} {
		if errors.Is(err, m.of) {
			return m.message
		}
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

// page is one of this package's own: a message, and the ways on from it. An empty
// way is left out.
type page struct {
	Title, Message string
	Again          string // a login
	SignOut        string // the logout handler
	Home           string

	Action, Button string // a form to post
	Fields         url.Values
	Submit         bool // by a script, where there is one
}

// submitScript stands in page.html; the policy allows it by its hash.
const submitScript = "document.forms[0].submit()"

// writePage writes a page. No form-action is set: browsers hold the issuer's
// redirects after a logout against it, too.
func writePage(w http.ResponseWriter, status int, p page) {
	policy := "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
	if p.Submit {
		sum := sha256.Sum256([]byte(submitScript))
		policy += "; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	var body bytes.Buffer
	_ = pages.Execute(&body, p)
	writeBody(w, status, body.Bytes())
}

//go:embed page.html
var pageHTML string

var pages = template.Must(template.New("page").Parse(pageHTML))
