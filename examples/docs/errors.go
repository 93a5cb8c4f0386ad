package docs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// appSession is what an app without authpihttp has of the request's session.
type appSession struct {
	Tokens authpi.TokenSet
	Drop   func()
}

// home answers by what became of the session.
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

// refreshed is the piece of refresh.md.
func refreshed(ctx context.Context, client *authpi.IdpClient, store Store, tokens authpi.TokenSet, sessionID string) (*authpi.Agent, error) {
	agent, err := client.CreateAgent(ctx, tokens, &authpi.AgentOptions{
		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error {
			return store.Save(ctx, sessionID, tokens) // durably, before it returns
		},
		Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			return store.Load(ctx, sessionID) // where several processes share the store
		},
	})
	switch {
	case authpi.SessionEnded(err):
		// sign in again
	case err != nil:
		// try again later: answer 503
	}
	return agent, err
}
