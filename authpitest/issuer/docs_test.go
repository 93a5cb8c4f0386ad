package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/testing.md names flags that exist, and shows a file and lines that are right.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "testing.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	help, err := command(t, nil, "-h").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(page, "## The development issuer")
	flags := regexp.MustCompile("`(-[a-z-]+)").FindAllStringSubmatch(section, -1)
	for _, flag := range flags {
		if flag[1] != "-h" && !strings.Contains(string(help), "\n  "+flag[1]) {
			t.Errorf("there is no %s", flag[1])
		}
	}
	if len(flags) < 5 {
		t.Errorf("the page names %d flags", len(flags))
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

// The commands that pages show start the issuer, with what they say.
func TestShownCommands(t *testing.T) {
	t.Parallel()
	const prefix = "go run github.com/authpi/authpi-idp-go/authpitest/issuer@latest"
	found := 0
	for _, page := range []string{"README.md", filepath.Join("docs", "testing.md")} {
		text, err := os.ReadFile(filepath.Join("..", "..", page))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", "")) {
			flags, ok := strings.CutPrefix(strings.TrimSpace(line), prefix)
			if !ok || strings.Contains(flags, "people") {
				continue // TestPeopleFile and TestPrintPeople start those
			}
			found++
			args := strings.Fields(strings.ReplaceAll(flags, "127.0.0.1:9400", "127.0.0.1:0"))
			r := start(t, args...)
			for i, arg := range args {
				if arg == "-redirect" && !strings.Contains(r.said, args[i+1]) {
					t.Errorf("%s: it said %s", line, r.said)
				}
			}
		}
	}
	if found < 2 {
		t.Errorf("%d commands were found", found)
	}
}
