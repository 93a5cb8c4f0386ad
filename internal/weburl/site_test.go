package weburl_test

import (
	"testing"

	"github.com/authpi/authpi-idp-go/internal/weburl"
)

func TestSites(t *testing.T) {
	t.Parallel()
	const first, second = "https://App.test:443/auth/callback", "http://127.0.0.1:8080"
	sites := weburl.NewSites([]string{first, second, "com.example.app:/a%20b/callback"})
	for _, tc := range []struct {
		host  string
		want  weburl.Site
		known bool
	}{
		{"app.test", weburl.Site{URI: first, Origin: "https://App.test:443", Host: "app.test", Path: "/auth/callback", Secure: true}, true},
		{"APP.test:443", sites[0], true},
		{"127.0.0.1:8080", weburl.Site{URI: second, Origin: "http://127.0.0.1:8080", Host: "127.0.0.1:8080", Path: "/"}, true},
		{"app.test:80", sites[0], false},
		{"127.0.0.1", sites[0], false},
		{"other.test", sites[0], false},
		{"", weburl.Site{URI: "com.example.app:/a%20b/callback", Origin: "com.example.app://", Path: "/a%20b/callback"}, true},
	} {
		if got, known := sites.Of(tc.host); *got != tc.want || known != tc.known {
			t.Errorf("%q: got %+v, %t; want %+v, %t", tc.host, *got, known, tc.want, tc.known)
		}
	}
	if got, known := (weburl.Sites)(nil).Of("app.test"); *got != (weburl.Site{Secure: true}) || known {
		t.Errorf("no redirect URI: got %+v, %t", *got, known)
	}
	if got := weburl.NewSite("https://app.test/%zz"); got != (weburl.Site{}) {
		t.Errorf("no URL: got %+v", got)
	}
}
