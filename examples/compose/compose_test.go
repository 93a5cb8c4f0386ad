package compose

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// project reads compose.yaml as Docker does, held against its schema.
func project(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"compose.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stages reads the Dockerfile, and fails for what BuildKit's linter says.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines > 15 {
		t.Errorf("%d lines; want about ten", lines)
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range tree.Warnings {
		t.Errorf("Dockerfile: %s", w.Short)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) { t.Errorf("Dockerfile: %s: %s", rule, message) }})
	found, _, err := instructions.Parse(tree.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	all := stages(t)
	for _, stage := range all {
		if _, tag, ok := strings.Cut(stage.BaseName, ":"); !ok || tag == "latest" {
			t.Errorf("%s names no version", stage.BaseName)
		}
	}
	last := all[len(all)-1]
	if !strings.HasSuffix(last.BaseName, ":nonroot") {
		t.Errorf("it runs as root in %s", last.BaseName)
	}
	// The compiler is one that the modules allow.
	goMod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	oldest := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindStringSubmatch(string(goMod))[1]
	if built := strings.TrimPrefix(all[0].BaseName, "golang:"); built < oldest {
		t.Errorf("it is built by Go %s; want at least %s", built, oldest)
	}
}

// Nothing is published to other machines, and nothing runs with more than it needs.
func TestComposeIsClosed(t *testing.T) {
	t.Parallel()
	for name, service := range project(t).Services {
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes port %s on %q", name, port.Published, port.HostIP)
			}
		}
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) || service.Privileged {
			t.Errorf("%s may more than it needs", name)
		}
		if _, err := os.Stat(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The people are those that the issuer has built in.
func TestPeopleAreTheSame(t *testing.T) {
	t.Parallel()
	here, err := os.ReadFile("people.json")
	if err != nil {
		t.Fatal(err)
	}
	builtIn, err := os.ReadFile("../../authpitest/issuer/people.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(here, builtIn) {
		t.Error("people.json is not what -print-people writes")
	}
}

// machine is what the containers run on: this one, with an address of its own in place
// of 127.0.0.1, and folders in place of the volumes.
type machine struct {
	t     *testing.T
	local *strings.Replacer
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only on Linux is all of 127.0.0.0/8 this machine")
	}
	var b [3]byte
	_, _ = rand.Read(b[:])
	address := fmt.Sprintf("127.%d.%d.%d", 1+b[0]%250, b[1], 1+b[2]%250)
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	return &machine{t, strings.NewReplacer(
		"127.0.0.1", address, "0.0.0.0", address, "/keys/", t.TempDir()+"/", "/config/", here+"/",
	)}
}

// build runs the RUN lines of the Dockerfile in the repository, as "COPY . ." has it,
// and returns the program.
func (m *machine) build(service types.ServiceConfig) string {
	m.t.Helper()
	dir, env := m.t.TempDir(), append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=")
	folders := strings.NewReplacer("/out", dir+"/out", "/keys", dir+"/keys")
	for _, command := range stages(m.t)[0].Commands {
		switch c := command.(type) {
		case *instructions.ArgCommand:
			for _, arg := range c.Args {
				value := arg.ValueString()
				if given := service.Build.Args[arg.Key]; given != nil {
					value = *given
				}
				env = append(env, arg.Key+"="+value)
			}
		case *instructions.RunCommand:
			cmd := exec.CommandContext(m.t.Context(), "sh", "-c", folders.Replace(strings.Join(c.CmdLine, " ")))
			cmd.Dir, cmd.Env = service.Build.Context, env
			if text, err := cmd.CombinedOutput(); err != nil {
				m.t.Fatalf("%s: %v\n%s", cmd, err, text)
			}
		}
	}
	return filepath.Join(dir, "out", "program")
}

// start runs a service and waits until url answers.
func (m *machine) start(program string, service types.ServiceConfig, url string) (stop func()) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), program)
	for _, arg := range service.Command {
		cmd.Args = append(cmd.Args, m.local.Replace(arg))
	}
	cmd.Env = []string{}
	for name, value := range service.Environment {
		cmd.Env = append(cmd.Env, name+"="+m.local.Replace(*value))
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			m.t.Cleanup(stop)
			return stop
		}
		select {
		case err := <-ended:
			m.t.Fatalf("%s ended: %v\n%s", service.Name, err, &said)
		default:
		}
		if time.Now().After(end) {
			stop()
			m.t.Fatalf("%s does not answer: %v\n%s", service.Name, err, &said)
		}
	}
}

// What both containers run is built and started here, and somebody signs in.
func TestCommands(t *testing.T) {
	t.Parallel()
	m, p := newMachine(t), project(t)
	issuer, webapp := p.Services["issuer"], p.Services["webapp"]
	app, page := m.local.Replace(*webapp.Environment["APP_URL"]), m.local.Replace("http://127.0.0.1:9400/")
	program := m.build(issuer)
	stop := m.start(program, issuer, page)
	m.start(m.build(webapp), webapp, app)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	signIn(t, browser, app)

	// Its page and its back-channel reach the app, which then knows nobody.
	session := regexp.MustCompile(`name="session" value="([^"]+)"`).FindStringSubmatch(show(t)(browser.Get(page)))
	if session == nil {
		t.Fatal("the issuer's page shows no session")
	}
	if text := show(t)(browser.PostForm(page+"sessions", url.Values{"session": {session[1]}})); !strings.Contains(text, "the app was told") {
		t.Errorf("ended: %s", text)
	}
	if text := show(t)(browser.Get(app)); strings.Contains(text, "Ada Lovelace") {
		t.Error("she is still signed in")
	}

	// The keys survive the container.
	keys := show(t)(browser.Get(page + "i_dev/jwks.json"))
	stop()
	m.start(program, issuer, page)
	if again := show(t)(browser.Get(page + "i_dev/jwks.json")); again != keys {
		t.Error("another container has other keys")
	}
	signIn(t, browser, app)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// signIn is Ada's, at the app.
func signIn(t *testing.T, browser *http.Client, app string) {
	t.Helper()
	resp, err := browser.Get(app + "/auth/login")
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"user": {"usr_ada"}}
	for _, match := range hidden.FindAllStringSubmatch(show(t)(resp, nil), -1) {
		form.Add(html.UnescapeString(match[1]), html.UnescapeString(match[2]))
	}
	at := *resp.Request.URL
	at.RawQuery = ""
	if text := show(t)(browser.PostForm(at.String(), form)); !strings.Contains(text, "Ada Lovelace") {
		t.Fatalf("signed in: %s", text)
	}
}

// show reads an answer.
func show(t *testing.T) func(*http.Response, error) string {
	t.Helper()
	return func(resp *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
}
