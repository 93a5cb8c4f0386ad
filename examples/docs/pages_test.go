package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// What people read is short: they read all of it, or nothing.
func TestPagesAreShort(t *testing.T) {
	t.Parallel()
	if n := len(strings.Fields(read(t, "../../README.md"))); n > 1000 {
		t.Errorf("the README has %d words; want at most 1,000", n)
	}
	users, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, page := range users {
		total += len(strings.Fields(read(t, page))) // as wc -w counts
	}
	if total > 9000 {
		t.Errorf("the pages for users have %d words; want at most 9,000", total)
	}
}

// words leaves out the rules of tables.
func words(text string) (n int) {
	for _, field := range strings.Fields(text) {
		if strings.ContainsFunc(field, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			n++
		}
	}
	return n
}

// What one page says, no other repeats: a copy is what gets forgotten when the first
// one changes.
func TestNothingIsSaidTwice(t *testing.T) {
	t.Parallel()
	said := map[string]string{} // where
	for _, page := range append(pages(t), "../../README.md", "../../authpiredis/README.md") {
		own := map[string]bool{}
		for _, block := range slices.Concat(codeOf(read(t, page)), sentencesOf(read(t, page))) {
			if first := said[block]; first != "" && first != page && !own[block] {
				t.Errorf("%s repeats what is in %s:\n%s", page, first, block)
			}
			said[block], own[block] = page, true
		}
	}
}

// codeOf returns each three lines that follow one another in a fence.
func codeOf(text string) (blocks []string) {
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		lines := strings.Split(flat(block[2]), "\n")
		for i := 0; i+3 <= len(lines); i++ {
			if part := strings.Join(lines[i:i+3], "\n"); words(part) > 6 && !strings.Contains(part, "return err\n}") {
				blocks = append(blocks, part)
			}
		}
	}
	return blocks
}

// sentencesOf returns those that somebody would recognise, and cells of tables.
func sentencesOf(text string) (sentences []string) {
	text = regexp.MustCompile("`[^`]*`").ReplaceAllString(fence.ReplaceAllString(text, "\n\n"), "")
	text = regexp.MustCompile(`\n+(\s*[-|#]|\s*\d\.|\n)`).ReplaceAllString(text, ". $1")
	for _, part := range regexp.MustCompile(`[.:;|]\s`).Split(text, -1) {
		part = strings.ToLower(strings.Join(strings.Fields(part), " "))
		if words(part) >= 9 {
			sentences = append(sentences, part)
		}
	}
	return sentences
}

// TestTroubleshooting holds the page to the code: each text in it is one that the code
// has, and each text that people search for is in it.
func TestTroubleshooting(t *testing.T) {
	t.Parallel()
	page, sources := read(t, "../../docs/troubleshooting.md"), sourcesOf(t)
	for _, row := range regexp.MustCompile("(?m)^- ([`\"].*?[`\"]): ").FindAllStringSubmatch(page, -1) {
		for _, text := range regexp.MustCompile("`([^`]+)`|\"([^\"]+)\"").FindAllStringSubmatch(row[1], -1) {
			for _, part := range strings.Split(text[1]+text[2], "...") {
				part = strings.Trim(part, " ;:,")
				// A claim and what is wrong with it stand apart in the code.
				if claim, wrong, ok := strings.Cut(part, ": "); ok && len(claim) <= 9 {
					part = strings.Trim(wrong, " ")
				}
				part = strings.TrimPrefix(part, "authpihttp: ")
				if !strings.Contains(sources, strings.ReplaceAll(part, `"`, `\"`)) && !strings.Contains(sources, part) {
					t.Errorf("nothing says %q", part)
				}
			}
		}
	}
	page += read(t, "../../docs/observability.md")
	var openEnded []string // "authpihttp: store: ..."
	for _, begin := range regexp.MustCompile("`([^`]+?) ?\\.\\.\\.`").FindAllStringSubmatch(page, -1) {
		openEnded = append(openEnded, begin[1])
	}
	for _, text := range searched(sources) {
		short := strings.TrimPrefix(text, "authpihttp: ")
		begins := func(begin string) bool { return strings.HasPrefix(text, begin) }
		if !strings.Contains(page, short) && !slices.ContainsFunc(openEnded, begins) {
			t.Errorf("the page does not explain %q", text)
		}
	}
}

// searched are the texts that people come with: errors without a type of their own,
// lines of the log, and what the browser shows.
func searched(sources string) (texts []string) {
	for _, found := range regexp.MustCompile(`(?m)^.*"(authpi(?:http|redis)?: [^"%]*)[^"]*".*$`).FindAllStringSubmatch(sources, -1) {
		if strings.Contains(found[0], "panic(") || strings.Contains(found[0], "Debug") || strings.Contains(found[0], "Info") {
			continue
		}
		if strings.Contains(found[0], "errPeek") || strings.Contains(found[0], "errReused") { // between our own packages
			continue
		}
		texts = append(texts, strings.TrimRight(found[1], " "))
	}
	for _, found := range regexp.MustCompile(`(?:sentinel|= Error)\("([^"]+)"\)`).FindAllStringSubmatch(sources, -1) {
		texts = append(texts, found[1])
	}
	for _, found := range regexp.MustCompile(`message\{[^,]+, "([^"]+)", "([^"]+?[.])[^"]*"\}`).FindAllStringSubmatch(sources, -1) {
		if found[1] == "Sign-in did not work" {
			found[1] = found[2]
		}
		texts = append(texts, found[1])
	}
	return texts
}

// sourcesOf returns the code that speaks to people.
func sourcesOf(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "examples", "authpitest", "bench", "e2e", "tools", "test", "testkit", "docs", "testdata"}, d.Name()) {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "//") {
				all.WriteString(line)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
