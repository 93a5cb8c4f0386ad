package frameworks

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// Chi is the app on chi, whose middleware is net/http's own and which fills in
// r.PathValue.
func Chi(app *authpihttp.App, api *authpihttp.Bearer) http.Handler {
	r := chi.NewRouter()
	r.Get("/auth/login", app.Login)
	r.Get("/auth/callback", app.Callback)
	r.Post("/auth/logout", app.Logout)
	r.Post("/auth/backchannel-logout", app.BackchannelLogout)

	r.Group(func(r chi.Router) {
		r.Use(app.RequireAgent)
		r.Get("/", home)
		r.With(authpihttp.RequireAccess("read", "projects", org)).Get("/orgs/{org}/projects", projects)
	})
	r.Route("/api", func(r chi.Router) {
		r.Use(api.Require)
		r.With(authpihttp.RequireAccess("read", "projects", org)).Get("/orgs/{org}/projects", projects)
	})
	return r
}
