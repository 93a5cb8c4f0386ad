package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

func TestAppendString(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, s, want string
	}{
		{"empty", "", `""`},
		{"plain", "projects:read", `"projects:read"`},
		{"quote and backslash", `a"b\c`, `"a\"b\\c"`},
		{"slash", "a/b", `"a/b"`},
		{"short escapes", "\b\t\n\f\r", `"\b\t\n\f\r"`},
		{"other control characters", "\x00\x01\v\x1b\x1f", `"\u0000\u0001\u000b\u001b\u001f"`},
		{"delete character", "\x7f", "\"\x7f\""},
		{"HTML", "<a href='?x&y'>", `"<a href='?x&y'>"`},
		{"line separators", "\u2028\u2029", "\"\u2028\u2029\""},
		{"not ASCII", "Zürich 😀", `"Zürich 😀"`},
		{"replacement character", "\ufffd", "\"\ufffd\""},
		{"invalid bytes", "a\xff\xfeb", "\"a\ufffd\ufffdb\""},
		{"sequence cut short", "a\xe2\x82", "\"a\ufffd\ufffd\""},
		{"encoded surrogate", "\xed\xa0\x80", "\"\ufffd\ufffd\ufffd\""},
		{"invalid byte before a quote", "\xff\"", "\"\ufffd\\\"\""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := string(strictjson.AppendString(nil, tc.s)); got != tc.want {
				t.Errorf("got %s; want %s", got, tc.want)
			}
			if got := string(strictjson.AppendString([]byte("x="), tc.s)); got != "x="+tc.want {
				t.Errorf("after a prefix: got %s; want x=%s", got, tc.want)
			}
		})
	}
}

func TestAppendStringOrNull(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"": "x=null", "a\"b": `x="a\"b"`} {
		if got := string(strictjson.AppendStringOrNull([]byte("x="), s)); got != want {
			t.Errorf("%q: got %s; want %s", s, got, want)
		}
	}
}

func TestAppendStrings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		texts []string
		want  string
	}{
		{"nil", nil, `x=[]`},
		{"empty", []string{}, `x=[]`},
		{"one", []string{"a"}, `x=["a"]`},
		{"several", []string{"b", "", "a\"b"}, `x=["b","","a\"b"]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := string(strictjson.AppendStrings([]byte("x="), tc.texts)); got != tc.want {
				t.Errorf("got %s; want %s", got, tc.want)
			}
		})
	}
}

func FuzzAppendString(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		text := string(strictjson.AppendString(nil, s))
		want := s
		if !utf8.ValidString(s) {
			want = string([]rune(s)) // each byte that is not UTF-8 becomes U+FFFD
		}
		var std string
		if err := json.Unmarshal([]byte(text), &std); err != nil || std != want {
			t.Errorf("json.Unmarshal: got %q, %v; want %q", std, err, want)
		}
		r := strictjson.NewReader(text)
		got, ok := r.Text()
		if err := r.End(); got != want || !ok || err != nil {
			t.Errorf("Text: got %q, %v, %v; want %q", got, ok, err, want)
		}
		// Members has code of its own to read names.
		r = strictjson.NewReader("{" + text + ":1}")
		for m := r.Members(); m.Next(); {
			if m.Name != want {
				t.Errorf("Name: got %q; want %q", m.Name, want)
			}
		}
		if err := r.End(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(text, "\n"); n > 0 {
			t.Errorf("a raw line feed in %q", text)
		}
	})
}
