package authpihttp

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/intent"
)

// RequireAccess lets a request pass if its sender may do action on resource in the
// organization that the request is about; org reads that from the route:
//
//	org := func(r *http.Request) string { return r.PathValue("org") }
//	mux.Handle("POST /orgs/{org}/projects",
//		app.RequireAgent(authpihttp.RequireAccess("write", "projects", org)(create)))
//
// It works behind [App.RequireAgent] and [Bearer.Require] alike. Everybody else gets
// 403: the answer is the same for an organization that does not exist, and if org
// returns an empty string. What the sender may do in another organization never
// counts. A machine whose token names no organizations therefore never passes: check
// its own scope with BearerOptions.Scopes or Agent.HasScope. Without a guard in
// front the answer is 500, but a CORS preflight passes. RequireAccess panics if
// action, resource or org is missing.
//
// Each 403 is logged to [slog.Default] at Debug, with the scopes that the sender has.
// The first empty string that org returns is a warning: the route may name its path
// value otherwise.
func RequireAccess(action, resource string, org func(*http.Request) string) func(http.Handler) http.Handler {
	if action == "" || resource == "" || org == nil {
		panic("authpihttp: RequireAccess needs an action, a resource and where to read the organization")
	}
	var unnamed sync.Once
	return behind(func(w http.ResponseWriter, r *http.Request, c caller) bool {
		id := org(r)
		member := id != "" && c.agent.IsMemberOf(id)
		if member && c.agent.HasAccessIn(id, action, resource) {
			return true
		}
		switch ctx := r.Context(); {
		case id == "":
			unnamed.Do(func() {
				slog.Default().WarnContext(ctx, "authpihttp: RequireAccess was given no organization",
					"path", cut(r.URL.Path, 256), "action", action, "resource", resource)
			})
		case slog.Default().Enabled(ctx, slog.LevelDebug):
			logForbidden(ctx, c.agent, c.agent.ScopesFor(id),
				"organization", cut(id, 256), "member", member, "action", action, "resource", resource)
		}
		scope := "" // none would help
		if member {
			scope = resource + ":" + action
		}
		c.forbid(w, r, scope)
		return false
	})
}

// logForbidden says why an agent was refused: what it has of what was asked for. IDs
// and scopes are no secrets.
func logForbidden(ctx context.Context, agent *authpi.Agent, scopes []string, asked ...any) {
	fields := append([]any{"agent", cut(agent.ID, 256)}, asked...)
	slog.Default().DebugContext(ctx, "authpihttp: access refused", append(fields, "scopes", cut(strings.Join(scopes, " "), 1024))...)
}

// behind makes a guard that stands behind another one. It lets through whom passes
// reports true for; passes answers everybody else.
func behind(passes func(http.ResponseWriter, *http.Request, caller) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch c, ok := callerOf(r.Context()); {
			case !ok && intent.PassPreflight(next, w, r):
			case !ok:
				noStore(w)
				logAndWrite(w, r, http.StatusInternalServerError, errNobody)
			case passes(w, r, c):
				next.ServeHTTP(w, r)
			}
		})
	}
}
