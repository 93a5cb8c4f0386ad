package authpi_test

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// What a callback may say. What it may not stands in the refusal table.
func TestExchangeCallbackChecks(t *testing.T) {
	t.Parallel()
	set := func(name string, values ...string) func(url.Values, *authpi.AuthorizationURL) {
		return func(callback url.Values, _ *authpi.AuthorizationURL) { callback[name] = values }
	}
	drop := func(names ...string) func(url.Values, *authpi.AuthorizationURL) {
		return func(callback url.Values, _ *authpi.AuthorizationURL) {
			for _, name := range names {
				callback.Del(name)
			}
		}
	}
	all := func(changes ...func(url.Values, *authpi.AuthorizationURL)) func(url.Values, *authpi.AuthorizationURL) {
		return func(callback url.Values, auth *authpi.AuthorizationURL) {
			for _, change := range changes {
				change(callback, auth)
			}
		}
	}
	right := func(callback url.Values, _ *authpi.AuthorizationURL) {}
	tests := []struct {
		name     string
		announce bool // the issuer announces iss in its answers
		change   func(callback url.Values, auth *authpi.AuthorizationURL)
		code     string // "": accepted
		says     string
	}{
		{"as it came", false, right, "", ""},
		{"with other parameters, repeated", false, set("session_state", "a", "b"), "", ""},
		{"an error with the wrong state", false, all(set("state", "x"), set("error", "access_denied"), set("error_description", "no way")),
			"invalid_state", "access_denied: no way"},

		{"error", false, all(drop("code"), set("error", "access_denied")), "access_denied", ""},
		{"error with description", false, all(set("error", "login_required"), set("error_description", "sign in first")),
			"login_required", "sign in first"},
		{"error repeated", false, set("error", "a", "b"), "invalid_request", "error"},
		{"iss right", false, set("iss", testkit.IssuerURL), "", ""},
		{"iss right and announced", true, right, "", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer, client := testkit.New(t, &authpitest.Options{AnnounceIss: tc.announce}, nil)
			callback, auth := testkit.StartLogin(t, client, issuer, nil)
			issuer.ResetCounters()
			verifier, code := auth.CodeVerifier, callback.Get("code")
			tc.change(callback, &auth)
			agent, err := client.ExchangeCallback(t.Context(), callback, auth)
			if tc.code == "" {
				if err != nil || agent.ID != testkit.Subject {
					t.Fatalf("got %v, %v; want %s signed in", agent, err, testkit.Subject)
				}
				return
			}
			testkit.WantCode(t, err, tc.code, tc.says)
			testkit.WantHidden(t, err.Error(), verifier, code, auth.State, auth.Nonce)
			if got := issuer.Requests(""); got != 0 {
				t.Errorf("got %d requests; want 0: the callback is no success", got)
			}
		})
	}
}

func TestProviderErrorInCallback(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	callback, auth := testkit.StartLogin(t, client, issuer, nil)
	callback.Set("error", "consent_required")
	callback.Set("error_description", "ask them")
	callback.Set("error_uri", "https://idp.example/help")
	_, err := client.ExchangeCallback(t.Context(), callback, auth)
	e := testkit.WantCode(t, err, "consent_required")
	if e.Description != "ask them" || e.URI != "https://idp.example/help" || e.StatusCode != 0 {
		t.Errorf("got %+v; want the issuer's own words", e)
	}
	if !errors.Is(err, authpi.ErrConsentRequired) || errors.Is(err, authpi.ErrLoginRequired) {
		t.Errorf("got %v; want ErrConsentRequired alone", err)
	}

	// An issuer that echoes the whole request.
	callback.Set("error_description", "state "+auth.State+" nonce "+auth.Nonce+" verifier "+auth.CodeVerifier+" code "+callback.Get("code"))
	callback.Set("error_uri", "https://idp.example/?state="+url.QueryEscape(auth.State)+"&code="+callback.Get("code"))
	_, err = client.ExchangeCallback(t.Context(), callback, auth)
	e = testkit.WantCode(t, err, "consent_required")
	testkit.WantHidden(t, e.Error()+e.URI, auth.State, auth.Nonce, auth.CodeVerifier, callback.Get("code"))

	callback.Set("state", "another")
	_, err = client.ExchangeCallback(t.Context(), callback, auth)
	e = testkit.WantCode(t, err, "invalid_state", "consent_required")
	testkit.WantHidden(t, e.Error()+e.URI, auth.State, auth.Nonce, auth.CodeVerifier, callback.Get("code"))
}

// An error that another issuer sends is not taken for this one's (RFC 9207 section
// 2.4), and none costs a request.
func TestErrorOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, configured string // Config.IssuerURL; "": in Endpoints
		iss              []string
		code             string
	}{
		{"right", testkit.IssuerURL, []string{testkit.IssuerURL}, "access_denied"},
		{"missing", testkit.IssuerURL, nil, "access_denied"},
		{"with the slash that discovery may state", testkit.IssuerURL, []string{testkit.IssuerURL + "/"}, "access_denied"},
		{"configured with a slash", testkit.IssuerURL + "/", []string{testkit.IssuerURL}, "access_denied"},
		{"of another issuer", testkit.IssuerURL, []string{"https://evil.example"}, "invalid_issuer"},
		{"of a tenant under the same keys", testkit.IssuerURL, []string{"https://idp.authpi.test/i_other"}, "invalid_issuer"},
		{"with two slashes", testkit.IssuerURL, []string{testkit.IssuerURL + "//"}, "invalid_issuer"},
		{"empty", testkit.IssuerURL, []string{""}, "invalid_issuer"},
		{"repeated", testkit.IssuerURL, []string{testkit.IssuerURL, testkit.IssuerURL}, "invalid_request"},
		{"right, endpoints given", "", []string{testkit.IssuerURL}, "access_denied"},
		{"with a slash, endpoints given", "", []string{testkit.IssuerURL + "/"}, "invalid_issuer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer := testkit.NewIssuer(t, nil)
			client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
				cfg.IssuerURL = tc.configured
				if tc.configured == "" {
					cfg.IssuerURL = "https://login.example"
					cfg.Endpoints = authpi.Endpoints{Issuer: testkit.IssuerURL, Authorization: testkit.IssuerURL + "/authorize"}
				}
			})
			auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			callback := url.Values{"state": {auth.State}, "error": {"access_denied"}, "error_description": {"no way"}}
			if tc.iss != nil {
				callback["iss"] = tc.iss
			}
			_, err = client.ExchangeCallback(t.Context(), callback, *auth)
			testkit.WantCode(t, err, tc.code)
			if tc.code == "invalid_issuer" {
				testkit.WantCode(t, err, tc.code, "iss", "access_denied: no way")
			}
			testkit.WantHidden(t, err.Error(), auth.State, auth.Nonce, auth.CodeVerifier)
			if got := issuer.Requests(""); got != 0 {
				t.Errorf("got %d requests; want 0", got)
			}
		})
	}
}

func TestIssuerRefusesLogin(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	issuer.BlockUser(testkit.Subject)
	raw, err := issuer.SignIn(auth.URL, testkit.Subject)
	if err != nil {
		t.Fatal(err)
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.ExchangeCallback(t.Context(), callback, *auth)
	if !errors.Is(err, authpi.ErrUserBlocked) || !authpi.SessionEnded(err) {
		t.Errorf("got %v; want ErrUserBlocked", err)
	}
}

func TestExchangeCallbackMaxAge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		maxAge time.Duration
		before time.Duration // how long before the login the user signed in at the issuer
		ok     bool
	}{
		{"not asked for", 0, 24 * time.Hour, true},
		{"within", time.Minute, time.Minute, true},
		{"long ago", time.Hour, 24 * time.Hour, false},
		{"fresh", -1, 0, true},
		{"fresh, within the skew", -1, 29 * time.Second, true},
		{"fresh asked for, an old one came", -1, 31 * time.Second, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := testkit.NewClock()
			issuer, client := testkit.New(t, &authpitest.Options{Now: clock.Now}, func(cfg *authpi.Config) { cfg.Now = clock.Now })
			callback, auth := testkit.StartLogin(t, client, issuer, &authpi.AuthorizationOptions{MaxAge: tc.maxAge})
			issuer.Inject(authpitest.Fault{IDToken: testkit.At("auth_time", -tc.before)})
			_, err := client.ExchangeCallback(t.Context(), callback, auth)
			if tc.ok && err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
			if !tc.ok {
				testkit.WantCode(t, err, "invalid_token", "auth_time")
			}
		})
	}
	t.Run("stored as JSON meanwhile", func(t *testing.T) {
		t.Parallel()
		clock := testkit.NewClock()
		issuer, client := testkit.New(t, &authpitest.Options{Now: clock.Now}, func(cfg *authpi.Config) { cfg.Now = clock.Now })
		callback, auth := testkit.StartLogin(t, client, issuer, &authpi.AuthorizationOptions{MaxAge: time.Minute})
		data, err := auth.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var restored authpi.AuthorizationURL
		if err := restored.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		issuer.Inject(authpitest.Fault{IDToken: testkit.DropClaim("auth_time")})
		_, err = client.ExchangeCallback(t.Context(), callback, restored)
		testkit.WantCode(t, err, "invalid_token", "auth_time")
	})
}

func TestExchangeCode(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)

	callback, auth := testkit.StartLogin(t, client, issuer, nil)
	agent, err := client.ExchangeCode(t.Context(), callback.Get("code"), auth.CodeVerifier, nil)
	if err != nil {
		t.Fatalf("ExchangeCode: %v", err)
	}
	if agent.ID != testkit.Subject || agent.Email != "ada@example.com" || !agent.EmailVerified || agent.Type != authpi.PrincipalUser {
		t.Errorf("got %v; want Ada", agent)
	}
	if agent.SessionID == "" || agent.AuthTime.IsZero() || len(agent.Organizations) != 2 {
		t.Errorf("got session %q, auth_time %v and %d organizations; want them all", agent.SessionID, agent.AuthTime, len(agent.Organizations))
	}
	if tokens := agent.Tokens; tokens.AccessToken == "" || tokens.RefreshToken == "" || tokens.IDToken == "" || tokens.TokenType != "Bearer" || tokens.SubjectHint != "" {
		t.Errorf("got %v; want a whole set without hint", tokens)
	}
	want := url.Values{
		"grant_type": {"authorization_code"}, "code": callback["code"], "redirect_uri": {testkit.RedirectURI},
		"code_verifier": {auth.CodeVerifier}, "client_id": {"c_test"},
	}
	if got := issuer.LastForm(); got.Encode() != want.Encode() {
		t.Errorf("got the form %v; want %v", got, want)
	}

	// The same code does not work again, and the error says so without showing it.
	_, err = client.ExchangeCode(t.Context(), callback.Get("code"), auth.CodeVerifier, nil)
	if !errors.Is(err, authpi.ErrInvalidGrant) {
		t.Errorf("got %v; want ErrInvalidGrant", err)
	}

	callback, auth = testkit.StartLogin(t, client, issuer, nil)
	_, err = client.ExchangeCode(t.Context(), callback.Get("code"), auth.CodeVerifier, &authpi.ExchangeOptions{Nonce: "another"})
	if !errors.Is(err, authpi.ErrInvalidNonce) {
		t.Errorf("got %v; want ErrInvalidNonce", err)
	}
	callback, auth = testkit.StartLogin(t, client, issuer, nil)
	issuer.Inject(authpitest.Fault{IDToken: testkit.DropClaim("auth_time")})
	_, err = client.ExchangeCode(t.Context(), callback.Get("code"), auth.CodeVerifier, &authpi.ExchangeOptions{MaxAge: time.Hour})
	testkit.WantCode(t, err, "invalid_token", "auth_time")

	issuer.ResetCounters()
	_, err = client.ExchangeCode(t.Context(), "", auth.CodeVerifier, nil)
	testkit.WantCode(t, err, "invalid_request", "code")
	_, err = client.ExchangeCode(t.Context(), "code", "", nil)
	testkit.WantCode(t, err, "invalid_request", "verifier")
	_, err = client.ExchangeCode(t.Context(), "code", auth.CodeVerifier, &authpi.ExchangeOptions{MaxAge: -time.Second})
	testkit.WantCode(t, err, "invalid_request", "MaxAge")
	if got := issuer.Requests("token"); got != 0 {
		t.Errorf("got %d token requests; want what cannot work to send none", got)
	}
}

// What is missing is named, and an error is quoted only where there is one.
func TestCallbackErrorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	callback, auth := testkit.StartLogin(t, client, issuer, nil)
	callback.Del("code")
	_, err := client.ExchangeCallback(t.Context(), callback, auth)
	testkit.WantCode(t, err, "invalid_request", "the authorization code is missing")
	callback.Set("state", "another")
	_, err = client.ExchangeCallback(t.Context(), callback, auth)
	testkit.WantCode(t, err, "invalid_state")
	testkit.WantHidden(t, err.Error(), "it also says")
	callback.Set("error", "access_denied")
	_, err = client.ExchangeCallback(t.Context(), callback, auth)
	testkit.WantCode(t, err, "invalid_state", "it also says", "access_denied")
}

// A stored login whose URL was spoilt asked for no max_age, as far as anybody can
// tell.
func TestExchangeCallbackOfASpoiltURL(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{
		"no URL": "%zz", "no number": "https://idp.example/authorize?max_age=soon", "negative": "https://idp.example/authorize?max_age=-1",
		"a fraction": "https://idp.example/authorize?max_age=1.5", "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer, client := testkit.New(t, nil, nil)
			callback, auth := testkit.StartLogin(t, client, issuer, nil)
			auth.URL = query
			issuer.Inject(authpitest.Fault{IDToken: testkit.DropClaim("auth_time")})
			if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
				t.Errorf("got %v; want the login to go on", err)
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		t.Parallel()
		issuer, client := testkit.New(t, nil, nil)
		callback, auth := testkit.StartLogin(t, client, issuer, nil)
		auth.URL = "https://idp.example/authorize?max_age=99999999999999999999"
		issuer.Inject(authpitest.Fault{IDToken: testkit.DropClaim("auth_time")})
		_, err := client.ExchangeCallback(t.Context(), callback, auth)
		testkit.WantCode(t, err, "invalid_token", "auth_time: is missing")
	})
}

func TestResourcesAreRepeatedInOrder(t *testing.T) {
	t.Parallel()
	own := []string{"https://b.example", "https://a.example", "https://b.example"}
	tests := []struct {
		name    string
		perCall []string
		want    []string
	}{
		{"the client's own", nil, own},
		{"of this login", []string{"urn:x:2", "urn:x:1"}, []string{"urn:x:2", "urn:x:1"}},
		{"none", []string{}, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer, client := testkit.New(t, nil, func(cfg *authpi.Config) { cfg.Resources = own })
			callback, auth := testkit.StartLogin(t, client, issuer, &authpi.AuthorizationOptions{Resources: tc.perCall})
			u, err := url.Parse(auth.URL)
			if err != nil {
				t.Fatal(err)
			}
			testkit.WantEqual(t, "authorize", u.Query()["resource"], tc.want)
			agent, err := client.ExchangeCallback(t.Context(), callback, auth)
			if err != nil {
				t.Fatal(err)
			}
			testkit.WantEqual(t, "exchange", issuer.LastForm()["resource"], tc.want)
			if _, err := client.Refresh(t.Context(), agent, &authpi.RefreshOptions{Resources: tc.perCall}); err != nil {
				t.Fatal(err)
			}
			testkit.WantEqual(t, "refresh", issuer.LastForm()["resource"], tc.want)
		})
	}
}

func TestParseCallback(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, raw string
		want      url.Values // nil: refused
	}{
		{"URL", "https://app.example/cb?code=a&state=b", url.Values{"code": {"a"}, "state": {"b"}}},
		{"URL with fragment", "https://app.example/cb?code=a&state=b#frag?x=y", url.Values{"code": {"a"}, "state": {"b"}}},
		{"URL with a question mark in its fragment alone", "https://app.example/cb#a?code=b", url.Values{}},
		{"query with a question mark in its fragment", "code=a#b?code=c", url.Values{"code": {"a#b?code=c"}}},
		{"URL without query", "https://app.example/cb", url.Values{}},
		{"URL with fragment only", "https://app.example/cb#code=a", url.Values{}},
		{"private-use URL", "com.example.app:/cb?code=a", url.Values{"code": {"a"}}},
		{"private-use URL without query", "com.example.app:/cb", url.Values{}},
		{"path", "/cb?code=a", url.Values{"code": {"a"}}},
		{"query", "code=a&state=b", url.Values{"code": {"a"}, "state": {"b"}}},
		{"query with mark", "?code=a", url.Values{"code": {"a"}}},
		{"query with a URL in it", "iss=https://idp.example/i_1&code=a", url.Values{"iss": {"https://idp.example/i_1"}, "code": {"a"}}},
		{"empty", "", url.Values{}},
		{"mark alone", "?", url.Values{}},
		{"repeated", "code=a&code=b", url.Values{"code": {"a", "b"}}},
		{"no value", "code&state=", url.Values{"code": {""}, "state": {""}}},
		{"empty pairs", "&&code=a&&", url.Values{"code": {"a"}}},
		{"plus and percent", "state=a+b%2Bc%26d", url.Values{"state": {"a b+c&d"}}},
		{"equals in the value", "state=a=b==", url.Values{"state": {"a=b=="}}},
		{"semicolon does not separate", "code=a;state=b", url.Values{"code": {"a;state=b"}}},
		{"question mark in a value", "https://app.example/cb?state=a?b&code=c", url.Values{"state": {"a?b"}, "code": {"c"}}},
		// As the Python package does; the missing state then ends the login.
		{"bare query with a question mark", "state=a?b&code=c", url.Values{"b": {""}, "code": {"c"}}},
		{"encoded name", "c%6Fde=a", url.Values{"code": {"a"}}},
		{"bad percent", "code=%zz", nil},
		{"bad percent in the name", "co%de=a", nil},
		{"bad percent for a name", "%zz=a", nil},
		{"name alone", "code", url.Values{"code": {""}}},
		{"cut percent", "code=a%2", nil},
		{"no UTF-8", "state=%ff", nil},
		{"raw bytes that are no UTF-8", "state=\xff", nil},
		{"64 KiB", "a=" + strings.Repeat("x", 64<<10-2), url.Values{"a": {strings.Repeat("x", 64<<10-2)}}},
		{"longer", "a=" + strings.Repeat("x", 64<<10-1), nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := authpi.ParseCallback(tc.raw)
			if tc.want == nil {
				testkit.WantCode(t, err, "invalid_request")
				return
			}
			if err != nil {
				t.Fatalf("got %v; want %v", err, tc.want)
			}
			if got.Encode() != tc.want.Encode() || len(got) != len(tc.want) {
				t.Errorf("got %v; want %v", got, tc.want)
			}
		})
	}
}

// An issuer that sends back what it was sent, in any field and encoding.
func TestEchoesOfTokenRequestsAreMasked(t *testing.T) {
	t.Parallel()
	const secret = `client/secret+with =reserved&"chars"`
	forms := []struct {
		name   string
		encode func(string) string
	}{
		{"raw", func(s string) string { return s }},
		{"query-encoded", url.QueryEscape},
		{"path-encoded", url.PathEscape},
		{"base64 of the Basic header", func(s string) string { return s }},
	}
	for _, method := range []authpi.AuthMethod{authpi.AuthMethodPost, authpi.AuthMethodBasic} {
		for _, form := range forms {
			for _, status := range []int{200, 400, 401, 500} {
				var sent []string // what the last request held
				client := testkit.Scripted(t, func(cfg *authpi.Config) {
					cfg.ClientSecret, cfg.AuthMethod = secret, method
				}, func(r *http.Request) (*http.Response, error) {
					sent = []string{secret}
					for _, name := range []string{"code", "code_verifier", "refresh_token", "token"} {
						if v := r.PostForm.Get(name); v != "" {
							sent = append(sent, v)
						}
					}
					if _, basic, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
						sent = append(sent, basic)
					}
					var echo []string
					for _, s := range sent {
						echo = append(echo, "<"+form.encode(s)+">")
					}
					text := strings.Join(echo, " and ")
					body := `{"error":` + testkit.Quote("bad"+text) + `,"error_description":` + testkit.Quote(text) + `,"error_uri":` + testkit.Quote("https://idp.example/?e="+text) + `}`
					return testkit.Reply(r, status, nil, body), nil
				})
				calls := map[string]func() error{
					"exchange": func() error {
						_, err := client.ExchangeCode(t.Context(), "code~of/this+login=", "verifier-/-of=this+login-0123456789-0123456789", nil)
						return err
					},
					"refresh": func() error {
						agent := &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: "access/token+1=", RefreshToken: "refresh/token+1="}}
						_, err := client.Refresh(t.Context(), agent, nil)
						return err
					},
					"client credentials": func() error { _, err := client.ClientCredentials(t.Context(), nil); return err },
					"revoke":             func() error { return client.RevokeToken(t.Context(), "revoked/token+1=", "") },
					"introspect":         func() error { _, err := client.Introspect(t.Context(), "asked/token+1=", ""); return err },
				}
				for name, call := range calls {
					if name == "revoke" && status == 200 {
						continue // an answer with 200 is all that RFC 7009 asks for
					}
					err := call()
					var e *authpi.OAuthError
					if !errors.As(err, &e) {
						t.Fatalf("%s, %s, %d: got %v; want an *OAuthError", name, form.name, status, err)
					}
					testkit.WantHidden(t, strings.Join([]string{err.Error(), e.Code, e.Description, e.URI}, "\n"), sent...)
				}
			}
		}
	}
}

// The code is not spent where a later step could not work anyway.
func TestExchangeWhileDiscoveryIsAway(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	callback, auth := testkit.StartLogin(t, client, issuer, nil)
	issuer.Inject(authpitest.Fault{Endpoint: "discovery", Times: -1, Status: 503, Body: "busy"})
	named := url.Values{"iss": {issuer.URL}} // which cannot be compared now
	maps.Copy(named, callback)
	for _, callback := range []url.Values{callback, named} {
		_, err := client.ExchangeCallback(t.Context(), callback, auth)
		e := testkit.WantCode(t, err, "invalid_response")
		if e.StatusCode != 503 || authpi.SessionEnded(err) {
			t.Errorf("got %+v; want status 503, a passing failure", e)
		}
	}
	if got := issuer.Requests("token"); got != 0 {
		t.Errorf("got %d token requests; want 0", got)
	}
	issuer.ClearFaults()
	if _, err := client.ExchangeCallback(t.Context(), callback, auth); err != nil {
		t.Errorf("got %v; want the code to work now", err)
	}
}

func TestTokenAnswers(t *testing.T) {
	t.Parallel()
	key := testkit.NewRawKey(t)
	idToken := func(extra string) string {
		return key.Sign(testkit.RawHeader, `{"iss":"https://idp.example/i_1","aud":"c_1","sub":"usr_1","exp":4000000000,"iat":1700000000`+extra+`}`)
	}
	good := idToken("")
	clock := testkit.NewClock()
	tests := []struct {
		name, body string
		status     int
		code       string        // "": accepted
		lifetime   time.Duration // of the accepted set
	}{
		{"plain", `{"access_token":"at","token_type":"Bearer","expires_in":60,"id_token":"` + good + `"}`, 200, "", time.Minute},
		{"with a byte order mark", "\uFEFF" + `{"access_token":"at","expires_in":60,"id_token":"` + good + `"}`, 200, "", time.Minute},
		{"expires_in missing", `{"access_token":"at","id_token":"` + good + `"}`, 200, "", time.Hour},
		{"expires_in null", `{"access_token":"at","expires_in":null,"id_token":"` + good + `"}`, 200, "", time.Hour},
		{"expires_in digits in a text", `{"access_token":"at","expires_in":"120","id_token":"` + good + `"}`, 200, "", 2 * time.Minute},
		{"expires_in a word", `{"access_token":"at","expires_in":"soon","id_token":"` + good + `"}`, 200, "", time.Hour},
		{"expires_in an empty text", `{"access_token":"at","expires_in":"","id_token":"` + good + `"}`, 200, "", time.Hour},
		{"expires_in digits and words", `{"access_token":"at","expires_in":"120 s","id_token":"` + good + `"}`, 200, "", time.Hour},
		{"expires_in digits, dot and words", `{"access_token":"at","expires_in":"120.s","id_token":"` + good + `"}`, 200, "", time.Hour},
		{"expires_in a list", `{"access_token":"at","expires_in":[60],"id_token":"` + good + `"}`, 200, "", time.Hour},
		{"expires_in with a fraction", `{"access_token":"at","expires_in":60.9,"id_token":"` + good + `"}`, 200, "", time.Minute},
		{"expires_in zero", `{"access_token":"at","expires_in":0,"id_token":"` + good + `"}`, 200, "", 0},
		{"expires_in negative", `{"access_token":"at","expires_in":-5,"id_token":"` + good + `"}`, 200, "", -5 * time.Second},
		{"expires_in beyond all bounds", `{"access_token":"at","expires_in":9000000000000000000,"id_token":"` + good + `"}`, 200, "", 10 * 366 * 24 * time.Hour},
		{"refresh_token and scope null", `{"access_token":"at","expires_in":60,"refresh_token":null,"scope":null,"id_token":"` + good + `"}`, 200, "", time.Minute},

		{"names in other case", `{"ACCESS_TOKEN":"at","id_token":"` + good + `"}`, 200, "invalid_response", 0},
		{"access_token missing", `{"id_token":"` + good + `"}`, 200, "invalid_response", 0},
		{"access_token empty", `{"access_token":"","id_token":"` + good + `"}`, 200, "invalid_response", 0},
		{"access_token a number", `{"access_token":7,"id_token":"` + good + `"}`, 200, "invalid_response", 0},
		{"access_token twice", `{"access_token":"at","access_token":"at","id_token":"` + good + `"}`, 200, "invalid_response", 0},
		{"token_type null", `{"access_token":"at","expires_in":60,"token_type":null,"id_token":"` + good + `"}`, 200, "", time.Minute},
		{"scope a list", `{"access_token":"at","expires_in":60,"scope":["a","b"],"id_token":"` + good + `"}`, 200, "", time.Minute},
		{"refresh_token a number", `{"access_token":"at","expires_in":60,"refresh_token":7,"id_token":"` + good + `"}`, 200, "", time.Minute},
		{"id_token a number", `{"access_token":"at","id_token":7}`, 200, "invalid_response", 0},
		{"id_token null", `{"access_token":"at","id_token":null}`, 200, "invalid_token", 0},
		{"a list", `[]`, 200, "invalid_response", 0},
		{"empty", ``, 200, "invalid_response", 0},
		{"HTML", `<html>busy</html>`, 200, "invalid_response", 0},
		{"cut", `{"access_token":"at","id_tok`, 200, "invalid_response", 0},
		{"two values", `{"access_token":"at"}{}`, 200, "invalid_response", 0},
		{"an error with 200", `{"error":"invalid_grant"}`, 200, "invalid_grant", 0},
		{"201", `{"access_token":"at","id_token":"` + good + `"}`, 201, "token_error", 0},
		{"204", ``, 204, "token_error", 0},
		{"an error", `{"error":"invalid_client","error_description":"who?"}`, 401, "invalid_client", 0},
		{"an error that is no text", `{"error":7,"error_description":"who?"}`, 400, "token_error", 0},
		{"an error twice", `{"error":"a","error":"b"}`, 400, "token_error", 0},
		{"half an error", `{"error":"invalid_grant","error_des`, 400, "token_error", 0},
		{"no JSON", `Bad Gateway`, 502, "token_error", 0},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.Now = clock.Now }, func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "/jwks.json") {
					return testkit.Reply(r, 200, nil, key.JWKS()), nil
				}
				return testkit.Reply(r, tc.status, nil, tc.body), nil
			})
			agent, err := client.ExchangeCode(t.Context(), "the-code", "the-verifier", nil)
			if tc.code != "" {
				e := testkit.WantCode(t, err, tc.code, "authpi: exchange code: ")
				if e.StatusCode != tc.status && tc.code != "invalid_token" {
					t.Errorf("got status %d; want %d", e.StatusCode, tc.status)
				}
				return
			}
			if err != nil {
				t.Fatalf("got %v; want it accepted", err)
			}
			if got := agent.ExpiresIn(); got != tc.lifetime || agent.Tokens.TokenType != "Bearer" || agent.ID != "usr_1" {
				t.Errorf("got %v for %v; want usr_1 for %v", agent, got, tc.lifetime)
			}
		})
	}
}

func TestExchangeWithoutRedirectURI(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, func(cfg *authpi.Config) { cfg.RedirectURI = "" })
	_, err := client.ExchangeCode(t.Context(), "code", "verifier", nil)
	testkit.WantField(t, err, "RedirectURI")
	_, err = client.CreateAuthorizationURL([]string{"openid"}, nil)
	testkit.WantField(t, err, "RedirectURI")
	if got := issuer.Requests(""); got != 0 {
		t.Errorf("got %d requests; want 0", got)
	}
}

// Organizations reach the agent with the fields that the issuer sent, odd ones left
// out.
func TestOddOrganizationsDoNotEndASignIn(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	callback, auth := testkit.StartLogin(t, client, issuer, nil)
	issuer.Inject(authpitest.Fault{IDToken: testkit.SetClaim("organizations", []any{
		"org_0", nil, 7, map[string]any{"scopes": []string{"owner"}}, map[string]any{"id": 7, "scopes": []string{"owner"}},
		map[string]any{"id": "org_1", "title": 7, "scopes": []any{"a:b", 7, nil, []string{"owner"}, "c:d"}, "joined_at": "then"},
		map[string]any{"id": "org_2", "scopes": "owner"},
		map[string]any{"id": "org_3"},
	})})
	agent, err := client.ExchangeCallback(t.Context(), callback, auth)
	if err != nil {
		t.Fatalf("got %v; want the sign-in to succeed", err)
	}
	var ids []string
	for _, org := range agent.Organizations {
		ids = append(ids, org.ID)
	}
	testkit.WantEqual(t, "organizations", ids, []string{"org_1", "org_2", "org_3"})
	testkit.WantEqual(t, "scopes", agent.ScopesFor("org_1"), []string{"a:b", "c:d"})
	if org := agent.Organizations[0]; org.Title != "" || !org.JoinedAt.IsZero() {
		t.Errorf("got %+v; want no title and no date", org)
	}
	if slices.ContainsFunc(ids, agent.IsOwnerOf) {
		t.Errorf("got an owner; want scopes that are no list of texts to grant nothing")
	}
}

// The organization stands in the address, which the user can edit.
func TestExchangeCallbackOrganization(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, org, came string
		ok              bool
	}{
		{"none asked for", "", "org_2", true},
		{"as asked", "org_1", "org_1", true},
		{"another one", "org_1", "org_2", false},
		{"all of them", "org_1", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer, client := testkit.New(t, nil, nil)
			callback, auth := testkit.StartLogin(t, client, issuer, &authpi.AuthorizationOptions{Org: tc.org})
			issuer.Inject(authpitest.Fault{IDToken: func(_, claims map[string]any) { claims["org_id"] = tc.came }})
			_, err := client.ExchangeCallback(t.Context(), callback, auth)
			if tc.ok != (err == nil) || !tc.ok && (!errors.Is(err, authpi.ErrInvalidOrganization) || !authpi.SessionEnded(err)) {
				t.Errorf("got %v; want it accepted: %t", err, tc.ok)
			}
			_, err = client.ExchangeCallback(t.Context(), callback, auth)
			testkit.WantCode(t, err, "invalid_grant") // the code is spent, and nobody is there to look at
		})
	}
}

// A callback is bounded before anything in it is searched, compared or masked.
func TestExchangeCallbackTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 64<<10)
	fill := func(v url.Values, size int) {
		for name, values := range v {
			size -= len(name) + len(values[0]) + 2
		}
		v.Set("x", long[:size-3])
	}
	for _, tc := range []struct {
		name   string
		change func(url.Values)
		code   string
	}{
		{"long state", func(v url.Values) { v.Set("state", long) }, "invalid_request"},
		{"long error", func(v url.Values) { v.Set("error", long) }, "invalid_request"},
		{"long name", func(v url.Values) { v.Set(long, "") }, "invalid_request"},
		{"many parameters", func(v url.Values) { v["x"] = make([]string, 32<<10) }, "invalid_request"},
		{"one byte too many", func(v url.Values) { fill(v, 64<<10+1) }, "invalid_request"},
		{"as much as fits", func(v url.Values) { fill(v, 64<<10) }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer, client := testkit.New(t, nil, nil)
			callback, auth := testkit.StartLogin(t, client, issuer, nil)
			tc.change(callback)
			_, err := client.ExchangeCallback(t.Context(), callback, auth)
			if tc.code != "" {
				testkit.WantCode(t, err, tc.code, "64 KiB")
			} else if err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
		})
	}
}

// An app on several hosts names the redirect URI at the login and at the exchange.
func TestRedirectURIs(t *testing.T) {
	t.Parallel()
	const other = "https://b.example/auth/callback"
	issuer, client := testkit.New(t, nil, func(cfg *authpi.Config) { cfg.RedirectURIs = []string{other} })
	for _, tc := range []struct{ name, asked, kept, sent string }{
		{"another", other, other, other},
		{"the first", testkit.RedirectURI, "", testkit.RedirectURI},
		{"none", "", "", testkit.RedirectURI},
	} {
		t.Run(tc.name, func(t *testing.T) {
			callback, auth := testkit.StartLogin(t, client, issuer, &authpi.AuthorizationOptions{RedirectURI: tc.asked})
			data, err := auth.MarshalJSON()
			if err != nil || auth.RedirectURI != tc.kept || strings.Contains(string(data), "redirect_uri\":") != (tc.kept != "") {
				t.Fatalf("got %q in %s, %v; want %q, in the JSON where it is not Config.RedirectURI", auth.RedirectURI, data, err, tc.kept)
			}
			var restored authpi.AuthorizationURL
			if err := restored.UnmarshalJSON(data); err != nil {
				t.Fatal(err)
			}
			if _, err := client.ExchangeCallback(t.Context(), callback, restored); err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
			if got := issuer.LastForm().Get("redirect_uri"); got != tc.sent {
				t.Errorf("sent %q; want %q", got, tc.sent)
			}
		})
	}
	_, err := client.ExchangeCode(t.Context(), "code", "verifier", &authpi.ExchangeOptions{RedirectURI: "https://evil.example/"})
	testkit.WantCode(t, err, "invalid_request", "RedirectURI")
}
