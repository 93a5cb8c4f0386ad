package seal_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/seal"
)

func TestSealOpen(t *testing.T) {
	t.Parallel()
	const token, realm = "the-refresh-token", "https://idp.example\x00c_1"
	id := seal.ID(realm, token)
	for _, plain := range [][]byte{{}, []byte("x"), []byte(`{"tokens":{}}`), bytes.Repeat([]byte("a"), 1<<20)} {
		sealed, err := seal.Seal(token, id, plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 3 && bytes.Contains(sealed, plain) || bytes.Contains(sealed, []byte(token)) {
			t.Errorf("got the plain text in the sealed one")
		}
		got, err := seal.Open(token, id, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %.40q, %v; want %.40q", got, err, plain)
		}
		again, err := seal.Seal(token, id, plain)
		if err != nil || bytes.Equal(again, sealed) {
			t.Errorf("got the same bytes twice; want another nonce each time")
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	const token = "the-refresh-token"
	id := seal.ID("realm", token)
	sealed, err := seal.Seal(token, id, []byte("the plain text"))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int) []byte {
		c := bytes.Clone(sealed)
		c[at] ^= 1
		return c
	}
	for _, tc := range []struct {
		name, token, id string
		sealed          []byte
	}{
		{"another token", "the-refresh-tokem", id, sealed},
		{"another id", token, seal.ID("realm2", token), sealed},
		{"no id", token, "", sealed},
		{"first byte", token, id, changed(0)},
		{"last byte", token, id, changed(len(sealed) - 1)},
		{"a byte of the text", token, id, changed(14)},
		{"cut", token, id, sealed[:len(sealed)-1]},
		{"cut to the nonce", token, id, sealed[:12]},
		{"cut below the nonce", token, id, sealed[:5]},
		{"longer", token, id, append(bytes.Clone(sealed), 0)},
		{"empty", token, id, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			plain, err := seal.Open(tc.token, tc.id, tc.sealed)
			if err == nil || plain != nil {
				t.Fatalf("got %q, %v; want it refused", plain, err)
			}
			if err.Error() != "the sealed refresh result cannot be opened" {
				t.Errorf("got %q; want the same text for every cause", err)
			}
		})
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	id := seal.ID("realm", "token-token-token")
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) || strings.Contains(id, "token") {
		t.Errorf("got %q; want 64 hexadecimal digits", id)
	}
	if id != seal.ID("realm", "token-token-token") {
		t.Error("got two IDs for one token")
	}
	seen := map[string]bool{}
	for _, pair := range [][2]string{{"a", "b"}, {"a", "c"}, {"b", "b"}, {"", "ab"}, {"ab", ""}, {"a\x00", "b"}, {"a", "\x00c"}} {
		id := seal.ID(pair[0], pair[1])
		if seen[id] {
			t.Errorf("%q: got the ID of another token", pair)
		}
		seen[id] = true
	}
}
