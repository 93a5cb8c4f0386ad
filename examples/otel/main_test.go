package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The command, started as a user starts it, prints each operation as a span, and the
// metrics.
func TestCommand(t *testing.T) {
	program := filepath.Join(t.TempDir(), "otel")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	command := exec.CommandContext(t.Context(), program)
	var out, logs bytes.Buffer
	command.Stdout, command.Stderr = &out, &logs
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, logs.String())
	}
	for _, name := range []string{
		"a tour", "HTTP POST", "authpi exchange", "authpi discovery", "authpi keys", "authpi verify", "authpi refresh",
		"authpi spend", "authpi machine_token", "authpi.operation.duration", "http.client.request.duration",
	} {
		if !strings.Contains(out.String(), `"Name":"`+name+`"`) {
			t.Errorf("it prints no %s", name)
		}
	}
	if got := strings.Count(out.String(), `"Name":"authpi spend"`); got != 1 {
		t.Errorf("got %d requests with the refresh token; want 1 for both", got)
	}
	if !strings.Contains(logs.String(), "authpi: refresh token spent") || strings.Contains(logs.String(), "level=DEBUG") {
		t.Errorf("the log: got %s", logs.String())
	}
}

var (
	series = regexp.MustCompile(`\b(authpi|http)_[a-z_]+`)
	label  = regexp.MustCompile(`(\w+)(=~|!~|=|!=)"`)
	row    = regexp.MustCompile("(?m)^\\| `([a-z.]+)`, (histogram|gauge|counter) \\| `([a-z_]+)` \\| (.*) \\|$")
	alert  = regexp.MustCompile(`(?m)^ {6}- alert: Authpi\w+\n {8}expr: '([^'\n]+)'\n {8}annotations:\n {10}description: '[^'\n]+'$`)
)

// What alerts.yaml alerts on is measured under that name, with those labels, as
// docs/observability.md has them.
func TestAlertsAreOnWhatIsMeasured(t *testing.T) {
	labels := measured(t)
	rules := read(t, "alerts.yaml")
	alerts := alert.FindAllStringSubmatch(rules, -1)
	if len(alerts) < 10 || len(alerts) != strings.Count(rules, "alert:") || len(labels) != 5 {
		t.Fatalf("got %d alerts on %d metrics; want the file's, and the page's", len(alerts), len(labels))
	}
	for _, m := range alerts {
		expression := m[1]
		for _, selected := range regexp.MustCompile(`[a-z_]+\{[^}]*\}|(authpi|http)_[a-z_]+_(seconds|total)\w*`).FindAllString(expression, -1) {
			name := series.FindString(selected)
			for _, suffix := range []string{"_count", "_bucket", "_sum"} {
				name = strings.TrimSuffix(name, suffix)
			}
			known, ok := labels[name]
			if !ok {
				t.Errorf("%s: nothing is called %s", expression, name)
			}
			for _, l := range label.FindAllStringSubmatch(selected, -1) {
				if !strings.Contains(known, "`"+l[1]+"`") {
					t.Errorf("%s: %s has no label %s", expression, name, l[1])
				}
			}
		}
	}
}

// measured are the page's metrics with their labels, by the name in Prometheus. Each
// is one that the code makes.
func measured(t *testing.T) map[string]string {
	t.Helper()
	page, code, labels := read(t, "../../docs/observability.md"), read(t, "telemetry/telemetry.go"), map[string]string{}
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		name, kind, exported := m[1], m[2], m[3]
		want := strings.ReplaceAll(name, ".", "_") + map[string]string{"histogram": "_seconds", "gauge": "_seconds", "counter": "_total"}[kind]
		if exported != want {
			t.Errorf("%s is %s in Prometheus; want %s", name, exported, want)
		}
		if !strings.HasPrefix(name, "http.") && !strings.Contains(code, `"`+name+`"`) {
			t.Errorf("nothing measures %s", name)
		}
		labels[exported] = m[4]
		for _, attribute := range regexp.MustCompile("`([a-z]+)_([a-z_]+)`").FindAllStringSubmatch(m[4], -1) {
			if !strings.Contains(code, `"`+attribute[1]+"."+attribute[2]+`"`) {
				t.Errorf("%s has no attribute %v", name, attribute[0])
			}
		}
	}
	return labels
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
