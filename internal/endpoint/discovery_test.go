package endpoint_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
)

func serving(t *testing.T, path string, status int, body string) *endpoint.Caller {
	return endpoint.NewCaller(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path != path || r.Method != http.MethodGet {
			t.Errorf("got %s %s; want a GET of %s", r.Method, r.URL.Path, path)
		}
		return answer(r, status, nil, strings.NewReader(body)), nil
	})}, "0", time.Now)
}

const issuer = "https://idp.example/i_1"

func TestDiscover(t *testing.T) {
	t.Parallel()
	const doc = `{"issuer":"https://idp.example/i_1","authorization_endpoint":"https://idp.example/a?x=y","token_endpoint":"https://idp.example/t",
		"userinfo_endpoint":"https://api.example/u","revocation_endpoint":"https://idp.example/r","introspection_endpoint":"https://idp.example/i",
		"end_session_endpoint":"https://idp.example/e","jwks_uri":"https://keys.example/k","authorization_response_iss_parameter_supported":true,
		"Token_Endpoint":"https://evil.example","more":[{"issuer":"https://evil.example"}]}`
	want := endpoint.Metadata{
		Issuer: issuer, Authorization: "https://idp.example/a?x=y", Token: "https://idp.example/t", UserInfo: "https://api.example/u",
		Revocation: "https://idp.example/r", Introspection: "https://idp.example/i", EndSession: "https://idp.example/e",
		JWKS: "https://keys.example/k", IssInResponse: true,
	}
	for _, asked := range []string{issuer, issuer + "/", issuer + "//"} {
		got, err := serving(t, "/i_1/.well-known/openid-configuration", 200, doc).Discover(t.Context(), asked, false)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", asked, got, err, want)
		}
	}
}

func TestFetchRefusals(t *testing.T) {
	t.Parallel()
	const keys = `"jwks_uri":"https://keys.example/k"`
	tests := []struct {
		name, body string
		status     int
		insecure   bool
		says       string // "": accepted
		wrong      bool   // an IssuerError
	}{
		{"least", `{"issuer":"https://idp.example/i_1",` + keys + `}`, 200, false, "", false},
		{"with a slash", `{"issuer":"https://idp.example/i_1/",` + keys + `}`, 200, false, "", false},
		{"odd flags and endpoints", `{"issuer":"https://idp.example/i_1",` + keys + `,"authorization_response_iss_parameter_supported":"true","token_endpoint":7}`, 200, false, "", false},
		{"with two slashes", `{"issuer":"https://idp.example/i_1//",` + keys + `}`, 200, false, "i_1//", true},
		{"another tenant", `{"issuer":"https://idp.example/i_2",` + keys + `}`, 200, false, "i_2", true},
		{"other case", `{"issuer":"https://IDP.example/i_1",` + keys + `}`, 200, false, "IDP", true},
		{"http", `{"issuer":"http://idp.example/i_1",` + keys + `}`, 200, false, "http:", true},
		{"no issuer", `{` + keys + `}`, 200, false, "issuer", false},
		{"issuer a list", `{"issuer":["https://idp.example/i_1"],` + keys + `}`, 200, false, "issuer", false},
		{"no keys", `{"issuer":"https://idp.example/i_1"}`, 200, false, "jwks_uri", false},
		{"issuer twice", `{"issuer":"https://idp.example/i_1","issuer":"https://idp.example/i_1",` + keys + `}`, 200, false, "JSON", false},
		{"keys over http", `{"issuer":"https://idp.example/i_1","jwks_uri":"http://keys.example"}`, 200, false, "jwks_uri", false},
		{"keys over http, allowed", `{"issuer":"https://idp.example/i_1","jwks_uri":"http://keys.example"}`, 200, true, "", false},
		{"token endpoint over http", `{"issuer":"https://idp.example/i_1",` + keys + `,"token_endpoint":"http://idp.example/t"}`, 200, false, "token_endpoint", false},
		{"logout by javascript", `{"issuer":"https://idp.example/i_1",` + keys + `,"end_session_endpoint":"javascript:x"}`, 200, true, "end_session_endpoint", false},
		{"a list", `[]`, 200, false, "object", false},
		{"nothing", ``, 200, false, "object", false},
		{"404", `{"issuer":"https://idp.example/i_1",` + keys + `}`, 404, false, "404", false},
		{"302", ``, 302, false, "302", false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := serving(t, "/i_1/.well-known/openid-configuration", tc.status, tc.body).Discover(t.Context(), issuer, tc.insecure)
			if tc.says == "" {
				if err != nil || got.Issuer == "" || got.IssInResponse || got.Token != "" {
					t.Errorf("got %+v, %v; want it accepted", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || got != (endpoint.Metadata{}) {
				t.Fatalf("got %+v, %v; want an error that says %q", got, err, tc.says)
			}
			var document *endpoint.DocumentError
			var other *endpoint.IssuerError
			if errors.As(err, &other) != tc.wrong || errors.As(err, &document) == tc.wrong {
				t.Errorf("got a %T; want an IssuerError %t", err, tc.wrong)
			}
			if document != nil && document.Status != tc.status {
				t.Errorf("got status %d; want %d", document.Status, tc.status)
			}
		})
	}
	t.Run("no answer", func(t *testing.T) {
		t.Parallel()
		cause := errors.New("no route")
		c := endpoint.NewCaller(&http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return nil, cause })}, "0", time.Now)
		if _, err := c.Discover(t.Context(), issuer, false); !errors.Is(err, cause) {
			t.Errorf("got %v; want %v", err, cause)
		}
	})
}

func TestFetchKeys(t *testing.T) {
	t.Parallel()
	const url = "https://keys.example/k"
	got, err := serving(t, "/k", 200, `{"keys":[]}`).FetchKeys(t.Context(), url)
	if err != nil || string(got) != `{"keys":[]}` {
		t.Errorf("got %s, %v; want the body", got, err)
	}
	_, err = serving(t, "/k", 404, "no").FetchKeys(t.Context(), url)
	var document *endpoint.DocumentError
	if !errors.As(err, &document) || document.Status != 404 || document.Error() != url+": status 404" {
		t.Errorf("got %v; want a *DocumentError with the address and status 404", err)
	}
	cause := errors.New("no route")
	c := endpoint.NewCaller(&http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return nil, cause })}, "0", time.Now)
	if _, err := c.FetchKeys(t.Context(), url); !errors.Is(err, cause) {
		t.Errorf("got %v; want %v", err, cause)
	}
}

// The document is fetched when first wanted, and again in the background when it has
// aged; a failure that no caller is told about is logged.
func TestKeep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		requests, status := 0, 200
		c := endpoint.NewCaller(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			requests++
			body := io.NopCloser(strings.NewReader(`{"issuer":"` + issuer + `","jwks_uri":"https://keys.example/k"}`))
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: r}, nil
		})}, "0", time.Now)
		kept := c.KeepMetadata(issuer, false, slog.New(slog.NewTextHandler(&log, nil)))
		get := func(wantRequests int) {
			t.Helper()
			got, err := kept.Get(t.Context())
			synctest.Wait()
			if err != nil || got.Issuer != issuer || requests != wantRequests {
				t.Errorf("got %+v, %v, %d requests; want the document, and %d", got, err, requests, wantRequests)
			}
		}
		if requests != 0 {
			t.Error("got a request at construction; want none")
		}
		get(1)
		get(1)
		status = 503
		time.Sleep(time.Hour)
		get(2)
		if text := log.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "age=1h0m0s") || !strings.Contains(text, "status 503") {
			t.Errorf("got log %q; want a warning with the age and the failure", text)
		}
		time.Sleep(23 * time.Hour)
		if _, err := kept.Get(t.Context()); err == nil {
			t.Error("after a day: got the document; want the failure")
		}
	})
}
