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

	"github.com/alexedwards/scs/v2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

func main() {
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:    os.Getenv("AUTHPI_ISSUER_URL"), // https://idp.authpi.com/i_...
		ClientID:     os.Getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: os.Getenv("AUTHPI_CLIENT_SECRET"),
		RedirectURI:  "http://127.0.0.1:8080/auth/callback", // as registered
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", newHandler(client)))
}

func newHandler(client *authpi.IdpClient) http.Handler {
	sessions := scs.New() // github.com/alexedwards/scs/v2, in memory or with any of its stores
	app := authpihttp.New(client, sessions, nil)
	sessions.ErrorFunc = app.Unavailable

	mux := http.NewServeMux()
	app.Register(mux) // GET /auth/login, GET /auth/callback, POST /auth/logout
	org := func(r *http.Request) string { return r.PathValue("org") }
	mayRead := authpihttp.RequireAccess("read", "projects", org)
	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(home)))
	mux.Handle("GET /orgs/{org}/projects", app.RequireAgent(mayRead(http.HandlerFunc(projects))))
	return sessions.LoadAndSave(mux)
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
