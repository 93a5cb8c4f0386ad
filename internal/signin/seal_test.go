package signin_test

import (
	"slices"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/signin"
)

func TestPack(t *testing.T) {
	t.Parallel()
	for _, parts := range [][]string{nil, {""}, {"", ""}, {"a", "", "b"}, {"ab", ""}, {string(make([]byte, 300)), "x"}} {
		packed := signin.Pack(parts...)
		got, rest, ok := signin.Unpack(append(packed, "rest"...), len(parts))
		if !ok || string(rest) != "rest" || !slices.Equal(got, parts) && len(parts) > 0 {
			t.Errorf("%q: got %q, %q, %t", parts, got, rest, ok)
		}
		if _, _, ok := signin.Unpack(packed, len(parts)+1); ok {
			t.Errorf("%q: one more text was read than was packed", parts)
		}
	}
	if string(signin.Pack("a", "b")) == string(signin.Pack("ab", "")) || string(signin.Pack("a")) == string(signin.Pack("a", "")) {
		t.Error("different texts give the same bytes")
	}
}

// FuzzUnpack reads what anybody may have written over an entry: it packs again to
// the same bytes.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte{1, 'a', 0}, 2)
	f.Add([]byte{0x80}, 1)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 1)
	f.Fuzz(func(t *testing.T, b []byte, want int) {
		parts, rest, ok := signin.Unpack(b, max(min(want, 16), 0))
		if !ok {
			return
		}
		again, _, ok := signin.Unpack(append(signin.Pack(parts...), rest...), len(parts))
		if !ok || !slices.Equal(parts, again) {
			t.Errorf("%x: got %q and then %q", b, parts, again)
		}
	})
}
