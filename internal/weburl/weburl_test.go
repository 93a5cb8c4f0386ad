package weburl_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/weburl"
)

func TestIssuerAndEndpoint(t *testing.T) {
	t.Parallel()
	tests := []struct {
		raw              string
		issuer, endpoint bool // accepted
	}{
		{"https://idp.example", true, true},
		{"https://idp.example/i_1/", true, true},
		{"https://idp.example:8443/i_1", true, true},
		{"https://192.0.2.7/i_1", true, true},
		{"https://[2001:db8::1]:443/", true, true},
		{"https://idp.example./", true, true},
		{"https://idp-1.example", true, true},
		{"https://under_score.example", true, true},
		{"https://пример.example", true, true},
		{"https://idp.example/?a=b", false, true},
		{"https://idp.example/?", false, true},
		{"https://idp.example/#f", false, false},
		{"https://idp.example/#", false, false},
		{"", false, false},
		{"idp.example", false, false},
		{"//idp.example", false, false},
		{"/path", false, false},
		{"https://", false, false},
		{"https:idp.example", false, false},
		{"https:///path", false, false},
		{"https://:443/", false, false},
		{"ftp://idp.example", false, false},
		{"javascript:alert(1)", false, false},
		{"javascript://idp.example/%0aalert(1)", false, false},
		{"data:text/html,x", false, false},
		{"https://user@idp.example", false, false},
		{"https://user:pass@idp.example", false, false},
		{"https://@idp.example", false, false},
		{"https://idp.example:", false, false},
		{"https://idp.example:65536", false, false},
		{"https://idp.example:-1", false, false},
		{"https://idp.example:80a", false, false},
		{"https://-idp.example", false, false},
		{"https://idp-.example", false, false},
		{"https://idp..example", false, false},
		{"https://.", false, false},
		{"https://*.example", false, false},
		{"https://1.2.3", false, false},
		{"https://256.1.1.1", false, false},
		{"https://0x7f.1", false, false},
		{"https://idp.example/a b", false, false},
		{"https://idp.example/\t", false, false},
		{"https://idp.example/\x7f", false, false},
		{"https://idp.example/\u00a0", false, false},
		{"https://idp.example/\ufffd", false, false},
		{`https://idp.example\@evil.example`, false, false},
		{"https://idp.example/%zz", false, false},
		{"http://idp.example", false, false},
		{"http://localhost", true, true},
		{"http://LOCALHOST:8080/i_1", true, true},
		{"http://127.0.0.1", true, true},
		{"http://127.8.9.10:80", true, true},
		{"http://[::1]:8080", true, true},
		{"http://[::ffff:127.0.0.1]/", true, true},
		{"http://localhost.example", false, false},
		{"http://localho\u017ft", false, false}, // a long s
		{"https://a%ff.example", false, false},  // no UTF-8
		{"http://0.0.0.0", false, false},
		{"http://2130706433", false, false},
	}
	plain := []string{"http://idp.example", "http://localhost.example", "http://localho\u017ft", "http://0.0.0.0"}
	for _, tc := range tests {
		t.Run(tc.raw, func(t *testing.T) {
			t.Parallel()
			if got := weburl.Issuer(tc.raw, false); (got == "") != tc.issuer {
				t.Errorf("Issuer: got %q; want accepted %t", got, tc.issuer)
			}
			if got := weburl.Endpoint(tc.raw, false); (got == "") != tc.endpoint {
				t.Errorf("Endpoint: got %q; want accepted %t", got, tc.endpoint)
			}
			// The switch is for plain http alone.
			if got := weburl.Endpoint(tc.raw, true); (got == "") != (tc.endpoint || slices.Contains(plain, tc.raw)) {
				t.Errorf("Endpoint, insecure: got %q", got)
			}
		})
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	tests := []struct {
		raw string
		ok  bool
	}{
		{"https://app.example/cb", true},
		{"https://app.example/cb?tenant=1", true},
		{"http://127.0.0.1/cb", true},
		{"http://127.0.0.1:0/cb", true},
		{"http://[::1]:49152/cb", true},
		{"http://localhost:3000/cb", true},
		{"com.example.app:/cb", true},
		{"com.example.app:/", true},
		{"com.example.app://cb", true},
		{"COM.Example.App:/cb?x=y", true},
		{"com.example.app-2:/cb", true},
		{"http://app.example/cb", false},
		{"https://app.example/cb#f", false},
		{"com.example.app:/cb#f", false},
		{"com.example.app:/c b", false},
		{`com.example.app:/c\b`, false},
		{"com.example.app:cb", false},
		{"com.example.app://user@cb", false},
		{"com.example.app://*.cb", false},
		{"com.example.app://cb:99999", false},
		{"com.example.app:/%zz", false},
		{"com..example:/cb", false},
		{".com.example:/cb", false},
		{"1com.example:/cb", false},
		{"myapp:/cb", false},
		{"javascript:alert(1)", false},
		{"javascript:/alert(1)", false},
		{"vbscript:x", false},
		{"data:text/html,x", false},
		{"file:///cb", false},
		{"urn:ietf:wg:oauth:2.0:oob", false},
		{"/cb", false},
		{"", false},
	}
	for _, tc := range tests {
		t.Run(tc.raw, func(t *testing.T) {
			t.Parallel()
			if got := weburl.Redirect(tc.raw, false); (got == "") != tc.ok {
				t.Errorf("got %q; want accepted %t", got, tc.ok)
			}
		})
	}
	if got := weburl.Redirect("http://app.example/cb", true); got != "" {
		t.Errorf("plain http, allowed: got %q; want it accepted", got)
	}
}

func TestResource(t *testing.T) {
	t.Parallel()
	for raw, ok := range map[string]bool{
		"https://api.example": true, "https://api.example/?a=b": true, "urn:example:api": true, "api://default": true,
		"": false, "api": false, "/api": false, "//api.example": false, "https://api.example/#f": false, "https://api.example/#": false, "https://%zz": false,
	} {
		if got := weburl.Resource(raw); (got == "") != ok {
			t.Errorf("%q: got %q; want accepted %t", raw, got, ok)
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"https://api.example/x", "https://api.example:443/y?z", true},
		{"http://api.example", "http://API.example:80/", true},
		{"HTTPS://api.example", "https://api.example", true},
		{"https://api.example", "http://api.example", false},
		{"https://api.example", "https://api.example:8443", false},
		{"https://api.example", "https://api.example.evil.example", false},
		{"https://[::1]", "https://[::1]:443", true},
		{"https://api.example", "https://user@api.example", true},
		{"https://straße.example", "https://STRAẞE.example", false}, // which may be strasse.example
		{"https://api.example", "https://api.example%ff", false},
		{"https://a%fe.example", "https://a%ff.example", false},
	} {
		a, errA := url.Parse(tc.a)
		b, errB := url.Parse(tc.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got := weburl.Origin(a) == weburl.Origin(b); got != tc.same {
			t.Errorf("%s and %s: got %s and %s; want the same %t", tc.a, tc.b, weburl.Origin(a), weburl.Origin(b), tc.same)
		}
	}
}

// What is accepted names a host, goes over TLS or stays on this machine.
func FuzzEndpoint(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw string) {
		issuer, endpoint, redirect := weburl.Issuer(raw, false), weburl.Endpoint(raw, false), weburl.Redirect(raw, false)
		if redirect == "" {
			checkRedirect(t, raw)
		}
		if issuer == "" && endpoint != "" {
			t.Errorf("%q: an issuer but no endpoint: %s", raw, endpoint)
		}
		if endpoint != "" {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q was accepted; got %v, %v", raw, u, err)
		}
		if u.Scheme != "https" && !weburl.Loopback(u.Hostname()) {
			t.Errorf("%q was accepted over %s", raw, u.Scheme)
		}
		if redirect != "" {
			t.Errorf("%q: an endpoint but no redirect: %s", raw, redirect)
		}
		// Two spellings of one origin, and two origins.
		loud, other := *u, *u
		loud.Scheme, loud.Host, other.Host = upper(u.Scheme), upper(u.Host), "x"+u.Hostname()
		if weburl.Origin(&loud) != weburl.Origin(u) || weburl.Origin(&other) == weburl.Origin(u) {
			t.Errorf("%q: got the origins %s, %s, %s", raw, weburl.Origin(u), weburl.Origin(&loud), weburl.Origin(&other))
		}
	})
}

// upper changes ASCII letters alone: others of another case may be another host.
func upper(text string) string {
	loud := []byte(text)
	for i, b := range loud {
		if b >= 'a' && b <= 'z' {
			loud[i] -= 'a' - 'A'
		}
	}
	return string(loud)
}

// checkRedirect is what a place for codes must be: TLS, this machine or an app's own
// scheme.
func checkRedirect(t *testing.T, raw string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || strings.ContainsAny(raw, "#\\ \t\r\n\x00") {
		t.Fatalf("%q was accepted; got %v, %v", raw, u, err)
	}
	if u.Scheme != "https" && !strings.Contains(u.Scheme, ".") && (u.Scheme != "http" || !weburl.Loopback(u.Hostname())) {
		t.Errorf("%q was accepted over %s", raw, u.Scheme)
	}
}
