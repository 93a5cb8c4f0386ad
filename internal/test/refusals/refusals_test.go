package refusals_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// refusal is one row of the refusal table in docs/review/security.md: an input with
// one fault. The same code makes the input twice. With the fault it must be refused,
// and without it accepted: no row can leave the second out, so none is refused for a
// reason of another kind.
type refusal struct {
	name   string // of the attack
	source string // the section that asks for the check
	code   string // of the error
	login  string // its code at a login, where that is another one
	part   string // what the error has to name
	fault  edit
	given  []edit // of both inputs, before the fault
}

// edit changes the scene of an input before it is played.
type edit func(*scene)

// refusals are the rows about one kind of input. Each goes through every way that
// such an input can take into the library.
type refusals struct {
	title string
	ways  []way
	rows  []refusal
}

type way struct {
	name string
	try  func(*scene) error
}

func refusalTable() []refusals {
	return []refusals{
		refusedCallbacks(), refusedAnswers(), refusedSignatures(), unknownKeys(), laggingKeys(), refusedForms(), refusedKeys(),
		refusedIDTokens(), refusedLoginTokens(), refusedRefreshTokens(), refusedStoredTokens(), refusedAccessTokens(), refusedRequests(),
		refusedLogoutTokens(), refusedLogoutPosts(), refusedUserInfo(), refusedDiscovery(), refusedConfigurations(),
	}
}

// TestRefusals plays every row of the table, and holds docs/review/security.md to
// it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	table := refusalTable()
	checkDocumented(t, "### ", documentedRefusals(table))
	checkNamedTests(t)
	var refused, accepted atomic.Int64
	t.Run("rows", func(t *testing.T) {
		for _, part := range table {
			for _, row := range part.rows {
				t.Run(part.title+"/"+row.name, func(t *testing.T) {
					t.Parallel()
					row.play(t, part.ways, &refused, &accepted)
				})
			}
		}
	})
	t.Logf("refusals: %d rows refused, %d accepted once fixed", refused.Load(), accepted.Load())
}

// play counts the row where it was refused, and accepted once fixed, in every way.
func (r refusal) play(t *testing.T, ways []way, refused, accepted *atomic.Int64) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			r := r
			if r.login != "" && w.name == byExchange.name {
				r.code = r.login
			}
			s := r.scene(t)
			r.fault(s)
			r.wantRefused(t, s, w.try(s))
		})
	}
	if !t.Failed() {
		refused.Add(1)
	}
	for _, w := range ways {
		t.Run(w.name+", fixed", func(t *testing.T) {
			if err := w.try(r.scene(t)); err != nil {
				t.Errorf("got %v; want it accepted once the fault is fixed", err)
			}
		})
	}
	if !t.Failed() {
		accepted.Add(1)
	}
}

// scene is the input without the fault.
func (r refusal) scene(t *testing.T) *scene {
	s := newScene(t)
	for _, given := range r.given {
		given(s)
	}
	return s
}

// configuration stands for the code of a *ConfigurationError, which has none. The
// part is its field.
const configuration = "configuration"

func (r refusal) wantRefused(t *testing.T, s *scene, err error) {
	t.Helper()
	if r.code == configuration {
		testkit.WantField(t, err, r.part)
		var other *authpi.OAuthError
		if !strings.HasPrefix(err.Error(), "authpi: configuration: "+r.part+" ") || errors.As(err, &other) || authpi.SessionEnded(err) {
			t.Errorf("got %v; want a configuration error that begins with the field, and stands alone", err)
		}
		return
	}
	e := testkit.WantCode(t, err, r.code, r.part)
	if r.code == "invalid_token" && !strings.HasPrefix(e.Description, r.part+": ") {
		t.Errorf("got description %q; want it to begin with %q, what failed", e.Description, r.part)
	}
	sentinel := map[string]error{
		"invalid_token": authpi.ErrInvalidToken, "invalid_nonce": authpi.ErrInvalidNonce,
		"invalid_state": authpi.ErrInvalidState, "invalid_grant": authpi.ErrInvalidGrant,
	}[r.code]
	if sentinel != nil && !errors.Is(err, sentinel) {
		t.Errorf("errors.Is(%v, %v): got false; want true", err, sentinel)
	}
	testkit.WantHidden(t, err.Error(), s.secrets...)
}

// checkNamedTests wants every test that docs/review/security.md names to be there.
func checkNamedTests(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "review", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, dir := range []string{".", "authpihttp", filepath.Join("internal", "*"), filepath.Join("internal", "test", "*")} {
		files, err := filepath.Glob(filepath.Join(testkit.Root(t), dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(source)
		}
	}
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(text), -1) {
		if !strings.Contains(code.String(), "func "+name+"(") {
			t.Errorf("docs/review/security.md names %s, which does not exist", name)
		}
	}
}

// documentedRefusals is the table as docs/review/security.md has it, by heading.
func documentedRefusals(table []refusals) map[string][]string {
	lines := make(map[string][]string)
	for _, part := range table {
		for _, row := range part.rows {
			line := fmt.Sprintf("| %s | %s | `%s`: %s", row.name, row.source, row.code, row.part)
			if row.login != "" {
				line += fmt.Sprintf("; at a login `%s`", row.login)
			}
			lines[part.title] = append(lines[part.title], line+" |")
		}
	}
	return lines
}

// checkDocumented wants each heading of docs/review/security.md to be followed by
// exactly these rows, in this order.
func checkDocumented(t *testing.T, level string, want map[string][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "review", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^#+ `).Split(string(text), -1)
	for heading, rows := range want {
		var got []string
		found := false
		for _, section := range sections {
			title, body, _ := strings.Cut(section, "\n")
			if title != heading {
				continue
			}
			found = true
			for line := range strings.SplitSeq(body, "\n") {
				if strings.HasPrefix(line, "| ") {
					got = append(got, line)
				}
			}
		}
		if len(got) > 0 {
			got = got[1:] // the columns' names
		}
		if !found || !slices.Equal(got, rows) {
			t.Errorf("docs/review/security.md, %q: the rows are not the test's; want\n%s", level+heading, strings.Join(rows, "\n"))
		}
		if sorted := slices.Sorted(slices.Values(rows)); len(slices.Compact(sorted)) != len(rows) {
			t.Errorf("%s: a row stands there twice", heading)
		}
	}
}
