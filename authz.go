package authpi

import (
	"slices"
	"strings"
)

// Scope is a permission: an action on a resource.
type Scope struct {
	// Resource is a path with dots, for example "projects" or "projects.tasks",
	// or "*" for every resource without a dot.
	Resource string
	// Action is for example "read", "*" for every action on this resource alone,
	// or "**" for every action on it and all below.
	Action string
}

// ParseScope splits a scope such as "projects.tasks:read" at its last colon. ok is
// false for a text without resource and action, such as a role ("owner").
func ParseScope(s string) (scope Scope, ok bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon <= 0 || colon == len(s)-1 {
		return Scope{}, false
	}
	return Scope{Resource: s[:colon], Action: s[colon+1:]}, true
}

// HasAccess reports whether one of the scopes allows action on resource:
//
//	authpi.HasAccess([]string{"projects:**"}, "write", "projects.tasks") // true
//	authpi.HasAccess([]string{"projects:*"}, "write", "projects.tasks")  // false: * stays on its level
//	authpi.HasAccess([]string{"*:read"}, "read", "projects")             // true: every top-level resource
//	authpi.HasAccess([]string{"owner"}, "read", "projects")              // false: a role is no scope
//
// A scope that cannot be parsed grants nothing.
func HasAccess(scopes []string, action, resource string) bool {
	for _, s := range scopes {
		if scope, ok := ParseScope(s); ok && scope.grants(action, resource) {
			return true
		}
	}
	return false
}

func (s Scope) grants(action, resource string) bool {
	if s.Action != action && s.Action != "*" && s.Action != "**" {
		return false
	}
	if s.Resource == resource {
		return true
	}
	if s.Resource == "*" {
		return s.Action == "**" || !strings.Contains(resource, ".")
	}
	below, found := strings.CutPrefix(resource, s.Resource)
	return s.Action == "**" && found && strings.HasPrefix(below, ".")
}

// Roles are scopes that are matched as whole words; no wildcard stands for them.
const (
	roleOwner = "owner"
	roleAdmin = "admin"
)

// HasAccess reports whether the agent may do action on resource in ANY of its
// organizations. An agent without organizations, as a machine, has what its
// token's own scope grants. Where an organization's data is at stake, ask
// [Agent.HasAccessIn] with that organization instead.
//
//	agent.HasAccess("read", "projects")
func (a *Agent) HasAccess(action, resource string) bool {
	for i := range a.Organizations {
		if HasAccess(a.Organizations[i].Scopes, action, resource) {
			return true
		}
	}
	if len(a.Organizations) > 0 {
		return false
	}
	for s := range strings.SplitSeq(a.Tokens.Scope, " ") {
		if scope, ok := ParseScope(s); ok && scope.grants(action, resource) {
			return true
		}
	}
	return false
}

// HasAccessIn reports whether the agent may do action on resource in the
// organization: the question to ask before touching an organization's data.
//
//	agent.HasAccessIn("org_engines", "write", "projects")
func (a *Agent) HasAccessIn(orgID, action, resource string) bool {
	return HasAccess(a.scopesIn(orgID), action, resource)
}

// HasScope reports whether scope, exactly as written, is in the token's own
// scope: no wildcard, no organization. It suits OpenID scopes such as "email".
func (a *Agent) HasScope(scope string) bool {
	if scope == "" {
		return false
	}
	for s := range strings.SplitSeq(a.Tokens.Scope, " ") {
		if s == scope {
			return true
		}
	}
	return false
}

// ScopesFor returns a copy of the agent's scopes in the organization, in the
// issuer's order. It is empty for an organization the agent is no member of.
func (a *Agent) ScopesFor(orgID string) []string { return slices.Clone(a.scopesIn(orgID)) }

// IsOwnerOf reports whether the agent has the role "owner" in the organization.
func (a *Agent) IsOwnerOf(orgID string) bool { return slices.Contains(a.scopesIn(orgID), roleOwner) }

// IsAdminOf reports whether the agent has the role "admin" in the organization.
// An owner is not an admin unless the issuer says so.
func (a *Agent) IsAdminOf(orgID string) bool { return slices.Contains(a.scopesIn(orgID), roleAdmin) }

// IsMemberOf reports whether the agent belongs to the organization at all.
func (a *Agent) IsMemberOf(orgID string) bool { return a.membership(orgID) != nil }

func (a *Agent) scopesIn(orgID string) []string {
	if org := a.membership(orgID); org != nil {
		return org.Scopes
	}
	return nil
}

// membership finds the first organization of that ID. A plain loop: an agent
// lives for one request and is asked a few times, which an index never repays. IDs
// mostly differ in their last byte, which is compared without a call.
func (a *Agent) membership(orgID string) *Organization {
	last := len(orgID) - 1
	for i := range a.Organizations {
		id := a.Organizations[i].ID
		if len(id) == len(orgID) && (last < 0 || id[last] == orgID[last]) && id == orgID {
			return &a.Organizations[i]
		}
	}
	return nil
}
