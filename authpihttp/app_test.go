package authpihttp_test

import (
	"cmp"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestMistakesPanic(t *testing.T) {
	t.Parallel()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: "https://idp.authpi.test/i_1", ClientID: clientID})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		mistake func()
		want    string
	}{
		{"no client", func() { authpihttp.New(nil, nil, nil) }, "authpihttp: New needs a client"},
		{"no openid", func() { authpihttp.New(client, nil, &authpihttp.Options{Scopes: []string{"email"}}) },
			`authpihttp: Options.Scopes must contain "openid"`},
		{"a short key", func() { authpihttp.New(client, nil, &authpihttp.Options{Keys: [][]byte{make([]byte, 31)}}) }, "authpihttp: a key in Options.Keys"},
		{"no RedirectURI", func() { authpihttp.New(client, nil, nil).Register(http.NewServeMux()) },
			"authpihttp: Register: the client cannot start a login: authpi: configuration: RedirectURI"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer func() {
				if got, _ := recover().(string); !strings.HasPrefix(got, tc.want) {
					t.Errorf("got %q; want a panic with %q", got, tc.want)
				}
			}()
			tc.mistake()
		})
	}
}

// Where nobody set Options.Error, slog.Default hears why logins do not work. Not
// parallel: the default is everybody's.
func TestDefaultErrorLogs(t *testing.T) {
	out := defaultLog(t, slog.LevelInfo)
	s := newSite(t, func(made *setup) {
		made.options.Error = nil
		made.options.Authorize = forOrganization
	})
	mayRead := s.app.RequireAgent(authpihttp.RequireAccess("read", "projects", orgOf)(http.HandlerFunc(s.whoami)))
	s.mux.Handle("/orgs/{org}", mayRead)
	s.mux.Handle("/naked/{org}", authpihttp.RequireAccess("read", "projects", orgOf)(http.HandlerFunc(s.whoami)))
	b, ada := s.browser(), s.browser()
	ada.signIn("usr_ada")
	code := func(callback string) string { return param(t, callback, "code") }
	for _, tc := range []struct {
		name string
		do   func() (answer, string) // and a secret
		want []string                // in the log; empty: nothing
	}{
		{"issuer away", func() (answer, string) {
			s.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503})
			callback := s.atIssuer(b.start(""), "usr_ada")
			return b.get(callback), code(callback)
		}, []string{"level=ERROR", "path=/auth/callback", "status=503"}},
		{"refused callback", func() (answer, string) {
			callback := s.atIssuer(b.start(""), "usr_ada") + "&code=other"
			return b.get(callback), code(callback)
		}, []string{"level=WARN", "path=/auth/callback", "status=400", "code is repeated"}},
		{"no such login, twice", func() (answer, string) {
			c := s.browser()
			c.get("/auth/callback?code=sesame&state=s")
			return c.get("/auth/callback?code=sesame&state=s"), "sesame"
		}, []string{"level=WARN", "status=400", "answers no login of this browser"}},
		{"nobody in front", func() (answer, string) { return b.get("/naked/org_1"), "" }, []string{"level=ERROR", "status=500", "neither RequireAgent"}},
		{"long naked path", func() (answer, string) { return b.get("/naked/" + strings.Repeat("x", 100<<10)), "" }, []string{"level=ERROR", "path=/naked/xxx"}},
		{"long refusal", func() (answer, string) {
			callback := s.atIssuer(b.start(""), "")
			long := strings.Repeat("x", 25<<10)
			return b.get(strings.Replace(callback, "error=access_denied", "error="+long+"&error_description="+long, 1)), ""
		}, []string{"status=500"}},
		{"store away", func() (answer, string) {
			s.store.set(func(st *store) { st.away = true })
			defer s.store.set(func(st *store) { st.away = false })
			return ada.get("/orgs/org_1"), ""
		}, []string{"level=ERROR", "status=503", "authpihttp: store"}},
		{"forbidden", func() (answer, string) { return ada.get("/orgs/org_9"), "" }, nil},
		{"not signed in", func() (answer, string) { return b.json("/"), "" }, nil},
		{"cancelled", func() (answer, string) {
			callback := s.atIssuer(b.start(""), "")
			return b.get(callback), param(t, callback, "state")
		}, nil},
		{"cancelled for an organization", func() (answer, string) {
			callback := s.atIssuer(b.get("/auth/login?org=org_1").location, "")
			return b.get(callback), param(t, callback, "state")
		}, nil},
		{"cross origin", func() (answer, string) {
			return b.send(http.MethodPost, "/auth/logout", map[string]string{"Sec-Fetch-Site": "cross-site"}), ""
		}, nil},
	} {
		out.Reset()
		a, secret := tc.do()
		got := out.String()
		if a.status < 400 || len(tc.want) == 0 && got != "" || strings.Count(got, "\n") > 1 {
			t.Errorf("%s: got %d and log %q", tc.name, a.status, got)
		}
		if len(got) > 2<<10 {
			t.Errorf("%s: got %d bytes in the log", tc.name, len(got))
		}
		for _, want := range tc.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got log %q; want %s", tc.name, got, want)
			}
		}
		if secret != "" && strings.Contains(got, secret) {
			t.Errorf("%s: the log shows %q", tc.name, secret)
		}
	}
}

// A callback at another path than the RedirectURI's would end in a 404 that nobody
// hears of. Not parallel: the default logger is everybody's.
func TestRegisterWarnsOfTheRedirectURI(t *testing.T) {
	out := defaultLog(t, slog.LevelInfo)
	for _, tc := range []struct {
		name, redirectURI, prefix, base string
		want                            string // in the log; empty: nothing
	}{
		{"the default", "https://app.test/auth/callback", "", "", ""},
		{"a prefix of one's own", "https://app.test/sso/callback", "/sso", "", ""},
		{"a proxy that takes the start away", "https://app.test/shop/auth/callback", "", "/shop", ""},
		{"both, with letters to escape", "https://app.test/café/s%20o/callback", "/s%20o", "/caf%C3%A9", ""},
		{"a start that nobody takes away", "https://app.test/shop/auth/callback", "", "", `redirect_path=/shop/auth/callback callback_path=/auth/callback`},
		{"a start that is missing", "https://app.test/auth/callback", "", "/shop", `redirect_path=/auth/callback callback_path=/shop/auth/callback`},
		{"another start", "https://app.test/portal/auth/callback", "", "shop/", `redirect_path=/portal/auth/callback callback_path=/shop/auth/callback`},
		{"that of an app without this package", "https://app.test/callback", "", "", `redirect_path=/callback callback_path=/auth/callback`},
		{"another prefix", "https://app.test/auth/callback", "/sso", "", `redirect_path=/auth/callback callback_path=/sso/callback`},
		{"a slash behind", "https://app.test/auth/callback/", "", "", `redirect_path=/auth/callback/ callback_path=/auth/callback`},
		{"no path, and a query", "https://app.test?tenant=sesame", "", "", `redirect_path=/ callback_path=/auth/callback`},
	} {
		right := "https://b.test" + path.Join("/", tc.base, cmp.Or(tc.prefix, "auth"), "callback")
		for place, uris := range map[string][]string{"RedirectURI": {tc.redirectURI}, "RedirectURIs": {right, tc.redirectURI}} {
			out.Reset()
			newSite(t, func(made *setup) {
				made.client.RedirectURI, made.client.RedirectURIs = uris[0], uris[1:]
				made.options.Prefix, made.options.BasePath = tc.prefix, tc.base
			})
			got := out.String()
			if tc.want == "" && got != "" || strings.Count(got, "\n") > 1 || strings.Contains(got, "sesame") {
				t.Errorf("%s, in %s: got log %q", tc.name, place, got)
			}
			if tc.want != "" && (!strings.Contains(got, "level=WARN") || !strings.Contains(got, tc.want)) {
				t.Errorf("%s, in %s: got log %q; want a warning with %s", tc.name, place, got, tc.want)
			}
		}
	}
}
