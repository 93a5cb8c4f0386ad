// Command api is a JSON API whose callers, people's apps and machines, show access
// tokens. What they may do is asked for each organization; see package projects.
//
//	go run ./examples/api
//
// It listens on 127.0.0.1:8081 (or ADDR) and brings an issuer of its own, which
// examples/worker and examples/cli can use, too: it prints how. AUTHPI_ISSUER_URL and
// AUTHPI_CLIENT_ID name a real one; API_URL is where callers reach the API, if that is
// not http://ADDR.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/examples/api/projects"
)

func main() {
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8081"))
	if err != nil {
		log.Fatal(err)
	}
	apiURL := cmp.Or(os.Getenv("API_URL"), "http://"+listener.Addr().String())
	issuerURL, clientID := os.Getenv("AUTHPI_ISSUER_URL"), os.Getenv("AUTHPI_CLIENT_ID")
	demo := issuerURL == "" && clientID == ""
	if demo {
		issuer := projects.NewIssuer()
		issuerURL, clientID = issuer.URL, issuer.ClientID()
	}
	handler, err := projects.NewHandler(issuerURL, clientID, apiURL)
	if err != nil {
		log.Fatal(err)
	}
	if err := checkIssuer(issuerURL, clientID); err != nil {
		log.Fatal(err)
	}

	fmt.Printf("The API is at %s, its issuer %s\n\n", apiURL, issuerURL)
	fmt.Printf("Without a token:  curl -i %s/orgs/org_engines/projects\n", apiURL)
	fmt.Printf("Where to get one: curl %s/.well-known/oauth-protected-resource\n", apiURL)
	if demo {
		fmt.Printf("As a machine:     API_URL=%s AUTHPI_ISSUER_URL=%s AUTHPI_CLIENT_ID=%s AUTHPI_CLIENT_SECRET=%q go run ./examples/worker\n",
			apiURL, issuerURL, projects.WorkerID, projects.WorkerSecret)
		fmt.Printf("As a person:      AUTHPI_ISSUER_URL=%s AUTHPI_CLIENT_ID=%s go run ./examples/cli login\n", issuerURL, projects.CLIID)
	}
	slog.Info("listening", "address", listener.Addr().String())
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	// Whether this process runs does not depend on the issuer.
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	log.Fatal(server.Serve(listener))
}

// checkIssuer ends a program that is wrongly configured at once, and not at the first
// call. An issuer that is unreachable for the moment is no reason to.
func checkIssuer(issuerURL, clientID string) error {
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuerURL, ClientID: clientID})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = client.Check(ctx)
	if _, wrong := errors.AsType[*authpi.ConfigurationError](err); err != nil && !wrong {
		slog.Warn("the issuer cannot be reached yet", "error", err)
		return nil
	}
	return err
}
