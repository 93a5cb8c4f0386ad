package authpihttp_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestBearer(t *testing.T) {
	t.Parallel()
	const resource = "https://api.test/v1"
	s, _ := newAPI(t, &authpihttp.BearerOptions{Resource: resource, Realm: `my "api"`, Scopes: []string{"openid", "email"}})
	good := func(claims map[string]any) string {
		all := map[string]any{"aud": []string{resource}}
		for name, value := range claims {
			all[name] = value
		}
		return "Bearer " + s.issuer.AccessToken(all)
	}
	const (
		realm = `Bearer realm="my 'api'"`
		meta  = `, resource_metadata="https://api.test/.well-known/oauth-protected-resource/v1"`
		bad   = realm + `, error="invalid_token", error_description="`
		wrong = realm + `, error="invalid_request", error_description="`
	)
	clock := regexp.MustCompile(`here it is [0-9T:-]+Z`)
	for _, tc := range []struct {
		name   string
		path   string
		header []string // of Authorization
		status int
		want   string
	}{
		{"good", "/api/me", []string{good(nil)}, 200, ""},
		{"scheme in lower case", "/api/me", []string{strings.Replace(good(nil), "Bearer", "bearer", 1)}, 200, ""},
		{"two spaces", "/api/me", []string{strings.Replace(good(nil), " ", "  ", 1)}, 200, ""},
		{"other query", "/api/me?x=access_token", []string{good(nil)}, 200, ""},
		{"none", "/api/me", nil, 401, realm + meta},
		{"empty", "/api/me", []string{""}, 401, realm + meta},
		{"another scheme", "/api/me", []string{"Basic YTpi"}, 401, realm + meta},
		{"no token", "/api/me", []string{"Bearer"}, 400, wrong + `the Authorization header holds no single token"` + meta},
		{"blank token", "/api/me", []string{"Bearer   "}, 400, wrong + `the Authorization header holds no single token"` + meta},
		{"two tokens", "/api/me", []string{"Bearer a b"}, 400, wrong + `the Authorization header holds no single token"` + meta},
		{"comma", "/api/me", []string{"Bearer a,Bearer b"}, 400, wrong + `the Authorization header holds no single token"` + meta},
		{"quotes", "/api/me", []string{`Bearer "a"`}, 400, wrong + `the Authorization header holds no single token"` + meta},
		{"not ASCII", "/api/me", []string{"Bearer \xc3\xbc"}, 400, wrong + `the Authorization header holds no single token"` + meta},
		{"twice", "/api/me", []string{good(nil), good(nil)}, 400, wrong + `the Authorization header is repeated"` + meta},
		{"in the query", "/api/me?access_token=" + strings.TrimPrefix(good(nil), "Bearer "), nil, 400, wrong + `a token in the query is not accepted; use the Authorization header"` + meta},
		{"in the query, too", "/api/me?a=b;access%5Ftoken=x", []string{good(nil)}, 400, wrong + `a token in the query is not accepted; use the Authorization header"` + meta},
		{"no JWT", "/api/me", []string{"Bearer abc"}, 401, bad + `format: `},
		{"personal token", "/api/me", []string{"Bearer ptk_abc"}, 401, bad + `format: is a personal token (ptk_...), which only the issuer can check"` + meta},
		{"API key", "/api/me", []string{"Bearer key_abc:def"}, 401, bad + `format: is an API key (key_...), which only the issuer can check"` + meta},
		{"oversized", "/api/me", []string{"Bearer " + strings.Repeat("a", 900_000)}, 401, bad},
		{"expired", "/api/me", []string{good(map[string]any{"exp": 1})}, 401, bad + `exp: has passed, at 1970-01-01T00:00:01Z; here it is NOW"` + meta},
		{"another API's", "/api/me", []string{good(map[string]any{"aud": clientID})}, 401, bad + `aud: is another API's; want 'https://api.test/v1'"` + meta},
		{"another issuer's", "/api/me", []string{good(map[string]any{"iss": "https://evil.test/\"\\\n\u00fc"})}, 401, bad + `iss: is 'https://evil.test/`},
		{"ID token", "/api/me", []string{"Bearer " + s.issuer.Sign(map[string]any{"iss": s.issuer.URL, "nonce": "n"}, nil)}, 401, bad + `typ: is not at+jwt (RFC 9068 section 4): this is an ID token"` + meta},
		{"bad signature", "/api/me", []string{"Bearer " + s.issuer.Sign(map[string]any{}, map[string]any{"typ": "at+jwt", "_signature": "bad"})}, 401, bad + `signature: `},
		{"none as algorithm", "/api/me", []string{"Bearer " + s.issuer.Sign(map[string]any{}, map[string]any{"typ": "at+jwt", "alg": "none"})}, 401, bad},
		{"narrow scope", "/api/me", []string{good(map[string]any{"scope": "openid emails"})}, 403, realm + `, error="insufficient_scope", error_description="the token does not allow this here", scope="openid email"` + meta},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodGet, origin+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header["Authorization"] = tc.header
			if tc.header == nil {
				r.Header.Del("Authorization")
			}
			w := newRecorder()
			s.handler.ServeHTTP(w, r)
			got := clock.ReplaceAllString(w.Header().Get("WWW-Authenticate"), "here it is NOW")
			exact := tc.want == "" || strings.HasSuffix(tc.want, meta)
			if w.Code != tc.status || exact && got != tc.want || !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %d\n%s\nwant %d\n%s", w.Code, got, tc.status, tc.want)
			}
			if strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c > '~' }) || strings.Count(got, `"`)%2 != 0 {
				t.Errorf("got a header that nobody can read: %q", got)
			}
			if w.Code == 200 {
				return
			}
			var body struct {
				Error       string `json:"error"`
				Description string `json:"error_description"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == "" || body.Description == "" {
				t.Errorf("got %s; want JSON with error and error_description", w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("got %v", w.Header())
			}
			for _, value := range tc.header {
				if token := strings.TrimPrefix(value, "Bearer "); len(token) > 8 && strings.Contains(w.Body.String()+got, token) {
					t.Error("the answer shows the token")
				}
			}
		})
	}
}

func TestBearerWithoutOptions(t *testing.T) {
	t.Parallel()
	s, _ := newAPI(t, nil)
	b := s.browser()
	a := b.send("GET", "/api/me", map[string]string{"Authorization": "Bearer " + s.issuer.AccessToken(nil)})
	if a.status != 200 || a.body != "usr_test" {
		t.Errorf("got %d %s; want 200", a.status, a.body)
	}
	a = b.get("/api/me")
	if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="api"` {
		t.Errorf("got %s", got)
	}
	if a = b.get("/.well-known/oauth-protected-resource"); a.status != 404 {
		t.Errorf("got %d for the metadata of no resource; want 404", a.status)
	}
}

// Without the issuer's keys nobody can tell a good token from a bad one.
func TestBearerWithoutKeys(t *testing.T) {
	t.Parallel()
	s, _ := newAPI(t, nil)
	b := s.browser()
	token := s.issuer.AccessToken(nil)
	s.issuer.Inject(authpitest.Fault{Times: -1, Status: 500})
	a := b.send("GET", "/api/me", map[string]string{"Authorization": "Bearer " + token})
	if a.status != 503 || a.header.Get("Retry-After") != "5" || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("got %d %v; want 503 with Retry-After", a.status, a.header)
	}
	s.issuer.ClearFaults()
}

func TestBearerError(t *testing.T) {
	t.Parallel()
	var got error
	s, _ := newAPI(t, &authpihttp.BearerOptions{Error: func(w http.ResponseWriter, _ *http.Request, status int, err error) {
		got = err
		w.WriteHeader(status)
	}})
	b := s.browser()
	for _, tc := range []struct {
		header string
		status int
		want   error
	}{
		{"", 401, authpihttp.ErrNotSignedIn},
		{"Bearer abc", 401, authpi.ErrInvalidToken},
		{"Bearer " + s.issuer.AccessToken(nil), 403, authpihttp.ErrForbidden},
	} {
		a := b.send("GET", "/api/orgs/org_1/read", map[string]string{"Authorization": tc.header})
		if a.status != tc.status || !errors.Is(got, tc.want) || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("got %d, %v; want %d, %v", a.status, got, tc.status, tc.want)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ resource, path, url string }{
		{"https://api.test", "/.well-known/oauth-protected-resource", "https://api.test/.well-known/oauth-protected-resource"},
		{"https://api.test/", "/.well-known/oauth-protected-resource", "https://api.test/.well-known/oauth-protected-resource"},
		{"https://api.test:8443/a/b", "/.well-known/oauth-protected-resource/a/b", "https://api.test:8443/.well-known/oauth-protected-resource/a/b"},
	} {
		s, _ := newAPI(t, &authpihttp.BearerOptions{
			Resource: tc.resource, Scopes: []string{"openid"}, AuthorizationServers: []string{"https://idp.authpi.com/i_1"},
		})
		b := s.browser()
		a := b.get(tc.path)
		want := `{"resource":"` + tc.resource + `","authorization_servers":["https://idp.authpi.com/i_1"],"scopes_supported":["openid"],"bearer_methods_supported":["header"]}` + "\n"
		if a.status != 200 || a.body != want || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %s; want %s", tc.resource, a.status, a.body, want)
		}
		if got := b.get("/api/me").header.Get("WWW-Authenticate"); got != `Bearer realm="api", resource_metadata="`+tc.url+`"` {
			t.Errorf("%s: got %s", tc.resource, got)
		}
	}
}

func TestNewBearerRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, resource := range []string{"api", "urn:x:y", "/v1", "https://", "ftp://api.test", "https://api.test/#x", "https://me@api.test", "://",
		"http://api.test", "HTTP://api.test/v1", "http://192.0.2.1", "http://127.0.0.1.api.test"} {
		_, err := authpihttp.NewBearer(s.client, &authpihttp.BearerOptions{Resource: resource})
		var wrong *authpi.ConfigurationError
		if !errors.As(err, &wrong) || wrong.Field != "Resource" {
			t.Errorf("%q: got %v; want a ConfigurationError", resource, err)
		}
	}
	for _, resource := range []string{"https://api.test", "HTTPS://api.test", "http://127.0.0.1:8082", "http://[::1]:1/v1", "http://localhost/"} {
		if _, err := authpihttp.NewBearer(s.client, &authpihttp.BearerOptions{Resource: resource}); err != nil {
			t.Errorf("%q: got %v; want it accepted", resource, err)
		}
	}
}

// An audience from a variable that is not set must not stand for the client's own.
func TestNewBearerRefusesAnEmptyAudience(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for _, audiences := range [][]string{{""}, {"https://api.test", ""}} {
		_, err := authpihttp.NewBearer(s.client, &authpihttp.BearerOptions{Resource: "https://api.test", Audiences: audiences})
		var wrong *authpi.ConfigurationError
		if !errors.As(err, &wrong) || wrong.Field != "Audiences" {
			t.Errorf("%q: got %v; want a ConfigurationError", audiences, err)
		}
	}
}

func TestNewBearerWithoutClient(t *testing.T) {
	t.Parallel()
	if b, err := authpihttp.NewBearer(nil, nil); b != nil || err == nil || err.Error() != "authpihttp: NewBearer needs a client" {
		t.Errorf("got %v, %v; want an error", b, err)
	}
}

// The client does not tell its issuer, so nobody guesses one.
func TestMetadataNamesNoIssuerByItself(t *testing.T) {
	t.Parallel()
	s, _ := newAPI(t, &authpihttp.BearerOptions{Resource: "https://api.test"})
	want := `{"resource":"https://api.test","bearer_methods_supported":["header"]}` + "\n"
	if a := s.browser().get("/.well-known/oauth-protected-resource"); a.body != want {
		t.Errorf("got %s; want %s", a.body, want)
	}
}
