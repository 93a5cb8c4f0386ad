package seal_test

import (
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/seal"
)

// FuzzSeal opens nothing but what was sealed, under the same token and id.
func FuzzSeal(f *testing.F) {
	f.Fuzz(func(t *testing.T, token, id, plain string, at uint16, bit uint8) {
		sealed, err := seal.Seal(token, id, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := seal.Open(token, id, sealed); err != nil || string(got) != plain {
			t.Errorf("got %q, %v; want %q", got, err, plain)
		}
		if len(plain) > 8 && strings.Contains(string(sealed), plain) {
			t.Error("the text can be read without the token")
		}
		changed := []byte(string(sealed))
		changed[int(at)%len(changed)] ^= 1 << (bit % 8)
		for _, tc := range []struct {
			name, token, id string
			sealed          []byte
		}{
			{"changed", token, id, changed}, {"cut", token, id, sealed[:len(sealed)-1]}, {"longer", token, id, append(sealed[:len(sealed):len(sealed)], 0)},
			{"another token", token + "x", id, sealed}, {"another id", token, id + "x", sealed}, {"nothing", token, id, nil},
		} {
			if got, err := seal.Open(tc.token, tc.id, tc.sealed); err == nil || got != nil {
				t.Errorf("%s: got %q, %v; want an error alone", tc.name, got, err)
			} else if len(token) > 8 && strings.Contains(err.Error(), token) {
				t.Errorf("%s: %v shows the token", tc.name, err)
			}
		}
	})
}
