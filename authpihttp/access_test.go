package authpihttp_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
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

// The log says at Debug why somebody may not do something, in a bounded line. An
// organization that nobody read from the route is the app's mistake, and a warning,
// once for each guard.
func TestRefusedAccessIsLogged(t *testing.T) {
	out := defaultLog(t, slog.LevelDebug)
	s, _ := newAPI(t, &authpihttp.BearerOptions{Scopes: []string{"openid"}})
	many := make([]string, 5000)
	for i := range many {
		many[i] = fmt.Sprintf("projects%d:read", i)
	}
	tokenOf := func(scope string) string {
		return s.issuer.AccessToken(map[string]any{"sub": "usr_ada", "scope": scope, "organizations": []map[string]any{
			{"id": "org_1", "scopes": []string{"projects:read", "a:b"}},
			{"id": "org_2", "scopes": []string{}},
			{"id": "org_many", "scopes": many},
		}})
	}
	for _, tc := range []struct{ name, scope, path, want string }{
		{"allowed", "openid", "/api/orgs/org_1/read", ""},
		{"another scope", "openid", "/api/orgs/org_1/write", `agent=usr_ada organization=org_1 member=true action=write resource=projects scopes="projects:read a:b"`},
		{"a member without any", "openid", "/api/orgs/org_2/read", `organization=org_2 member=true action=read resource=projects scopes=""`},
		{"no member", "openid", "/api/orgs/org_3/read", `organization=org_3 member=false action=read resource=projects scopes=""`},
		{"a long organization", "openid", "/api/orgs/" + strings.Repeat("x", 100<<10) + "/read", "organization=xxx"},
		{"many scopes", "openid", "/api/orgs/org_many/write", `scopes="projects0:read projects1:read`},
		{"a scope of the token", "projects:read a:b", "/api/orgs/org_1/read", `agent=usr_ada wanted=openid scopes="projects:read a:b"`},
	} {
		out.Reset()
		token := tokenOf(tc.scope)
		a := s.browser().send("GET", tc.path, map[string]string{"Authorization": "Bearer " + token})
		got := out.String()
		if (a.status == http.StatusForbidden) != (tc.want != "") || tc.want == "" && got != "" || strings.Count(got, "\n") > 1 || len(got) > 2<<10 || strings.Contains(got, token) {
			t.Errorf("%s: got %d and log %q", tc.name, a.status, got)
		}
		if tc.want != "" && (!strings.Contains(got, "level=DEBUG") || !strings.Contains(got, tc.want)) {
			t.Errorf("%s: got log %q; want %s", tc.name, got, tc.want)
		}
	}
	token := tokenOf("openid")
	for _, tc := range []struct {
		path, want string
	}{
		{"/api/noorg/read", `level=WARN msg="authpihttp: RequireAccess was given no organization" path=/api/noorg/read action=read resource=projects`},
		{"/api/noorg/read", ""},
		{"/api/noorg/write", "path=/api/noorg/write"},
	} {
		out.Reset()
		a := s.browser().send("GET", tc.path, map[string]string{"Authorization": "Bearer " + token})
		if got := out.String(); a.status != http.StatusForbidden || (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %d and log %q; want %q", tc.path, a.status, got, tc.want)
		}
	}
}

// A line that nobody reads costs nothing, however many scopes it would have: here they
// are 100 KB for each refusal.
func TestRefusedAccessCostsNothing(t *testing.T) {
	defaultLog(t, slog.LevelInfo)
	scopes := slices.Repeat([]string{"projects:reader"}, 5000)
	ada := &authpi.Agent{ID: "usr_ada", Organizations: []authpi.Organization{{ID: "org_1", Scopes: scopes}}}
	guard := authpihttp.RequireAccess("write", "projects", func(*http.Request) string { return "org_1" })(http.NotFoundHandler())
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(authpihttp.WithAgent(r.Context(), ada))
	const times = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		guard.ServeHTTP(httptest.NewRecorder(), r)
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / times; got > 30_000 {
		t.Errorf("a refusal took %d bytes", got)
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
