package docs

import (
	"fmt"
	"strings"
	"testing"
)

// What a sign-in costs somebody who is new here, without the pages that it guards.
// examples/readme runs it.
func TestSignInIsShort(t *testing.T) {
	t.Parallel()
	const most = 19
	text := read(t, "../../README.md")
	_, program, _ := strings.Cut(text, "func main() {")
	program, _, found := strings.Cut(program, "func home(")
	if !found {
		t.Fatal("the README shows no sign-in with authpihttp")
	}
	lines := 1 // that of func main
	for line := range strings.Lines(program) {
		if strings.TrimSpace(line) != "" {
			lines++
		}
	}
	if lines > most || !strings.Contains(text, fmt.Sprintf("| %d, below |", most)) {
		t.Errorf("a sign-in takes %d lines; want at most %d, and the README to say so", lines, most)
	}
	for _, part := range []string{"authpi.NewIdpClient(", "authpihttp.New(", "PostLogoutRedirectURI", "app.RequireAgent(", ".RequireAccess(", ".ListenAndServe("} {
		if !strings.Contains(program, part) {
			t.Errorf("a sign-in is not whole without %s", part)
		}
	}
}
