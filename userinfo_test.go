package authpi_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestUserInfo(t *testing.T) {
	t.Parallel()
	created, updated := time.Unix(1700000000, 0).UTC(), time.Unix(1750000000, 0).UTC()
	issuer := testkit.NewIssuer(t, nil)
	issuer.AddUser(authpitest.User{
		ID: testkit.Subject, Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace", GivenName: "Ada", FamilyName: "Lovelace",
		Picture: "https://example.com/ada.png", Locale: "en-GB", PhoneNumber: "+44 20", PhoneNumberVerified: true,
		CreatedAt: created, UpdatedAt: updated, Claims: map[string]any{"department": "engines"},
	})
	client := testkit.NewClient(t, issuer, nil)
	agent := testkit.SignIn(t, client, issuer, &authpi.AuthorizationOptions{Org: "org_1"})
	got, err := client.UserInfo(t.Context(), agent)
	if err != nil {
		t.Fatalf("UserInfo: %v", err)
	}
	if got.Subject != testkit.Subject || got.Email != "ada@example.com" || !got.EmailVerified || got.Name != "Ada Lovelace" || got.GivenName != "Ada" ||
		got.FamilyName != "Lovelace" || got.Picture != "https://example.com/ada.png" || got.Locale != "en-GB" || got.PhoneNumber != "+44 20" ||
		!got.PhoneNumberVerified || got.OrgID != "org_1" || !got.CreatedAt.Equal(created) || !got.UpdatedAt.Equal(updated) {
		t.Errorf("got %+v; want what the issuer says", got)
	}
	if len(got.Organizations) != 1 || got.Organizations[0].ID != "org_1" || got.Organizations[0].Title != "Engines" {
		t.Errorf("got %+v; want org_1", got.Organizations)
	}
	var own struct{ Department string }
	if err := got.Claims(&own); err != nil || own.Department != "engines" {
		t.Errorf("Claims: got %+v, %v; want engines", own, err)
	}

	other := *agent
	other.ID = "usr_bob"
	_, err = client.UserInfo(t.Context(), &other)
	var mismatch *authpi.SubjectMismatchError
	if !errors.As(err, &mismatch) || mismatch.Expected != "usr_bob" || mismatch.Actual != testkit.Subject || !authpi.SessionEnded(err) {
		t.Errorf("got %v; want a SubjectMismatchError", err)
	}
	_, err = client.UserInfo(t.Context(), nil)
	testkit.WantCode(t, err, "invalid_request", "nil")
}

func TestUserInfoAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		status     int
		code, says string // code "": accepted
	}{
		{"least", `{"sub":"usr_1"}`, 200, "", ""},
		{"odd fields", `{"sub":"usr_1","email":1,"name":[],"created_at":"x","phone_number_verified":"yes","organizations":{},"locale":null}`, 200, "", ""},
		{"the token as sub", `{"sub":"the-access-token"}`, 200, "subject_mismatch", "[redacted]"},
		{"the token in sub", `{"sub":"usr_1%7Cthe%2Daccess-token"}`, 200, "subject_mismatch", "usr_1%7C[redacted]"},
		{"a list", `[]`, 200, "invalid_response", "object"},
		{"empty", ``, 200, "invalid_response", "object"},
		{"401", `{"error":"invalid_token","error_description":"gone"}`, 401, "userinfo_error", "gone"},
		{"403 without body", ``, 403, "userinfo_error", "403"},
		{"503", `busy`, 503, "userinfo_error", "503"},
		{"201", `{"sub":"usr_1"}`, 201, "userinfo_error", "201"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer the-access-token" || r.URL.RawQuery != "" {
					t.Errorf("got %s %s with %q; want a GET with the token in its header", r.Method, r.URL, r.Header.Get("Authorization"))
				}
				return testkit.Reply(r, tc.status, nil, tc.body), nil
			})
			got, err := client.UserInfo(t.Context(), &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: "the-access-token"}})
			if tc.code == "" {
				if err != nil || got.Subject != "usr_1" || got.Email != "" || got.Name != "" || !got.CreatedAt.IsZero() || got.PhoneNumberVerified {
					t.Errorf("got %+v, %v; want usr_1 alone", got, err)
				}
				return
			}
			e := testkit.WantCode(t, err, tc.code, tc.says)
			if tc.code != "subject_mismatch" && e.StatusCode != tc.status {
				t.Errorf("got status %d; want %d", e.StatusCode, tc.status)
			}
			testkit.WantSilent(t, err, "the-access-token")
		})
	}
	for _, token := range []string{"", "a\r\nX: y", "a\x00", "é"} {
		_, err := testkit.Offline(t, nil).UserInfo(t.Context(), &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: token}})
		testkit.WantCode(t, err, "invalid_token", "access_token")
	}
}
