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
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("telemetry/telemetry.go")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{} // by the name in Prometheus
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		name, kind, exported := m[1], m[2], m[3]
		want := strings.ReplaceAll(name, ".", "_") + map[string]string{"histogram": "_seconds", "gauge": "_seconds", "counter": "_total"}[kind]
		if exported != want {
			t.Errorf("%s is %s in Prometheus; want %s", name, exported, want)
		}
		if !strings.HasPrefix(name, "http.") && !strings.Contains(string(code), `"`+name+`"`) {
			t.Errorf("nothing measures %s", name)
		}
		labels[exported] = m[4]
		for _, attribute := range regexp.MustCompile("`([a-z]+)_([a-z_]+)`").FindAllStringSubmatch(m[4], -1) {
			if !strings.Contains(string(code), `"`+attribute[1]+"."+attribute[2]+`"`) {
				t.Errorf("%s has no attribute %v", name, attribute[0])
			}
		}
	}
	rules, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	alerts := alert.FindAllStringSubmatch(string(rules), -1)
	if len(alerts) < 10 || len(alerts) != strings.Count(string(rules), "alert:") || len(labels) != 5 {
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
