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
		{"raw", "got abcdef here", []string{"abcdef"}, "got [redacted] here"},
		{"twice", "abcdef, abcdef", []string{"abcdef"}, "[redacted], [redacted]"},
		{"twice in a row", "abcdefabcdef", []string{"abcdef"}, "[redacted]"},
		{"overlapping itself", "xababababx", []string{"abab"}, "x[redacted]x"},
		{"several", "abcdef and ghijkl", []string{"abcdef", "ghijkl"}, "[redacted] and [redacted]"},
		{"query-encoded", "got " + url.QueryEscape(odd), []string{odd}, "got [redacted]"},
		{"path-encoded", "got " + url.PathEscape(odd), []string{odd}, "got [redacted]"},
		{"one secret begins another", "got abcdefghi", []string{"abcd", "abcdefghi"}, "got [redacted]"},
		{"too short to be one", "a cat", []string{"a", "", "cat"}, "a cat"},
		{"in other case", "ABCDEF", []string{"abcdef"}, "[redacted]"},
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
			got := redact.Text("sent "+echo+" ends", secret)
			got = strings.Replace(got, "==", "", 1) // padding says nothing
			got = strings.Replace(got, "=", "", 1)
			got = strings.Replace(strings.Replace(got, "%3D", "", 1), "%3D", "", 1)
			if want := "sent [redacted] ends"; strings.ReplaceAll(got, `"`, "") != want {
				t.Errorf("%s, %s: got %q from %q; want %q", secretName, name, got, echo, want)
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
		got := redact.Text("Basic "+sent, secret)
		if rest := strings.Replace(got, redact.Mark, "", 1); got == rest || len(rest) > len("Basic ")+8+3 {
			t.Errorf("ID %q: got %q; want the secret hidden", id, got)
		}
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdefghijklmnopqrstuvwxyz/+ABCDEF"
	tests := []struct{ name, text, want string }{
		{"first 12", "got 0123456789ab.", "got [redacted]."},
		{"first 11", "got 0123456789a.", "got 0123456789a."},
		{"from the middle", "got 6789abcdefghijklm.", "got [redacted]."},
		{"last 12", "got yz/+ABCDEF, wxyz/+ABCDEF.", "got yz/+ABCDEF, [redacted]."},
		{"two parts", "got 0123456789abcdef...mnopqrstuvwxyz.", "got [redacted]...[redacted]."},
		{"encoded", "got uvwxyz%2f%2BABCDEF.", "got [redacted]."},
		{"encoded twice", "got uvwxyz%252f%252BABCDEF.", "got [redacted]."},
		{"in capitals", "got 6789ABCDEFGHIJK.", "got [redacted]."},
		{"half of its base64", "got " + base64.StdEncoding.EncodeToString([]byte(secret))[:30] + ".", "got [redacted]."},
		{"more around it", "got 999" + secret + "999.", "got 999[redacted]999."},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := redact.Text(tc.text, secret); got != tc.want {
				t.Errorf("got %q; want %q", got, tc.want)
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
	tests := []struct{ name, text, secret string }{
		{"other text", fill("Lorem ipsum. "), long},
		{"the secret over and over", fill(long), long},
		{"the secret's end", fill(long[len(long)-100:]), long},
		{"encoded", fill(url.QueryEscape(long)), long},
		{"all alike", fill("a"), strings.Repeat("a", 200<<10)},
		{"all alike, short secret", fill("a"), "aaaaaaaa"},
		{"escapes", fill("%25"), long},
		{"escapes of escapes", fill("%2525252525"), strings.Repeat("%25", 60<<10)},
		{"entities", fill("&amp;"), strings.Repeat("&amp;", 40<<10)},
		{"ampersands", fill("&;"), long},
		{"tokens", fill("eyJ"), long},
	}
	for _, tc := range tests {
		start := time.Now()
		got := redact.Text(tc.text, tc.secret)
		// It takes milliseconds. Comparing at each byte would take hours, which no
		// machine is too slow to be told from.
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: took %v; want it quick", tc.name, took)
		}
		if len(got) > 512+len("…") || !strings.HasSuffix(got, "…") {
			t.Errorf("%s: got %q; want it cut", tc.name, got)
		}
		if strings.Contains(tc.name, "secret") && got != redact.Mark+"…" {
			t.Errorf("%s: got %q; want nothing to be seen", tc.name, got)
		}
	}
}

// What is looked at ends somewhere: a secret across that place is hidden, too.
func TestSecretAcrossTheBound(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"s3cr", "s3cr3t-s3c", "0123456789abcdefghijklmnopqrstuvwxyz/+ABCDEF"} {
		encoded := url.QueryEscape(url.QueryEscape(secret))
		for _, shift := range []int{0, 1, len(encoded) / 2, len(encoded) - 11, len(encoded) - 1, len(encoded)} {
			shift = max(shift, 0)
			// The filling before it is hidden, or else nothing of that place would be seen.
			filling := strings.Repeat("filling-of-sixty-four-bytes-that-is-itself-a-secret-and-so-hides", 1<<10)
			text := filling[:64<<10-shift] + encoded + strings.Repeat("x", 4096)
			got := redact.Text(text, secret, filling)
			if rest := strings.Trim(strings.TrimPrefix(got, redact.Mark), "x…"); rest != "" {
				t.Fatalf("%q, %d bytes before the bound: got %q; want nothing to be seen", secret, shift, got)
			}
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

// overlapsMark tells whether a part of the mark may be a part of secret.
func overlapsMark(secret string) bool {
	return strings.ContainsAny(secret, redact.Mark+"…")
}
