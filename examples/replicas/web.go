package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	authpiredis "github.com/authpi/authpi-idp-go/redis"
)

// newWeb is the app that each process runs.
func newWeb(cfg authpi.Config, rdb *redis.Client) (http.Handler, error) {
	cfg.Coordinator = authpiredis.NewCoordinator(rdb, nil)
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		return nil, err
	}
	sessions := scs.New()
	sessions.Store = goredisstore.New(rdb)
	app := authpihttp.New(client, sessions, nil)
	sessions.ErrorFunc = app.Unavailable

	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		_, _ = fmt.Fprintln(w, agent.ID)
	})))
	return sessions.LoadAndSave(mux), nil
}

// serve is one process. It prints where it listens, and ends with its standard input.
func serve(ctx context.Context) error {
	opts, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	opts.ContextTimeoutEnabled = true // the coordinator's time limits hold then
	rdb := redis.NewClient(opts)
	defer func() { _ = rdb.Close() }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	site := "http://" + listener.Addr().String()
	handler, err := newWeb(authpi.Config{
		IssuerURL:     os.Getenv("AUTHPI_ISSUER_URL"),
		ClientID:      os.Getenv("AUTHPI_CLIENT_ID"),
		RedirectURI:   site + "/auth/callback",
		RefreshBuffer: -1, // every request then has to wait when the token expires
	}, rdb)
	if err != nil {
		return err
	}
	fmt.Println(site)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent process is gone
	}()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(listener); ctx.Err() == nil {
		return err
	}
	return nil
}
