package signin_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/signin"
)

func TestPack(t *testing.T) {
	t.Parallel()
	for _, parts := range [][]string{nil, {""}, {"", ""}, {"a", "", "b"}, {"ab", ""}, {string(make([]byte, 300)), "x"}} {
		packed := signin.Pack(parts...)
		if got, whole := unpack(packed, len(parts)); !whole || !slices.Equal(got, parts) && len(parts) > 0 {
			t.Errorf("%q: got %q, %t", parts, got, whole)
		}
		for name, other := range map[string]func() ([]string, bool){
			"a part too few":  func() ([]string, bool) { return unpack(append(packed, 0), len(parts)) },
			"a part too many": func() ([]string, bool) { return unpack(packed, len(parts)+1) },
			"cut":             func() ([]string, bool) { return unpack(append(packed, 2, 'x'), len(parts)+1) },
		} {
			if _, whole := other(); whole {
				t.Errorf("%q: %s: got all of it", parts, name)
			}
		}
	}
	if string(signin.Pack("a", "b")) == string(signin.Pack("ab", "")) || string(signin.Pack("a")) == string(signin.Pack("a", "")) {
		t.Error("different texts give the same bytes")
	}
}

func TestPackedNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"0": true, "-62135596800": true, "9223372036854775807": true, "9223372036854775808": false, "": false, "1x": false} {
		p := signin.Unpack(signin.Pack(text, "after"))
		n := p.Number()
		if after := p.Text(); after != "after" || p.Whole() != want || want && strconv.FormatInt(n, 10) != text {
			t.Errorf("%q: got %d, %q, whole: %t", text, n, after, p.Whole())
		}
	}
}

func unpack(packed []byte, count int) (parts []string, whole bool) {
	p := signin.Unpack(packed)
	for range count {
		parts = append(parts, p.Text())
	}
	return parts, p.Whole()
}

// FuzzUnpack reads what anybody may have written over an entry: it packs again to
// the same texts.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte{1, 'a', 0}, 2)
	f.Add([]byte{0x80}, 1)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 1)
	f.Fuzz(func(t *testing.T, b []byte, want int) {
		parts, whole := unpack(b, max(min(want, 16), 0))
		if !whole {
			return
		}
		if again, whole := unpack(signin.Pack(parts...), len(parts)); !whole || !slices.Equal(parts, again) {
			t.Errorf("%x: got %q and then %q", b, parts, again)
		}
	})
}
