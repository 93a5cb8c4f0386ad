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

// minSecret is the length below which a value is no secret worth the name:
// masking every "a" of a text would only make it unreadable.
const minSecret = 4

// Text gives a foreign text back fit for an error or a log line: the secrets
// masked, and parts of 12 bytes or more of them, also in other case and as URLs,
// HTML, JSON and base64 write them; anything like a JWT masked, control
// characters and invalid UTF-8 replaced, and cut at 512 bytes.
func Text(text string, secrets ...string) string {
	text, clipped := hide(text, secrets)
	text = maskTokens(text)
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

// Print writes what a type wants to be seen of it. A Format method that calls it,
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

func printable(r rune) rune {
	if unicode.IsControl(r) {
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
