// Package bearer reads and writes the headers of RFC 6750, and knows where the
// metadata of an API lies.
package bearer

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// Token reads a request's token, empty for a request with no bearer token at all. It
// may be no token, see [IsToken]. malformed says what is wrong with a request that
// has two, or shows one where logs and proxies keep it.
func Token(r *http.Request) (token, malformed string) {
	// Not r.URL.Query, which leaves out what it cannot decode.
	for pair := range strings.FieldsFuncSeq(r.URL.RawQuery, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err == nil && name == "access_token" {
			return "", "a token in the query is not accepted; use the Authorization header"
		}
	}
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", "the Authorization header is repeated"
	}
	scheme := ""
	if len(values) == 1 {
		scheme, token, _ = strings.Cut(values[0], " ")
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ""
	}
	if token = strings.Trim(token, " "); token == "" {
		return "", NoToken
	}
	return token, ""
}

// NoToken is what is wrong with a request whose text is no [IsToken].
const NoToken = "the Authorization header holds no single token"

// IsToken goes by b64token of RFC 6750 section 2.1, and a colon: an API key sent by
// mistake is then refused by its name. It looks each byte up in a set of bits. What
// verifies as a JWT is one: only what does not need be asked about.
func IsToken(text string) bool {
	const low, high uint64 = 0x27FFE80000000000, 0x47FFFFFE87FFFFFE // below 64, and from there on
	for i := range len(text) {
		c := text[i]
		if c < 64 && low>>c&1 == 0 || c >= 64 && (c >= 128 || high>>(c-64)&1 == 0) {
			return false
		}
	}
	return true
}

// Challenge is the WWW-Authenticate header of RFC 6750 section 3, of RFC 9728 section
// 5.1 and RFC 9470 section 3. Parameters without a value are left out.
func Challenge(realm string, params ...[2]string) string {
	header := `Bearer realm="` + Quotable(realm) + `"`
	for _, param := range params {
		if param[1] != "" {
			header += ", " + param[0] + `="` + Quotable(param[1]) + `"`
		}
	}
	return header
}

// Quotable cuts a text and replaces what RFC 6750 section 3 keeps out of a parameter.
// A token's own contents may be quoted in it.
func Quotable(text string) string {
	const limit = 300
	clean := strings.Map(func(c rune) rune {
		switch {
		case c == '"' || c == '\\':
			return '\''
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, text)
	return clean[:min(len(clean), limit)]
}

// WellKnown is where the metadata of a protected resource lies (RFC 9728 section 3).
const WellKnown = "/.well-known/oauth-protected-resource"

// MetadataURL puts the well-known part between a resource's host and path (RFC 9728
// section 3.1). Not ok is a text that is no resource's identifier (section 1.2): an
// https URL without fragment, or http on loopback.
func MetadataURL(resource string) (metadata string, ok bool) {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" || u.Fragment != "" || u.User != nil {
		return "", false
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !weburl.Loopback(u.Hostname())) {
		return "", false
	}
	// A lone slash is dropped, one at the end of a longer path kept.
	rest := u.EscapedPath()
	if rest == "/" {
		rest = ""
	}
	return u.Scheme + "://" + u.Host + WellKnown + rest + strings.TrimSuffix("?"+u.RawQuery, "?"), true
}
