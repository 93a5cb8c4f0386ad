// Command gin is a small app on gin: pages for people, and the same for API callers under
// /api. The three variables are those that the development issuer prints:
//
//	go run ./authpitest/issuer
//	AUTHPI_ISSUER_URL=... AUTHPI_CLIENT_ID=... AUTHPI_CLIENT_SECRET=... go run ./examples/frameworks/gin
//
// Middleware of net/http becomes gin's through use, which also brings the route's
// parameters to r.PathValue.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	flag.Parse()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: os.Getenv("AUTHPI_ISSUER_URL"), ClientID: os.Getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: os.Getenv("AUTHPI_CLIENT_SECRET"), RedirectURI: url + "/auth/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	app := authpihttp.New(client, nil, &authpihttp.Options{PostLogoutRedirectURI: url + "/auth/signed-out"})
	api, err := authpihttp.NewBearer(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Open", url)
	log.Fatal(http.Serve(listener, newHandler(app, api)))
}

func newHandler(app *authpihttp.App, api *authpihttp.Bearer) http.Handler {
	signIn := http.NewServeMux()
	app.Register(signIn)
	mayRead := use(authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") }))

	r := gin.New()
	r.Use(gin.Recovery())
	r.Any("/auth/*rest", gin.WrapH(signIn))
	pages := r.Group("/", use(app.RequireAgent))
	pages.GET("/", home)
	pages.GET("/orgs/:org/projects", mayRead, projects)
	calls := r.Group("/api", use(api.Require))
	calls.GET("/orgs/:org/projects", mayRead, projects)
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

func home(c *gin.Context) {
	agent, _ := authpihttp.AgentFrom(c.Request.Context())
	c.String(http.StatusOK, "Hello, %s\n", agent.Email)
}

func projects(c *gin.Context) {
	agent, _ := authpihttp.AgentFrom(c.Request.Context())
	c.String(http.StatusOK, "The projects of %s, for %s\n", c.Param("org"), agent.ID)
}
