// Command webapp is a small web app that signs people in through AuthPI: login,
// callback, dashboard, logout.
//
// It listens on 127.0.0.1:8080 (or ADDR) and brings an issuer of its own, whose access
// tokens live two minutes so that their rotation can be watched. AUTHPI_ISSUER_URL,
// AUTHPI_CLIENT_ID and AUTHPI_CLIENT_SECRET name a real one; APP_URL is where browsers
// reach the app, if that is not http://ADDR.
package main

import (
	"cmp"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func main() {
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"))
	if err != nil {
		log.Fatal(err)
	}
	appURL := cmp.Or(os.Getenv("APP_URL"), "http://"+listener.Addr().String())
	cfg := authpi.Config{
		IssuerURL:    os.Getenv("AUTHPI_ISSUER_URL"),
		ClientID:     os.Getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: os.Getenv("AUTHPI_CLIENT_SECRET"),
		Logger:       slog.Default(), Now: time.Now,
	}
	if cfg.IssuerURL == "" {
		issuer := newIssuer(appURL)
		cfg.IssuerURL, cfg.ClientID, cfg.ClientSecret = issuer.URL, issuer.ClientID(), issuer.ClientSecret()
		cfg.RefreshBuffer = 20 * time.Second // the default of a minute is half of these tokens' life
	}
	a, err := newApp(cfg, appURL)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Open", appURL)
	server := &http.Server{Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}

// newIssuer is for trying the app out: anybody may sign in as anyone.
func newIssuer(appURL string) *authpitest.Server {
	issuer := authpitest.NewServer(&authpitest.Options{
		ClientID: "c_webapp", ClientSecret: "only for this run",
		RedirectURIs:           []string{appURL + "/callback"},
		PostLogoutRedirectURIs: []string{appURL + "/"},
		AccessTokenLifetime:    2 * time.Minute,
	})
	addUser := func(id, name string, orgs ...authpitest.Organization) {
		issuer.AddUser(authpitest.User{ID: id, Name: name, Email: id[4:] + "@example.com", EmailVerified: true})
		issuer.SetOrganizations(id, orgs...)
	}
	addUser("usr_ada", "Ada Lovelace",
		authpitest.Organization{ID: "org_engines", Title: "Analyst", Scopes: []string{"projects:**", "members:read"}},
		authpitest.Organization{ID: "org_poetry", Title: "Founder", Scopes: []string{"owner", "*:**"}})
	addUser("usr_mary", "Mary Somerville",
		authpitest.Organization{ID: "org_engines", Title: "Reviewer", Scopes: []string{"admin", "*:read"}})
	addUser("usr_guest", "A guest without organizations")
	return issuer
}
