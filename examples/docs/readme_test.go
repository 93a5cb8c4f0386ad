package docs

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
)

func TestREADME(t *testing.T) {
	t.Parallel()
	readmeAccess(&authpi.Agent{})
	client := newClient(t, authpi.Config{IssuerURL: "https://idp.example", ClientID: "c_1", RedirectURI: "https://app.example/auth/callback"})
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	readmeStore(client, rdb, make([]byte, 32)).Register(http.NewServeMux())
	var cfg authpi.Config
	readmeCoordinator(&cfg, rdb)
	if bearer, err := readmeBearer(client); err != nil || bearer == nil || cfg.Coordinator == nil {
		t.Errorf("got %v, %v and %v", bearer, err, cfg.Coordinator)
	}
}

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
