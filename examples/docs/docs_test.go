package docs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var pagesWithCode = []string{
	"sessions", "organizations", "apis", "machine-to-machine", "native-apps", "testing", "replicas", "errors", "production",
}

// packages are the files with the packages' own comments.
var packages = []string{"../../client.go", "../../authpihttp/app.go", "../../authpitest/server.go", "../../authpiredis/coordinator.go"}

var (
	fence   = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")
	shown   = regexp.MustCompile(`(?m)^//\t.*(?:\n//\t.*)*$`)
	link    = regexp.MustCompile(`(?:\]\(|src=")([^)"\s]+)[)"]`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// Every Go block of every page is a piece of a file that is compiled, line for line.
func TestBlocksAreCompiled(t *testing.T) {
	t.Parallel()
	sources := examples(t)
	shows := map[string]int{} // blocks, by page
	for _, path := range append(pages(t), append(packages, "../../README.md")...) {
		page := path // of a package
		if filepath.Ext(path) == ".md" {
			page = strings.TrimSuffix(filepath.Base(path), ".md")
		}
		for _, block := range blocksOf(t, path) {
			if block[1] != "go" {
				continue
			}
			shows[page]++
			found := false
			for _, source := range sources {
				found = found || strings.Contains(source, "\n"+flat(block[2])+"\n")
			}
			if !found {
				t.Errorf("%s: no file under examples/ has this:\n%s", page, block[2])
			}
		}
	}
	for _, page := range slices.Concat(pagesWithCode, packages, []string{"README"}) {
		if shows[page] == 0 {
			t.Errorf("%s shows no code", page)
		}
	}
}

// examples are the files under examples/ by their paths, without indentation.
func examples(t *testing.T) map[string]string {
	t.Helper()
	sources := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		sources[path] = "\n" + flat(string(text)) + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

// blocksOf are a page's fences, or what a package comment shows indented.
func blocksOf(t *testing.T, path string) [][]string {
	t.Helper()
	text := read(t, path)
	if filepath.Ext(path) == ".md" {
		return fence.FindAllStringSubmatch(text, -1)
	}
	comment, _, _ := strings.Cut(text, "\npackage ")
	var blocks [][]string
	for _, block := range shown.FindAllString(comment, -1) {
		blocks = append(blocks, []string{block, "go", strings.ReplaceAll("\n"+block, "\n//", "\n")})
	}
	return blocks
}

// flat leaves indentation out: a page shows a piece of a function at its margin.
func flat(code string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(code)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

// Links within the repository lead to files and headings that exist.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, page := range append(pages(t), "../../README.md", "../README.md") {
		for _, found := range link.FindAllStringSubmatch(fence.ReplaceAllString(read(t, page), ""), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(found[1], "#")
			target := filepath.Join(filepath.Dir(page), filepath.FromSlash(path))
			if path == "" {
				target = page
			}
			if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s leads nowhere", page, found[1])
				continue
			}
			if anchor != "" && !hasHeading(read(t, target), anchor) {
				t.Errorf("%s: %s leads to no heading", page, found[1])
			}
		}
	}
}

// pages are those for users and those for reviewers.
func pages(t *testing.T) []string {
	t.Helper()
	users, err := filepath.Glob("../../docs/*.md")
	review, err2 := filepath.Glob("../../docs/review/*.md")
	if err := errors.Join(err, err2); err != nil || len(users) < len(pagesWithCode)-1 || len(review) < 5 {
		t.Fatalf("found %d pages for users and %d for reviewers, %v", len(users), len(review), err)
	}
	return append(users, review...)
}

// hasHeading makes anchors as code hosting sites do.
func hasHeading(page, anchor string) bool {
	for _, found := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		slug := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-")
		if slug == anchor {
			return true
		}
	}
	return false
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}
