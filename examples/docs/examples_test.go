package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The table of examples has all of them, and says how much there is to copy: a file's
// lines that are not empty, to the next ten or so.
func TestExamplesTable(t *testing.T) {
	t.Parallel()
	page := read(t, "../README.md")
	folders, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		name := folder.Name()
		if folder.IsDir() && name != "docs" && name != "internal" && !strings.Contains(page, "| ["+name+"]("+name+") |") {
			t.Errorf("%s is not in the table", name)
		}
	}
	file, rows := regexp.MustCompile(`\]\(([^)]+/[^)]+)\)`), 0
	for _, row := range regexp.MustCompile(`(?m)^\| (\[\w+\].*) \| +(\d+) \|$`).FindAllStringSubmatch(page, -1) {
		said, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for _, found := range file.FindAllStringSubmatch(row[1], -1) {
			for line := range strings.Lines(read(t, filepath.Join("..", found[1]))) {
				if strings.TrimSpace(line) != "" && !strings.HasSuffix(line, "// not yours\n") {
					lines++
				}
			}
		}
		if lines < said-15 || lines > said+15 {
			t.Errorf("%s: %d lines to copy; the table says %d", row[1], lines, said)
		}
		rows++
	}
	if rows < 10 {
		t.Errorf("%d rows say how much there is to copy", rows)
	}
}
