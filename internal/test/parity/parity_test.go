package parity_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// parityFiles are the recorded cases of testdata/parity/*.json: what the Python
// package authpi-idp 1.1.2 did, see the README there. Each runner calls this
// package with a case's input and returns what came out in the form of its want.
var parityFiles = []struct {
	stem  string
	cases int // as recorded: none may get lost
	run   func(t *testing.T, c parityCase) any
}{
	{"scopes", 209, runParityScopes},
	{"agent_access", 63, runParityAgentAccess},
	{"id_tokens", 152, runParityIDTokens},
	{"token_sets", 110, runParityTokenSets},
	{"authorization_urls", 59, runParityAuthorizationURLs},
	{"config", 167, runParityConfig},
	{"callbacks", 101, runParityCallbacks},
	{"wire", 307, runParityWire},
	{"errors", 32, runParityErrors},
	{"logout_urls", 21, runParityLogoutURLs},
}

type parityCase struct {
	Name     string
	Input    json.RawMessage
	Want     json.RawMessage
	Accident bool // Python fails by accident: any typed error of ours will do
	Lenient  bool // Python accepts what a stricter reader may refuse
	Dynamic  bool // the input cannot be written in Go
	Note     string
}

// TestParity runs every recorded case. A case matches, or parityDifferences lists it
// with a line of docs/review/differences.md and with all that comes out instead, or
// it is dynamic and skipped.
func TestParity(t *testing.T) {
	documented := documentedDifferences(t)
	differences := differencesByCase(t, documented)
	recorded := make(map[string]bool)
	counts := make([]*parityCount, len(parityFiles))
	t.Run("cases", func(t *testing.T) {
		for i, file := range parityFiles {
			cases := readParityCases(t, file.stem)
			if len(cases) != file.cases {
				t.Errorf("%s.json: got %d cases; want %d", file.stem, len(cases), file.cases)
			}
			for _, c := range cases {
				recorded[file.stem+": "+c.Name] = true
			}
			counts[i] = &parityCount{}
			t.Run(file.stem, func(t *testing.T) {
				for _, c := range cases {
					t.Run(c.Name, func(t *testing.T) {
						t.Parallel()
						if c.Dynamic {
							counts[i].add(&counts[i].skipped)
							t.Skip("cannot be written in Go")
						}
						checkParity(t, file.run(t, c), c, differences[file.stem+": "+c.Name], counts[i])
					})
				}
			})
		}
	})
	for key := range differences {
		if len(recorded) > 0 && !recorded[key] {
			t.Errorf("a listed difference names no recorded case: %s", key)
		}
	}
	var all parityCount
	for i, file := range parityFiles {
		if counts[i] != nil {
			t.Logf("%s.json: %s", file.stem, counts[i])
			all.sum(counts[i])
		}
	}
	t.Logf("total: %s", &all)
}

func checkParity(t *testing.T, got any, c parityCase, listed *parityDifference, count *parityCount) {
	t.Helper()
	want := parityTree(t, c.Want)
	if w, ok := want.(map[string]any); ok && w["requests"] != nil {
		want = wantParityWire(want)
	}
	found := parityDiff{said: saidByIssuer(t, c)}.compare(got, want)
	switch {
	case listed == nil && len(found) == 0:
		count.add(&count.matched)
	case listed == nil:
		t.Errorf("%s: differs from the Python package:\n\t%s\nwant %s", c.Name, strings.Join(found, "\n\t"), c.Want)
	case len(found) == 0:
		t.Errorf("listed as %s, but matches: take it off the list", listed.id)
	case !slices.Equal(found, listed.instead):
		t.Errorf("differs, but not as %s lists it:\n\t%s\nlisted:\n\t%s",
			listed.id, strings.Join(found, "\n\t"), strings.Join(listed.instead, "\n\t"))
	default:
		count.add(&count.different)
	}
}

// differencesByCase spreads the list out, and wants each of its lines documented.
func differencesByCase(t *testing.T, documented []string) map[string]*parityDifference {
	t.Helper()
	byCase := make(map[string]*parityDifference)
	for i := range parityDifferences {
		d := &parityDifferences[i]
		if !slices.Contains(documented, d.id) {
			t.Errorf("docs/review/differences.md has no %s", d.id)
		}
		for _, name := range d.cases {
			key := d.file + ": " + name
			if byCase[key] != nil {
				t.Errorf("listed twice: %s", key)
			}
			byCase[key] = d
		}
	}
	return byCase
}

// documentedDifferences are the IDs that docs/review/differences.md explains, each
// in a heading or table row of its own.
func documentedDifferences(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "review", "differences.md"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range regexp.MustCompile(`(?m)^\| (D\d+) \|`).FindAllSubmatch(text, -1) {
		id := string(m[1])
		if slices.Contains(ids, id) {
			t.Errorf("docs/review/differences.md explains %s twice", id)
		}
		ids = append(ids, id)
	}
	return ids
}

func readParityCases(t *testing.T, stem string) []parityCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "testdata", "parity", stem+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []parityCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// parityTree decodes JSON with its numbers as texts: some exceed 64 bits.
func parityTree(t *testing.T, data []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// parityInput decodes a case's input into v.
func parityInput(t *testing.T, data []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

type parityCount struct {
	mu                          sync.Mutex // guards all below
	matched, different, skipped int
}

func (c *parityCount) add(to *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*to++
}

func (c *parityCount) sum(other *parityCount) {
	c.matched += other.matched
	c.different += other.different
	c.skipped += other.skipped
}
