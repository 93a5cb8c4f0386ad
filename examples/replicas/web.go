package main

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/examples/internal/child"
)

const clientID = "c_replicas"

// sealKey is 32 random bytes in an app that is no example.
var sealKey = []byte("a key of thirty-two bytes or more")

// serve is one of the processes.
func serve(issuerURL string) error {
	opts, err := redis.ParseURL(cmp.Or(os.Getenv("REDIS_URL"), "redis://127.0.0.1:6379/0"))
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opts)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	site := "http://" + listener.Addr().String()
	app, err := newWeb(authpi.Config{
		IssuerURL:     issuerURL,
		ClientID:      clientID,
		RedirectURI:   site + "/auth/callback",
		RefreshBuffer: -1, // every request then has to wait when the token expires
	}, rdb)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		_, _ = fmt.Fprintln(w, agent.ID)
	})))
	child.Ready(site)
	return http.Serve(listener, mux)
}

// newWeb is the app that each process runs.
func newWeb(cfg authpi.Config, rdb *redis.Client) (*authpihttp.App, error) {
	cfg.Coordinator = authpiredis.NewCoordinator(rdb, nil)
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		return nil, err
	}
	return authpihttp.New(client, authpiredis.NewStore(rdb, nil), &authpihttp.Options{
		Keys:                  [][]byte{sealKey}, // a public client: each process needs the same
		PostLogoutRedirectURI: strings.TrimSuffix(cfg.RedirectURI, "/callback") + "/signed-out",
	}), nil
}
