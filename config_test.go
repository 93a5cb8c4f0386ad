package authpi_test

import (
	"errors"
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

func TestNewIdpClientChecks(t *testing.T) {
	t.Parallel()
	issuer := func(u string) func(*authpi.Config) { return func(cfg *authpi.Config) { cfg.IssuerURL = u } }
	redirect := func(u string) func(*authpi.Config) { return func(cfg *authpi.Config) { cfg.RedirectURI = u } }
	client := func(id string) func(*authpi.Config) { return func(cfg *authpi.Config) { cfg.ClientID = id } }
	insecure := func(change func(*authpi.Config)) func(*authpi.Config) {
		return func(cfg *authpi.Config) { change(cfg); cfg.AllowInsecureHTTP = true }
	}
	tests := []struct {
		name   string
		mutate func(*authpi.Config)
		field  string // "": accepted
	}{
		{"good", func(*authpi.Config) {}, ""},
		{"issuer missing", issuer(""), "IssuerURL"},
		{"issuer blank", issuer(" \t"), "IssuerURL"},
		{"issuer without scheme", issuer("idp.example/i_1"), "IssuerURL"},
		{"issuer without host", issuer("https:///i_1"), "IssuerURL"},
		{"issuer of another scheme", issuer("ftp://idp.example"), "IssuerURL"},
		{"issuer opaque", issuer("https:idp.example"), "IssuerURL"},
		{"issuer with empty query", issuer("https://idp.example/?"), "IssuerURL"},
		{"issuer with user", issuer("https://user@idp.example/"), "IssuerURL"},
		{"issuer with user and password", issuer("https://user:secret@idp.example/"), "IssuerURL"},
		{"issuer with a space", issuer("https://idp.example/i 1"), "IssuerURL"},
		{"issuer with a space around", issuer(" https://idp.example/i_1"), "IssuerURL"},
		{"issuer with a line end", issuer("https://idp.example/\n"), "IssuerURL"},
		{"issuer with a backslash", issuer(`https://idp.example\evil`), "IssuerURL"},
		{"issuer with a bad port", issuer("https://idp.example:99999"), "IssuerURL"},
		{"issuer over http, allowed", insecure(issuer("http://idp.example/i_1")), ""},
		{"issuer over http on localhost", issuer("http://localhost:8080/i_1"), ""},
		{"issuer over http on 127.0.0.1", issuer("http://127.0.0.1:8080"), ""},
		{"issuer over http on ::1", issuer("http://[::1]:8080/i_1"), ""},
		{"issuer over http on a name like loopback", issuer("http://localhost.example/"), "IssuerURL"},
		{"issuer over http on 127.0.0.1.example", issuer("http://127.0.0.1.example/"), "IssuerURL"},
		{"issuer with slashes", issuer("https://idp.example/i_1///"), ""},

		{"client missing", client(""), "ClientID"},
		{"client blank", client("  "), "ClientID"},
		{"client with a space around", client(" c_1"), "ClientID"},
		{"client with a line end", client("c_1\n"), "ClientID"},
		{"client with a control character", client("c\x001"), "ClientID"},
		{"client opaque", client("a b:c%/ü"), ""},

		{"redirect missing", redirect(""), ""},
		{"further redirects", func(cfg *authpi.Config) { cfg.RedirectURIs = []string{"https://b.example/cb"} }, ""},
		{"a further redirect over http", func(cfg *authpi.Config) { cfg.RedirectURIs = []string{"http://b.example/cb"} }, "RedirectURIs"},
		{"further redirects alone", func(cfg *authpi.Config) { cfg.RedirectURI, cfg.RedirectURIs = "", []string{"https://b.example/cb"} }, "RedirectURIs"},
		{"redirect private-use", redirect("com.example.app:/callback"), ""},
		{"redirect private-use with host", redirect("com.example.app://callback"), ""},
		{"redirect loopback", redirect("http://127.0.0.1:0/callback"), ""},
		{"redirect loopback without port", redirect("http://localhost/callback"), ""},
		{"redirect with query", redirect("https://app.example/cb?tenant=1"), ""},
		{"redirect over http, allowed", insecure(redirect("http://app.example/cb")), ""},
		{"redirect relative", redirect("/callback"), "RedirectURI"},
		{"redirect data", redirect("data:text/html,x"), "RedirectURI"},
		{"redirect vbscript", redirect("vbscript:x"), "RedirectURI"},
		{"redirect file", redirect("file:///etc/passwd"), "RedirectURI"},
		{"redirect with user", redirect("https://user@app.example/cb"), "RedirectURI"},

		{"resource relative", func(cfg *authpi.Config) { cfg.Resources = []string{"https://a.example", "api"} }, "Resources"},
		{"resource empty", func(cfg *authpi.Config) { cfg.Resources = []string{""} }, "Resources"},
		{"resource with fragment", func(cfg *authpi.Config) { cfg.Resources = []string{"https://a.example/#x"} }, "Resources"},
		{"resource URN", func(cfg *authpi.Config) { cfg.Resources = []string{"urn:example:api"} }, ""},
		{"alg empty", func(cfg *authpi.Config) { cfg.SigningAlgorithms = []string{""} }, "SigningAlgorithms"},
		{"alg PS512", func(cfg *authpi.Config) { cfg.SigningAlgorithms = []string{"PS512"} }, ""},
		{"auth method unknown", func(cfg *authpi.Config) { cfg.AuthMethod = 2 }, "AuthMethod"},
		{"auth method negative", func(cfg *authpi.Config) { cfg.AuthMethod = -1 }, "AuthMethod"},
		{"refresh mode unknown", func(cfg *authpi.Config) { cfg.AutoRefresh = 3 }, "AutoRefresh"},
		{"refresh mode negative", func(cfg *authpi.Config) { cfg.AutoRefresh = -1 }, "AutoRefresh"},

		{"authorization endpoint with query", func(cfg *authpi.Config) { cfg.Endpoints.Authorization = "https://idp.example/a?b=c" }, ""},
		{"authorization endpoint over http", func(cfg *authpi.Config) { cfg.Endpoints.Authorization = "http://idp.example/a" }, "Endpoints.Authorization"},
		{"token endpoint with fragment", func(cfg *authpi.Config) { cfg.Endpoints.Token = "https://idp.example/t#" }, "Endpoints.Token"},
		{"user info endpoint relative", func(cfg *authpi.Config) { cfg.Endpoints.UserInfo = "/userinfo" }, "Endpoints.UserInfo"},
		{"revocation endpoint javascript", func(cfg *authpi.Config) { cfg.Endpoints.Revocation = "javascript:x" }, "Endpoints.Revocation"},
		{"introspection endpoint with user", func(cfg *authpi.Config) { cfg.Endpoints.Introspection = "https://u:p@idp.example/" }, "Endpoints.Introspection"},
		{"end session endpoint with a space", func(cfg *authpi.Config) { cfg.Endpoints.EndSession = "https://idp.example/ " }, "Endpoints.EndSession"},
		{"key set over http", func(cfg *authpi.Config) { cfg.Endpoints.JWKS = "http://idp.example/keys" }, "Endpoints.JWKS"},
		{"issuer of the endpoints no URL", func(cfg *authpi.Config) { cfg.Endpoints.Issuer = "idp" }, "Endpoints.Issuer"},
		{"issuer of the endpoints with query", func(cfg *authpi.Config) { cfg.Endpoints.Issuer = "https://idp.example/?a" }, "Endpoints.Issuer"},
		{"issuer of the endpoints with fragment", func(cfg *authpi.Config) { cfg.Endpoints.Issuer = "https://idp.example/#a" }, "Endpoints.Issuer"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := authpi.Config{IssuerURL: "https://idp.example/i_1", ClientID: "c_1", ClientSecret: "hush-hush", RedirectURI: testkit.RedirectURI}
			tc.mutate(&cfg)
			client, err := authpi.NewIdpClient(cfg)
			if tc.field == "" {
				if err != nil || client == nil {
					t.Fatalf("got %v; want it accepted", err)
				}
				return
			}
			testkit.WantField(t, err, tc.field)
			if client != nil {
				t.Errorf("got a client beside the error; want none")
			}
			if !strings.HasPrefix(err.Error(), "authpi: configuration: "+tc.field+" ") {
				t.Errorf("got %q; want it to begin with the field", err)
			}
			testkit.WantHidden(t, err.Error(), "hush-hush", "user:secret")
			var other *authpi.OAuthError
			if errors.As(err, &other) || authpi.SessionEnded(err) {
				t.Errorf("got %v; want a configuration error that stands alone", err)
			}
		})
	}
}

// What a slice of the configuration holds later makes no difference to the client.
func TestNewIdpClientCopies(t *testing.T) {
	t.Parallel()
	issuer := testkit.NewIssuer(t, nil)
	resources, algorithms := []string{"https://a.example", "https://b.example"}, []string{"ES256"}
	client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) { cfg.Resources, cfg.SigningAlgorithms = resources, algorithms })
	resources[0], algorithms[0] = "https://evil.example", "RS256"

	callback, auth := testkit.StartLogin(t, client, issuer, nil)
	testkit.WantEqual(t, "resources of the login", auth.Resources, []string{"https://a.example", "https://b.example"})
	agent, err := client.ExchangeCallback(t.Context(), callback, auth)
	if err != nil {
		t.Fatalf("got %v; want ES256 accepted as configured", err)
	}
	auth.Resources[0] = "https://evil.example"
	if _, err := client.Refresh(t.Context(), agent, nil); err != nil {
		t.Fatal(err)
	}
	testkit.WantEqual(t, "resources of the refresh", issuer.LastForm()["resource"], []string{"https://a.example", "https://b.example"})

	given := []string{"https://a.example"}
	login, err := client.CreateAuthorizationURL([]string{"openid"}, &authpi.AuthorizationOptions{Resources: given})
	if err != nil {
		t.Fatal(err)
	}
	given[0] = "https://evil.example"
	testkit.WantEqual(t, "resources given to the login", login.Resources, []string{"https://a.example"})
}

// The caller's http.Client is copied, and its redirects are not followed for that.
func TestHTTPClientIsCopied(t *testing.T) {
	t.Parallel()
	issuer := testkit.NewIssuer(t, nil)
	own := issuer.Client()
	asked := false
	own.CheckRedirect = func(*http.Request, []*http.Request) error { asked = true; return nil }
	client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) { cfg.HTTPClient = own })
	own.Transport = testkit.TransportFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("changed") })
	testkit.SignIn(t, client, issuer, nil)
	if own.Timeout != 0 || own.CheckRedirect == nil || asked {
		t.Errorf("got the caller's client changed or asked; want it left alone")
	}
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	t.Run("paths under the issuer", func(t *testing.T) {
		t.Parallel()
		for _, issuerURL := range []string{"https://idp.example/i_1", "https://idp.example/i_1/", "https://idp.example/i_1//"} {
			client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuerURL, ClientID: "c_1", RedirectURI: testkit.RedirectURI})
			if err != nil {
				t.Fatal(err)
			}
			auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
			if err != nil || !strings.HasPrefix(auth.URL, "https://idp.example/i_1/authorize?") {
				t.Errorf("got %v, %v; want /authorize under the issuer", auth, err)
			}
			logout, err := client.CreateLogoutURL(nil)
			if err != nil || logout != "https://idp.example/i_1/logout" {
				t.Errorf("got %q, %v; want /logout under the issuer", logout, err)
			}
		}
	})
	t.Run("refreshes 60 s before expiry", func(t *testing.T) {
		t.Parallel()
		const none = -1
		for _, tc := range []struct {
			name      string
			buffer    time.Duration
			mode      authpi.RefreshMode
			remaining time.Duration
			refreshes bool
		}{
			{"default, 61 s", 0, authpi.RefreshDefault, 61 * time.Second, false},
			{"default, 60 s", 0, authpi.RefreshDefault, 60 * time.Second, true},
			{"on, 60 s", 0, authpi.RefreshOn, 60 * time.Second, true},
			{"off, 60 s", 0, authpi.RefreshOff, 60 * time.Second, false},
			{"off, expired", 0, authpi.RefreshOff, -time.Hour, false},
			{"10 s, 11 s", 10 * time.Second, authpi.RefreshDefault, 11 * time.Second, false},
			{"10 s, 10 s", 10 * time.Second, authpi.RefreshDefault, 10 * time.Second, true},
			{"none, 1 s", none, authpi.RefreshDefault, time.Second, false},
			{"none, expired", none, authpi.RefreshDefault, 0, true},
		} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				clock := testkit.NewClock()
				issuer := testkit.NewIssuer(t, &authpitest.Options{Now: clock.Now})
				client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
					cfg.Now, cfg.RefreshBuffer, cfg.AutoRefresh = clock.Now, tc.buffer, tc.mode
				})
				agent := testkit.SignIn(t, client, issuer, nil)
				clock.Advance(30*time.Minute - tc.remaining)
				got, err := client.CreateAgent(t.Context(), agent.Tokens, nil)
				if err != nil {
					t.Fatal(err)
				}
				if refreshed := issuer.Grants("refresh_token") == 1; refreshed != tc.refreshes || (got.Tokens != agent.Tokens) != refreshed {
					t.Errorf("got refreshed %t; want %t", refreshed, tc.refreshes)
				}
				// The call's own mode wins.
				mode := authpi.RefreshOn
				if tc.mode != authpi.RefreshOff {
					mode = authpi.RefreshOff
				}
				before := issuer.Grants("refresh_token")
				if _, err := client.CreateAgent(t.Context(), got.Tokens, &authpi.AgentOptions{AutoRefresh: mode}); err != nil {
					t.Fatal(err)
				}
				if after := issuer.Grants("refresh_token"); mode == authpi.RefreshOff && after != before {
					t.Errorf("got a refresh although the call switched it off")
				} else if mode == authpi.RefreshOn && after == before {
					t.Errorf("got no refresh although the call switched it on")
				}
			})
		}
	})
}

// An endpoint that the issuer does not offer is named by the calls that need it.
func TestEndpointsNotOffered(t *testing.T) {
	t.Parallel()
	sent := func(r *http.Request) (*http.Response, error) { return nil, errors.New("no request was due") }
	without := func(t *testing.T, drop func(*authpi.Endpoints)) *authpi.IdpClient {
		return testkit.Scripted(t, func(cfg *authpi.Config) {
			cfg.ClientSecret = "hush-hush"
			drop(&cfg.Endpoints)
		}, sent)
	}
	ctx, agent := t.Context(), &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: "at", RefreshToken: "rt"}}
	tests := []struct {
		field string
		drop  func(*authpi.Endpoints)
		calls map[string]func(*authpi.IdpClient) error
	}{
		{"Endpoints.Authorization", func(e *authpi.Endpoints) { e.Authorization = "" }, map[string]func(*authpi.IdpClient) error{
			"CreateAuthorizationURL": func(c *authpi.IdpClient) error {
				_, err := c.CreateAuthorizationURL([]string{"openid"}, nil)
				return err
			},
		}},
		{"Endpoints.Token", func(e *authpi.Endpoints) { e.Token = "" }, map[string]func(*authpi.IdpClient) error{
			"ExchangeCode":      func(c *authpi.IdpClient) error { _, err := c.ExchangeCode(ctx, "c", "v", nil); return err },
			"Refresh":           func(c *authpi.IdpClient) error { _, err := c.Refresh(ctx, agent, nil); return err },
			"ClientCredentials": func(c *authpi.IdpClient) error { _, err := c.ClientCredentials(ctx, nil); return err },
		}},
		{"Endpoints.UserInfo", func(e *authpi.Endpoints) { e.UserInfo = "" }, map[string]func(*authpi.IdpClient) error{
			"UserInfo": func(c *authpi.IdpClient) error { _, err := c.UserInfo(ctx, agent); return err },
		}},
		{"Endpoints.Revocation", func(e *authpi.Endpoints) { e.Revocation = "" }, map[string]func(*authpi.IdpClient) error{
			"RevokeToken": func(c *authpi.IdpClient) error { return c.RevokeToken(ctx, "t", "") },
		}},
		{"Endpoints.Introspection", func(e *authpi.Endpoints) { e.Introspection = "" }, map[string]func(*authpi.IdpClient) error{
			"Introspect": func(c *authpi.IdpClient) error { _, err := c.Introspect(ctx, "t", ""); return err },
		}},
		{"Endpoints.EndSession", func(e *authpi.Endpoints) { e.EndSession = "" }, map[string]func(*authpi.IdpClient) error{
			"CreateLogoutURL": func(c *authpi.IdpClient) error { _, err := c.CreateLogoutURL(nil); return err },
		}},
	}
	for _, tc := range tests {
		t.Run(tc.field, func(t *testing.T) {
			t.Parallel()
			for name, call := range tc.calls {
				err := call(without(t, tc.drop))
				var e *authpi.ConfigurationError
				if !errors.As(err, &e) || e.Field != tc.field {
					t.Errorf("%s: got %v; want a ConfigurationError about %s", name, err, tc.field)
				}
			}
		})
	}
}

// RFC 8252: native apps come back by a private-use scheme or a loopback port.
func TestNativeRedirect(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, func(cfg *authpi.Config) { cfg.RedirectURI = "com.example.app:/callback" })
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := issuer.SignIn(auth.URL, testkit.Subject)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(raw, "com.example.app:/callback?") {
		t.Fatalf("got %q; want the private-use scheme", raw)
	}
	callback, err := authpi.ParseCallback(raw)
	if err != nil {
		t.Fatal(err)
	}
	if agent, err := client.ExchangeCallback(t.Context(), callback, *auth); err != nil || agent.ID != testkit.Subject {
		t.Errorf("got %v, %v; want %s", agent, err, testkit.Subject)
	}
	u, err := url.Parse(auth.URL)
	if err != nil || u.Query().Get("redirect_uri") != "com.example.app:/callback" {
		t.Errorf("got %v; want the redirect URI as configured", u)
	}
}

// What a document may say stands in the refusal table; these are no documents at
// all.
func TestDiscoverEndpoints(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault authpitest.Fault
		code  string
		says  string
	}{
		{"404", authpitest.Fault{Status: 404, Body: `{"error":"x"}`}, "invalid_response", "404"},
		{"redirect", authpitest.Fault{Status: 302}, "invalid_response", "302"},
		{"cut off", authpitest.Fault{Times: 2, Drop: true}, "transport_error", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer := testkit.NewSocketIssuer(t, nil)
			issuer.Inject(tc.fault)
			_, err := authpi.DiscoverEndpoints(t.Context(), issuer.URL, nil)
			address := issuer.URL + "/.well-known/openid-configuration"
			testkit.WantCode(t, err, tc.code, tc.says, address)
			issuer.Inject(tc.fault)
			_, err = testkit.NewClient(t, issuer, nil).VerifyAccessToken(t.Context(), issuer.AccessToken(nil), "")
			testkit.WantCode(t, err, "transport_error", tc.says, address)
			issuer.ClearFaults()
			if got, err := authpi.DiscoverEndpoints(t.Context(), issuer.URL, nil); err != nil || got.Issuer != issuer.URL {
				t.Errorf("got %+v, %v; want the endpoints of %s", got, err, issuer.URL)
			}
		})
	}
	for _, bad := range []string{"", "idp", "http://idp.example", "https://idp.example/?q", "https://u@idp.example"} {
		_, err := authpi.DiscoverEndpoints(t.Context(), bad, nil)
		testkit.WantField(t, err, "IssuerURL")
	}
}

// The issuer of the endpoints is IssuerURL as given where it is left empty.
func TestEndpointsIssuerDefault(t *testing.T) {
	t.Parallel()
	key := testkit.NewRawKey(t)
	for _, tc := range []struct {
		name, configured, given, iss string
		ok                           bool
	}{
		{"given", "https://idp.example/i_1", "https://login.example", "https://login.example", true},
		{"given, IssuerURL in the token", "https://idp.example/i_1", "https://login.example", "https://idp.example/i_1", false},
		{"left out", "https://idp.example/i_1", "", "https://idp.example/i_1", true},
		{"left out, with a slash", "https://idp.example/i_1/", "", "https://idp.example/i_1/", true},
		{"left out, slash missing", "https://idp.example/i_1", "", "https://idp.example/i_1/", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			client := testkit.Scripted(t, func(cfg *authpi.Config) {
				cfg.IssuerURL, cfg.Endpoints.Issuer = tc.configured, tc.given
			}, func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.URL.Path)
				return testkit.Reply(r, 200, nil, key.JWKS()), nil
			})
			payload := `{"iss":` + testkit.Quote(tc.iss) + `,"aud":"c_1","sub":"usr_1","exp":4000000000,"iat":1700000000}`
			_, err := client.VerifyAccessToken(t.Context(), key.Sign(`{"alg":"ES256","kid":"raw","typ":"at+jwt"}`, payload), "")
			if tc.ok && err != nil {
				t.Errorf("got %v; want it accepted", err)
			}
			if !tc.ok {
				testkit.WantCode(t, err, "invalid_token", "iss")
			}
			if !slices.Equal(asked, []string{"/i_1/jwks.json"}) {
				t.Errorf("got requests %q; want the key set alone, without discovery", asked)
			}
		})
	}
}
