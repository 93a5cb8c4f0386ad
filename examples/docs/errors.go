package docs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// appSession is the request's session in an app without authpihttp.
type appSession struct {
	Tokens authpi.TokenSet
	Drop   func()
}

// home shows the page, asks to sign in, or asks to try again.
func home(w http.ResponseWriter, r *http.Request, client *authpi.IdpClient, session appSession, opts *authpi.AgentOptions) {
	agent, err := client.CreateAgent(r.Context(), session.Tokens, opts)
	switch {
	case err == nil:
		// go on with agent
	case authpi.SessionEnded(err):
		session.Drop()
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	default:
		slog.ErrorContext(r.Context(), "session", "error", err)
		wait := 5 * time.Second
		var e *authpi.OAuthError
		if errors.As(err, &e) && e.RetryAfter > 0 {
			wait = e.RetryAfter
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
		http.Error(w, "please try again in a moment", http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprint(w, agent.ID)
}
