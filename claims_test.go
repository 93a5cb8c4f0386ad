package authpi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// agentFrom decodes a stored ID token's payload.
func agentFrom(t testing.TB, payload string) *authpi.Agent {
	t.Helper()
	agent, err := testkit.Offline(t, nil).CreateAgent(t.Context(), authpi.TokenSet{AccessToken: "at", ExpiresAt: inAnHour, IDToken: testkit.Unsigned(payload)}, nil)
	if err != nil {
		t.Fatalf("CreateAgent: %v", err)
	}
	return agent
}

// A claim of the wrong kind reads as missing.
func TestOddClaims(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, claim string
		ok          func(*authpi.Agent) bool
	}{
		{"email a number", `"email":7`, func(a *authpi.Agent) bool { return a.Email == "" }},
		{"email null", `"email":null`, func(a *authpi.Agent) bool { return a.Email == "" }},
		{"email with escapes", `"email":"\u0061@b"`, func(a *authpi.Agent) bool { return a.Email == "a@b" }},
		{"email_verified true", `"email_verified":true`, func(a *authpi.Agent) bool { return a.EmailVerified }},
		{"email_verified a text", `"email_verified":"true"`, func(a *authpi.Agent) bool { return !a.EmailVerified }},
		{"email_verified a number", `"email_verified":1`, func(a *authpi.Agent) bool { return !a.EmailVerified }},
		{"EMAIL_VERIFIED", `"EMAIL_VERIFIED":true`, func(a *authpi.Agent) bool { return !a.EmailVerified }},
		{"org_id a list", `"org_id":["org_1"]`, func(a *authpi.Agent) bool { return a.OrgID == "" }},
		{"sid a number", `"sid":1`, func(a *authpi.Agent) bool { return a.SessionID == "" }},
		{"auth_time zero", `"auth_time":0`, func(a *authpi.Agent) bool { return a.AuthTime.Equal(time.Unix(0, 0)) }},
		{"auth_time a text", `"auth_time":"1760000000"`, func(a *authpi.Agent) bool { return a.AuthTime.IsZero() }},
		{"auth_time negative", `"auth_time":-1`, func(a *authpi.Agent) bool { return a.AuthTime.IsZero() }},
		{"auth_time in the year 9999", `"auth_time":253402300799`, func(a *authpi.Agent) bool { return a.AuthTime.Year() == 9999 }},
		{"auth_time in the year 10000", `"auth_time":253402300800`, func(a *authpi.Agent) bool { return a.AuthTime.IsZero() }},
		{"auth_time beyond an int64", `"auth_time":1e30`, func(a *authpi.Agent) bool { return a.AuthTime.IsZero() }},
		{"auth_time with exponent", `"auth_time":1.76e9`, func(a *authpi.Agent) bool { return a.AuthTime.Equal(time.Unix(1760000000, 0)) }},
		{"auth_time with exponent and fraction", `"auth_time":1.7600000005e9`, func(a *authpi.Agent) bool { return a.AuthTime.IsZero() }},
		{"auth_time with a fraction", `"auth_time":1760000000.999`, func(a *authpi.Agent) bool { return a.AuthTime.Equal(time.Unix(1760000000, 0)) }},
		{"organizations null", `"organizations":null`, func(a *authpi.Agent) bool { return len(a.Organizations) == 0 }},
		{"organizations an object", `"organizations":{"id":"org_1"}`, func(a *authpi.Agent) bool { return len(a.Organizations) == 0 }},
		{"organizations a text", `"organizations":"org_1"`, func(a *authpi.Agent) bool { return len(a.Organizations) == 0 }},
		{"organizations empty", `"organizations":[]`, func(a *authpi.Agent) bool { return len(a.Organizations) == 0 }},
		{"organizations of all kinds", `"organizations":[null,1,"x",[],{"id":null},{"id":"org_1"},{}]`, func(a *authpi.Agent) bool {
			return len(a.Organizations) == 1 && a.IsMemberOf("org_1")
		}},
		{"an organization whose id is empty", `"organizations":[{"id":"","scopes":["owner"]}]`, func(a *authpi.Agent) bool { return a.IsOwnerOf("") }},
		{"scopes before the id", `"organizations":[{"scopes":["owner"],"id":"org_1"},{"scopes":["admin"]},{"scopes":["a:b"],"id":"org_2"}]`, func(a *authpi.Agent) bool {
			return slices.Equal(a.ScopesFor("org_1"), []string{"owner"}) && slices.Equal(a.ScopesFor("org_2"), []string{"a:b"})
		}},
		{"joined_at a fraction", `"organizations":[{"id":"org_1","joined_at":1.5}]`, func(a *authpi.Agent) bool { return a.Organizations[0].JoinedAt.IsZero() }},
		{"joined_at", `"organizations":[{"id":"org_1","joined_at":1700000000}]`, func(a *authpi.Agent) bool {
			return a.Organizations[0].JoinedAt.Equal(time.Unix(1700000000, 0))
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if agent := agentFrom(t, `{"sub":"usr_1",`+tc.claim+`}`); !tc.ok(agent) {
				t.Errorf("got %+v, %+v", agent, agent.Organizations)
			}
		})
	}
}

// Appending to one organization's scopes must not write into the next one's.
func TestScopesOfOrganizationsAreApart(t *testing.T) {
	t.Parallel()
	var payload strings.Builder
	payload.WriteString(`{"sub":"usr_1","organizations":[`)
	const count = 50
	for i := range count {
		if i > 0 {
			payload.WriteByte(',')
		}
		fmt.Fprintf(&payload, `{"id":"org_%d","title":"a \"quoted\" title","scopes":["s%d:a","s%d:b"],"joined_at":1700000000}`, i, i, i)
	}
	payload.WriteString(`]}`)
	agent := agentFrom(t, payload.String())
	if len(agent.Organizations) != count {
		t.Fatalf("got %d organizations; want %d", len(agent.Organizations), count)
	}
	for i := range agent.Organizations {
		agent.Organizations[i].Scopes = append(agent.Organizations[i].Scopes, "owner")
	}
	for i, org := range agent.Organizations {
		testkit.WantEqual(t, org.ID, org.Scopes, []string{fmt.Sprintf("s%d:a", i), fmt.Sprintf("s%d:b", i), "owner"})
	}
}
