package browser

import (
	"bufio"
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	// The app is built by hand, so go test would take an old result for the answer
	// after a change of these. After one of examples/webapp itself use -count=1.
	_ "github.com/authpi/authpi-idp-go/authpihttp"
	_ "github.com/authpi/authpi-idp-go/authpitest"
)

var update = flag.Bool("update", false, "put the screenshots into docs/img")

func TestMain(m *testing.M) {
	code := m.Run()
	chromium.stop()
	if build.dir != "" {
		_ = os.RemoveAll(build.dir)
	}
	os.Exit(code)
}

// build is examples/webapp, built by the first test that needs it.
var build struct {
	once sync.Once
	dir  string
	err  error
}

// webapp is a process with its embedded issuer.
type webapp struct {
	url  string
	stop func()
	log  bytes.Buffer // only to be read once it has ended
}

func buildWebapp(t *testing.T) {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "authpi-webapp-"); build.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(build.dir, "webapp"), "./webapp")
		cmd.Dir, cmd.Stderr = filepath.Join("..", "..", "..", "examples"), os.Stderr
		build.err = cmd.Run()
	})
	if build.err != nil {
		t.Fatalf("building examples/webapp: %v", build.err)
	}
}

func startWebapp(t *testing.T, tokenLife time.Duration) *webapp {
	t.Helper()
	needChromium(t) // or else there is no need to build anything
	buildWebapp(t)
	w := &webapp{}
	cmd := exec.Command(filepath.Join(build.dir, "webapp"), "-addr", "127.0.0.1:0", "-token-life", tokenLife.String())
	for _, setting := range os.Environ() { // without those of a real issuer
		if !strings.HasPrefix(setting, "AUTHPI_") && !strings.HasPrefix(setting, "APP_URL=") {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	cmd.Stderr = &w.log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("starting examples/webapp: %v", err)
	}
	w.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		w.stop()
		for _, secret := range []string{"eyJ", "code=", "state="} {
			if strings.Contains(w.log.String(), secret) {
				t.Errorf("the log holds %q", secret)
			}
		}
		if t.Failed() {
			t.Logf("the log of examples/webapp:\n%s", w.log.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	url, found := strings.CutPrefix(strings.TrimSpace(line), "Open ")
	if !found {
		t.Fatalf("examples/webapp says %q: %v", line, err)
	}
	w.url = url
	return w
}

// needChromium gives the path of the program that no test here can do without. Where
// it is missing the test is skipped; under CI, where .ci/run installs it, it fails.
func needChromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("CI is set, so nothing may be skipped: the program chromium is not installed here")
	}
	t.Skip("skipped: the program chromium is not installed here")
	return ""
}
