package module_test

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// go get refuses a module for one file whose name some system cannot have, even if
// it is only a seed of a fuzzer: golang.org/x/mod/module, CheckFilePath.
func TestModulesCanBeDownloaded(t *testing.T) {
	t.Parallel()
	root, folded := testkit.Root(t), map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".git" && d.IsDir() {
			return fs.SkipDir
		}
		if path != root && !portable(d.Name()) {
			t.Errorf("%s: no module may have a file of this name", path)
		}
		if other := folded[strings.ToLower(path)]; other != "" {
			t.Errorf("%s and %s differ in case alone", path, other)
		}
		folded[strings.ToLower(path)] = path
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPortable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"client.go": true, ".gitignore": true, "null": true, "com10": true, "seed #1 (half)": true, "é": true,
		"nul": false, "NUL.txt": false, "aux": false, "com1": false, "lpt9.a.b": false, "end.": false,
		"a:b": false, "a*b": false, `a"b`: false, "a\nb": false, "": false,
	} {
		if got := portable(name); got != want {
			t.Errorf("portable(%q) = %v; want %v", name, got, want)
		}
	}
}

// portable reports whether a file may have a name on every system.
func portable(name string) bool {
	device, _, _ := strings.Cut(strings.ToLower(name), ".")
	if slices.Contains([]string{"con", "prn", "aux", "nul"}, device) {
		return false
	}
	if len(device) == 4 && (strings.HasPrefix(device, "com") || strings.HasPrefix(device, "lpt")) && device[3] >= '1' && device[3] <= '9' {
		return false
	}
	return name != "" && !strings.HasSuffix(name, ".") && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&()+,-.=@[]^_{}~ ", r)
	})
}
