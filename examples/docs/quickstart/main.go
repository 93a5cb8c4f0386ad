// Command quickstart is the program of docs/quickstart.md.
//
//	AUTHPI_ISSUER_URL=... AUTHPI_CLIENT_ID=... AUTHPI_CLIENT_SECRET=... go run ./examples/docs/quickstart
package main

import (
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

func main() {
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: os.Getenv("AUTHPI_ISSUER_URL"), ClientID: os.Getenv("AUTHPI_CLIENT_ID"), // https://idp.authpi.com/i_...
		ClientSecret: os.Getenv("AUTHPI_CLIENT_SECRET"), RedirectURI: "http://127.0.0.1:8080/auth/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", newHandler(client)))
}

func newHandler(client *authpi.IdpClient) http.Handler {
	app := authpihttp.New(client, nil, &authpihttp.Options{PostLogoutRedirectURI: "http://127.0.0.1:8080/auth/signed-out"})
	mux := http.NewServeMux()
	app.Register(mux) // /auth/login, /auth/callback, /auth/logout and the issuer's own requests
	mayRead := authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") })
	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(home)))
	mux.Handle("GET /orgs/{org}/projects", app.RequireAgent(mayRead(http.HandlerFunc(projects))))
	return mux
}

func home(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	_ = homePage.Execute(w, agent)
}

// Signing out is a form: App.Logout answers POST alone, so that no link can do it.
var homePage = template.Must(template.New("home").Parse(`<!doctype html>
<p>Hello, {{.Email}}</p>
<form method="post" action="/auth/logout"><button>Sign out</button></form>
`))

func projects(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "The projects of", r.PathValue("org"))
}
