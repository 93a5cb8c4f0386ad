package main

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/tokenfile"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("CLI_TEST_MAIN") == "1" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.`)

// machine is a person's, with an issuer in reach.
type machine struct {
	t      *testing.T
	issuer *authpitest.Server
	dir    string
}

func newMachine(t *testing.T) *machine {
	issuer := authpitest.NewServer(nil)
	t.Cleanup(issuer.Close)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}})
	return &machine{t, issuer, filepath.Join(t.TempDir(), "new")}
}

func (m *machine) command(name string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	m.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], name)
	cmd.Env = append(os.Environ(), "CLI_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0", "AUTHPI_CLI_BROWSER=none", "AUTHPI_CLI_PORT=", "AUTHPI_CLI_DIR="+m.dir,
		"AUTHPI_ISSUER_URL="+m.issuer.URL, "AUTHPI_CLIENT_ID="+m.issuer.ClientID())
	return cmd
}

// run gives what the program printed, and fails the test if it shows a token.
func (m *machine) run(name string) (string, error) {
	out, err := m.command(name).CombinedOutput()
	if jwt.Match(out) {
		m.t.Errorf("%s shows a token", name)
	}
	return string(out), err
}

func (m *machine) login() {
	m.t.Helper()
	cmd := m.command("login")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "http") {
	}
	callback, err := m.issuer.SignIn(lines.Text(), "usr_ada")
	if err != nil {
		m.t.Fatal(err)
	}
	before, _, _ := strings.Cut(callback, "?")
	for _, visit := range []struct {
		url  string
		want int
	}{{before + "?code=1&state=2", 400}, {callback, 200}} {
		resp, err := http.Get(visit.url)
		if err != nil {
			m.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != visit.want {
			m.t.Errorf("the callback page says %s; want %d", resp.Status, visit.want)
		}
	}
	for lines.Scan() { // to the end, as Wait wants it
	}
	if err := cmd.Wait(); err != nil {
		m.t.Fatalf("login: %v\n%s", err, &stderr)
	}
}

func (m *machine) file() *tokenfile.File {
	file, err := tokenfile.Open(m.dir, m.issuer.URL, m.issuer.ClientID())
	if err != nil {
		m.t.Fatal(err)
	}
	return file
}

func (m *machine) stored() authpi.TokenSet {
	tokens, err := m.file().Load(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return tokens
}

// expire marks the stored access token as expired.
func (m *machine) expire() {
	tokens := m.stored()
	tokens.ExpiresAt = time.Now().Add(-time.Minute)
	if _, err := m.file().Swap(m.t.Context(), tokens); err != nil {
		m.t.Fatal(err)
	}
}

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if out, err := m.run("whoami"); err == nil || !strings.HasSuffix(out, "you are not signed in, run login\n") {
		t.Errorf("before login: %v, %s", err, out)
	}
	m.login()
	if out, err := m.run("whoami"); err != nil || !strings.Contains(out, "usr_ada ada@example.com\n  org_1: projects:read\n") {
		t.Errorf("whoami: %v, %s", err, out)
	}
	kept, err := os.ReadDir(m.dir)
	if err != nil || len(kept) != 2 || kept[1].Name() != kept[0].Name()+".lock" {
		t.Fatalf("got %v, %v; want one file and its lock", kept, err)
	}
	for _, file := range kept {
		info, err := file.Info()
		if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Errorf("%s: got mode %v, %v; want 0600", file.Name(), info.Mode(), err)
		}
	}
	if out, err := m.run("logout"); err != nil || m.issuer.Requests("revoke") != 1 {
		t.Errorf("logout: %v, %s", err, out)
	}
	if out, err := m.run("whoami"); err == nil || !strings.Contains(out, "not signed in") {
		t.Errorf("after logout: %v, %s", err, out)
	}
	if left, err := os.ReadDir(m.dir); err != nil || len(left) != 1 || left[0].Name() != kept[1].Name() {
		t.Errorf("left behind: %v, %v; want the lock alone", left, err)
	}
}

// Several processes find the same expired token at once.
func TestOneRedemption(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.login()
	for round := 1; round <= 2; round++ {
		m.expire()
		m.issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 300 * time.Millisecond})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if out, err := m.run("whoami"); err != nil {
					t.Errorf("whoami: %v, %s", err, out)
				}
			})
		}
		wg.Wait()
		if got := m.issuer.Grants("refresh_token"); got != round {
			t.Fatalf("got %d token requests; want %d", got, round)
		}
	}
	if !m.issuer.SessionAlive(m.stored().RefreshToken) {
		t.Error("the session has ended")
	}
}
