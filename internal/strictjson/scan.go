package strictjson

import (
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads the string at pos and returns what is between its quotes. Escapes are
// validated but not decoded; see unescape.
func (r *Reader) str() (body string, escaped bool) {
	start := r.pos + 1
	i, high := plain(r.text, start)
	for {
		if i == len(r.text) {
			r.fault(i, "the text ends in a string")
			return "", false
		}
		switch r.text[i] {
		case '"':
			body = r.text[start:i]
			if high && !utf8.ValidString(body) {
				r.fault(start+invalidUTF8(body), "invalid UTF-8")
				return "", false
			}
			r.pos = i + 1
			return body, escaped
		case '\\':
			_, n := escape(r.text[i:])
			if n == 0 {
				r.fault(i, "invalid escape")
				return "", false
			}
			escaped = true
			var h bool
			i, h = plain(r.text, i+n)
			high = high || h
		default:
			r.fault(i, "control character in a string")
			return "", false
		}
	}
}

// For looking at eight bytes at once. A lane is one byte of a uint64.
const (
	lanes     = 0x0101010101010101
	highBits  = 0x80 * lanes
	quotes    = '"' * lanes
	slashes   = '\\' * lanes
	spaceBars = ' ' * lanes
)

// plain returns the offset of the first quote, backslash or control character in
// text, from i on, or len(text) if there is none. Up to there, nothing in a string
// needs decoding. high reports whether any byte up to there is 0x80 or more.
func plain(text string, i int) (end int, high bool) {
	var seen uint64 // all bytes before end, each lane an OR of them
	for ; i <= len(text)-8; i += 8 {
		s := text[i : i+8]
		// The compiler turns this into a single load.
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		// Subtracting n sets the high bit of each lane that is less than n; lanes in
		// which it was set before are masked out. A borrow can falsify only the lanes
		// above, so the lowest hit is always real.
		q, b := w^quotes, w^slashes
		if hit := ((q-lanes)&^q | (b-lanes)&^b | (w-spaceBars)&^w) & highBits; hit != 0 {
			seen |= w & (hit&-hit - 1)
			return i + bits.TrailingZeros64(hit)/8, seen&highBits != 0
		}
		seen |= w
	}
	for ; i < len(text); i++ {
		c := text[i]
		if c == '"' || c == '\\' || c < ' ' {
			break
		}
		seen |= uint64(c)
	}
	return i, seen&highBits != 0
}

// invalidUTF8 returns the offset of the first byte of s that is not UTF-8.
func invalidUTF8(s string) int {
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		if c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(s)
}

// unescape decodes the body of a string that str has validated.
func unescape(body string) string {
	var b strings.Builder
	b.Grow(len(body)) // no escape is shorter than what it stands for
	for {
		i := strings.IndexByte(body, '\\')
		if i < 0 {
			b.WriteString(body)
			return b.String()
		}
		b.WriteString(body[:i])
		c, n := escape(body[i:])
		b.WriteRune(c)
		body = body[i+n:]
	}
}

// escape decodes the escape at the beginning of s and returns its length, or 0 if it
// is invalid. The two halves of a surrogate pair are one escape; neither is valid
// alone.
func escape(s string) (c rune, n int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	c = escapedUnit(s)
	switch {
	case c < 0:
		return 0, 0
	case utf16.IsSurrogate(c):
		c = utf16.DecodeRune(c, escapedUnit(s[6:]))
		if c == utf8.RuneError {
			return 0, 0
		}
		return c, 12
	}
	return c, 6
}

// escapedUnit returns the UTF-16 code unit of the \uXXXX that s begins with, or -1 if
// it begins with anything else.
func escapedUnit(s string) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	var unit rune
	for _, c := range []byte(s[2:6]) {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		unit = unit<<4 | rune(c)
	}
	return unit
}

// word reads w at pos: true, false or null.
func (r *Reader) word(w string) {
	end := r.pos + len(w)
	if !strings.HasPrefix(r.text[r.pos:], w) || !delimited(r.text, end) {
		r.fault(r.pos, "no value begins like this")
		return
	}
	r.pos = end
}

// delimited reports whether a number, true, false or null may end at offset i.
// Without this check, reading 012 or 1.2.3 would return the first part, and the
// fault would show only at the next read.
func delimited(text string, i int) bool {
	if i == len(text) {
		return true
	}
	c := text[i]
	return c == ',' || c == ']' || c == '}' || isSpace(c)
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t'
}

func isDigit(c byte) bool {
	return c-'0' <= 9
}
