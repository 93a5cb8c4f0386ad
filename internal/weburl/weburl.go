// Package weburl checks the URLs of a configuration before anything is sent there.
// Each check returns the reason for a refusal, "" for none.
package weburl

import (
	"net/netip"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	notURL    = "must be an absolute URL such as https://idp.example.com/i_1"
	notBack   = "must be an absolute URL: https, http on loopback, or a private-use scheme with a dot in its name, such as com.example.app:/callback"
	plainHTTP = "must use https: http is accepted for loopback hosts only, unless AllowInsecureHTTP is set"
)

// Issuer checks an issuer identifier: https, no query, no fragment and no user
// information (OpenID Connect Discovery 1.0 section 3).
func Issuer(raw string, insecure bool) string {
	if strings.ContainsAny(raw, "?#") {
		return "must have no query and no fragment"
	}
	if strings.Contains(raw, "/.well-known/") {
		return "must be the issuer itself, without /.well-known/openid-configuration"
	}
	return web(raw, insecure)
}

// Endpoint checks an endpoint's URL: https, no fragment; a query is allowed
// (RFC 6749 section 3.1).
func Endpoint(raw string, insecure bool) string {
	if strings.Contains(raw, "#") {
		return "must have no fragment"
	}
	return web(raw, insecure)
}

// Redirect checks a redirection URI: https, http on loopback, or a private-use
// scheme in reverse domain notation (RFC 8252 section 7).
func Redirect(raw string, insecure bool) string {
	if !privateUse(raw) {
		reason := Endpoint(raw, insecure)
		if reason == notURL {
			return notBack
		}
		return reason
	}
	if hasOddRune(raw) || strings.Contains(raw, "#") {
		return "must hold no space, control character, backslash or fragment"
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || strings.Contains(u.Host, "*") || !validPort(u) {
		return "must be a valid URL without user information or wildcard"
	}
	return ""
}

// privateUse reports whether a URI's scheme is a reverse domain name (RFC 8252
// section 7.1). A path may follow it at once, without a host.
func privateUse(raw string) bool {
	scheme, _, found := strings.Cut(raw, ":/")
	labels := strings.Split(scheme, ".")
	if !found || len(labels) < 2 || scheme[0] < 'A' { // a digit may not come first
		return false
	}
	for _, label := range labels {
		if label == "" || label[0] == '-' || strings.ContainsFunc(label, notInScheme) {
			return false
		}
	}
	return true
}

func notInScheme(r rune) bool {
	return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// Resource checks an RFC 8707 section 2 resource indicator: an absolute URI
// without a fragment.
func Resource(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || !u.IsAbs() || strings.Contains(raw, "#") {
		return "must hold absolute URIs without fragment (RFC 8707 section 2)"
	}
	return ""
}

func web(raw string, insecure bool) string {
	if hasOddRune(raw) {
		return "must hold no space, control character or backslash"
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return notURL
	}
	if u.User != nil {
		return "must hold no user name or password"
	}
	if !validHost(u.Hostname()) || !validPort(u) {
		return "must name a valid host and port"
	}
	switch {
	case u.Scheme == "https":
		return ""
	case u.Scheme != "http":
		return notURL
	case insecure || Loopback(u.Hostname()):
		return ""
	}
	return plainHTTP
}

// Loopback reports whether a host name can only mean this machine.
func Loopback(host string) bool {
	if lower(host) == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Origin is scheme, host and port of a URL, the port always written: two URLs
// with equal origins are served by the same party (RFC 6454).
func Origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[lower(u.Scheme)]
	}
	return lower(u.Scheme) + "://" + lower(u.Hostname()) + ":" + port
}

// lower changes ASCII letters alone: what Unicode takes for another case of a letter
// may name another host.
func lower(text string) string {
	letters := []byte(text)
	for i, b := range letters {
		if b >= 'A' && b <= 'Z' {
			letters[i] += 'a' - 'A'
		}
	}
	return string(letters)
}

func hasOddRune(raw string) bool {
	return strings.ContainsFunc(raw, func(r rune) bool {
		return r == '\\' || r == unicode.ReplacementChar || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// validPort accepts a number from 0 to 65535 after a colon (0 is what a native
// client may write for "any" in RFC 8252 section 7.3).
func validPort(u *url.URL) bool {
	if strings.HasSuffix(u.Host, ":") {
		return false
	}
	port := u.Port()
	if port == "" {
		return true
	}
	_, err := netip.ParseAddrPort("127.0.0.1:" + port)
	return err == nil
}

func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if len(host) > 253 || strings.ContainsAny(host, ":*%[]") || !utf8.ValidString(host) {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, label := range labels {
		if label == "" || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
	}
	// A last label of digits means an IPv4 address to browsers; this one is none.
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
