package bearer_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/bearer"
)

// Every byte that may stand in a token does, and no other.
func TestTokenBytes(t *testing.T) {
	t.Parallel()
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=:"
	for c := range 256 {
		r, err := http.NewRequest(http.MethodGet, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer x"+string([]byte{byte(c)})+"y")
		token, malformed := bearer.Token(r)
		if ok := malformed == "" && bearer.IsToken(token); ok != strings.Contains(allowed, string([]byte{byte(c)})) {
			t.Errorf("byte %#x: got %q, %q", c, token, malformed)
		}
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	got := bearer.Challenge(`a"b`, [2]string{"error", ""}, [2]string{"scope", "x\\y\nz"}, [2]string{"long", strings.Repeat("l", 400)})
	if want := `Bearer realm="a'b", scope="x'y?z", long="` + strings.Repeat("l", 300) + `"`; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
