package jws

import (
	"encoding/base64"
	"strings"
)

// base64url is the encoding of RFC 7515 section 2. Strict refuses bits after the end.
var base64url = base64.RawURLEncoding.Strict()

// decode returns the bytes that s encodes, as a string. It allocates that string only: s passes
// through the stack in pieces, since base64 decodes slices.
func decode(s string) (string, bool) {
	// encoding/base64 skips line ends, whatever it is told.
	if strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		return "", false
	}
	const piece = 1024 // a multiple of 4
	var (
		in  [piece]byte
		out [piece / 4 * 3]byte
		b   strings.Builder
	)
	b.Grow(base64url.DecodedLen(len(s)))
	for len(s) > 0 {
		n := copy(in[:], s)
		// Only the last piece can be cut short, so none before it may end within four.
		m, err := base64url.Decode(out[:], in[:n])
		if err != nil {
			return "", false
		}
		b.Write(out[:m])
		s = s[n:]
	}
	return b.String(), true
}
