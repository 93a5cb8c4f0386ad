package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What main.go says to copy is a whole app, without the lines that are "not yours" and
// without the issuer: with a main of five lines it builds in a module of its own.
func TestCopied(t *testing.T) {
	t.Parallel()
	dir, repository := t.TempDir(), absolute(t, "../..")
	scs := regexp.MustCompile(`github.com/alexedwards/scs/v2 v[\d.]+`).FindString(read(t, "../go.mod"))
	files := map[string]string{
		"go.mod": "module example.com/app\n\ngo 1.26.0\n\n" +
			"require (\n\t" + scs + "\n\tgithub.com/authpi/authpi-idp-go v0.1.0\n)\n\n" +
			"replace github.com/authpi/authpi-idp-go => " + repository + "\n",
		"go.sum": read(t, "../go.sum"),
		"main.go": "package main\n\nimport (\n\t\"net/http\"\n\n\tauthpi \"github.com/authpi/authpi-idp-go\"\n)\n\n" +
			"func main() {\n\ta, err := newApp(authpi.Config{}, \"https://app.example\", nil)\n" +
			"\tif err == nil {\n\t\terr = http.ListenAndServe(\"127.0.0.1:8080\", a.handler())\n\t}\n\tpanic(err)\n}\n",
	}
	for _, name := range []string{"app.go", "page.go", "page.html", "style.css", "live.js", "mark.svg"} {
		var mine strings.Builder
		for line := range strings.Lines(read(t, name)) {
			if !strings.HasSuffix(line, "// not yours\n") {
				mine.WriteString(line)
			}
		}
		files[name] = mine.String()
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "vet", "-mod=mod", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
