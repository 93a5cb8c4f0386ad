package fuzz_test

import (
	"slices"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
)

func FuzzParseScope(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		scope, ok := authpi.ParseScope(text)
		if !ok {
			if scope != (authpi.Scope{}) {
				t.Errorf("got %+v beside false; want the zero Scope", scope)
			}
			if authpi.HasAccess([]string{text}, "read", "projects") {
				t.Errorf("%q is no scope and grants access", text)
			}
			return
		}
		if scope.Resource+":"+scope.Action != text || scope.Resource == "" || scope.Action == "" || strings.Contains(scope.Action, ":") {
			t.Errorf("got %+v from %q; want its two parts", scope, text)
		}
		if !authpi.HasAccess([]string{text}, scope.Action, scope.Resource) {
			t.Errorf("%q does not grant itself", text)
		}
	})
}

func FuzzHasAccess(f *testing.F) {
	f.Fuzz(func(t *testing.T, list, action, resource string, drop int) {
		scopes := strings.Split(list, " ")
		with := authpi.HasAccess(scopes, action, resource)
		if want := slices.ContainsFunc(scopes, func(s string) bool { return slowlyGrants(s, action, resource) }); with != want {
			t.Errorf("%q, %s on %s: got %t; want %t", scopes, action, resource, with, want)
		}
		// Taking a scope away never adds access, and their order makes no
		// difference.
		less := slices.Delete(slices.Clone(scopes), max(drop, 0)%len(scopes), max(drop, 0)%len(scopes)+1)
		if authpi.HasAccess(less, action, resource) && !with {
			t.Errorf("%q denies %s on %s; %q grants it", scopes, action, resource, less)
		}
		slices.Reverse(less)
		slices.Reverse(scopes)
		if authpi.HasAccess(scopes, action, resource) != with {
			t.Errorf("%q: the order makes a difference", scopes)
		}
		// The agent asks the same question of its organizations.
		agent := &authpi.Agent{Organizations: []authpi.Organization{{ID: "org_1", Scopes: scopes}}}
		if agent.HasAccess(action, resource) != with || agent.HasAccessIn("org_1", action, resource) != with || agent.HasAccessIn("org_2", action, resource) {
			t.Errorf("%q: the agent answers otherwise", scopes)
		}
		machine := &authpi.Agent{Tokens: authpi.TokenSet{Scope: list}}
		if machine.HasAccess(action, resource) != with {
			t.Errorf("%q: the machine answers otherwise", scopes)
		}
	})
}

// slowlyGrants is the rule of ParseScope and HasAccess by parts of names: ** is for
// a resource and all below it, * for one level.
func slowlyGrants(scope, action, resource string) bool {
	parts := strings.Split(scope, ":")
	last := len(parts) - 1
	on, may := strings.Join(parts[:last], ":"), parts[last]
	if on == "" || may == "" || may != action && may != "*" && may != "**" {
		return false
	}
	path, asked := strings.Split(on, "."), strings.Split(resource, ".")
	switch {
	case slices.Equal(path, asked), on == "*" && (len(asked) == 1 || may == "**"):
		return true
	case may == "**":
		return len(asked) > len(path) && slices.Equal(path, asked[:len(path)])
	}
	return false
}
