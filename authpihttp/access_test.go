package authpihttp_test

import (
	"net/http"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

func orgOf(r *http.Request) string { return r.PathValue("org") }

// newAPI is a Bearer in front of /orgs/{org}/read and /write, beside the same pages
// behind sessions.
func newAPI(t testing.TB, opts *authpihttp.BearerOptions) (*site, *authpihttp.Bearer) {
	t.Helper()
	s := newSite(t, nil)
	api, err := authpihttp.NewBearer(s.client, opts)
	if err != nil {
		t.Fatal(err)
	}
	for action, place := range map[string]string{"read": "/read", "write": "/write"} {
		guarded := authpihttp.RequireAccess(action, "projects", orgOf)(http.HandlerFunc(s.whoami))
		s.mux.Handle("/api/orgs/{org}"+place, api.Require(guarded))
		s.mux.Handle("/orgs/{org}"+place, s.app.RequireAgent(guarded))
		s.mux.Handle("/noorg"+place, s.app.RequireAgent(guarded))
		s.mux.Handle("/api/noorg"+place, api.Require(guarded))
		s.mux.Handle("/naked/{org}"+place, guarded)
	}
	s.mux.Handle("/api/me", api.Require(http.HandlerFunc(s.whoami)))
	s.mux.Handle(api.Metadata())
	return s, api
}

func TestRequireAccess(t *testing.T) {
	t.Parallel()
	s, _ := newAPI(t, nil)
	b := s.browser()
	b.signIn("usr_ada")
	token := s.issuer.AccessToken(map[string]any{"sub": "usr_ada", "organizations": []map[string]any{
		{"id": "org_1", "scopes": []string{"projects:read"}},
		{"id": "org_2", "scopes": []string{"projects:**"}},
		{"id": "", "scopes": []string{"projects:**"}},
	}})
	for _, tc := range []struct {
		path string
		want int
	}{
		{"/orgs/org_1/read", 200},
		{"/orgs/org_1/write", 403}, // may write in org_2 only
		{"/orgs/org_2/write", 200},
		{"/orgs/org_3/read", 403},
		{"/orgs/ORG_1/read", 403},
		{"/orgs/%20/read", 403},
		{"/orgs/org_1%00/read", 403},
		{"/orgs/org_1%2forg_2/read", 403},
		{"/noorg/read", 403},
		{"/noorg/write", 403},
	} {
		if a := b.get(tc.path); a.status != tc.want {
			t.Errorf("%s: got %d; want %d", tc.path, a.status, tc.want)
		}
		a := b.send("GET", "/api"+tc.path, map[string]string{"Authorization": "Bearer " + token})
		if a.status != tc.want {
			t.Errorf("/api%s: got %d; want %d", tc.path, a.status, tc.want)
		}
		want := `Bearer realm="api", error="insufficient_scope", error_description="the token names no membership in this organization"`
		if strings.HasPrefix(tc.path, "/orgs/org_1/") {
			want = `Bearer realm="api", error="insufficient_scope", error_description="the token does not allow this here", scope="projects:write"`
		}
		if tc.want == 403 && a.header.Get("WWW-Authenticate") != want {
			t.Errorf("/api%s: got %s; want %s", tc.path, a.header.Get("WWW-Authenticate"), want)
		}
	}
	if a := b.json("/orgs/org_3/read"); a.status != 403 || !strings.Contains(a.body, `"error":"forbidden"`) {
		t.Errorf("got %d %s; want 403 with JSON", a.status, a.body)
	}
	if a := b.get("/naked/org_1/read"); a.status != 500 {
		t.Errorf("nobody in front: got %d; want 500", a.status)
	}
}

// A token that carries no organizations has access to none of them, whatever its own
// scope says.
func TestRequireAccessWithoutOrganizations(t *testing.T) {
	t.Parallel()
	s, _ := newAPI(t, nil)
	token := s.issuer.AccessToken(map[string]any{"scope": "projects:read *:**"})
	a := s.browser().send("GET", "/api/orgs/org_1/read", map[string]string{"Authorization": "Bearer " + token})
	if a.status != 403 {
		t.Errorf("got %d; want 403", a.status)
	}
}

func TestRequireAccessPanics(t *testing.T) {
	t.Parallel()
	for _, make := range []func(){
		func() { authpihttp.RequireAccess("", "projects", orgOf) },
		func() { authpihttp.RequireAccess("read", "", orgOf) },
		func() { authpihttp.RequireAccess("read", "projects", nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("want a panic")
				}
			}()
			make()
		}()
	}
}

func TestAgentFromNobody(t *testing.T) {
	t.Parallel()
	var want *authpi.Agent
	if agent, ok := authpihttp.AgentFrom(t.Context()); ok || agent != want {
		t.Errorf("got %v, %v; want nil, false", agent, ok)
	}
}
