package authpi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

var inAnHour = time.Now().Add(time.Hour).Truncate(time.Second).UTC()

func TestCreateAgent(t *testing.T) {
	t.Parallel()
	client := testkit.Offline(t, nil)
	stored := authpi.TokenSet{
		AccessToken: "at", TokenType: "Bearer", ExpiresAt: inAnHour, RefreshToken: "rt", Scope: "openid email", SubjectHint: "usr_other",
		IDToken: testkit.Unsigned(`{"sub":"usr_1","email":"a@example.com","email_verified":true,"org_id":"org_2","sid":"s_1","auth_time":1760000000.9,
			"organizations":[{"id":"org_1","title":"T","scopes":["owner","a:b"],"joined_at":1700000000},{"id":"org_2","title":null,"scopes":[],"joined_at":0}],"acr":"urn:x","department":"engines"}`),
	}
	for name, opts := range map[string]*authpi.AgentOptions{"nil": nil, "empty": {}, "off": {AutoRefresh: authpi.RefreshOff}} {
		agent, err := client.CreateAgent(t.Context(), stored, opts)
		if err != nil {
			t.Fatalf("%s options: %v", name, err)
		}
		if agent.ID != "usr_1" || agent.Type != authpi.PrincipalUser || agent.Email != "a@example.com" || !agent.EmailVerified ||
			agent.OrgID != "org_2" || agent.SessionID != "s_1" || !agent.AuthTime.Equal(time.Unix(1760000000, 0)) || agent.Tokens != stored {
			t.Errorf("%s options: got %+v; want the ID token's identity and the tokens as stored", name, agent)
		}
		if len(agent.Organizations) != 2 || agent.Organizations[0].Title != "T" || !agent.Organizations[0].JoinedAt.Equal(time.Unix(1700000000, 0)) ||
			agent.Organizations[1].Title != "" || !agent.Organizations[1].JoinedAt.IsZero() {
			t.Errorf("%s options: got %+v; want both organizations", name, agent.Organizations)
		}
		var own struct{ ACR, Department string }
		if err := agent.Claims(&own); err != nil || own.ACR != "urn:x" || own.Department != "engines" {
			t.Errorf("Claims: got %+v, %v; want the issuer's own claims", own, err)
		}
		if err := agent.Claims(&struct{ ACR int }{}); err == nil || !strings.HasPrefix(err.Error(), "authpi: claims: ") {
			t.Errorf("Claims into the wrong type: got %v; want an error", err)
		}
	}
}

func TestCreateAgentRefusals(t *testing.T) {
	t.Parallel()
	client := testkit.Offline(t, nil)
	good := authpi.TokenSet{AccessToken: "at", ExpiresAt: inAnHour}
	tests := []struct {
		name, idToken, refreshToken string
		names                       string
	}{
		{"no JWT", "opaque", "", "format"},
		{"two parts", "a.b", "", "format"},
		{"five parts", "a.b.c.d.e", "", "format"},
		{"payload no base64url", "a.{}.c", "", "format"},
		{"payload no JSON", testkit.Unsigned(`{`), "", "payload"},
		{"payload a list", testkit.Unsigned(`["usr_1"]`), "", "payload"},
		{"sub twice", testkit.Unsigned(`{"sub":"usr_1","sub":"usr_2"}`), "", "payload"},
		{"sub missing", testkit.Unsigned(`{}`), "", "sub"},
		{"sub in other case", testkit.Unsigned(`{"Sub":"usr_1"}`), "", "sub"},
		{"sub a number", testkit.Unsigned(`{"sub":1}`), "", "sub"},
		{"sub empty", testkit.Unsigned(`{"sub":""}`), "", "sub"},
		{"longer than 512 KiB", testkit.Unsigned(`{"sub":"usr_1","x":"` + strings.Repeat("a", 400<<10) + `"}`), "", "format"},
		{"a refresh token that belongs to nobody", "", "the-refresh-token", "sub"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tokens := good
			tokens.IDToken, tokens.RefreshToken = tc.idToken, tc.refreshToken
			agent, err := client.CreateAgent(t.Context(), tokens, nil)
			e := testkit.WantCode(t, err, "invalid_token", tc.names)
			if !strings.HasPrefix(e.Description, tc.names+": ") || agent != nil {
				t.Errorf("got %v, %q; want no agent and an error that begins with %s", agent, e.Description, tc.names)
			}
			if len(tc.idToken) > 10 {
				testkit.WantHidden(t, err.Error(), tc.idToken)
			}
			testkit.WantHidden(t, err.Error(), tc.refreshToken)
		})
	}
}

func TestPrincipalTypes(t *testing.T) {
	t.Parallel()
	client := testkit.Offline(t, nil)
	for id, want := range map[string]authpi.PrincipalType{
		"usr_1": authpi.PrincipalUser, "tok_1": authpi.PrincipalPersonalToken, "key_1": authpi.PrincipalAPIKey, "agt_1": authpi.PrincipalAgent,
		"anything": authpi.PrincipalUser, "KEY_1": authpi.PrincipalUser, "key": authpi.PrincipalUser,
	} {
		agent, err := client.CreateAgent(t.Context(), authpi.TokenSet{AccessToken: "at", ExpiresAt: inAnHour, IDToken: testkit.Unsigned(`{"sub":"` + id + `"}`)}, nil)
		if err != nil || agent.Type != want || agent.ID != id {
			t.Errorf("%s: got %v, %v; want the type %q", id, agent, err, want)
		}
	}
}

func TestCreateAgentOfMachine(t *testing.T) {
	t.Parallel()
	client := testkit.Offline(t, nil)
	agent, err := client.CreateAgent(t.Context(), authpi.TokenSet{AccessToken: "at", ExpiresAt: inAnHour, Scope: "machines:run"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if agent.ID != "c_1" || !agent.HasAccess("run", "machines") || agent.IsExpired() {
		t.Errorf("got %v; want the client itself", agent)
	}
	var heard error
	_, err = client.CreateAgent(t.Context(), authpi.TokenSet{AccessToken: "at", ExpiresAt: time.Unix(1, 0)}, &authpi.AgentOptions{
		OnRefreshError: func(_ context.Context, err error) { heard = err },
	})
	if !errors.Is(err, authpi.ErrTokenExpired) || !authpi.SessionEnded(err) || !errors.Is(heard, authpi.ErrTokenExpired) {
		t.Errorf("got %v, OnRefreshError heard %v; want ErrTokenExpired", err, heard)
	}
	_, err = client.CreateAgent(t.Context(), authpi.TokenSet{}, nil)
	if !errors.Is(err, authpi.ErrTokenExpired) {
		t.Errorf("the zero set: got %v; want ErrTokenExpired", err)
	}
}

// A set without ID token takes its identity from the user info endpoint.
func TestCreateAgentFromUserInfo(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	tokens := testkit.SignIn(t, client, issuer, nil).Tokens
	tokens.IDToken, tokens.SubjectHint = "", testkit.Subject
	issuer.ResetCounters()
	agent, err := client.CreateAgent(t.Context(), tokens, nil)
	if err != nil {
		t.Fatal(err)
	}
	if agent.ID != testkit.Subject || agent.Email != "ada@example.com" || !agent.IsOwnerOf("org_1") || agent.Tokens != tokens {
		t.Errorf("got %v; want Ada as user info says", agent)
	}
	var claims struct {
		Name string `json:"name"`
	}
	if err := agent.Claims(&claims); err != nil || claims.Name != "Ada Lovelace" {
		t.Errorf("Claims: got %+v, %v; want those of the user info", claims, err)
	}
	if got := issuer.Requests(""); got != 1 {
		t.Errorf("got %d requests; want 1", got)
	}

	tokens.SubjectHint = "usr_bob"
	_, err = client.CreateAgent(t.Context(), tokens, nil)
	var mismatch *authpi.SubjectMismatchError
	if !errors.As(err, &mismatch) || mismatch.Expected != "usr_bob" || mismatch.Actual != testkit.Subject {
		t.Errorf("got %v; want a SubjectMismatchError", err)
	}
	testkit.WantCode(t, err, "subject_mismatch", "sub")

	// No organizations in user info means none.
	bare := testkit.NewIssuer(t, &authpitest.Options{OmitOrganizations: true})
	client = testkit.NewClient(t, bare, nil)
	tokens = testkit.SignIn(t, client, bare, nil).Tokens
	tokens.IDToken, tokens.SubjectHint = "", testkit.Subject
	agent, err = client.CreateAgent(t.Context(), tokens, nil)
	if err != nil || len(agent.Organizations) != 0 || agent.HasAccess("read", "projects") {
		t.Errorf("got %v, %v; want no organization and no access", agent, err)
	}
}

func TestCreateAgentWhileTheIssuerIsDown(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	tokens := testkit.SignIn(t, client, issuer, nil).Tokens
	issuer.Close()
	fresh := testkit.NewClient(t, issuer, nil) // after a restart
	for range 2 {
		if agent, err := fresh.CreateAgent(t.Context(), tokens, nil); err != nil || agent.ID != testkit.Subject {
			t.Errorf("got %v, %v; want %s", agent, err, testkit.Subject)
		}
	}
}

func TestAgentJSON(t *testing.T) {
	t.Parallel()
	agent := signInFresh(t)
	data, err := json.Marshal(agent)
	if err != nil {
		t.Fatal(err)
	}
	testkit.WantHidden(t, string(data), agent.Tokens.AccessToken, agent.Tokens.RefreshToken, agent.Tokens.IDToken)
	var back authpi.Agent
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.ID != agent.ID || back.Email != agent.Email || len(back.Organizations) != 2 || !back.IsOwnerOf("org_1") ||
		!back.Organizations[0].JoinedAt.Equal(agent.Organizations[0].JoinedAt) || back.Tokens != (authpi.TokenSet{}) {
		t.Errorf("got %+v; want the agent without tokens", back)
	}
}

func signInFresh(t testing.TB) *authpi.Agent {
	t.Helper()
	issuer := testkit.NewIssuer(t, nil)
	return testkit.SignIn(t, testkit.NewClient(t, issuer, nil), issuer, nil)
}

func TestOrganizationJSON(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		org  authpi.Organization
		want string
	}{
		{"whole", authpi.Organization{ID: "org_1", Title: `"CEO" <x>`, Scopes: []string{"owner", "a:b"}, JoinedAt: time.Unix(1700000000, 0).UTC()},
			`{"id":"org_1","title":"\"CEO\" <x>","scopes":["owner","a:b"],"joined_at":1700000000}`},
		{"bare", authpi.Organization{ID: "org_1"}, `{"id":"org_1","title":null,"scopes":[],"joined_at":0}`},
		{"before 1970", authpi.Organization{ID: "", Scopes: []string{""}, JoinedAt: time.Unix(-5, 0).UTC()}, `{"id":"","title":null,"scopes":[""],"joined_at":-5}`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			data, err := tc.org.MarshalJSON()
			if err != nil || string(data) != tc.want {
				t.Errorf("got %s, %v; want %s", data, err, tc.want)
			}
			var back authpi.Organization
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
			if back.ID != tc.org.ID || back.Title != tc.org.Title || !slices.Equal(back.Scopes, tc.org.Scopes) || !back.JoinedAt.Equal(tc.org.JoinedAt) {
				t.Errorf("got %+v; want %+v", back, tc.org)
			}
		})
	}
	for _, tc := range []struct {
		name, data string
		ok         bool
	}{
		{"id only", `{"id":"org_1"}`, true},
		{"odd fields", `{"id":"org_1","title":1,"scopes":{"a":1},"joined_at":"x","more":[]}`, true},
		{"no id", `{"title":"x"}`, false},
		{"id a number", `{"id":1}`, false},
		{"id twice", `{"id":"a","id":"b"}`, false},
		{"null", `null`, false},
		{"two in one", `{"id":"a"},{"id":"b"}`, false},
		{"two in one, of which one has no id", `{"":"a"},{"id":"org_1"}`, false},
		{"no JSON", `{`, false},
	} {
		org := authpi.Organization{ID: "before"}
		err := org.UnmarshalJSON([]byte(tc.data))
		if tc.ok && (err != nil || org.ID != "org_1" || org.Title != "" || len(org.Scopes) != 0) {
			t.Errorf("%s: got %+v, %v; want org_1 alone", tc.name, org, err)
		}
		if !tc.ok && (err == nil || org.ID != "before") {
			t.Errorf("%s: got %+v, %v; want an error and nothing changed", tc.name, org, err)
		}
	}
}

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
