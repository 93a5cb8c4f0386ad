package sessions

import (
	"net/http"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// following renews the ID of the app's own session at sign-in, and ends it at sign-out.
func following(sessions *scs.SessionManager) *authpihttp.Options {
	return &authpihttp.Options{
		PostLogoutRedirectURI: "https://app.example/auth/signed-out",
		SignedIn: func(_ http.ResponseWriter, r *http.Request, _ *authpi.Agent) error {
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
		SignedIn: func(w http.ResponseWriter, r *http.Request, _ *authpi.Agent) error {
			session, _ := store.Get(r, name)
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
