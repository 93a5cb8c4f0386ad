package weburl

import (
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// Local reports whether a text that anybody may have sent is an address on this site
// in the eyes of every browser and proxy. Some take a backslash for a slash, drop
// tabs and newlines, or decode more than once. local is it in ASCII, place the path
// alone as a router sees it.
func Local(raw string, longest int) (local, place string, ok bool) {
	u := parseLocal(raw, longest)
	if u == nil {
		return "", "", false
	}
	layer := u.EscapedPath()
	for range maxLayers {
		if !staysHere(layer) {
			return "", "", false
		}
		decoded, err := url.PathUnescape(layer)
		if err != nil || decoded == layer {
			return toASCII(raw), path.Clean(u.Path), true
		}
		layer = decoded
	}
	return "", "", false
}

// parseLocal returns nil for what names another site, or does not say plainly that
// it names none.
func parseLocal(raw string, longest int) *url.URL {
	way, query, _ := strings.Cut(raw, "?") // a browser sends a backslash in a query as it is
	if LenASCII(raw) > longest || !utf8.ValidString(raw) || strings.ContainsFunc(way, isTreacherous) || strings.ContainsFunc(query, isBlank) {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return nil
	}
	return u
}

// maxLayers is how often a path may have been encoded.
const maxLayers = 8

// staysHere reports whether a path has one slash at its start, and no dots that
// could leave two once they are resolved, whatever is dropped or read as a slash on
// the way.
func staysHere(p string) bool {
	p = strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case isTreacherous(r):
			return -1
		}
		return r
	}, p)
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") {
		return false
	}
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// isTreacherous reports whether somebody on the way may drop a character, or read it
// as another.
func isTreacherous(r rune) bool {
	return r <= ' ' || r == '\\' || r >= 0x7f && r <= 0xa0 || r == 0x2028 || r == 0x2029
}

// isBlank reports whether a character is none of an address: somebody on the way may
// drop it, or end the address there.
func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }

// LenASCII is the length of an address once it is in ASCII.
func LenASCII(s string) int {
	n := len(s)
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			n += 2
		}
	}
	return n
}

// toASCII encodes what a header may not hold.
func toASCII(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
