package frameworks

import (
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// Echo is the app on echo, whose WrapMiddleware fills in r.PathValue.
func Echo(app *authpihttp.App, api *authpihttp.Bearer) http.Handler {
	e := echo.New()
	e.GET("/auth/login", echo.WrapHandler(http.HandlerFunc(app.Login)))
	e.GET("/auth/callback", echo.WrapHandler(http.HandlerFunc(app.Callback)))
	e.POST("/auth/logout", echo.WrapHandler(http.HandlerFunc(app.Logout)))
	e.POST("/auth/backchannel-logout", echo.WrapHandler(http.HandlerFunc(app.BackchannelLogout)))

	mayRead := echo.WrapMiddleware(authpihttp.RequireAccess("read", "projects", org))
	pages := e.Group("", echo.WrapMiddleware(app.RequireAgent))
	pages.GET("/", echo.WrapHandler(http.HandlerFunc(home)))
	pages.GET("/orgs/:org/projects", echo.WrapHandler(http.HandlerFunc(projects)), mayRead)

	calls := e.Group("/api", echo.WrapMiddleware(api.Require))
	calls.GET("/orgs/:org/projects", echo.WrapHandler(http.HandlerFunc(projects)), mayRead)
	return e
}
