package authpihttp

import (
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// maxReturnTo is longer than any address that a person means to come back to.
const maxReturnTo = 2 << 10

// returnTo gives the path on this site to go to after a login: the one asked for,
// or the home page where that is no local path, or would start the login again.
func (a *App) returnTo(asked string) string {
	local, place, ok := localPath(asked)
	if !ok || place == a.loginPath() || place == a.callbackPath() {
		return a.opts.Home
	}
	return local
}

// localPath tells whether a text that anybody may have sent is a path on this
// site, query and fragment included, in the eyes of every browser and proxy. Some
// take a backslash for a slash, drop tabs and newlines, or decode more than once.
// local is it in ASCII, place the path alone as a router sees it.
func localPath(raw string) (local, place string, ok bool) {
	if len(raw) > maxReturnTo || !utf8.ValidString(raw) || strings.ContainsFunc(raw, isTreacherous) {
		return "", "", false
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "", "", false
	}
	layer := u.EscapedPath()
	for range maxLayers {
		if !isRooted(layer) {
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

// maxLayers is how often a path may have been encoded.
const maxLayers = 8

// isRooted wants one slash at the start, with nothing behind it that would leave
// two of them once dots are resolved.
func isRooted(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") {
		return false
	}
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.ContainsFunc(p, func(r rune) bool { return r != ' ' && isTreacherous(r) })
}

// isTreacherous tells a character that somebody on the way may drop, or read as
// another one.
func isTreacherous(r rune) bool {
	return r <= ' ' || r == '\\' || r >= 0x7f && r <= 0xa0 || r == 0x2028 || r == 0x2029
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
