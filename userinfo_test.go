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

// An answer that is a signed JWT (OpenID Connect Core section 5.3.2) is verified as an ID
// token is, and used by UserInfo and for a set without ID token.
func TestSignedUserInfo(t *testing.T) {
	t.Parallel()
	const access = "the-access-token"
	now := testkit.NewClock().Now()
	date := func(name string, d time.Duration) testkit.Change { return testkit.SetClaim(name, now.Add(d).Unix()) }
	tests := []struct {
		name       string
		change     testkit.Change
		code, says string // code "": accepted
	}{
		{"least", nil, "", ""},
		{"several audiences", testkit.SetClaim("aud", []string{"https://api.example", "c_test"}), "", ""},
		{"typ JWT", testkit.SetHeader("typ", "JWT"), "", ""},
		{"RS256", testkit.SetHeader("alg", "RS256"), "", ""},
		{"dates that hold", testkit.Both(date("exp", time.Minute), date("iat", 0), date("nbf", 0)), "", ""},
		{"no iss", testkit.DropClaim("iss"), "invalid_token", "iss"},
		{"another issuer", testkit.SetClaim("iss", "https://idp.authpi.test/i_other"), "invalid_token", "iss"},
		{"no aud", testkit.DropClaim("aud"), "invalid_token", "aud"},
		{"another client", testkit.SetClaim("aud", "c_other"), "invalid_token", "aud"},
		{"no sub", testkit.DropClaim("sub"), "invalid_response", "sub"},
		{"another subject", testkit.SetClaim("sub", "usr_eve"), "subject_mismatch", "usr_eve"},
		{"exp passed", date("exp", -time.Minute), "invalid_token", "exp"},
		{"exp no date", testkit.SetClaim("exp", "soon"), "invalid_token", "exp"},
		{"iat ahead", date("iat", time.Minute), "invalid_token", "iat"},
		{"iat no date", testkit.SetClaim("iat", nil), "invalid_token", "iat"},
		{"nbf ahead", date("nbf", time.Minute), "invalid_token", "nbf"},
		{"unsigned", testkit.SetHeader("alg", "none"), "invalid_token", "alg"},
		{"HMAC", testkit.SetHeader("alg", "HS256"), "invalid_token", "alg"},
		{"an algorithm that is not accepted", testkit.SetHeader("alg", "EdDSA"), "invalid_token", "alg"},
		{"broken signature", testkit.SetHeader("_signature", "bad"), "invalid_token", "signature"},
		{"an access token", testkit.SetHeader("typ", "at+jwt"), "invalid_token", "typ"},
		{"a logout token", testkit.SetHeader("typ", "logout+jwt"), "invalid_token", "typ"},
		{"a key that is not published yet", testkit.SetHeader("kid", "next"), "transport_error", "kid"},
		{"such a key, and another client", testkit.Both(testkit.SetHeader("kid", "next"), testkit.SetClaim("aud", "c_other")), "invalid_token", "kid"},
		{"such a key, and another subject", testkit.Both(testkit.SetHeader("kid", "next"), testkit.SetClaim("sub", "usr_eve")), "invalid_token", "kid"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := testkit.NewClock()
			issuer := testkit.NewIssuer(t, &authpitest.Options{Now: clock.Now})
			client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
				cfg.Now, cfg.SigningAlgorithms = clock.Now, []string{"ES256", "RS256"}
			})
			claims, header := map[string]any{
				"iss": issuer.URL, "aud": "c_test", "sub": testkit.Subject, "email": "ada@example.org", "name": "Ada",
				"organizations": []map[string]any{{"id": "org_9", "scopes": []string{"owner"}}},
			}, map[string]any{}
			if tc.change != nil {
				tc.change(header, claims)
			}
			issuer.Inject(authpitest.Fault{
				Endpoint: "userinfo", Times: -1, Body: issuer.Sign(claims, header) + "\n", ContentType: "Application/JWT; charset=utf-8",
			})
			tokens := authpi.TokenSet{AccessToken: access, ExpiresAt: clock.Now().Add(time.Hour), SubjectHint: testkit.Subject}
			agent, agentErr := client.CreateAgent(t.Context(), tokens, nil)
			info, err := client.UserInfo(t.Context(), &authpi.Agent{ID: testkit.Subject, Tokens: tokens})
			if tc.code != "" {
				testkit.WantCode(t, err, tc.code, tc.says)
				testkit.WantCode(t, agentErr, tc.code, tc.says)
				testkit.WantSilent(t, err, access)
				return
			}
			if err != nil || agentErr != nil {
				t.Fatalf("got %v and %v; want it accepted", err, agentErr)
			}
			if info.Email != "ada@example.org" || info.Name != "Ada" || agent.Email != info.Email || !agent.IsOwnerOf("org_9") {
				t.Errorf("got %+v and %v; want what the token says", info, agent)
			}
		})
	}
}

// What is neither JSON nor a JWT is named by its type.
func TestUserInfoContentTypes(t *testing.T) {
	t.Parallel()
	const access = "the-access-token"
	jwt := testkit.Unsigned(`{"sub":"usr_1"}`)
	tests := []struct {
		name, typ, body string
		says            []string // nil: accepted
	}{
		{"JSON by another name", "application/vnd.idp+json; v=1", `{"sub":"usr_1"}`, nil},
		{"JSON without type", "", `{"sub":"usr_1"}`, nil},
		{"a page", "text/html; charset=utf-8", "<html>", []string{"JSON object", "content type text/html"}},
		{"a JWT without type", "", jwt, []string{"JSON object", "no content type"}},
		{"a JWT said to be JSON", "application/json", jwt, []string{"JSON object"}},
		{"a JWT by another name", "application/jose", jwt, []string{"content type application/jose"}},
		{"JSON said to be a JWT", "application/jwt", `{"sub":"usr_1"}`, []string{"no signed JWT"}},
		{"encrypted", "application/jwt", "a.b.c.d.e", []string{"no signed JWT", "three parts"}},
		{"nothing", "application/jwt", "", []string{"no signed JWT"}},
		{"a type that holds the token", "x/" + access, "<html>", []string{"content type x/[redacted]"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) {
				if got := r.Header.Get("Accept"); got != "application/json, application/jwt" {
					t.Errorf("got Accept %q; want both", got)
				}
				return testkit.Reply(r, 200, http.Header{"Content-Type": {tc.typ}}, tc.body), nil
			})
			got, err := client.UserInfo(t.Context(), &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: access}})
			if tc.says == nil {
				if err != nil || got.Subject != "usr_1" {
					t.Errorf("got %+v, %v; want usr_1", got, err)
				}
				return
			}
			testkit.WantCode(t, err, "invalid_response", tc.says...)
			testkit.WantSilent(t, err, access, jwt)
		})
	}
}
