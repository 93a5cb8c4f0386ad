package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

var goBlock = regexp.MustCompile("(?s)```go\n(package main\n.*?)```")

// The program in the README is this one, letter for letter.
func TestREADMEHoldsThisProgram(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := goBlock.FindAllSubmatch(readme, -1)
	if len(blocks) != 1 {
		t.Fatalf("README.md holds %d programs; want 1", len(blocks))
	}
	if got, want := string(blocks[0][1]), string(program); got != want {
		t.Error("the program in README.md is not examples/readme/main.go; copy it over")
	}
}

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("README_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

func TestHandler(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	site := httptest.NewUnstartedServer(nil)
	t.Cleanup(site.Close)
	url := "http://" + site.Listener.Addr().String()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: "c_dev", ClientSecret: "s3cret", RedirectURI: url + "/auth/callback",
	})
	if err != nil {
		t.Fatal(err)
	}
	site.Config.Handler = newHandler(client)
	site.Start()
	walk(t, url, issuer)
}

// And it works when pasted.
func TestProgram(t *testing.T) {
	const url = "http://127.0.0.1:8080"
	waitForTurn(t)
	if resp, err := http.Get(url); err == nil {
		_ = resp.Body.Close()
		t.Skip("port 8080 is taken")
	}
	issuer := newIssuer(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "README_TEST_MAIN=1",
		"AUTHPI_ISSUER_URL="+issuer.URL, "AUTHPI_CLIENT_ID=c_dev", "AUTHPI_CLIENT_SECRET=s3cret")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	defer func() { cancel(); <-exited }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			break
		}
		select { // it is still starting
		case gone := <-exited:
			exited <- gone
			t.Fatal(errors.Join(err, gone))
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	walk(t, url, issuer)
}

// waitForTurn lets one copy of this test at a time have the README's port. Whoever
// listens on the port above it may go on; the system takes that back from a process
// that has ended.
func waitForTurn(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		turn, err := net.Listen("tcp", "127.0.0.1:8081")
		if err == nil {
			t.Cleanup(func() { _ = turn.Close() })
			return
		}
		if time.Now().After(deadline) {
			t.Skipf("port 8081 is taken: %v", err)
		}
	}
}

func newIssuer(t *testing.T) *authpitest.Server {
	t.Helper()
	issuer := authpitest.NewServer(&authpitest.Options{
		ClientID: "c_dev", ClientSecret: "s3cret",
		AccessTokenLifetime: -time.Second, // so that every request refreshes
	})
	t.Cleanup(issuer.Close)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**"}})
	return issuer
}

// browser keeps cookies and follows no redirects.
type browser struct {
	*http.Client
	t *testing.T
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{&http.Client{
		Jar: jar, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, t}
}

// visit wants a status, and returns where the answer leads to, and its text.
func (b browser) visit(method, url string, status int) (location, body string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, url, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	resp, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != status {
		b.t.Fatalf("%s %s: got %d; want %d\n%s", method, req.URL.Path, resp.StatusCode, status, text)
	}
	return resp.Header.Get("Location"), string(text)
}

// signIn goes through the login as a user; empty: who presses Cancel.
func (b browser) signIn(url string, issuer *authpitest.Server, user string, status int) {
	b.t.Helper()
	login, _ := b.visit("GET", url+"/", http.StatusSeeOther)
	location, _ := b.visit("GET", url+login, http.StatusSeeOther)
	callback, err := issuer.SignIn(location, user)
	if err != nil {
		b.t.Fatal(err)
	}
	b.visit("GET", callback, status)
}

// walk does what the README has a newcomer do: sign in, look around, sign out. It also
// presses Cancel, and is signed out from elsewhere.
func walk(t *testing.T, url string, issuer *authpitest.Server) {
	t.Helper()
	b := newBrowser(t)
	b.signIn(url, issuer, "", http.StatusForbidden)
	b.signIn(url, issuer, "usr_ada", http.StatusSeeOther)
	if _, body := b.visit("GET", url+"/", http.StatusOK); !strings.Contains(body, "Hello, ada@example.com") || !strings.Contains(body, "org_engines</a>: Editor") {
		t.Errorf("home says %s", body)
	}
	if _, body := b.visit("GET", url+"/orgs/org_engines/projects", http.StatusOK); body != "The projects of org_engines\n" {
		t.Errorf("the projects say %q", body)
	}
	b.visit("GET", url+"/orgs/org_observatory/projects", http.StatusForbidden)
	if location, _ := b.visit("POST", url+"/auth/logout", http.StatusSeeOther); !strings.HasPrefix(location, issuer.URL+"/logout?") ||
		!strings.Contains(location, "post_logout_redirect_uri=") {
		t.Errorf("signing out leads to %q", location)
	}
	b.signIn(url, issuer, "usr_ada", http.StatusSeeOther)
	issuer.EndSession("usr_ada")
	b.visit("GET", url+"/", http.StatusSeeOther)
}
