package signin_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/signin"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	now := time.Unix(1760000000, 0)
	m := signin.NewMemory(func() time.Time { return now })
	write := func(old, b string, want bool) {
		t.Helper()
		var before []byte
		if old != "" {
			before = []byte(old)
		}
		if written, err := m.CommitIf(t.Context(), "k", before, []byte(b), now.Add(time.Minute)); err != nil || written != want {
			t.Errorf("%q over %q: got %t, %v; want %t", b, old, written, err, want)
		}
	}
	find := func(want string) {
		t.Helper()
		if b, found, err := m.Find("k"); err != nil || found != (want != "") || string(b) != want {
			t.Errorf("got %q, %t, %v; want %q", b, found, err, want)
		}
	}
	find("")
	write("x", "a", false) // over nothing
	write("", "a", true)
	write("", "b", false)
	write("x", "b", false)
	find("a")
	write("a", "b", true)
	find("b")
	now = now.Add(time.Minute)
	find("") // expired
	write("b", "c", false)
	write("", "c", true)
	if err := m.Delete("k"); err != nil {
		t.Error(err)
	}
	find("")
	kept := []byte("kept")
	if err := m.Commit("k", kept, now.Add(time.Second)); err != nil {
		t.Error(err)
	}
	kept[0] = 'X'
	if b, _, _ := m.Find("k"); !bytes.Equal(b, []byte("kept")) {
		t.Errorf("got %q; want a copy", b)
	}
}
