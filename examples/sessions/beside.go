package sessions

import (
	"net/http"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// following renews the ID of the app's own session at sign-in, and ends it at sign-out.
// The next user may be another one, even if the last one has not signed out.
func following(sessions *scs.SessionManager) *authpihttp.Options {
	return &authpihttp.Options{
		PostLogoutRedirectURI: "https://app.example/auth/signed-out",
		SignedIn: func(_ http.ResponseWriter, r *http.Request, agent *authpi.Agent) error {
			if owner := sessions.GetString(r.Context(), "owner"); owner != "" && owner != agent.ID {
				if err := sessions.Clear(r.Context()); err != nil {
					return err
				}
			}
			sessions.Put(r.Context(), "owner", agent.ID)
			return sessions.RenewToken(r.Context())
		},
		SignedOut: func(_ http.ResponseWriter, r *http.Request) { _ = sessions.Destroy(r.Context()) },
	}
}

// gorilla does the same for a session of gorilla/sessions. A cookie that cannot be read
// is as good as none, so what Get says of it is left aside.
func gorilla(store sessions.Store, name string) *authpihttp.Options {
	return &authpihttp.Options{
		PostLogoutRedirectURI: "https://app.example/auth/signed-out",
		SignedIn: func(w http.ResponseWriter, r *http.Request, agent *authpi.Agent) error {
			session, _ := store.Get(r, name)
			if owner := session.Values["owner"]; owner != nil && owner != agent.ID {
				clear(session.Values)
			}
			session.Values["owner"] = agent.ID
			session.ID = "" // so that Save makes another one
			return session.Save(r, w)
		},
		SignedOut: func(w http.ResponseWriter, r *http.Request) {
			session, _ := store.Get(r, name)
			session.Options.MaxAge = -1 // deletes it
			_ = session.Save(r, w)
		},
	}
}
