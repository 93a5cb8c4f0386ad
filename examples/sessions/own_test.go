package sessions

import (
	"os"
	"strings"
	"testing"
)

// docs/sessions.md promises thirty lines.
func TestOwnStoreIsShort(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("own.go")
	if err != nil {
		t.Fatal(err)
	}
	_, store, found := strings.Cut(string(text), "\ntype ownStore ")
	lines := 0
	for line := range strings.Lines(store) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines++
		}
	}
	if !found || lines > 30 {
		t.Errorf("got %d lines; want thirty", lines)
	}
}
