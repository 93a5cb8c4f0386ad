package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

var goBlock = regexp.MustCompile("(?s)```go\n(package main\n.*?)```")

// The program in the README is this one, letter for letter.
func TestREADMEHoldsThisProgram(t *testing.T) {
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

// And it works when pasted.
func TestProgram(t *testing.T) {
	const app = "http://127.0.0.1:8080"
	waitForTurn(t)
	client := &http.Client{Timeout: time.Minute}
	if resp, err := client.Get(app); err == nil {
		_ = resp.Body.Close()
		t.Skip("port 8080 is taken")
	}
	srv := authpitest.NewServer(&authpitest.Options{
		ClientID: "c_1", ClientSecret: "s3cret", RedirectURIs: []string{app + "/callback"},
		AccessTokenLifetime: -time.Second, // so that every request refreshes
	})
	defer srv.Close()
	srv.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})

	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "README_TEST_MAIN=1",
		"AUTHPI_ISSUER_URL="+srv.URL, "AUTHPI_CLIENT_ID=c_1", "AUTHPI_CLIENT_SECRET=s3cret")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	defer func() { cancel(); <-exited }()

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	get := func(target string, status int) (location, body string) {
		t.Helper()
		resp, err := client.Get(target)
		for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); {
			select { // it is still starting
			case gone := <-exited:
				exited <- gone
				t.Fatal(errors.Join(err, gone))
			case <-time.After(20 * time.Millisecond):
			}
			resp, err = client.Get(target)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != status {
			t.Fatalf("%s: got %d; want %d\n%s", resp.Request.URL.Path, resp.StatusCode, status, text)
		}
		return resp.Header.Get("Location"), string(text)
	}
	if location, _ := get(app+"/", 302); location != "/login" {
		t.Errorf("nobody is signed in: sent to %q; want /login", location)
	}
	get(app+"/callback?code=x&state=", 400)
	location, _ := get(app+"/login", 302)
	callback, err := srv.SignIn(location, "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	get(callback, 303)
	get(app+"/", 200)
	srv.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_1", Scopes: []string{"projects:**"}})
	if _, body := get(app+"/", 200); !strings.Contains(body, "ada@example.com") || !strings.Contains(body, "org_1 may read projects: true") {
		t.Errorf("the page lacks the user or the organization: %s", body)
	}
	if n := srv.Redemptions("refresh_token"); n != 2 {
		t.Errorf("%d refreshes; want 2", n)
	}
	srv.EndSession("usr_ada")
	if location, _ := get(app+"/", 302); location != "/login" {
		t.Errorf("the session has ended: sent to %q; want /login", location)
	}
}
