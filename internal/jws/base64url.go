package jws

import (
	"encoding/base64"
	"strings"
)

// decode returns the bytes that s encodes, as a string. It allocates nothing but that
// string: base64 decodes into slices, so it decodes piece by piece into one on the
// stack.
func decode(s string) (string, bool) {
	// encoding/base64 skips line breaks, even when strict.
	if strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		return "", false
	}
	// The encoding of RFC 7515 section 2; strict, so that it refuses stray bits at
	// the end. It is made here, on the stack: a package variable would cost every
	// program that imports this package.
	base64url := base64.RawURLEncoding.Strict()
	const piece = 1024          // a multiple of 4, and small enough for a new goroutine's stack
	var out [piece/4*3 + 8]byte // base64 is slow where it has less than 8 bytes to spare
	var b strings.Builder
	b.Grow(base64url.DecodedLen(len(s)))
	for len(s) > 0 {
		n := min(len(s), piece)
		// Only the last piece may end inside a group of 4 characters. The conversion
		// copies nothing: the compiler sees that Decode only reads.
		m, err := base64url.Decode(out[:], []byte(s[:n]))
		if err != nil {
			return "", false
		}
		b.Write(out[:m])
		s = s[n:]
	}
	return b.String(), true
}
