package authpitest_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestDiscovery(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts         *authpitest.Options
		issuer, base string
	}{
		"default":        {nil, "https://idp.authpi.test/i_test", "https://idp.authpi.test/i_test"},
		"trailing slash": {&authpitest.Options{TrailingSlash: true}, "https://idp.authpi.test/i_test/", "https://idp.authpi.test/i_test"},
		"at the root":    {&authpitest.Options{Path: "/"}, "https://idp.authpi.test", "https://idp.authpi.test"},
		"root and slash": {&authpitest.Options{Path: "/", TrailingSlash: true}, "https://idp.authpi.test/", "https://idp.authpi.test"},
		"odd path":       {&authpitest.Options{Path: "a/b/"}, "https://idp.authpi.test/a/b", "https://idp.authpi.test/a/b"},
		"custom domain":  {&authpitest.Options{BaseURL: "https://login.example/"}, "https://login.example/i_test", "https://login.example/i_test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, tc.opts)
			if c.srv.URL != tc.issuer {
				t.Errorf("URL: got %s; want %s", c.srv.URL, tc.issuer)
			}
			r := c.do(c.request(http.MethodGet, "/.well-known/openid-configuration", nil))
			r.wantOK(t)
			for member, want := range map[string]any{
				"issuer":                                         tc.issuer,
				"authorization_endpoint":                         tc.base + "/authorize",
				"token_endpoint":                                 tc.base + "/token",
				"introspection_endpoint":                         tc.base + "/introspect",
				"revocation_endpoint":                            tc.base + "/revoke",
				"userinfo_endpoint":                              tc.base + "/userinfo",
				"end_session_endpoint":                           tc.base + "/logout",
				"jwks_uri":                                       tc.base + "/jwks.json",
				"id_token_signing_alg_values_supported":          []string{"ES256", "RS256", "EdDSA"},
				"code_challenge_methods_supported":               []string{"S256"},
				"authorization_response_iss_parameter_supported": nil,
			} {
				equalJSON(t, member, r.json[member], want)
			}
			_, id := decode(t, c.login().text("id_token"))
			equalJSON(t, "iss", id["iss"], tc.issuer)
		})
	}
	t.Run("announces iss", func(t *testing.T) {
		c := inMemory(t, &authpitest.Options{AnnounceIss: true})
		r := c.do(c.request(http.MethodGet, "/.well-known/openid-configuration", nil))
		equalJSON(t, "announced", r.json["authorization_response_iss_parameter_supported"], true)
		if got := c.signIn().Get("iss"); got != c.srv.URL {
			t.Errorf("iss: got %q; want %q", got, c.srv.URL)
		}
	})
}

func TestWrongRequests(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	for name, tc := range map[string]struct {
		method, path, contentType string
		status                    int
		code                      string
	}{
		"unknown path":      {"GET", "/keyinfo", "", 404, "not_found"},
		"GET token":         {"GET", "/token", "", 405, "invalid_request"},
		"POST jwks":         {"POST", "/jwks.json", "application/x-www-form-urlencoded", 405, "invalid_request"},
		"JSON to token":     {"POST", "/token", "application/json", 415, "invalid_content_type"},
		"nothing to token":  {"POST", "/token", "application/x-www-form-urlencoded", 401, "invalid_client"},
		"userinfo, no auth": {"GET", "/userinfo", "", 401, "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			req := c.request(tc.method, tc.path, nil)
			req.Header.Set("Content-Type", tc.contentType)
			c.do(req).wantError(t, tc.status, tc.code)
		})
	}
}

func TestUserinfoRefuses(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	r := c.login()
	for name, token := range map[string]string{
		"ID token":       r.text("id_token"),
		"refresh token":  r.text("refresh_token"),
		"expired":        c.srv.AccessToken(map[string]any{"sub": "usr_ada", "exp": 1}),
		"no exp":         c.srv.AccessToken(map[string]any{"sub": "usr_ada", "exp": nil}),
		"another issuer": c.srv.AccessToken(map[string]any{"sub": "usr_ada", "iss": "https://evil.example"}),
		"unknown user":   c.srv.AccessToken(nil),
		"spoiled":        r.text("access_token") + "x",
		"not a token":    "x",
	} {
		t.Run(name, func(t *testing.T) {
			got := c.userinfo(token)
			got.wantError(t, http.StatusUnauthorized, "invalid_token")
			if !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("WWW-Authenticate: got %q", got.header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestUserinfoShowsTheUser(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	at := time.Unix(1_700_000_000, 0)
	c.srv.AddUser(authpitest.User{ID: "usr_bob", Email: "bob@example.com", Name: "Bob", GivenName: "B", FamilyName: "O",
		Picture: "https://p.example", Locale: "de", PhoneNumber: "+49", PhoneNumberVerified: true,
		CreatedAt: at, UpdatedAt: at.Add(time.Second), Claims: map[string]any{"x": 1, "sub": "usr_evil"}})
	token := c.srv.AccessToken(map[string]any{"sub": "usr_bob", "scope": "openid profile email phone"})
	equalJSON(t, "userinfo", c.userinfo(token).json, map[string]any{
		"sub": "usr_bob", "email": "bob@example.com", "email_verified": false, "name": "Bob",
		"given_name": "B", "family_name": "O", "picture": "https://p.example", "locale": "de",
		"phone_number": "+49", "phone_number_verified": true, "organizations": []any{},
		"created_at": 1_700_000_000, "updated_at": 1_700_000_001, "x": 1,
	})
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	c.srv.AddClient(authpitest.Client{ID: "c_other", Secret: "secret"})
	r := c.login()
	access, refresh := r.text("access_token"), r.text("refresh_token")
	active := func(token string, pairs ...string) any {
		r := c.post("/introspect", append([]string{"token", token}, pairs...)...)
		r.wantOK(t)
		if r.json["active"] == false && len(r.json) != 1 {
			t.Errorf("an inactive token tells more: %s", r.body)
		}
		return r.json["active"]
	}
	equalJSON(t, "access", active(access), true)
	equalJSON(t, "refresh", active(refresh), true)
	equalJSON(t, "ID token", active(r.text("id_token")), false)
	equalJSON(t, "not a token", active("x"), false)
	equalJSON(t, "another client", active(access, "client_id", "c_other", "client_secret", "secret"), false)
	c.refresh(refresh)
	equalJSON(t, "spent", active(refresh), false)
	c.srv.EndSession("usr_ada")
	equalJSON(t, "session over", active(access), false)
	c.post("/introspect", "token", access, "client_id", "c_nope").wantError(t, http.StatusUnauthorized, "invalid_client")
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		token         string
		change        []string
		status        int
		access, alive bool // afterwards
	}{
		"refresh token":  {"refresh_token", nil, 200, false, false},
		"access token":   {"access_token", nil, 200, false, true},
		"ID token":       {"id_token", nil, 200, true, true},
		"another client": {"refresh_token", []string{"client_id", "c_other"}, 400, true, true},
		"wrong hint":     {"refresh_token", []string{"token_type_hint", "access_token"}, 200, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, nil)
			c.srv.AddClient(authpitest.Client{ID: "c_other"})
			r := c.login()
			got := c.post("/revoke", append([]string{"token", r.text(tc.token)}, tc.change...)...)
			if got.status != tc.status {
				t.Errorf("got %d %s; want %d", got.status, got.body, tc.status)
			}
			if got := c.userinfo(r.text("access_token")).status == 200; got != tc.access {
				t.Errorf("access token works: got %v; want %v", got, tc.access)
			}
			if got := c.srv.SessionAlive(r.text("refresh_token")); got != tc.alive {
				t.Errorf("session alive: got %v; want %v", got, tc.alive)
			}
		})
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	const back = "https://app.example/bye"
	for name, tc := range map[string]struct {
		query    url.Values
		status   int
		location string
	}{
		"plain":              {url.Values{}, 200, ""},
		"with return":        {url.Values{"post_logout_redirect_uri": {back}, "state": {"s&1"}}, 302, back + "?state=s%261"},
		"without state":      {url.Values{"post_logout_redirect_uri": {back}}, 302, back},
		"unregistered":       {url.Values{"post_logout_redirect_uri": {back + "/"}}, 400, ""},
		"no hint":            {url.Values{"id_token_hint": {""}}, 400, ""},
		"another client's":   {url.Values{"client_id": {"c_other"}}, 400, ""},
		"the right client's": {url.Values{"client_id": {"c_test"}}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, &authpitest.Options{PostLogoutRedirectURIs: []string{back}})
			r := c.login()
			c.srv.Advance(time.Hour) // an expired hint is good
			if !tc.query.Has("id_token_hint") {
				tc.query.Set("id_token_hint", r.text("id_token"))
			}
			got := c.do(c.request(http.MethodGet, "/logout?"+tc.query.Encode(), nil))
			if got.status != tc.status || got.header.Get("Location") != tc.location {
				t.Errorf("got %d %q; want %d %q", got.status, got.header.Get("Location"), tc.status, tc.location)
			}
			if alive := c.srv.SessionAlive(r.text("refresh_token")); alive != (tc.status == 400) {
				t.Errorf("session alive: %v", alive)
			}
			if tc.status != 400 && c.signIn("prompt", "none").Get("error") != "login_required" {
				t.Error("still signed in at the issuer")
			}
		})
	}
}

func TestMountedHandler(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	ts := httptest.NewServer(mux)
	defer ts.Close()
	srv := authpitest.NewInMemory(&authpitest.Options{BaseURL: ts.URL, Path: "/idp"})
	mux.Handle("/idp/", srv.Handler())
	resp, err := http.Get(srv.URL + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	dial := func(what, target string) {
		_, err := c.srv.Client().Get(target)
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" {
			t.Errorf("%s: got %v; want a dial error", what, err)
		}
	}
	dial("another host", "https://elsewhere.example/")
	c.srv.Close()
	c.srv.Close()
	dial("closed", c.endpoint("/jwks.json"))
}

func TestMistakesPanic(t *testing.T) {
	t.Parallel()
	srv := authpitest.NewInMemory(nil)
	for name, mistake := range map[string]func(){
		"algorithm":           func() { authpitest.NewInMemory(&authpitest.Options{Algorithm: "HS256"}) },
		"base URL":            func() { authpitest.NewInMemory(&authpitest.Options{BaseURL: "login.example"}) },
		"base URL for socket": func() { authpitest.NewServer(&authpitest.Options{BaseURL: "https://login.example"}) },
		"client":              func() { srv.AddClient(authpitest.Client{}) },
		"user":                func() { srv.AddUser(authpitest.User{}) },
		"claims":              func() { srv.Sign(map[string]any{"x": make(chan int)}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			mistake()
		})
	}
}
