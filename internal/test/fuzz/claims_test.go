package fuzz_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// FuzzStoredIDToken holds the claims of an ID token against encoding/json: the same
// answer, or a refusal where the text is no strict object or names nobody.
func FuzzStoredIDToken(f *testing.F) {
	client := testkit.Offline(f, nil)
	const access, refresh = "the-access-token-9c1f", "the-refresh-token-77aa"
	f.Fuzz(func(t *testing.T, payload, header, signature string) {
		tokens := authpi.TokenSet{
			AccessToken: access, RefreshToken: refresh, IDToken: header + "." + testkit.Base64([]byte(payload)) + "." + signature, ExpiresAt: time.Unix(4000000000, 0),
		}
		agent, err := createOffline(client, tokens)
		want, ok := readObject(t, payload)
		ok = ok && want.text("sub") != "" && !strings.Contains(header+signature, ".") && len(tokens.IDToken) <= 512<<10
		if (err == nil) != ok {
			t.Fatalf("got %v; want a refusal: %t", err, !ok)
		}
		if err != nil {
			if agent != nil || !errors.Is(err, authpi.ErrInvalidToken) {
				t.Errorf("got %v, %v; want no agent and ErrInvalidToken", agent, err)
			}
			testkit.WantSilent(t, err, access, refresh)
			if len(payload) > 12 {
				testkit.WantSilent(t, err, payload)
			}
			return
		}
		wantIdentity(t, agent, want)
		if agent.Tokens != tokens {
			t.Errorf("got %v; want the tokens as stored", agent)
		}
		signedIn := time.Time{}
		if seconds, ok := want.date("auth_time"); ok {
			signedIn = time.Unix(seconds, 0)
		}
		if !agent.AuthTime.Equal(signedIn) {
			t.Errorf("AuthTime: got %v; want %v", agent.AuthTime, signedIn)
		}
		wantOnlyOwnAccess(t, agent)
		wantAllClaims(t, agent, payload)
	})
}

// wantOnlyOwnAccess is what encoding/json cannot tell: whatever an agent may do
// anywhere, one of its organizations allows, or where it has none, its token's own
// scope; an organization that it does not name allows nothing.
func wantOnlyOwnAccess(t *testing.T, agent *authpi.Agent) {
	t.Helper()
	own := len(agent.Organizations) == 0 && authpi.HasAccess(strings.Split(agent.Tokens.Scope, " "), "read", "projects")
	for _, org := range agent.Organizations {
		own = own || agent.HasAccessIn(org.ID, "read", "projects") || authpi.HasAccess(org.Scopes, "read", "projects")
	}
	if agent.HasAccess("read", "projects") != own {
		t.Errorf("got access %t; the organizations %+v say %t", !own, agent.Organizations, own)
	}
	const stranger = "org_that_no_seed_names"
	if !agent.IsMemberOf(stranger) && (agent.HasAccessIn(stranger, "read", "projects") || agent.IsOwnerOf(stranger) || agent.IsAdminOf(stranger)) {
		t.Error("got access in an organization that the token does not name")
	}
}

// wantAllClaims compares Claims with encoding/json.
func wantAllClaims(t *testing.T, agent *authpi.Agent, payload string) {
	t.Helper()
	var got, want map[string]any
	err := agent.Claims(&got)
	if stdErr := json.Unmarshal([]byte(payload), &want); (err == nil) != (stdErr == nil) || !reflect.DeepEqual(got, want) {
		t.Errorf("Claims: got %v, %v; encoding/json says %v, %v", got, err, want, stdErr)
	}
}

// FuzzOrganization stores memberships and reads them back.
func FuzzOrganization(f *testing.F) {
	f.Fuzz(func(t *testing.T, data string) {
		before := authpi.Organization{ID: "before"}
		org := before
		err := org.UnmarshalJSON([]byte(data))
		members, ok := readObject(t, data)
		if _, named := members["id"].(string); (err == nil) != (ok && named) {
			t.Fatalf("got %v; want a refusal: %t", err, !ok || !named)
		}
		if err != nil {
			if !reflect.DeepEqual(org, before) {
				t.Errorf("got %+v beside %v; want nothing changed", org, err)
			}
			return
		}
		wantOrganizations(t, []authpi.Organization{org}, object{"organizations": []any{map[string]any(members)}}.organizations())
		stored, err := json.Marshal(org)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		var again authpi.Organization
		if err := json.Unmarshal(stored, &again); err != nil {
			t.Fatalf("%s cannot be read back: %v", stored, err)
		}
		wantOrganizations(t, []authpi.Organization{again}, []authpi.Organization{org})
	})
}
