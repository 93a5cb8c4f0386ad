package docs

import (
	"path/filepath"
	"strings"
	"testing"
)

// others are the blocks that are not Go, with the file and the test that runs each, or
// why none does.
var others = []struct{ page, under, lang, test, not string }{
	{page: "README.md", under: "Sign users in", lang: "sh", test: "newcomer_test.go TestNewcomer"},
	{page: "README.md", under: "Sign users in", lang: "sh", test: "newcomer_test.go TestNewcomer"},
	{page: "README.md", under: "How it is checked", lang: "sh", test: "shell_test.go TestCommands"},
	{page: "authpiredis/README.md", under: "authpiredis", test: "newcomer_test.go TestNewcomer"},
	{page: "docs/production.md", under: "Addresses, proxies, hosts", lang: "nginx", test: "../../internal/e2e/proxy/proxy_test.go TestBehindProxies"},
	{page: "docs/quickstart.md", under: "4. Use AuthPI", test: "newcomer_test.go TestNewcomer"},
	{page: "docs/replicas.md", under: "Without authpihttp", lang: "sql", test: "shell_test.go TestUpdate"},
	{page: "docs/replicas.md", under: "Watch it work", lang: "sh", test: "shell_test.go TestReplicas"},
	{page: "docs/review/performance.md", under: "How fast it is", lang: "sh",
		not: "half an hour on a quiet machine; internal/bench runs each benchmark once"},
	{page: "docs/review/refresh.md", under: "One process", lang: "mermaid", not: "a picture"},
	{page: "docs/review/refresh.md", under: "Two processes and Redis", lang: "mermaid", not: "a picture"},
	{page: "docs/review/security.md", under: "Refused inputs", test: "shell_test.go TestCommands"},
	{page: "docs/review/threat-model.md", under: "Trust boundaries", lang: "mermaid", not: "a picture"},
	{page: "docs/testing.md", under: "The development issuer", lang: "sh", test: "newcomer_test.go TestNewcomer"},
	{page: "docs/testing.md", under: "The development issuer", lang: "sh", test: "newcomer_test.go TestNewcomer"},
	{page: "docs/testing.md", under: "People and organizations", lang: "json", test: "../../authpitest/issuer/docs_test.go TestDocs"},
	{page: "examples/README.md", under: "From a clone to the first page", lang: "sh", test: "shell_test.go TestCommands"},
	{page: "testdata/parity/README.md", under: "Regenerating", not: "installs packages from Python's index"},
}

// Each block that is not Go is in the table: a new one has to be run, or to say why not.
func TestOtherBlocks(t *testing.T) {
	t.Parallel()
	rest := others
	for _, page := range everyPage(t) {
		for _, b := range blocksOf(t, page) {
			if b.lang == "go" {
				continue
			}
			path := filepath.ToSlash(strings.TrimPrefix(absolute(t, page), absolute(t, "../..")+string(filepath.Separator)))
			if len(rest) == 0 || rest[0].page != path || rest[0].under != b.under || rest[0].lang != b.lang {
				t.Fatalf("%s:%d: the table of others has no row for this block of %q, under %q; what comes next is %+v", path, b.line, b.lang, b.under, rest[:min(1, len(rest))])
			}
			rest = rest[1:]
		}
	}
	if len(rest) > 0 {
		t.Errorf("no page has %+v", rest[0])
	}
	for _, row := range others {
		file, test, _ := strings.Cut(row.test, " ")
		if row.not == "" && !strings.Contains(read(t, file), "\nfunc "+test+"(") {
			t.Errorf("%s: there is no %s in %s", row.page, test, file)
		}
	}
}

// blockUnder returns the text of a page's nth block of a language under a heading.
func blockUnder(t *testing.T, page, under, lang string, n int) string {
	t.Helper()
	for _, b := range blocksOf(t, filepath.Join("..", "..", page)) {
		if b.under == under && b.lang == lang {
			if n == 0 {
				return b.text
			}
			n--
		}
	}
	t.Fatalf("%s has no such block of %q under %q", page, lang, under)
	return ""
}
