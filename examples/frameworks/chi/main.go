// Command chi is a small app on chi: pages for people, and the same for API callers under
// /api. The three variables are those that the development issuer prints:
//
//	go run ./authpitest/issuer
//	AUTHPI_ISSUER_URL=... AUTHPI_CLIENT_ID=... AUTHPI_CLIENT_SECRET=... go run ./examples/frameworks/chi
//
// chi's middleware is net/http's own, and chi fills in r.PathValue.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/go-chi/chi/v5"

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
	mayRead := authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") })

	r := chi.NewRouter()
	r.Mount("/auth", signIn)
	r.Group(func(r chi.Router) {
		r.Use(app.RequireAgent)
		r.Get("/", home)
		r.With(mayRead).Get("/orgs/{org}/projects", projects)
	})
	r.Route("/api", func(r chi.Router) {
		r.Use(api.Require)
		r.With(mayRead).Get("/orgs/{org}/projects", projects)
	})
	return r
}

func home(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	_, _ = fmt.Fprintln(w, "Hello,", agent.Email)
}

func projects(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	_, _ = fmt.Fprintf(w, "The projects of %s, for %s\n", chi.URLParam(r, "org"), agent.ID)
}
