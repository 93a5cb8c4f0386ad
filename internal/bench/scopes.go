package bench

import (
	"context"
	"fmt"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/casbin/casbin/v3"
	"github.com/casbin/casbin/v3/model"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// A Checker answers whether an agent may do something in an organization. What it
// knows of the agent is prepared beforehand, but for OPAInput.
type Checker struct {
	Name string
	New  func([]authpi.Organization) func(orgID, action, resource string) (bool, error)
}

// Checkers are the contenders for one scope check.
func Checkers() []Checker {
	return []Checker{
		{Ours, func(orgs []authpi.Organization) func(string, string, string) (bool, error) {
			agent := &authpi.Agent{Organizations: orgs}
			return func(orgID, action, resource string) (bool, error) {
				return agent.HasAccessIn(orgID, action, resource), nil
			}
		}},
		{PlainLoop, func(orgs []authpi.Organization) func(string, string, string) (bool, error) {
			return func(orgID, action, resource string) (bool, error) {
				return plainLoop(orgs, orgID, action, resource), nil
			}
		}},
		{Casbin, newCasbin},
		{OPA, func(orgs []authpi.Organization) func(string, string, string) (bool, error) {
			return newOPA(orgs, false)
		}},
		{OPAInput, func(orgs []authpi.Organization) func(string, string, string) (bool, error) {
			return newOPA(orgs, true)
		}},
	}
}

// plainLoop is what one would write into a handler: two loops and the rules.
func plainLoop(orgs []authpi.Organization, orgID, action, resource string) bool {
	for i := range orgs {
		if orgs[i].ID != orgID {
			continue
		}
		for _, scope := range orgs[i].Scopes {
			if grants(scope, action, resource) {
				return true
			}
		}
		return false
	}
	return false
}

func grants(scope, action, resource string) bool {
	colon := strings.LastIndexByte(scope, ':')
	if colon <= 0 || colon == len(scope)-1 {
		return false
	}
	on, may := scope[:colon], scope[colon+1:]
	if may != action && may != "*" && may != "**" {
		return false
	}
	switch {
	case on == resource:
		return true
	case on == "*":
		return may == "**" || !strings.Contains(resource, ".")
	default:
		return may == "**" && len(resource) > len(on) && resource[:len(on)] == on && resource[len(on)] == '.'
	}
}

// newCasbin has one policy for each organization and scope, loaded beforehand, and
// the rules as a Go function: its own matchers do not know them.
func newCasbin(orgs []authpi.Organization) func(string, string, string) (bool, error) {
	m, err := model.NewModelFromString(`
[request_definition]
r = org, act, res
[policy_definition]
p = org, scope
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.org == p.org && grants(p.scope, r.act, r.res)
`)
	if err != nil {
		panic(err)
	}
	enforcer, err := casbin.NewEnforcer(m)
	if err != nil {
		panic(err)
	}
	enforcer.AddFunction("grants", func(args ...any) (any, error) {
		return grants(args[0].(string), args[1].(string), args[2].(string)), nil
	})
	var policies [][]string
	for _, org := range orgs {
		for _, scope := range org.Scopes {
			policies = append(policies, []string{org.ID, scope})
		}
	}
	if _, err := enforcer.AddPolicies(policies); err != nil {
		panic(err)
	}
	return func(orgID, action, resource string) (bool, error) {
		return enforcer.Enforce(orgID, action, resource)
	}
}

const policy = `package authz

default allow := false

allow if {
	some scope in scopes
	[resource, action] := split(scope, ":")
	action in {input.action, "*", "**"}
	covers(resource, action)
}

covers(resource, _) if resource == input.resource
covers("*", "**")
covers("*", action) if {
	action != "**"
	not contains(input.resource, ".")
}
covers(resource, "**") if startswith(input.resource, concat("", [resource, "."]))
`

// newOPA has the memberships in its store, or gets them with each question.
func newOPA(orgs []authpi.Organization, withInput bool) func(string, string, string) (bool, error) {
	memberships := map[string]any{}
	for _, org := range orgs {
		scopes := make([]any, len(org.Scopes))
		for i, scope := range org.Scopes {
			scopes[i] = scope
		}
		memberships[org.ID] = scopes
	}
	where := "\nscopes := data.orgs[input.org]\n"
	if withInput {
		where = "\nscopes := input.orgs[input.org]\n"
	}
	ctx := context.Background()
	query, err := rego.New(rego.Query("data.authz.allow"), rego.Module("authz.rego", policy+where),
		rego.Store(inmem.NewFromObject(map[string]any{"orgs": memberships}))).PrepareForEval(ctx)
	if err != nil {
		panic(err)
	}
	return func(orgID, action, resource string) (bool, error) {
		input := map[string]any{"org": orgID, "action": action, "resource": resource}
		if withInput {
			input["orgs"] = memberships
		}
		results, err := query.Eval(ctx, rego.EvalInput(input))
		if err != nil {
			return false, err
		}
		if len(results) != 1 {
			return false, fmt.Errorf("%d results", len(results))
		}
		return results.Allowed(), nil
	}
}

// Memberships are n organizations with so many scopes each; the last scope of each
// is the one that grants write on projects.
func Memberships(n, scopes int) []authpi.Organization {
	var orgs []authpi.Organization
	for _, o := range identity(n, scopes).Organizations {
		orgs = append(orgs, authpi.Organization{ID: o.ID, Title: o.Title, Scopes: o.Scopes})
	}
	return orgs
}
