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
		IssuerURL: os.Getenv("AUTHPI_ISSUER_URL"), ClientID: os.Getenv("AUTHPI_CLIENT_ID"),
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
	_ = page.Execute(w, agent)
}

var page = template.Must(template.New("").Parse(`<p>Hello, {{.Email}}</p>
{{range .Organizations}}<p><a href="/orgs/{{.ID}}/projects">{{.ID}}</a>: {{.Title}}</p>
{{end}}<form method="post" action="/auth/logout"><button>Sign out</button></form>
`))

func projects(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "The projects of", r.PathValue("org"))
}
