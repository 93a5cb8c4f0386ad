package authpitest_test

import (
	"encoding/json"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestOrganizationJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		org  authpitest.Organization
		want string
	}{
		{"full", authpitest.Organization{ID: "org_1", Title: "Engines", Scopes: []string{"owner", "projects:read"}, JoinedAt: time.Unix(1700000000, 0)},
			`{"id":"org_1","joined_at":1700000000,"scopes":["owner","projects:read"],"title":"Engines"}`},
		{"bare", authpitest.Organization{ID: "org_2"}, `{"id":"org_2","joined_at":0,"scopes":[],"title":null}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(tc.org)
			if err != nil || string(got) != tc.want {
				t.Errorf("got %s, %v; want %s", got, err, tc.want)
			}
		})
	}
}

// The claim that a test writes by hand reaches the client as a login's does.
func TestAccessTokenWithOrganizations(t *testing.T) {
	t.Parallel()
	srv := inMemory(t, nil).srv
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: srv.URL, ClientID: srv.ClientID(), HTTPClient: srv.Client(), Now: srv.Now})
	if err != nil {
		t.Fatal(err)
	}
	token := srv.AccessToken(map[string]any{"organizations": []authpitest.Organization{
		{ID: "org_1", Scopes: []string{"projects:read"}, JoinedAt: time.Unix(1700000000, 0)},
	}})
	agent, err := client.VerifyAccessToken(t.Context(), token, "")
	if err != nil {
		t.Fatal(err)
	}
	if !agent.HasAccessIn("org_1", "read", "projects") || agent.HasAccessIn("org_1", "write", "projects") ||
		!agent.Organizations[0].JoinedAt.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("got %+v; want org_1 with projects:read", agent.Organizations)
	}
}

func TestNow(t *testing.T) {
	t.Parallel()
	start := time.Unix(1700000000, 0)
	srv := inMemory(t, &authpitest.Options{Now: func() time.Time { return start }}).srv
	srv.Advance(time.Hour)
	if got, want := srv.Now(), start.Add(time.Hour); !got.Equal(want) {
		t.Errorf("got %v; want %v", got, want)
	}
}
