package jws

import (
	"encoding/base64"
	"strings"
)

// decode returns the bytes that s encodes, as a string. It allocates that string
// only: the bytes pass through the stack in pieces, since base64 decodes into
// slices.
func decode(s string) (string, bool) {
	// encoding/base64 skips line ends, whatever it is told.
	if strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		return "", false
	}
	// The encoding of RFC 7515 section 2. Strict refuses bits after the end. It is
	// made here, on the stack, since a variable of the package would be made by all
	// who import it.
	base64url := base64.RawURLEncoding.Strict()
	const piece = 1024          // a multiple of 4, and not so large that a goroutine's first stack must grow
	var out [piece/4*3 + 8]byte // base64 is slow where less than 8 bytes are left
	var b strings.Builder
	b.Grow(base64url.DecodedLen(len(s)))
	for len(s) > 0 {
		n := min(len(s), piece)
		// Only the last piece can be cut short, so none before it may end within
		// four. The conversion copies nothing: the compiler sees that Decode only
		// reads.
		m, err := base64url.Decode(out[:], []byte(s[:n]))
		if err != nil {
			return "", false
		}
		b.Write(out[:m])
		s = s[n:]
	}
	return b.String(), true
}
