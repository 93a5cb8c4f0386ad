package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/development.md names every flag, and shows a file and lines that are right.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "development.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	help, err := command(t, nil, "-h").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range regexp.MustCompile(`(?m)^  -[a-z-]+`).FindAllString(string(help), -1) {
		if !strings.Contains(page, "`"+strings.TrimSpace(flag)) && !strings.Contains(page, " "+strings.TrimSpace(flag)+" ") {
			t.Errorf("the page does not name %s", flag)
		}
	}
	block := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(page)
	if block == nil {
		t.Fatal("the page shows no file of people")
	}
	file := filepath.Join(t.TempDir(), "people.json")
	if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "-people", file)
	wantTexts(t, r.page(), "Editor at Analytical Engines", "Night worker", "blocked")
	for _, name := range []string{"AUTHPI_CLIENT_ID", "AUTHPI_CLIENT_SECRET"} {
		if !strings.Contains(page, "export "+name+"="+r.exported[name]+"\n") {
			t.Errorf("the page shows another %s", name)
		}
	}
	if !strings.Contains(page, "export AUTHPI_ISSUER_URL=http://127.0.0.1:9400/i_dev\n") {
		t.Error("the page shows another AUTHPI_ISSUER_URL")
	}
}
