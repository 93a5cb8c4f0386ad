package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("ISSUER_TEST_MAIN") == "1" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// environment is this process's without what the program reads, and with env.
func environment(env ...string) []string {
	clean := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AUTHPI_") })
	return append(clean, env...)
}

func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = environment(append([]string{"ISSUER_TEST_MAIN=1"}, env...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if runtime.GOOS == "windows" {
		cmd.Cancel = nil
	}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// running is an issuer, and what it printed.
type running struct {
	t        *testing.T
	cmd      *exec.Cmd
	said     string
	base     string            // of its page
	exported map[string]string // the lines to paste
	logged   *bytes.Buffer     // standard error; to be read after stop
}

// start runs the issuer on a free port with keys of its own, unless args say
// otherwise.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	args = append([]string{"-addr", "127.0.0.1:0", "-keys", filepath.Join(t.TempDir(), "keys.json")}, args...)
	return startCommand(t, command(t, nil, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{t: t, cmd: cmd, exported: map[string]string{}, logged: &bytes.Buffer{}}
	cmd.Stderr = r.logged
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		r.said += lines.Text() + "\n"
		if page, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "Page "); ok {
			r.base = strings.TrimRight(strings.TrimSpace(page), "/")
		}
		if line, ok := strings.CutPrefix(lines.Text(), "export "); ok {
			name, value, _ := strings.Cut(line, "=")
			r.exported[name] = value
		}
		if strings.Contains(lines.Text(), "AUTHPI_CLIENT_SECRET") {
			return r
		}
	}
	r.stop()
	t.Fatalf("the issuer ended: %s%s", r.said, r.logged)
	return nil
}

// stop interrupts it and waits until it has ended.
func (r *running) stop() {
	if r.cmd.ProcessState != nil {
		return
	}
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		_ = r.cmd.Process.Kill()
	}
	_ = r.cmd.Wait()
}

// client is the app's, by what there is to paste.
func (r *running) client() *authpi.IdpClient {
	r.t.Helper()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:    r.exported["AUTHPI_ISSUER_URL"],
		ClientID:     r.exported["AUTHPI_CLIENT_ID"],
		ClientSecret: strings.Trim(r.exported["AUTHPI_CLIENT_SECRET"], "'"),
		RedirectURI:  defaultRedirect,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return client
}

// browser follows no redirects.
var browser = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

type shown struct {
	status   int
	body     string
	header   http.Header
	location string
}

func (r *running) do(req *http.Request, err error) shown {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := browser.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return shown{resp.StatusCode, string(body), resp.Header, resp.Header.Get("Location")}
}

func (r *running) get(target string) shown {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, target, nil)
	return r.do(req, err)
}

// page is the page at the root, as text with its entities resolved.
func (r *running) page() string {
	r.t.Helper()
	got := r.get(r.base + "/")
	if got.status != http.StatusOK {
		r.t.Fatalf("the page: %d %s", got.status, got.body)
	}
	return html.UnescapeString(got.body)
}

// press sends a form of the page, with what header names beside it.
func (r *running) press(path string, form url.Values, header ...string) shown {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	return r.do(req, nil)
}

// pressed is press where the page must do it.
func (r *running) pressed(path string, form url.Values) {
	r.t.Helper()
	if got := r.press(path, form); got.status != http.StatusSeeOther || !strings.HasPrefix(got.location, "/?done=") {
		r.t.Fatalf("%s %v: got %d %s; want a redirect to the page", path, form, got.status, got.body)
	}
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// signIn goes through the sign-in page as a person does, and returns the agent.
func (r *running) signIn(client *authpi.IdpClient, userID string) *authpi.Agent {
	r.t.Helper()
	auth, err := client.CreateAuthorizationURL([]string{"openid", "profile", "email"}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	page := r.get(auth.URL)
	form := url.Values{"user": {userID}}
	for _, match := range hidden.FindAllStringSubmatch(page.body, -1) {
		form.Add(html.UnescapeString(match[1]), html.UnescapeString(match[2]))
	}
	answer := r.press(strings.TrimPrefix(r.exported["AUTHPI_ISSUER_URL"], r.base)+"/authorize", form)
	if !strings.HasPrefix(answer.location, defaultRedirect+"?") {
		r.t.Fatalf("sign-in of %s: %d, to %q", userID, answer.status, answer.location)
	}
	callback, err := authpi.ParseCallback(answer.location)
	if err != nil {
		r.t.Fatal(err)
	}
	agent, err := client.ExchangeCallback(r.t.Context(), callback, *auth)
	if err != nil {
		r.t.Fatal(err)
	}
	return agent
}

// steadyAddr is an address to listen on twice. Where all of 127/8 is loopback
// nothing else takes it in between, not even a connection of another test.
func steadyAddr() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1:0"
	}
	var b [3]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("127.%d.%d.%d:9400", 1+b[0]%250, b[1], 1+b[2]%250)
}
