package authpi_test

import (
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestParseScope(t *testing.T) {
	t.Parallel()
	tests := []struct {
		scope string
		want  authpi.Scope // zero: no scope
	}{
		{"projects:read", authpi.Scope{Resource: "projects", Action: "read"}},
		{"projects.tasks:read", authpi.Scope{Resource: "projects.tasks", Action: "read"}},
		{"urn:projects:read", authpi.Scope{Resource: "urn:projects", Action: "read"}},
		{"*:*", authpi.Scope{Resource: "*", Action: "*"}},
		{"a::b", authpi.Scope{Resource: "a:", Action: "b"}},
		{" a:b ", authpi.Scope{Resource: " a", Action: "b "}},
		{"é:ü", authpi.Scope{Resource: "é", Action: "ü"}},
		{"", authpi.Scope{}},
		{"owner", authpi.Scope{}},
		{":", authpi.Scope{}},
		{":read", authpi.Scope{}},
		{"projects:", authpi.Scope{}},
		{"a:b:", authpi.Scope{}},
	}
	for _, tc := range tests {
		t.Run(tc.scope, func(t *testing.T) {
			t.Parallel()
			got, ok := authpi.ParseScope(tc.scope)
			if got != tc.want || ok != (tc.want != authpi.Scope{}) {
				t.Errorf("got %+v, %t; want %+v", got, ok, tc.want)
			}
		})
	}
}

func TestHasAccess(t *testing.T) {
	t.Parallel()
	tests := []struct {
		scope, action, resource string
		want                    bool
	}{
		{"projects:read", "read", "projects", true},
		{"projects:read", "write", "projects", false},
		{"projects:read", "read", "project", false},
		{"projects:read", "read", "projectss", false},
		{"projects:read", "Read", "projects", false},
		{"projects:read", "read", "projects.tasks", false},
		{"projects:*", "write", "projects", true},
		{"projects:*", "write", "projects.tasks", false},
		{"projects:**", "write", "projects", true},
		{"projects:**", "write", "projects.tasks", true},
		{"projects:**", "write", "projects.tasks.notes", true},
		{"projects:**", "write", "projectsx.tasks", false},
		{"projects:**", "write", "projects-x", false},
		{"projects:**", "write", "other", false},
		{"projects.tasks:**", "write", "projects", false},
		{"*:read", "read", "projects", true},
		{"*:read", "write", "projects", false},
		{"*:read", "read", "projects.tasks", false},
		{"*:*", "delete", "projects", true},
		{"*:*", "delete", "projects.tasks", false},
		{"*:**", "delete", "projects.tasks", true},
		{"projects.*:read", "read", "projects.tasks", false},
		{"projects:**", "write", ".projects", false},
		{"projects:**", "write", ".x", false},
		{"owner", "", "", false},
		{"owner", "read", "projects", false},
		{"*", "read", "projects", false},
		{"**", "read", "projects", false},
		{"", "read", "projects", false},
	}
	for _, tc := range tests {
		t.Run(tc.scope+" for "+tc.action+" on "+tc.resource, func(t *testing.T) {
			t.Parallel()
			if got := authpi.HasAccess([]string{tc.scope}, tc.action, tc.resource); got != tc.want {
				t.Errorf("got %t; want %t", got, tc.want)
			}
			// Others that do not fit make no difference, before it or after it.
			others := []string{"owner", "nothing:none", tc.scope, "", ":"}
			if got := authpi.HasAccess(others, tc.action, tc.resource); got != tc.want {
				t.Errorf("among others: got %t; want %t", got, tc.want)
			}
		})
	}
	// What is no scope at all grants nothing, whatever is asked for.
	if authpi.HasAccess([]string{"owner", ""}, "", "") {
		t.Error("a role for nothing on nothing: got access; want none")
	}
	if authpi.HasAccess(nil, "read", "projects") {
		t.Error("no scopes: got access; want none")
	}
}

func TestAgentAccess(t *testing.T) {
	t.Parallel()
	agent := &authpi.Agent{
		Tokens: authpi.TokenSet{Scope: "openid email machines:run"},
		Organizations: []authpi.Organization{
			{ID: "org_1", Scopes: []string{"owner", "projects:**"}},
			{ID: "org_2", Scopes: []string{"admin", "projects:read"}},
			{ID: "org_3"},
			{ID: "org_1", Scopes: []string{"admin", "billing:*"}}, // the first of two counts
		},
	}
	machine := &authpi.Agent{Tokens: authpi.TokenSet{Scope: "machines:run  owner\tx:y"}}
	type question struct {
		name string
		got  bool
		want bool
	}
	for _, q := range []question{
		{"any organization", agent.HasAccess("read", "projects"), true},
		{"in the last one", agent.HasAccess("read", "billing"), true},
		{"not by the token's scope beside organizations", agent.HasAccess("run", "machines"), false},
		{"by the token's scope without organizations", machine.HasAccess("run", "machines"), true},
		{"a tab does not separate", machine.HasAccess("y", "x"), false},
		{"nothing else without organizations", machine.HasAccess("stop", "machines"), false},
		{"in one organization", agent.HasAccessIn("org_1", "write", "projects.tasks"), true},
		{"in another", agent.HasAccessIn("org_2", "write", "projects"), false},
		{"in a repeated one", agent.HasAccessIn("org_1", "read", "billing"), false},
		{"in no organization", agent.HasAccessIn("", "read", "projects"), false},
		{"in an unknown one", agent.HasAccessIn("org_9", "read", "projects"), false},
		{"a machine in an organization", machine.HasAccessIn("org_1", "run", "machines"), false},

		{"scope", agent.HasScope("email"), true},
		{"scope with colon", agent.HasScope("machines:run"), true},
		{"scope of an organization", agent.HasScope("projects:read"), false},
		{"part of a scope", agent.HasScope("mail"), false},
		{"two scopes", agent.HasScope("openid email"), false},
		{"empty scope", machine.HasScope(""), false},

		{"owner", agent.IsOwnerOf("org_1"), true},
		{"owner elsewhere", agent.IsOwnerOf("org_2"), false},
		{"an owner is no admin", agent.IsAdminOf("org_1"), false},
		{"admin", agent.IsAdminOf("org_2"), true},
		{"owner by the token's scope", machine.IsOwnerOf(""), false},
		{"member", agent.IsMemberOf("org_3"), true},
		{"no member", agent.IsMemberOf("org_4"), false},
		{"member of nothing", machine.IsMemberOf(""), false},
	} {
		if q.got != q.want {
			t.Errorf("%s: got %t; want %t", q.name, q.got, q.want)
		}
	}
	testkit.WantEqual(t, "ScopesFor org_2", agent.ScopesFor("org_2"), []string{"admin", "projects:read"})
	testkit.WantEqual(t, "ScopesFor org_9", agent.ScopesFor("org_9"), nil)
	agent.ScopesFor("org_2")[0] = "owner"
	if agent.IsOwnerOf("org_2") {
		t.Error("got the agent changed through ScopesFor; want a copy")
	}
}

func TestZeroAgentMayDoNothing(t *testing.T) {
	t.Parallel()
	var agent authpi.Agent
	if agent.HasAccess("read", "projects") || agent.HasAccess("", "") || agent.HasAccessIn("", "", "") || agent.HasScope("") ||
		agent.IsOwnerOf("") || agent.IsAdminOf("") || agent.IsMemberOf("") || len(agent.ScopesFor("")) != 0 {
		t.Error("got access; want none")
	}
	if !agent.IsExpired() || agent.ExpiresIn() >= 0 || !agent.ExpiresWithin(0) || !agent.ExpiresAt().IsZero() {
		t.Error("got a good token; want it expired")
	}
	var claims map[string]any
	if err := agent.Claims(&claims); err != nil || len(claims) != 0 {
		t.Errorf("Claims: got %v, %v; want none", claims, err)
	}
}
