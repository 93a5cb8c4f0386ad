// Command echo is a small app on echo: pages for people, and the same for API callers under
// /api. The three variables are those that the development issuer prints:
//
//	go run ./authpitest/issuer
//	AUTHPI_ISSUER_URL=... AUTHPI_CLIENT_ID=... AUTHPI_CLIENT_SECRET=... go run ./examples/frameworks/echo
//
// echo.WrapMiddleware makes echo's middleware of net/http's, and fills in r.PathValue.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/labstack/echo/v5"

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
	mayRead := echo.WrapMiddleware(authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") }))

	e := echo.New()
	e.Any("/auth/*", echo.WrapHandler(signIn))
	pages := e.Group("", echo.WrapMiddleware(app.RequireAgent))
	pages.GET("/", home)
	pages.GET("/orgs/:org/projects", projects, mayRead)
	calls := e.Group("/api", echo.WrapMiddleware(api.Require))
	calls.GET("/orgs/:org/projects", projects, mayRead)
	return e
}

func home(c *echo.Context) error {
	agent, _ := authpihttp.AgentFrom(c.Request().Context())
	return c.String(http.StatusOK, fmt.Sprintln("Hello,", agent.Email))
}

func projects(c *echo.Context) error {
	agent, _ := authpihttp.AgentFrom(c.Request().Context())
	return c.String(http.StatusOK, fmt.Sprintf("The projects of %s, for %s\n", c.Param("org"), agent.ID))
}
