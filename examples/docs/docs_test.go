package docs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fence   = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")
	shown   = regexp.MustCompile(`(?m)^//\t.*(?:\n//\t.*)*$`)
	link    = regexp.MustCompile(`(?:\]\(|src=")([^)"\s]+)[)"]`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// block is a fence of a page, or what a package's comment shows indented.
type block struct {
	page, under string // its heading, or the file's name
	line        int    // of the fence
	lang, text  string
}

// blocksOf returns a page's blocks in their order.
func blocksOf(t *testing.T, page string) (blocks []block) {
	t.Helper()
	text := read(t, page)
	if filepath.Ext(page) == ".go" {
		comment, _, _ := strings.Cut(text, "\npackage ")
		for _, at := range shown.FindAllStringIndex(comment, -1) {
			code := strings.ReplaceAll("\n"+comment[at[0]:at[1]]+"\n", "\n//\t", "\n")
			blocks = append(blocks, block{page, filepath.Base(page), strings.Count(text[:at[0]], "\n"), "go", code[1:]})
		}
		return blocks
	}
	for _, at := range fence.FindAllStringSubmatchIndex(text, -1) {
		under := ""
		for _, found := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text[:at[0]], ""), -1) {
			under = found[1]
		}
		blocks = append(blocks, block{page, under, 1 + strings.Count(text[:at[0]], "\n"), text[at[2]:at[3]], text[at[4]:at[5]]})
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
	if err := errors.Join(err, err2); err != nil || len(users) < 10 || len(review) < 5 {
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
