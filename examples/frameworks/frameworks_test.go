package frameworks

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestFrameworks(t *testing.T) {
	gin.SetMode(gin.TestMode)
	for _, framework := range []struct {
		name  string
		mount func(*authpihttp.App, *authpihttp.Bearer) http.Handler
	}{{"chi", Chi}, {"gin", Gin}, {"echo", Echo}} {
		t.Run(framework.name, func(t *testing.T) {
			t.Parallel()
			issuer := authpitest.NewServer(nil)
			defer issuer.Close()
			issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
			issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}})
			site := httptest.NewUnstartedServer(nil)
			url := "http://" + site.Listener.Addr().String()
			client, err := authpi.NewIdpClient(authpi.Config{
				IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: url + "/auth/callback",
			})
			if err != nil {
				t.Fatal(err)
			}
			app := authpihttp.New(client, nil, nil)
			api, err := authpihttp.NewBearer(client, nil)
			if err != nil {
				t.Fatal(err)
			}
			site.Config.Handler = framework.mount(app, api)
			site.Start()
			defer site.Close()

			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			v := visitor{t: t, client: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			}}}
			v.get(url+"/", "Accept", "application/json", 401, `"login_required"`)
			login := v.get(url+"/orgs/org_1/projects", "Accept", "text/html", 303, "")
			if login != "/auth/login?return_to=%2Forgs%2Forg_1%2Fprojects" {
				t.Fatalf("a page without a session leads to %q", login)
			}
			callback, err := issuer.SignIn(v.get(url+login, "Accept", "text/html", 303, ""), "usr_ada")
			if err != nil {
				t.Fatal(err)
			}
			if back := v.get(callback, "Accept", "text/html", 303, ""); back != "/orgs/org_1/projects" {
				t.Errorf("the callback leads to %q", back)
			}
			v.get(url+"/", "Accept", "text/html", 200, "Hello, ada@example.com\n")
			v.get(url+"/orgs/org_1/projects", "Accept", "text/html", 200, "The projects of org_1, for usr_ada\n")
			v.get(url+"/orgs/org_2/projects", "Accept", "application/json", 403, "")
			v.get(url+"/api/orgs/org_1/projects", "Accept", "application/json", 401, "") // a cookie is no bearer token
			bearer := "Bearer " + issuer.AccessToken(map[string]any{
				"organizations": []map[string]any{{"id": "org_2", "scopes": []string{"projects:*"}}},
			})
			v.get(url+"/api/orgs/org_2/projects", "Authorization", bearer, 200, "The projects of org_2, for usr_test\n")
			v.get(url+"/api/orgs/org_1/projects", "Authorization", bearer, 403, `"insufficient_scope"`)
		})
	}
}

type visitor struct {
	t      *testing.T
	client *http.Client
}

// get gives where the answer leads to. A text in want must be part of it.
func (v visitor) get(url, header, value string, status int, want string) (location string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set(header, value)
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || !strings.Contains(string(body), want) {
		v.t.Errorf("GET %s: got %s, %q, %v; want %d, %q", url, resp.Status, body, err, status, want)
	}
	return resp.Header.Get("Location")
}
