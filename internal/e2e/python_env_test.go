package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// pythonEnv gives the interpreter of a virtual environment that holds
// testdata/requirements.txt. The first test makes it below .venv, which git
// ignores; it is used again until the requirements change.
func pythonEnv(t *testing.T) string {
	t.Helper()
	python := needProgram(t, "python3")
	madeEnv.once.Do(func() { madeEnv.path, madeEnv.err = makeEnv(python) })
	if madeEnv.err != nil {
		lacking(t, "no Python environment with authpi-idp: %v", madeEnv.err)
	}
	return madeEnv.path
}

var madeEnv struct {
	once sync.Once
	path string
	err  error
}

func makeEnv(python string) (string, error) {
	const requirements = "testdata/requirements.txt"
	wanted, err := os.ReadFile(requirements)
	if err != nil {
		return "", err
	}
	home, err := filepath.Abs(".venv")
	if err != nil {
		return "", err
	}
	place := filepath.Join(home, fmt.Sprintf("%x", sha256.Sum256(wanted))[:12])
	if interpreter := inEnv(place); works(interpreter) {
		return interpreter, nil
	}
	// Made aside and moved there when it is whole: tests of another process may
	// be doing the same.
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	making, err := os.MkdirTemp(home, "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(making)
	for _, command := range [][]string{
		{python, "-m", "venv", making},
		{inEnv(making), "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
			"--retries", "2", "--timeout", "20", "-r", requirements},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		cancel()
		if err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	if err := os.Rename(making, place); err != nil && !works(inEnv(place)) {
		// One is there that does not work, perhaps of a Python that is gone.
		if err := os.RemoveAll(place); err != nil {
			return "", err
		}
		if err := os.Rename(making, place); err != nil {
			return "", err
		}
	}
	if interpreter := inEnv(place); works(interpreter) {
		return interpreter, nil
	}
	return "", fmt.Errorf("%s was made but does not work", place)
}

func inEnv(place string) string { return filepath.Join(place, "bin", "python") }

func works(interpreter string) bool {
	return exec.Command(interpreter, "-I", "-c", "import authpi_idp, httpx, pydantic").Run() == nil
}

// python is a running testdata/session.py.
type python struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startPython(t *testing.T) *python {
	t.Helper()
	cmd := exec.Command(pythonEnv(t), "-I", "testdata/session.py")
	cmd.Env = append(os.Environ(), "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("python: %v", err)
		}
	})
	p := &python{t: t, in: in, out: bufio.NewReader(out)}
	var hello struct{ Version string }
	if p.read(&hello); hello.Version != "1.1.2" {
		t.Fatalf("authpi-idp is version %q; want 1.1.2", hello.Version)
	}
	return p
}

// ask sends one step and reads its answer.
func (p *python) ask(question any, answer any) {
	p.t.Helper()
	line, err := json.Marshal(question)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatalf("python: %v", err)
	}
	p.read(answer)
}

func (p *python) read(answer any) {
	p.t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		p.t.Fatalf("python: %v", err)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		p.t.Fatalf("python said %q: %v", line, err)
	}
}
