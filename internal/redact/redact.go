// Package redact keeps secrets out of texts that people and logs get to see.
package redact

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mark stands where a secret stood.
const Mark = "[redacted]"

// maxText bounds a foreign text in bytes: an error is read by people, and an
// issuer may send a megabyte.
const maxText = 512

// maxRead bounds what is looked at: far more than is shown, since masking JWTs makes
// a text shorter. margin is looked at beyond, for a secret that the bound cuts:
// minRun bytes, each of which may have become an escape of many.
const (
	maxRead = 64 << 10
	margin  = 1 << 10
)

// minSecret is the length below which a value is no secret worth the name:
// masking every text with an "a" in it would only hide what went wrong.
const minSecret = 4

// Text returns a foreign text fit for an error or a log line. A text that shows one
// of the secrets, or 12 bytes of one, in either case or as URLs, HTML, JSON and
// base64 write them, is masked whole. In any other whatever looks like a JWT is
// masked, control characters of all kinds and invalid UTF-8 are replaced, and it is
// cut at 512 bytes.
func Text(text string, secrets ...string) string {
	if shows(text[:min(len(text), maxRead+margin)], secrets) {
		return Mark
	}
	clipped := len(text) > maxRead
	text = maskTokens(text[:min(len(text), maxRead)])
	text = strings.Map(printable, strings.ToValidUTF8(text, "\uFFFD"))
	if clipped && len(text) <= maxText {
		return text + "…"
	}
	return cut(text)
}

// Secret describes a secret without showing any of it: whether there is one.
func Secret(s string) string {
	if s == "" {
		return ""
	}
	return Mark
}

// Print writes what a type may show of itself. A Format method that calls it,
// whatever the verb and flags, keeps fmt from walking through the fields as %#v and
// %x would.
func Print(f fmt.State, text string) { _, _ = io.WriteString(f, text) }

// jwtStart is how every JWT begins: an object's first bytes in base64url. An issuer
// that echoes a part of a token is caught by it.
const jwtStart = "eyJ"

// maskTokens masks what begins like a JWT, up to where it ends.
func maskTokens(text string) string {
	var masked strings.Builder
	for {
		before, rest, found := strings.Cut(text, jwtStart)
		masked.WriteString(before)
		if !found {
			return masked.String()
		}
		end := strings.IndexFunc(rest, notInToken)
		if end < 0 {
			end = len(rest)
		}
		const least = 6 // fewer characters may be a word of somebody's language
		if end < least {
			masked.WriteString(jwtStart + rest[:end])
		} else {
			masked.WriteString(Mark)
		}
		text = rest[end:]
	}
}

func notInToken(r rune) bool {
	return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// printable replaces what a terminal or a viewer of logs would obey: control
// characters, those that turn the direction of a text, and line ends of Unicode's.
func printable(r rune) rune {
	if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
		return ' '
	}
	return r
}

// cut shortens after masking, never before: a cut secret would no longer match.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
