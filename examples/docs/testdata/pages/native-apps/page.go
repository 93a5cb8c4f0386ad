package page

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/loopback"
)

func login(ctx context.Context, client *authpi.IdpClient, listener net.Listener, auth *authpi.AuthorizationURL, file *File) error {
	//page:block Sign in with the system's browser
	//page:from cli/main.go
	//page:fault %s\n\n", auth.URL) => %q", "nowhere")
	//page:fault "/callback" => "/auth/callback"
	//page:fault auth.State) => "")
	//page:fault callback, *auth) => callback, authpi.AuthorizationURL{})
	return file.save(ctx, agent.Tokens)
}

// File is that of one process, which knows the others by the lock alone.
type File struct{ name string }

func (f *File) agent(ctx context.Context, client *authpi.IdpClient, tokens authpi.TokenSet) (*authpi.Agent, error) {
	//page:block Several processes, one file
	//page:from tokenfile/tokenfile.go
	//page:fault Reload: f.Load, =>
	//page:fault OnRefresh: f.save =>
	//page:fault defer unlock() => unlock()
}

func (f *File) Load(context.Context) (tokens authpi.TokenSet, err error) {
	data, err := os.ReadFile(f.name)
	if err != nil {
		return tokens, err
	}
	return authpi.ParseTokenSet(data)
}

func (f *File) save(_ context.Context, tokens authpi.TokenSet) error {
	data, err := tokens.MarshalJSON()
	if err != nil {
		return err
	}
	return os.WriteFile(f.name, data, 0o600)
}

var locked = make(chan struct{}, 1)

func (f *File) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case locked <- struct{}{}:
		return func() { <-locked }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func Page(t *testing.T) {
	t.Setenv("AUTHPI_CLI_BROWSER", "none")
	issuer, file := development(t), &File{filepath.Join(t.TempDir(), "tokens.json")}
	signInAlone(t, issuer, file)
	refreshAtOnce(t, issuer, file)
}

// signInAlone prints where to sign in, and waits for the browser to come back.
func signInAlone(t *testing.T, issuer *authpitest.Server, file *File) {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	client := newClient(t, authpi.Config{
		IssuerURL: issuer.URL, ClientID: "c_app", RedirectURI: "http://" + listener.Addr().String() + "/callback",
	})
	auth := must(client.CreateAuthorizationURL([]string{"openid"}, nil))(t)
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	go comeBack(t, must(issuer.SignIn(auth.URL, "usr_ada"))(t), giveUp)
	said := printed(t, func() {
		if err := login(ctx, client, listener, auth, file); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(said, "\n"+auth.URL+"\n") {
		t.Errorf("got %q; want the address", said)
	}
}

// comeBack opens the callback after two others, which answer no sign-in.
func comeBack(t *testing.T, callback string, giveUp func()) {
	before, _, _ := strings.Cut(callback, "?")
	for _, url := range []string{before, before + "?code=1&state=2", callback} {
		status := 0
		if resp, err := http.Get(url); err == nil {
			status = resp.StatusCode
			_ = resp.Body.Close()
		}
		if answers := status == http.StatusOK; answers != (url == callback) {
			t.Errorf("%s: got %d", url, status)
			giveUp()
		}
	}
}

// refreshAtOnce has ten processes find the same expired tokens, twice.
func refreshAtOnce(t *testing.T, issuer *authpitest.Server, file *File) {
	for round := 1; round <= 2; round++ {
		issuer.Advance(time.Hour)
		issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 300 * time.Millisecond})
		tokens := must(file.Load(t.Context()))(t)
		var processes sync.WaitGroup
		for range 10 {
			processes.Go(func() {
				agent, err := file.agent(t.Context(), appClient(t, issuer), tokens)
				if err != nil || agent.ID != "usr_ada" {
					t.Errorf("got %v, %v", agent, err)
				}
			})
		}
		processes.Wait()
		if got := issuer.Redemptions("refresh_token"); got != round {
			t.Errorf("%d refreshes; want %d", got, round)
		}
	}
}
