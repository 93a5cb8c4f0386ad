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

// A client's key opens what it has sealed under the same id, and nothing else.
func TestMachineKey(t *testing.T) {
	t.Parallel()
	key := func(secret string) *seal.Key {
		k, err := seal.MachineKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	const secret = "the-client-secret-of-c_1"
	k := key(secret)
	id := k.ID("token", "https://idp.example", "c_1")
	sealed := k.Seal(id, []byte("the plain text"))
	if got, err := key(secret).Open(id, sealed); err != nil || string(got) != "the plain text" {
		t.Errorf("got %q, %v; want the plain text", got, err)
	}
	refresh, err := seal.Seal(secret, id, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another secret":      func() ([]byte, error) { return key(secret+"x").Open(id, sealed) },
		"another id":          func() ([]byte, error) { return k.Open(k.ID("token"), sealed) },
		"changed":             func() ([]byte, error) { return k.Open(id, append([]byte{sealed[0] ^ 1}, sealed[1:]...)) },
		"empty":               func() ([]byte, error) { return k.Open(id, nil) },
		"sealed as a refresh": func() ([]byte, error) { return k.Open(id, refresh) },
		"opened as a refresh": func() ([]byte, error) { return seal.Open(secret, id, sealed) },
		"another secret of an id": func() ([]byte, error) {
			return k.Open(key("x"+secret).ID("token", "https://idp.example", "c_1"), sealed)
		},
	} {
		if got, err := open(); err == nil || got != nil {
			t.Errorf("%s: got %q; want it refused", name, got)
		}
	}
	ids := map[string]bool{}
	for _, parts := range [][]string{{}, {""}, {"a", "b"}, {"ab"}, {"a", "", "b"}, {"b", "a"}, {"1:a", "b"}} {
		ids[k.ID(parts...)] = true
	}
	if len(ids) != 7 || !regexp.MustCompile("^[0-9a-f]{64}$").MatchString(id) {
		t.Errorf("got %v and %q; want seven digests", ids, id)
	}
}
