package module_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// What CONTRIBUTING.md names is there: a folder that moves takes its line along.
func TestContributingNamesWhatExists(t *testing.T) {
	t.Parallel()
	root := testkit.Root(t)
	page, makefile := read(t, root, "CONTRIBUTING.md"), read(t, root, "Makefile")
	ours := regexp.MustCompile(`^((internal|authpi\w+|docs|examples|testdata)/[\w./-]+|\w+\.(go|md)|\.ci/\w+)$`)
	paths := 0
	for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(page, -1) {
		if target, found := strings.CutPrefix(code[1], "make "); found {
			name, _, _ := strings.Cut(target, " ")
			if !strings.Contains(makefile, "\n"+name+": ") {
				t.Errorf("the Makefile has no %s", name)
			}
		}
		for _, word := range strings.Fields(code[1]) {
			path := strings.TrimSuffix(strings.TrimPrefix(word, "./"), "/...")
			if !ours.MatchString(path) || strings.Contains(path, "/v0.") { // that is a tag
				continue
			}
			paths++
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("CONTRIBUTING.md names %s: %v", path, err)
			}
		}
	}
	if paths < 20 {
		t.Errorf("found %d paths; want those of the page", paths)
	}
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
