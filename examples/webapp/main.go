// Command webapp is the reference web application: it signs people in through
// AuthPI, lets them choose an organization, and shows what they may do where while
// their tokens are refreshed.
//
// It brings an issuer of its own, where anybody may sign in as anyone and whose
// tokens live two minutes. AUTHPI_ISSUER_URL, AUTHPI_CLIENT_ID and
// AUTHPI_CLIENT_SECRET name a real one, at which APP_URL/auth/callback is to be
// registered; APP_URL is where browsers reach the app, if not at http://ADDR.
//
// Sign-ins are in memory. With -tags stores they may be in a Redis or a PostgreSQL:
//
//	go run -tags stores ./examples/webapp -store redis -store-url redis://127.0.0.1:6379/0
//
// To build on it, copy app.go, and page.go with its page.html, style.css, live.js and
// mark.svg. embedded.go and stage are the issuer.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

func main() {
	addr := flag.String("addr", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"), "`address` to listen on")
	kind := flag.String("store", "memory", "where sign-ins are kept: memory, or with -tags stores redis or postgres")
	storeURL := flag.String("store-url", "", "`URL` of the store: redis://host:6379/0 or postgres://user@host/database")
	life := flag.Duration("token-life", 2*time.Minute, "how long the embedded issuer's access tokens live")
	flag.Parse()

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	st, err := openStore(context.Background(), *kind, *storeURL)
	if err != nil {
		log.Fatal(err)
	}
	appURL := cmp.Or(os.Getenv("APP_URL"), "http://"+listener.Addr().String())
	a, err := newSite(authpi.Config{
		IssuerURL:    os.Getenv("AUTHPI_ISSUER_URL"),
		ClientID:     os.Getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: os.Getenv("AUTHPI_CLIENT_SECRET"),
		Coordinator:  st.refresh,
		Logger:       slog.Default(),
	}, appURL, st.signIns, *life)
	if err != nil {
		log.Fatal(err)
	}
	if err := checkIssuer(a.client); err != nil {
		log.Fatal(err)
	}
	fmt.Println("Open", appURL)
	slog.Info("listening", "address", listener.Addr().String())
	server := &http.Server{Handler: withHealth(a.handler()), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}

// checkIssuer ends a program that is wrongly configured at once, and not at the first
// sign-in. An issuer that is unreachable for the moment is no reason to.
func checkIssuer(client *authpi.IdpClient) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := client.Check(ctx)
	if _, wrong := errors.AsType[*authpi.ConfigurationError](err); err != nil && !wrong {
		slog.Warn("the issuer cannot be reached yet", "error", err)
		return nil
	}
	return err
}

// withHealth adds what asks whether this process runs. It knows nothing of the issuer:
// an outage there is no reason to start all copies of the app anew.
func withHealth(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.Handle("/", next)
	return mux
}
