package frameworks

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// Gin is the app on gin. Its handlers of net/http go through gin.WrapF, middleware
// through use.
func Gin(app *authpihttp.App, api *authpihttp.Bearer) http.Handler {
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/auth/login", gin.WrapF(app.Login))
	r.GET("/auth/callback", gin.WrapF(app.Callback))
	r.POST("/auth/logout", gin.WrapF(app.Logout))
	r.POST("/auth/backchannel-logout", gin.WrapF(app.BackchannelLogout))

	pages := r.Group("/", use(app.RequireAgent))
	pages.GET("/", gin.WrapF(home))
	pages.GET("/orgs/:org/projects", use(authpihttp.RequireAccess("read", "projects", org)), gin.WrapF(projects))

	calls := r.Group("/api", use(api.Require))
	calls.GET("/orgs/:org/projects", use(authpihttp.RequireAccess("read", "projects", org)), gin.WrapF(projects))
	return r
}

// use makes gin's middleware of net/http's. The route's parameters become path values,
// the request goes on with its new context, and where the middleware has answered by
// itself the chain ends.
func use(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		for _, p := range c.Params {
			c.Request.SetPathValue(p.Key, p.Value)
		}
		passed := false
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed, c.Request = true, r
			c.Next()
		})
		middleware(next).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}
