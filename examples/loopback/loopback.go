// Package loopback receives the callback of a sign-in in the system's browser, on
// the user's own machine: RFC 8252 section 7.3. Copy it; examples/cli uses it.
package loopback

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"time"
)

// patience is how long somebody may take to sign in.
const patience = 5 * time.Minute

// Wait serves the page that the browser comes back to, and returns the callback's
// parameters. It ignores requests of other programs, which do not know the state.
func Wait(ctx context.Context, listener net.Listener, path, state string) (url.Values, error) {
	callbacks := make(chan url.Values, 1)
	page := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path || r.URL.Query().Get("state") != state {
			http.Error(w, "This answers no sign-in.", http.StatusBadRequest)
			return
		}
		select {
		case callbacks <- r.URL.Query():
		default: // one is enough
		}
		_, _ = fmt.Fprintln(w, "Thank you. Go back to the terminal; you may close this page.")
	}
	server := &http.Server{Handler: http.HandlerFunc(page), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(ending) // lets the page arrive
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case query := <-callbacks:
		return query, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody signed in: %w", ctx.Err())
	}
}

// Open opens a URL of the client in the system's browser. Print it, too, in case
// that does not work.
func Open(url string) {
	cmd := exec.Command("xdg-open", url)
	switch runtime.GOOS {
	case "darwin":
		cmd = exec.Command("open", url)
	case "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	}
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
	}
}
