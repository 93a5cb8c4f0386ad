package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// login signs somebody in with the system's browser, which comes back to a listener
// on the loopback interface (RFC 8252 section 7.3). PKCE keeps other programs on this
// machine from using the code.
func login(ctx context.Context, cfg authpi.Config, file *tokenFile) error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("AUTHPI_CLI_PORT"), "0"))
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	cfg.RedirectURI = "http://" + listener.Addr().String() + "/callback"
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		return err
	}
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email", "profile"}, nil)
	if err != nil {
		return err
	}
	fmt.Printf("Sign in with your browser:\n\n%s\n\n", auth.URL)
	openBrowser(auth.URL)
	callback, err := waitForCallback(ctx, listener, auth.State)
	if err != nil {
		return err
	}
	agent, err := client.ExchangeCallback(ctx, callback, *auth)
	if err != nil {
		return err
	}
	if err := file.replace(ctx, agent.Tokens); err != nil {
		return err
	}
	fmt.Println("You are signed in as", agent.ID)
	return nil
}

// waitForCallback serves the page that the browser comes back to. Requests of other
// programs, which do not know the state, do not end the waiting.
func waitForCallback(ctx context.Context, listener net.Listener, state string) (url.Values, error) {
	callbacks := make(chan url.Values, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("state") != state {
			http.Error(w, "This answers no sign-in.", http.StatusBadRequest)
			return
		}
		select {
		case callbacks <- r.URL.Query():
		default: // one is enough
		}
		_, _ = fmt.Fprintln(w, "Thank you. Go back to the terminal; you may close this page.")
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(ending) // lets the page arrive
	}()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	select {
	case query := <-callbacks:
		return query, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody signed in: %w", ctx.Err())
	}
}

// openBrowser hands the system a URL that the client has made. If that does not work
// the user opens it.
func openBrowser(url string) {
	cmd := exec.Command("xdg-open", url)
	switch runtime.GOOS {
	case "darwin":
		cmd = exec.Command("open", url)
	case "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	}
	if os.Getenv("AUTHPI_CLI_BROWSER") != "none" && cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
	}
}
