package docs

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestHandlerOfErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		happens    func(*authpitest.Server)
		status     int
		retryAfter string
		drops      bool
	}{
		{"all is well", func(*authpitest.Server) {}, 200, "", false},
		{"the session has ended", func(i *authpitest.Server) { i.EndSession("usr_ada") }, 303, "", true},
		{"the issuer is away", func(i *authpitest.Server) { i.Inject(authpitest.Fault{Endpoint: "token", Status: 502}) }, 503, "5", false},
		{"the issuer is busy", func(i *authpitest.Server) {
			i.Inject(authpitest.Fault{Endpoint: "token", Status: 429, RetryAfter: "17"})
		}, 503, "17", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer := newIssuer(t)
			client := newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: "https://app.example/callback"})
			tokens := newAgent(t, client, issuer).Tokens
			tokens.ExpiresAt = time.Now().Add(-time.Hour)
			tc.happens(issuer)
			dropped := false
			w := httptest.NewRecorder()
			home(w, httptest.NewRequest("GET", "/", nil), client, appSession{tokens, func() { dropped = true }}, nil)
			if w.Code != tc.status || w.Header().Get("Retry-After") != tc.retryAfter || dropped != tc.drops {
				t.Errorf("got %d, Retry-After %q, dropped %v; want %d, %q, %v",
					w.Code, w.Header().Get("Retry-After"), dropped, tc.status, tc.retryAfter, tc.drops)
			}
		})
	}
}

func TestSecure(t *testing.T) {
	t.Parallel()
	site := httptest.NewUnstartedServer(nil)
	site.Config = newServer(http.HandlerFunc(ok))
	site.Start()
	t.Cleanup(site.Close)
	for _, tc := range []struct {
		name, method, header, value string
		want                        int
	}{
		{"page", "GET", "Sec-Fetch-Site", "cross-site", 200},
		{"own form", "POST", "Sec-Fetch-Site", "same-origin", 200},
		{"form of another site", "POST", "Sec-Fetch-Site", "cross-site", 403},
		{"the issuer's own request", "POST", "X", "y", 200},
		{"long header", "GET", "X", strings.Repeat("x", 100<<10), 431},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := http.NewRequest(tc.method, site.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(tc.header, tc.value)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != tc.want {
				t.Errorf("got %d; want %d", answer.StatusCode, tc.want)
			}
			if framing := answer.Header.Get("Content-Security-Policy"); tc.want == 200 && !strings.Contains(framing, "frame-ancestors 'none'") {
				t.Errorf("got Content-Security-Policy %q", framing)
			}
		})
	}
}
