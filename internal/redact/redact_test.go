package redact_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/authpi/authpi-idp-go/internal/redact"
)

func TestText(t *testing.T) {
	t.Parallel()
	const odd = "s/e c+r=e&t"
	tests := []struct {
		name, text string
		secrets    []string
		want       string
	}{
		{"nothing to hide", "invalid_grant: spent", []string{"abcdef"}, "invalid_grant: spent"},
		{"raw", "got abcdef here", []string{"abcdef"}, "got [redacted] here"},
		{"twice", "abcdefabcdef", []string{"abcdef"}, "[redacted][redacted]"},
		{"several", "abcdef and ghijkl", []string{"abcdef", "ghijkl"}, "[redacted] and [redacted]"},
		{"query-encoded", "got " + url.QueryEscape(odd), []string{odd}, "got [redacted]"},
		{"path-encoded", "got " + url.PathEscape(odd), []string{odd}, "got [redacted]"},
		{"one secret begins another", "got abcdefghi", []string{"abcd", "abcdefghi"}, "got [redacted]"},
		{"too short to be one", "a cat", []string{"a", "", "cat"}, "a cat"},
		{"other case is another text", "ABCDEF", []string{"abcdef"}, "ABCDEF"},
		{"a JWT", "token eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln ends", nil, "token [redacted] ends"},
		{"the start of a JWT", "eyJhbGciOiJ", nil, "[redacted]"},
		{"control characters", "a\r\nb\x00c\x1b[31md\u0085e", nil, "a  b c [31md e"},
		{"no UTF-8", "a\xff\xfeb", nil, "a\uFFFDb"},
		{"512 bytes", strings.Repeat("x", 512), nil, strings.Repeat("x", 512)},
		{"longer", strings.Repeat("x", 513), nil, strings.Repeat("x", 512) + "…"},
		{"longer, in the middle of a character", strings.Repeat("x", 511) + "éé", nil, strings.Repeat("x", 511) + "…"},
		{"a secret across the cut", strings.Repeat("x", 510) + "abcdef", []string{"abcdef"}, strings.Repeat("x", 510) + "[r…"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := redact.Text(tc.text, tc.secrets...); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	if got := redact.Secret("x"); got != redact.Mark {
		t.Errorf("got %q; want the mark", got)
	}
	if got := redact.Secret(""); got != "" {
		t.Errorf("got %q; want nothing for nothing", got)
	}
}

// sealed shows itself as [redacted] by redact.Print.
type sealed struct{ secret string }

func (s sealed) Format(f fmt.State, _ rune) { redact.Print(f, redact.Secret(s.secret)) }

func TestPrint(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T %[1]v"} {
		got := fmt.Sprintf(format, sealed{"hunter2"})
		if !strings.HasSuffix(got, redact.Mark) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: got %q; want the mark alone", format, got)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("got abcdef here", "abcdef")
	f.Add("%5Bredacted%5D a/b", "a/b?")
	f.Add("redacted", "dacted")
	f.Fuzz(func(t *testing.T, text, secret string) {
		got := redact.Text(text, secret)
		if !utf8.ValidString(got) || len(got) > 512+len("…") || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("got %q; want a short line of text", got)
		}
		// What the mark itself says is no leak, nor what a replaced byte makes up.
		if len(secret) >= 4 && utf8.ValidString(text) && utf8.ValidString(secret) && !strings.ContainsFunc(text, isControl) &&
			!overlapsMark(secret) && strings.Contains(got, secret) {
			t.Errorf("got %q from %q; want %q hidden", got, text, secret)
		}
	})
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// overlapsMark tells whether a part of the mark may be a part of secret.
func overlapsMark(secret string) bool {
	return strings.ContainsAny(secret, redact.Mark+"…")
}
