// Command issuer is an OpenID Connect issuer to develop an app against. It behaves
// as AuthPI does, needs no account, and keeps its address and its keys when it is
// started again:
//
//	go run github.com/authpi/authpi-idp-go/authpitest/issuer@latest
//
// It prints the three environment variables that the app needs. The app's redirect
// URI is http://127.0.0.1:8080/auth/callback unless -redirect names another.
//
// Its page, at the root of its address, shows the people, their sessions and the
// last token requests. Its buttons change a membership, end a session, rotate the
// keys and make the next requests fail.
//
// People, organizations, roles and further clients come from a JSON file (-people),
// which is read again when it changes. -print-people writes one to begin with.
//
// Anybody who reaches it may sign in as anyone. So it listens on loopback only,
// unless -insecure-allow-network is given, and answers only requests that name its
// own address.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "issuer:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer, getenv func(string) string) error {
	o, err := parseOptions(args, getenv)
	if err != nil || o.help {
		return err
	}
	if o.printPeople {
		_, err := out.Write(defaultPeople)
		return err
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return fmt.Errorf("%w (-addr names another address)", err)
	}
	i, err := newIssuer(o, listener.Addr())
	if err != nil {
		_ = listener.Close()
		return err
	}
	if err := i.introduce(out); err != nil {
		_ = listener.Close()
		return err
	}
	// No WriteTimeout: a fault may delay an answer for long.
	server := &http.Server{Handler: i.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	return serve(ctx, server, listener)
}

// serve ends with ctx, after the requests that are under way, or a second later.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(limit) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(listener)
	if !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	<-stopped
	return nil
}
