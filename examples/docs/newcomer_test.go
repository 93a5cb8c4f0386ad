//go:build unix

package docs

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"html"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/examples/internal/servers"
)

// Whoever has Go and the pages gets as far as they say: what go get fetches is this
// repository, as if it had been published.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.run(blockUnder(t, "README.md", "Sign users in", "sh", 0))
	site, issuerAddr := net.JoinHostPort(servers.Addr(t)), net.JoinHostPort(servers.Addr(t))
	own := []change{{"127.0.0.1:8080", site}, {"127.0.0.1:9400", issuerAddr}}

	// The README's command has these flags as its defaults.
	flags := changed(t, " -addr 127.0.0.1:9400 -redirect http://127.0.0.1:8080/auth/callback", own...)
	exports, stop := m.startIssuer(strings.TrimSpace(blockUnder(t, "README.md", "Sign users in", "sh", 1)) + flags)
	m.write("main.go", changed(t, blockUnder(t, "README.md", "Sign users in", "go", 0), own[0]))
	m.start(exports + "go run .")
	m.look("http://" + site)
	stop()
	m.visit("http://"+site+"/", http.StatusOK, "Hello, ada@example.com") // while the access token is good

	shown := changed(t, blockUnder(t, "docs/testing.md", "The development issuer", "sh", 1), own[1])
	exports, _ = m.startIssuer(changed(t, blockUnder(t, "docs/testing.md", "The development issuer", "sh", 0), own...))
	if exports != shown {
		t.Errorf("the issuer prints\n%sand docs/testing.md shows\n%s", exports, shown)
	}
	m.run(blockUnder(t, "authpiredis/README.md", "authpiredis", "", 0))
	if require := read(t, filepath.Join(m.dir, "go.mod")); !strings.Contains(require, "authpi-idp-go/authpiredis "+published) {
		t.Errorf("go.mod does not require authpiredis:\n%s", require)
	}
}

// machine is a newcomer's: it has Go, and what others have published.
type machine struct {
	t       *testing.T
	dir     string
	env     []string
	browser *http.Client
}

// published is the version that authpiredis requires of the core.
const published = "v0.1.0"

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), browser: newBrowser(t)}
	proxies, modules, builds := t.TempDir(), t.TempDir(), goEnv(t, "GOCACHE")
	for path, folder := range map[string]string{"": "../..", "/authpiredis": "../../authpiredis"} {
		fetch := exec.CommandContext(t.Context(), "go", "mod", "download") // what they need may not be here yet
		fetch.Dir, fetch.Env = folder, append(os.Environ(), "GOWORK=off")
		if out, err := fetch.CombinedOutput(); err != nil {
			t.Fatalf("go mod download: %v\n%s", err, out)
		}
		publish(t, filepath.Join(proxies, "github.com/authpi/authpi-idp-go"+path, "@v"), "github.com/authpi/authpi-idp-go"+path, folder)
	}
	m.env = []string{
		"GOPROXY=file://" + proxies + ",file://" + filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download"),
		"GOMODCACHE=" + modules, "GOFLAGS=-modcacherw", "GOWORK=off", "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GOTOOLCHAIN=local",
		"GOCACHE=" + builds, "XDG_CACHE_HOME=" + t.TempDir(),
	}
	return m
}

// publish writes a module as a module proxy has it.
func publish(t *testing.T, dir, path, folder string) {
	t.Helper()
	info, err := json.Marshal(map[string]any{"Version": published, "Time": time.Now().UTC()})
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"list": []byte(published + "\n"), published + ".info": info,
		published + ".mod": []byte(read(t, filepath.Join(folder, "go.mod"))), published + ".zip": zipped(t, path, folder),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// zipped returns a module's files, without those of modules below it.
func zipped(t *testing.T, path, folder string) []byte {
	t.Helper()
	var module bytes.Buffer
	w := zip.NewWriter(&module)
	err := filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && file != folder {
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil || strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(file, folder+string(filepath.Separator)))
		part, err := w.Create(path + "@" + published + "/" + name)
		if err == nil {
			_, err = part.Write(text)
		}
		return err
	})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return module.Bytes()
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// run pastes a block into a terminal.
func (m *machine) run(block string) {
	m.t.Helper()
	cmd := shell(m.t, m.dir, block)
	cmd.Env = append(cmd.Env, m.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%s%v\n%s", block, err, out)
	}
}

// start does so for what runs until Ctrl-C, and returns what it prints.
func (m *machine) start(block string) (out io.Reader, stop func()) {
	m.t.Helper()
	cmd := shell(m.t, m.dir, block)
	cmd.Env = append(cmd.Env, m.env...)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Cancel()
			_ = cmd.Wait()
		}
	}
	m.t.Cleanup(func() {
		stop()
		if m.t.Failed() {
			m.t.Logf("%s\n%s", block, &log)
		}
	})
	return out, stop
}

// startIssuer returns the lines to paste.
func (m *machine) startIssuer(block string) (exports string, stop func()) {
	m.t.Helper()
	out, stop := m.start(block)
	lines := bufio.NewScanner(out)
	for lines.Scan() && strings.Count(exports, "\n") < 3 {
		if strings.HasPrefix(lines.Text(), "export ") {
			exports += lines.Text() + "\n"
		}
		if strings.Count(exports, "\n") == 3 {
			return exports, stop
		}
	}
	m.t.Fatalf("the issuer ended, and printed %q", exports)
	return "", nil
}

// look does what the README and the quickstart have a newcomer do.
func (m *machine) look(site string) {
	t := m.t
	t.Helper()
	m.await(site)
	registered := strings.Fields(strings.ReplaceAll(blockUnder(t, "docs/quickstart.md", "4. Use AuthPI", "", 0), "http://127.0.0.1:8080", site))
	authURL := m.visit(site+"/auth/login", http.StatusSeeOther, "")
	if len(registered) != 2 || !strings.Contains(authURL, "redirect_uri="+url.QueryEscape(registered[0])+"&") {
		t.Errorf("the login leads to %s; want it to come back to %v", authURL, registered)
	}
	m.visit(m.choose(authURL, "cancel", "1"), http.StatusForbidden, "")
	m.visit(m.choose(m.visit(site+"/auth/login", http.StatusSeeOther, ""), "user", "usr_ada"), http.StatusSeeOther, "")
	m.visit(site+"/", http.StatusOK, "Hello, ada@example.com")
	m.visit(site+"/", http.StatusOK, `<a href="/orgs/org_engines/projects">org_engines</a>: Editor`)
	m.visit(site+"/", http.StatusOK, `<a href="/orgs/org_poetry/projects">org_poetry</a>: Owner`)
	m.visit(site+"/orgs/org_engines/projects", http.StatusOK, "The projects of org_engines")
	m.visit(site+"/orgs/org_observatory/projects", http.StatusForbidden, "")

	resp, err := m.browser.Post(site+"/auth/logout", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	back := m.visit(resp.Header.Get("Location"), http.StatusFound, "")
	if before, _, _ := strings.Cut(back, "?"); before != registered[1] {
		t.Errorf("the sign-out comes back to %s; want %s", back, registered[1])
	}
	m.visit(site+"/", http.StatusUnauthorized, "")
	m.visit(m.choose(m.visit(site+"/auth/login", http.StatusSeeOther, ""), "user", "usr_ada"), http.StatusSeeOther, "")
}

// await waits for a program that is still being built.
func (m *machine) await(site string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Minute)
	defer cancel()
	for {
		resp, err := m.browser.Get(site)
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case <-ctx.Done():
			m.t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// visit returns where an answer leads to.
func (m *machine) visit(url string, status int, part string) (location string) {
	m.t.Helper()
	got, location, text := visit(m.t, m.browser, url)
	if got != status || !strings.Contains(text, part) {
		m.t.Errorf("%s: got %d\n%s\nwant %d, %s", url, got, text, status, part)
	}
	return location
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	formHidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// choose presses a button of the issuer's sign-in page, and returns where it leads to.
func (m *machine) choose(authURL, name, value string) (callback string) {
	m.t.Helper()
	_, _, page := visit(m.t, m.browser, authURL)
	form, action := url.Values{name: {value}}, formAction.FindStringSubmatch(page)
	if action == nil {
		m.t.Fatalf("no page to sign in: %s", page)
	}
	for _, field := range formHidden.FindAllStringSubmatch(page, -1) {
		form.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	at, err := url.Parse(authURL)
	if err == nil {
		at, err = at.Parse(html.UnescapeString(action[1]))
	}
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := m.browser.PostForm(at.String(), form)
	if err != nil {
		m.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Header.Get("Location")
}
