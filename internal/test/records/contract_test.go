// Package records_test holds what is logged to what docs/observability.md promises.
package records_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// promise is one row of the tables of records.
type promise struct {
	op, level, message string
	needed, optional   []string
}

// page is what docs/observability.md promises.
type page struct {
	records map[string]*promise // by level and message
	fields  map[string]string   // kind and meaning, by name
}

var (
	quoted    = regexp.MustCompile("`([^`]+)`")
	fieldName = regexp.MustCompile("^`[a-z_]+`$")
)

func readPage(t *testing.T) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "observability.md"))
	if err != nil {
		t.Fatal(err)
	}
	p := page{records: map[string]*promise{}, fields: map[string]string{}}
	op := ""
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) == 4 && strings.HasPrefix(cells[2], "`authpi: "):
			if cells[0] != "" {
				op = strings.Trim(cells[0], "`")
			}
			p.add(op, cells[1:])
		case len(cells) == 3 && strings.HasPrefix(cells[1], "`authpi: "):
			p.add("", cells)
		case len(cells) == 3 && fieldName.MatchString(cells[0]):
			p.fields[strings.Trim(cells[0], "`")] = cells[1] + ": " + cells[2]
		}
	}
	return p
}

func (p *page) add(op string, cells []string) {
	row := &promise{op: op, level: strings.ToUpper(cells[0]), message: strings.Trim(cells[1], "`")}
	if op != "" {
		row.needed = []string{"op", "outcome", "duration"}
	}
	for _, match := range quoted.FindAllStringSubmatch(cells[2], -1) {
		if name, optional := strings.CutSuffix(match[1], "?"); optional {
			row.optional = append(row.optional, name)
		} else {
			row.needed = append(row.needed, name)
		}
	}
	p.records[row.level+" "+row.message] = row
}

// Every record is one that the page promises, with those fields and no others, and
// every one that it promises is written.
func TestRecordsAreAsPromised(t *testing.T) {
	promised := readPage(t)
	seen, used := map[string]int{}, map[string]bool{}
	for _, line := range everyRecord(t) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		name := record["level"].(string) + " " + record["msg"].(string)
		row := promised.records[name]
		if row == nil {
			t.Errorf("the page does not have %s", line)
			continue
		}
		seen[name]++
		checkFields(t, row, record, line)
		for field, value := range record {
			used[field] = true
			checkValue(t, promised.fields[field], field, value, line)
		}
	}
	for name, row := range promised.records {
		if seen[name] == 0 {
			t.Errorf("never written: %s", name)
		}
		for _, field := range append(slices.Clone(row.needed), row.optional...) {
			if promised.fields[field] == "" {
				t.Errorf("%s has %s, which the table of fields has not", name, field)
			}
		}
	}
	for field := range promised.fields {
		if !used[field] {
			t.Errorf("no record has the field %s", field)
		}
	}
}

func checkFields(t *testing.T, row *promise, record map[string]any, line string) {
	t.Helper()
	if row.op != "" && record["op"] != row.op {
		t.Errorf("op %v; want %s: %s", record["op"], row.op, line)
	}
	for _, name := range row.needed {
		if _, ok := record[name]; !ok {
			t.Errorf("%s is missing: %s", name, line)
		}
	}
	for name := range record {
		if !slices.Contains([]string{"time", "level", "msg"}, name) &&
			!slices.Contains(row.needed, name) && !slices.Contains(row.optional, name) {
			t.Errorf("%s is not promised: %s", name, line)
		}
	}
}

var key = regexp.MustCompile(`^([0-9a-f]{12})?$`)

// checkValue wants a field to be of the kind that the page says, and one of the
// values that it lists.
func checkValue(t *testing.T, said, name string, value any, line string) {
	t.Helper()
	kind, meaning, _ := strings.Cut(said, ": ")
	ok := true
	switch kind {
	case "duration", "number":
		n, isNumber := value.(float64)
		ok = isNumber && n >= 0 && n == float64(int64(n))
	case "bool":
		_, ok = value.(bool)
	case "time":
		text, _ := value.(string)
		at, err := time.Parse(time.RFC3339, text)
		ok = err == nil && !at.IsZero()
	case "list":
		_, ok = value.([]any)
	case "text":
		var text string
		text, ok = value.(string)
		if name == "key" {
			ok = key.MatchString(text)
		}
		if slices.Contains([]string{"outcome", "source", "token"}, name) {
			ok = strings.Contains(meaning, "`"+text+"`")
		}
	}
	if !ok {
		t.Errorf("%s is %v; want %q: %s", name, value, said, line)
	}
}
