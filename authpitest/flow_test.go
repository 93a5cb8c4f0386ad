package authpitest_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

// servers makes the issuer in each way there is.
var servers = map[string]func(*authpitest.Options) *authpitest.Server{
	"socket": authpitest.NewServer, "memory": authpitest.NewInMemory,
}

func TestCodeFlow(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		for name, start := range servers {
			t.Run(alg+" "+name, func(t *testing.T) {
				t.Parallel()
				srv := start(&authpitest.Options{Algorithm: alg})
				defer srv.Close()
				c := withAda(t, srv)
				callback := c.signIn()
				if callback.Get("state") != "st-1" || callback.Get("session_state") == "" || callback.Has("iss") {
					t.Errorf("callback %v", callback)
				}
				r := c.exchange(callback.Get("code"))
				r.wantOK(t)
				equalJSON(t, "token_type", r.json["token_type"], "Bearer")
				equalJSON(t, "expires_in", r.json["expires_in"], 1800)
				equalJSON(t, "scope", r.json["scope"], allScopes)

				for token, typ := range map[string]any{"access_token": "at+jwt", "id_token": nil, "refresh_token": nil} {
					header, _ := verified(t, c, r.text(token))
					equalJSON(t, token+" typ", header["typ"], typ)
					equalJSON(t, token+" alg", header["alg"], alg)
				}
				_, id := decode(t, r.text("id_token"))
				equalJSON(t, "nonce", id["nonce"], "no-1")
				equalJSON(t, "iss", id["iss"], srv.URL)
				equalJSON(t, "email", id["email"], "ada@example.com")
				equalJSON(t, "department", id["department"], "engines")
				_, access := decode(t, r.text("access_token"))
				equalJSON(t, "aud", access["aud"], "c_test")
				equalJSON(t, "dat", access["dat"], map[string]string{"type": "user"})
				equalJSON(t, "sid", access["sid"], id["sid"])

				info := c.userinfo(r.text("access_token"))
				info.wantOK(t)
				equalJSON(t, "sub", info.json["sub"], "usr_ada")
				equalJSON(t, "name", info.json["name"], "Ada Lovelace")
				if orgs, _ := info.json["organizations"].([]any); len(orgs) != 2 {
					t.Errorf("organizations: got %v; want 2", orgs)
				}
			})
		}
	}
}

func TestTokenContents(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	type want struct{ access, id map[string]any } // a nil value: no such claim
	for name, tc := range map[string]struct {
		opts authpitest.Options
		ask  []string
		want want
	}{
		"plain": {want: want{
			access: map[string]any{"exp": 1_800_001_800, "auth_time": 1_800_000_000, "client_id": "c_test", "org_id": nil, "nonce": nil},
			id:     map[string]any{"acr": nil, "org_id": nil},
		}},
		"scopes limit the profile": {ask: []string{"scope", "openid"}, want: want{
			id: map[string]any{"email": nil, "name": nil, "sub": "usr_ada"},
		}},
		"no scope is openid": {ask: []string{"scope", ""}, want: want{
			access: map[string]any{"scope": "openid"},
		}},
		"org narrows": {ask: []string{"org", "org_2"}, want: want{
			access: map[string]any{"org_id": "org_2", "organizations": []map[string]any{
				{"id": "org_2", "joined_at": 1_800_000_000, "scopes": []string{"projects:read"}, "title": nil}}},
			id: map[string]any{"org_id": "org_2"},
		}},
		"one resource is a string": {ask: []string{"resource", "https://api.example"}, want: want{
			access: map[string]any{"aud": "https://api.example"}, id: map[string]any{"aud": "c_test"},
		}},
		"more are an array": {ask: []string{"resource", "https://b.example", "resource", "https://a.example"}, want: want{
			access: map[string]any{"aud": []string{"https://b.example", "https://a.example"}},
		}},
		"acr_values": {ask: []string{"acr_values", "urn:high urn:low"}, want: want{
			id: map[string]any{"acr": "urn:high"},
		}},
		"no nonce": {ask: []string{"nonce", ""}, want: want{id: map[string]any{"nonce": nil}}},
		"OmitOrganizations": {opts: authpitest.Options{OmitOrganizations: true}, want: want{
			access: map[string]any{"organizations": nil}, id: map[string]any{"organizations": nil},
		}},
		"TrailingSlash": {opts: authpitest.Options{TrailingSlash: true}, want: want{
			access: map[string]any{"iss": "https://idp.authpi.test/i_test/"},
		}},
		"lifetimes": {opts: authpitest.Options{AccessTokenLifetime: time.Minute, IDTokenLifetime: time.Hour}, want: want{
			access: map[string]any{"exp": 1_800_000_060}, id: map[string]any{"exp": 1_800_003_600},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.opts.Now = func() time.Time { return now }
			r := inMemory(t, &tc.opts).login(tc.ask...)
			_, access := decode(t, r.text("access_token"))
			_, id := decode(t, r.text("id_token"))
			for claim, v := range tc.want.access {
				equalJSON(t, "access "+claim, access[claim], v)
			}
			for claim, v := range tc.want.id {
				equalJSON(t, "id "+claim, id[claim], v)
			}
		})
	}
}

func TestNoIDTokenWithoutOpenID(t *testing.T) {
	t.Parallel()
	r := inMemory(t, nil).login("scope", "projects:read")
	if r.json["id_token"] != nil || r.text("refresh_token") == "" {
		t.Errorf("got %s; want no ID token and a refresh token", r.body)
	}
}

func TestExchangeRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change []string
		after  time.Duration
		code   string
	}{
		"wrong verifier":       {change: []string{"code_verifier", verifier + "x"}, code: "invalid_grant"},
		"no verifier":          {change: []string{"code_verifier", ""}, code: "invalid_grant"},
		"wrong redirect_uri":   {change: []string{"redirect_uri", redirectURI + "/"}, code: "invalid_grant"},
		"unknown code":         {change: []string{"code", "nope"}, code: "invalid_grant"},
		"no code":              {change: []string{"code", ""}, code: "invalid_request"},
		"another client":       {change: []string{"client_id", "c_other"}, code: "invalid_grant"},
		"too late":             {after: time.Minute, code: "invalid_grant"},
		"resource not granted": {change: []string{"resource", "https://other.example"}, code: "invalid_target"},
		"relative resource":    {change: []string{"resource", "/api"}, code: "invalid_target"},
		"unknown grant":        {change: []string{"grant_type", "password"}, code: "unsupported_grant_type"},
		"no grant":             {change: []string{"grant_type", ""}, code: "invalid_request"},
		"repeated parameter":   {change: []string{"code", "a", "code", "b"}, code: "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, nil)
			c.srv.AddClient(authpitest.Client{ID: "c_other"})
			code := c.signIn("resource", "https://api.example").Get("code")
			c.srv.Advance(tc.after)
			c.exchange(code, tc.change...).wantError(t, http.StatusBadRequest, tc.code)
			if got := c.srv.Redemptions("authorization_code"); got != 0 {
				t.Errorf("redemptions: got %d; want 0", got)
			}
			if tc.after == 0 { // a failed attempt does not spend the code
				c.exchange(code).wantOK(t)
			}
		})
	}
}

func TestCodeReuseRevokes(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	code := c.signIn().Get("code")
	r := c.exchange(code)
	r.wantOK(t)
	c.exchange(code).wantError(t, http.StatusBadRequest, "invalid_grant")
	if c.srv.SessionAlive(r.text("access_token")) {
		t.Error("the session outlived its code's reuse")
	}
	c.refresh(r.text("refresh_token")).wantError(t, http.StatusBadRequest, "invalid_grant")
	c.userinfo(r.text("access_token")).wantError(t, http.StatusUnauthorized, "invalid_token")
}

func TestAuthorizeRedirects(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ask  []string
		user string
		want string
	}{
		"no PKCE":                 {ask: []string{"code_challenge", ""}, want: "invalid_request"},
		"plain PKCE":              {ask: []string{"code_challenge_method", "plain"}, want: "invalid_request"},
		"no method":               {ask: []string{"code_challenge_method", ""}, want: "invalid_request"},
		"implicit":                {ask: []string{"response_type", "token"}, want: "unsupported_response_type"},
		"form_post":               {ask: []string{"response_mode", "form_post"}, want: "invalid_request"},
		"request object":          {ask: []string{"request", "x.y.z"}, want: "request_not_supported"},
		"odd prompt":              {ask: []string{"prompt", "please"}, want: "invalid_request"},
		"none and login":          {ask: []string{"prompt", "none login"}, want: "invalid_request"},
		"nobody signed in":        {ask: []string{"prompt", "none"}, want: "login_required"},
		"negative max_age":        {ask: []string{"max_age", "-1"}, want: "invalid_request"},
		"resource with fragment":  {ask: []string{"resource", "https://api.example/#x"}, want: "invalid_target"},
		"repeated state":          {ask: []string{"state", "st-1", "state", "st-2"}, want: "invalid_request"},
		"not a member":            {ask: []string{"org", "org_9"}, want: "access_denied"},
		"blocked":                 {user: "usr_bob", want: "user_blocked"},
		"cancel":                  {user: "-", want: "access_denied"},
		"login_hint is tolerated": {ask: []string{"login_hint", "ada", "max_age", "0", "prompt", "login consent"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, &authpitest.Options{AnnounceIss: true})
			c.srv.AddUser(authpitest.User{ID: "usr_bob"})
			c.srv.BlockUser("usr_bob")
			user := map[string]string{"": "usr_ada", "-": ""}[tc.user]
			if tc.user == "usr_bob" {
				user = tc.user
			}
			callback, err := c.srv.SignIn(c.authURL(tc.ask...), user)
			if err != nil {
				t.Fatal(err)
			}
			u, _ := url.Parse(callback)
			q := u.Query()
			if q.Get("error") != tc.want || q.Get("state") != "st-1" || q.Get("iss") != c.srv.URL || q.Has("code") != (tc.want == "") {
				t.Errorf("got %s; want error %q with state and iss", callback, tc.want)
			}
		})
	}
}

func TestSignInErrors(t *testing.T) {
	t.Parallel()
	c := inMemory(t, &authpitest.Options{RedirectURIs: []string{redirectURI}})
	c.srv.AddClient(authpitest.Client{ID: "c_any"})
	for name, tc := range map[string]struct{ url, user string }{
		"unknown client":        {c.authURL("client_id", "c_nope"), "usr_ada"},
		"two clients":           {c.authURL("client_id", "c_test", "client_id", "c_any"), "usr_ada"},
		"unregistered redirect": {c.authURL("redirect_uri", redirectURI+"?x=1"), "usr_ada"},
		"no redirect":           {c.authURL("redirect_uri", ""), "usr_ada"},
		"javascript redirect":   {c.authURL("client_id", "c_any", "redirect_uri", "javascript:alert(1)"), "usr_ada"},
		"redirect with #":       {c.authURL("client_id", "c_any", "redirect_uri", redirectURI+"#"), "usr_ada"},
		"unknown user":          {c.authURL(), "usr_nope"},
		"another issuer":        {"https://idp.example/i_test/authorize", "usr_ada"},
		"another endpoint":      {c.endpoint("/token"), "usr_ada"},
		"not a URL":             {"https://[", "usr_ada"},
	} {
		t.Run(name, func(t *testing.T) {
			if callback, err := c.srv.SignIn(tc.url, tc.user); err == nil {
				t.Errorf("got %s; want an error", callback)
			}
		})
	}
}

func TestRedirectKeepsItsQuery(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	for _, target := range []string{"com.example.app:/callback", "http://127.0.0.1:8000/cb?tenant=1"} {
		callback, err := c.srv.SignIn(c.authURL("redirect_uri", target), "usr_ada")
		if err != nil || len(callback) < len(target) || callback[:len(target)] != target {
			t.Errorf("got %q, %v; want one that begins with %s", callback, err, target)
		}
	}
}

func TestPromptNone(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	_, first := decode(t, c.login().text("id_token"))
	c.srv.Advance(time.Hour)
	_, second := decode(t, c.login("prompt", "none").text("id_token"))
	equalJSON(t, "auth_time", second["auth_time"], first["auth_time"])
	if got := c.signIn("prompt", "none", "max_age", "60").Get("error"); got != "login_required" {
		t.Errorf("max_age: got %q; want login_required", got)
	}
	if got := c.srv.Sessions("usr_ada"); got != 2 {
		t.Errorf("sessions: got %d; want 2", got)
	}
	c.srv.EndSession("usr_ada")
	if got := c.signIn("prompt", "none").Get("error"); got != "login_required" {
		t.Errorf("after EndSession: got %q; want login_required", got)
	}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	const id, secret = "c:1", "s%c+r t&é"
	type auth struct{ basicUser, basicPassword, formID, formSecret string }
	for name, tc := range map[string]struct {
		auth
		status int
		code   string
	}{
		"basic":               {auth{basicUser: id, basicPassword: secret}, 200, ""},
		"basic and client_id": {auth{basicUser: id, basicPassword: secret, formID: id}, 200, ""},
		"post":                {auth{formID: id, formSecret: secret}, 200, ""},
		"both":                {auth{id, secret, id, secret}, 400, "invalid_request"},
		"two clients":         {auth{id, secret, "c_test", ""}, 400, "invalid_request"},
		"wrong basic":         {auth{basicUser: id, basicPassword: "x"}, 401, "invalid_client"},
		"wrong post":          {auth{formID: id, formSecret: secret + "x"}, 401, "invalid_client"},
		"no secret":           {auth{formID: id}, 401, "invalid_client"},
		"no client":           {auth{}, 401, "invalid_client"},
		"unknown client":      {auth{formID: "c_nope"}, 401, "invalid_client"},
		"public client":       {auth{formID: "c_test"}, 401, "unauthorized_client"},
		"public with secret":  {auth{formID: "c_test", formSecret: "x"}, 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, nil)
			c.srv.AddClient(authpitest.Client{ID: id, Secret: secret, Algorithm: "EdDSA"})
			form := url.Values{"grant_type": {"client_credentials"}, "scope": {"projects:read"}}
			if tc.formID != "" {
				form.Set("client_id", tc.formID)
			}
			if tc.formSecret != "" {
				form.Set("client_secret", tc.formSecret)
			}
			req := c.request(http.MethodPost, "/token", form)
			if tc.basicUser != "" {
				req.SetBasicAuth(url.QueryEscape(tc.basicUser), url.QueryEscape(tc.basicPassword))
			}
			r := c.do(req)
			if tc.code != "" {
				r.wantError(t, tc.status, tc.code)
				return
			}
			r.wantOK(t)
			header, claims := verified(t, c, r.text("access_token"))
			equalJSON(t, "alg", header["alg"], "EdDSA")
			equalJSON(t, "dat", claims["dat"], map[string]string{"type": "agent"})
			equalJSON(t, "expires_in", r.json["expires_in"], 300)
			if r.json["id_token"] != nil || r.json["refresh_token"] != nil {
				t.Errorf("got %s; want an access token only", r.body)
			}
		})
	}
}
