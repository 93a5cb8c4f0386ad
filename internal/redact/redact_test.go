package redact_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
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
		{"raw", "got abcdef here", []string{"abcdef"}, redact.Mark},
		{"at the start", "abcdef here", []string{"abcdef"}, redact.Mark},
		{"at the end", "got abcdef", []string{"abcdef"}, redact.Mark},
		{"the second of two", "got ghijkl here", []string{"abcdef", "ghijkl"}, redact.Mark},
		{"neither of two", "got mnopqr here", []string{"abcdef", "ghijkl"}, "got mnopqr here"},
		{"query-encoded", "got " + url.QueryEscape(odd), []string{odd}, redact.Mark},
		{"path-encoded", "got " + url.PathEscape(odd), []string{odd}, redact.Mark},
		{"all but the last of a short one", "got abcde", []string{"abcdef"}, "got abcde"},
		{"too short to be one", "a cat", []string{"a", "", "cat"}, "a cat"},
		{"in other case", "ABCDEF", []string{"abcdef"}, "[redacted]"},
		{"a JWT", "token eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln ends", nil, "token [redacted] ends"},
		{"the start of a JWT", "eyJhbGciOiJ", nil, "[redacted]"},
		{"control characters", "a\r\nb\x00c\x1b[31md\u0085e", nil, "a  b c [31md e"},
		{"what turns a line around, or ends it", "a\u202eb\u2066c\u200fd\u2028e\u2029f", nil, "a b c d e f"},
		{"other alphabets", "خطا: می\u200cخواهم, ошибка, 誤り", nil, "خطا: می\u200cخواهم, ошибка, 誤り"},
		{"no UTF-8", "a\xff\xfeb", nil, "a\uFFFDb"},
		{"512 bytes", strings.Repeat("x", 512), nil, strings.Repeat("x", 512)},
		{"longer", strings.Repeat("x", 513), nil, strings.Repeat("x", 512) + "…"},
		{"longer, in the middle of a character", strings.Repeat("x", 511) + "éé", nil, strings.Repeat("x", 511) + "…"},
		{"a secret across the cut", strings.Repeat("x", 510) + "abcdef", []string{"abcdef"}, redact.Mark},
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

// An issuer may echo a secret in whatever way it writes texts.
func TestEchoes(t *testing.T) {
	t.Parallel()
	jsonText := func(s string) string {
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(quoted[1 : len(quoted)-1])
	}
	percent := func(format string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, format, c)
			}
			return b.String()
		}
	}
	lowerHex := func(s string) string {
		return regexp.MustCompile("%[0-9A-F]{2}").ReplaceAllStringFunc(url.QueryEscape(s), strings.ToLower)
	}
	twice := func(f func(string) string) func(string) string { return func(s string) string { return f(f(s)) } }
	encodings := map[string]func(string) string{
		"plain":                func(s string) string { return s },
		"query":                url.QueryEscape,
		"path":                 url.PathEscape,
		"lower-case hex":       lowerHex,
		"all percent":          percent("%%%02X"),
		"all percent, lower":   percent("%%%02x"),
		"query twice":          twice(url.QueryEscape),
		"path twice":           twice(url.PathEscape),
		"lower hex twice":      twice(lowerHex),
		"query of path":        func(s string) string { return url.QueryEscape(url.PathEscape(s)) },
		"HTML":                 html.EscapeString,
		"HTML twice":           twice(html.EscapeString),
		"HTML, decimal":        percent("&#%d;"),
		"HTML, hex":            percent("&#x%X;"),
		"HTML, padded":         percent("&#%05d;"),
		"JSON":                 jsonText,
		"JSON twice":           twice(jsonText),
		"JSON, slash escaped":  func(s string) string { return strings.ReplaceAll(jsonText(s), "/", `\/`) },
		"JSON, all escaped":    percent(`\u%04x`),
		"JSON, all in capital": percent(`\u%04X`),
		"JSON of query":        func(s string) string { return jsonText(url.QueryEscape(s)) },
		"JSON of HTML":         func(s string) string { return jsonText(html.EscapeString(s)) },
		"Go":                   func(s string) string { return fmt.Sprintf("%q", s) },
		"Go, all escaped":      percent(`\x%02x`),
		"base64":               func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"base64, raw":          func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
		"base64url":            func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
		"base64url, raw":       func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
		"base64 in a query":    func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
		"upper":                strings.ToUpper,
		"lower":                strings.ToLower,
		"query, upper":         func(s string) string { return strings.ToUpper(url.QueryEscape(s)) },
	}
	secrets := map[string]string{
		"short":         `a"B/`,
		"odd":           `s/e c+R=e&t`,
		"client secret": `s3cr3t/with+odd=chars&"quoted"`,
		"code":          `c0de/abc+def==XYZ`,
		"verifier":      "verifier-verifier-verifier-verifier-verifier-ok",
		"has escapes":   `abc%2Fdef\"ghi&amp;<jkl>\n`,
		"ends in one":   `secret-that-ends-in-%`,
		"bytes":         "\xfb\xef\xff\xfe<>?~~~\x80\x81",
		"umlauts":       "geheim-äöü-ÄÖÜ-geheim",
	}
	asciiOnly := map[string]bool{ // as they are made here, or as case is folded
		"HTML, decimal": true, "HTML, hex": true, "HTML, padded": true, "upper": true, "lower": true,
		"JSON, all escaped": true, "JSON, all in capital": true,
	}
	for secretName, secret := range secrets {
		for name, encode := range encodings {
			echo := encode(secret)
			if !isASCII(secret) && asciiOnly[name] || !utf8.ValidString(secret) && strings.HasPrefix(name, "JSON") {
				continue // has no such form
			}
			if got := redact.Text("sent "+echo+" ends", secret); got != redact.Mark {
				t.Errorf("%s, %s: got %q from %q; want it masked", secretName, name, got, echo)
			}
		}
	}
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

// The scheme Basic has the secret behind the client ID.
func TestBasicCredentials(t *testing.T) {
	t.Parallel()
	const secret = "kFh38-dkwL_20sk/Q+91"
	for _, id := range []string{"", "c", "c_", "c_1", "c_12"} {
		sent := base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
		if got := redact.Text("Basic "+sent, secret); got != redact.Mark {
			t.Errorf("ID %q: got %q; want the secret hidden", id, got)
		}
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz/+ABCDEF"
	base64d := base64.StdEncoding.EncodeToString([]byte(secret))
	tests := []struct {
		name, text string
		masked     bool
	}{
		{"first 12", "got 0123456789ab.", true},
		{"first 11", "got 0123456789a.", false},
		{"from the middle", "got 6789abcdefghijklm.", true},
		{"last 12", "got wxyz/+ABCDEF.", true},
		{"last 11", "got xyz/+ABCDEF.", false},
		{"many of 11", "got 0123456789a, bcdefghijkl, xyz/+ABCDEF.", false},
		{"encoded", "got uvwxyz%2f%2BABCDEF.", true},
		{"encoded twice", "got uvwxyz%252f%252BABCDEF.", true},
		{"in capitals", "got 6789ABCDEFGHIJK.", true},
		{"half of its base64", "got " + base64d[:30] + ".", true},
		{"12 of its base64", "got " + base64d[8:20] + ".", true},
		{"11 of its base64", "got " + base64d[8:19] + ".", false},
		{"more around it", "got 999" + secret + "999.", true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			want := tc.text
			if tc.masked {
				want = redact.Mark
			}
			if got := redact.Text(tc.text, secret); got != want {
				t.Errorf("got %q; want %q", got, want)
			}
		})
	}
	if got := redact.Text("the secret is 0123456789a", "0123456789a+", "is s"); got != "the secret is 0123456789a" {
		t.Errorf("got %q; want a part of a short secret left alone", got)
	}
}

// Texts and secrets may be as long as an answer and a token, and as monotonous.
func TestLongTextsAreQuick(t *testing.T) {
	t.Parallel()
	var (
		secret = make([]byte, 200<<10)
		rng    = rand.NewChaCha8([32]byte{1})
		fill   = func(pattern string) string { return strings.Repeat(pattern, 1<<20/len(pattern)) }
	)
	_, _ = rng.Read(secret)
	long := base64.StdEncoding.EncodeToString(secret)[:200<<10]
	tests := []struct {
		name, text, secret string
		masked             bool
	}{
		{"other text", fill("Lorem ipsum. "), long, false},
		{"the secret over and over", fill(long), long, true},
		{"the secret's end", fill(long[len(long)-100:]), long, true},
		{"encoded", fill(url.QueryEscape(long)), long, true},
		{"all alike", fill("a"), strings.Repeat("a", 200<<10), true},
		{"all alike, short secret", fill("a"), "aaaaaaaa", true},
		{"escapes", fill("%25"), long, false},
		{"escapes of escapes", fill("%2525252525"), strings.Repeat("%25", 60<<10), true},
		{"entities", fill("&amp;"), strings.Repeat("&amp;", 40<<10), true},
		{"ampersands", fill("&;"), long, false},
		{"percent signs", fill("%"), long, false},
		{"backslashes", fill(`\`), long, false},
		{"tokens", fill("eyJ"), long, false},
	}
	for _, tc := range tests {
		start := time.Now()
		got := redact.Text(tc.text, tc.secret)
		// It takes milliseconds. Comparing at each byte would take hours, which no
		// machine is too slow to be told from.
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: took %v; want it quick", tc.name, took)
		}
		if tc.masked != (got == redact.Mark) {
			t.Errorf("%s: got %q; want it masked: %t", tc.name, got, tc.masked)
		}
		if !tc.masked && (len(got) > 512+len("…") || !strings.HasSuffix(got, "…")) {
			t.Errorf("%s: got %q; want it cut", tc.name, got)
		}
	}
}

// What is looked at ends somewhere: a secret across that place is found, too, and
// one far beyond it is not shown.
func TestSecretAcrossTheBound(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"s3cr", "s3cr3t-s3c", "0123456789abcdefghijklmnopqrstuvwxyz/+ABCDEF"} {
		encoded := url.QueryEscape(url.QueryEscape(secret))
		for _, before := range []int{0, 1, len(encoded) / 2, len(encoded) - 1, len(encoded)} {
			// What is before it is one JWT, or else nothing of that place would be
			// seen.
			text := ("eyJ" + strings.Repeat("x", 64<<10))[:64<<10-before-1] + " " + encoded + strings.Repeat("x", 4096)
			if got := redact.Text(text, secret); got != redact.Mark {
				t.Errorf("%q, %d bytes before the bound: got %q; want it masked", secret, before, got)
			}
		}
		beyond := ("eyJ" + strings.Repeat("x", 64<<10))[:64<<10] + strings.Repeat(" ", 1<<10) + secret
		if got, want := redact.Text(beyond, secret), redact.Mark+"…"; got != want {
			t.Errorf("%q beyond the bound: got %q; want %q", secret, got, want)
		}
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

// overlapsMark reports whether a part of the mark may be a part of secret.
func overlapsMark(secret string) bool {
	return strings.ContainsAny(secret, redact.Mark+"…")
}
