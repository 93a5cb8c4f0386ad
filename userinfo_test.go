package authpi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
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
		{"the token in sub", `{"sub":"usr_1%7Cthe%2Daccess-token"}`, 200, "subject_mismatch", "[redacted]"},
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

// An answer that is a signed JWT (OpenID Connect Core section 5.3.2) is verified as
// an ID token is, and used by UserInfo and for a set without ID token.
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
		{"a key of its own", testkit.SetHeader("jku", "https://evil.example"), "invalid_token", "jku"},
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
		{"a type that holds the token", "x/" + access, "<html>", []string{"content type [redacted]"}},
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

// withoutIDToken is a session at an issuer whose refresh brings none, with the set
// as it was stored after the first refresh.
func withoutIDToken(t *testing.T) (*authpitest.Server, *authpi.IdpClient, *authpi.Agent, authpi.TokenSet) {
	t.Helper()
	issuer, client := testkit.New(t, &authpitest.Options{OmitIDTokenOnRefresh: true}, nil)
	signedIn := testkit.SignIn(t, client, issuer, nil)
	if signedIn.SessionID == "" || signedIn.AuthTime.IsZero() {
		t.Fatalf("got session %q, signed in at %v; want both", signedIn.SessionID, signedIn.AuthTime)
	}
	time.Sleep(31 * time.Minute)
	var stored authpi.TokenSet
	agent, err := client.CreateAgent(t.Context(), signedIn.Tokens, &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error { stored = tokens; return nil },
	})
	if err != nil || stored.IDToken != "" || stored.SubjectHint != testkit.Subject {
		t.Fatalf("got %v, stored %v; want a set without ID token", err, stored)
	}
	wantSame(t, agent, signedIn)
	return issuer, client, signedIn, stored
}

func wantSame(t *testing.T, got, want *authpi.Agent) {
	t.Helper()
	if got == nil || got.ID != want.ID || got.Email != want.Email || got.EmailVerified != want.EmailVerified || got.OrgID != want.OrgID ||
		got.SessionID != want.SessionID || !got.AuthTime.Equal(want.AuthTime) || len(got.Organizations) != len(want.Organizations) {
		t.Errorf("got %+v; want the identity of %+v", got, want)
	}
}

// Where a refresh brought no ID token, 1,000 page views on one access token ask the
// user info endpoint once, go on while it is down, and keep SessionID and AuthTime.
func TestIdentityIsAskedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer, client, signedIn, stored := withoutIDToken(t)
		view := func() {
			agent, err := client.CreateAgent(t.Context(), stored, nil)
			if err != nil {
				t.Errorf("got %v; want Ada", err)
				return
			}
			wantSame(t, agent, signedIn)
			agent.Organizations[0].Scopes[0] = "changed" // nobody else's
			if agent.Tokens != stored {
				t.Errorf("got %v; want the stored tokens", agent.Tokens)
			}
		}
		for range 500 {
			view()
		}
		issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Times: -1, Status: 503})
		var views sync.WaitGroup
		for range 500 {
			views.Go(view)
		}
		views.Wait()
		if got := issuer.Requests("userinfo"); got != 1 {
			t.Errorf("got %d user info requests; want 1", got)
		}
		if agent, err := client.CreateAgent(t.Context(), stored, nil); err != nil || agent.Organizations[0].Scopes[0] == "changed" {
			t.Errorf("got %v, %v; want nobody's changes", agent, err)
		}
		if _, err := client.UserInfo(t.Context(), signedIn); err == nil {
			t.Error("UserInfo: got no error; want the endpoint asked")
		}

		// The next access token is asked about anew, and the rest stays as it was.
		issuer.ClearFaults()
		issuer.ResetCounters()
		time.Sleep(10 * time.Hour)
		issuer.SetOrganizations(testkit.Subject, authpitest.Organization{ID: "org_3"}, authpitest.Organization{ID: "org_4"})
		agent, err := client.CreateAgent(t.Context(), stored, nil)
		if err != nil || issuer.Requests("userinfo") != 1 || agent.Organizations[0].ID != "org_3" {
			t.Errorf("got %v, %v, %d requests; want the new memberships, asked for once", agent, err, issuer.Requests("userinfo"))
		}
		wantSame(t, agent, signedIn)
	})
}

// A process that knows nothing yet, 1,000 views at once: one request. When the user
// signed in only the first process knows; the session is named by the access token
// too.
func TestIdentityIsSharedByAllCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer, _, signedIn, stored := withoutIDToken(t)
		other := testkit.NewClient(t, issuer, nil)
		issuer.ResetCounters()
		issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Delay: time.Second})
		leaving, leave := context.WithCancel(t.Context())
		var views sync.WaitGroup
		views.Go(func() { // asks, and leaves
			if _, err := other.CreateAgent(leaving, stored, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v; want its own leaving", err)
			}
		})
		synctest.Wait()
		for range 1000 {
			views.Go(func() {
				agent, err := other.CreateAgent(t.Context(), stored, nil)
				if err != nil {
					t.Errorf("got %v; want Ada", err)
					return
				}
				if agent.SessionID != signedIn.SessionID || !agent.AuthTime.IsZero() {
					t.Errorf("got session %q, signed in at %v; want %q, not known", agent.SessionID, agent.AuthTime, signedIn.SessionID)
				}
			})
		}
		synctest.Wait()
		leave()
		views.Wait()
		if got := issuer.Requests("userinfo"); got != 1 {
			t.Errorf("got %d user info requests; want 1", got)
		}
	})
}

// A set with another subject beside the same access token does not spoil the request
// of the others.
func TestIdentityOfAnotherSubject(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer, _, _, stored := withoutIDToken(t)
		other := testkit.NewClient(t, issuer, nil)
		issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Delay: time.Second, Times: -1})
		foreign := stored
		foreign.SubjectHint = "usr_eve"
		var views sync.WaitGroup
		views.Go(func() {
			_, err := other.CreateAgent(t.Context(), foreign, nil)
			testkit.WantCode(t, err, "subject_mismatch")
		})
		synctest.Wait()
		if agent, err := other.CreateAgent(t.Context(), stored, nil); err != nil || agent.ID != testkit.Subject {
			t.Errorf("got %v, %v; want Ada", agent, err)
		}
		views.Wait()
	})
}

// A failure is not remembered, and neither is another user's identity handed out.
func TestIdentityThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer, _, _, stored := withoutIDToken(t)
		other := testkit.NewClient(t, issuer, nil)
		issuer.Inject(authpitest.Fault{Endpoint: "userinfo", Status: 503})
		if _, err := other.CreateAgent(t.Context(), stored, nil); authpi.SessionEnded(err) || err == nil {
			t.Errorf("got %v; want a passing failure", err)
		}
		for range 2 {
			if _, err := other.CreateAgent(t.Context(), stored, nil); err != nil {
				t.Errorf("got %v; want Ada", err)
			}
			foreign := stored
			foreign.SubjectHint = "usr_eve"
			_, err := other.CreateAgent(t.Context(), foreign, nil)
			testkit.WantCode(t, err, "subject_mismatch")
		}
	})
}

// The memory ends with the access token, and holds no token.
func TestIdentityMemoryEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer, client, _, stored := withoutIDToken(t)
		never := &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff}
		issuer.ResetCounters()
		time.Sleep(29 * time.Minute)
		if _, err := client.CreateAgent(t.Context(), stored, never); err != nil || issuer.Requests("userinfo") != 0 {
			t.Errorf("got %v, %d requests; want none", err, issuer.Requests("userinfo"))
		}
		time.Sleep(2 * time.Minute)
		_, _ = client.CreateAgent(t.Context(), stored, never)
		if issuer.Requests("userinfo") != 1 {
			t.Errorf("after expiry: got %d requests; want 1", issuer.Requests("userinfo"))
		}
	})
}

// A process that did not see the login reads the session from the access token, if
// that is this user's at this issuer. What user info says itself comes first.
func TestSessionOfAccessToken(t *testing.T) {
	t.Parallel()
	const says = `{"sub":"usr_1"}`
	token := func(claims string) string { return testkit.Unsigned(claims) }
	tests := []struct{ name, access, userInfo, session string }{
		{"this user's", token(`{"iss":"https://idp.example/i_1","sub":"usr_1","sid":"s_1"}`), says, "s_1"},
		{"and user info names another", token(`{"iss":"https://idp.example/i_1","sub":"usr_1","sid":"s_1"}`), `{"sub":"usr_1","sid":"s_2"}`, "s_2"},
		{"another user's", token(`{"iss":"https://idp.example/i_1","sub":"usr_2","sid":"s_1"}`), says, ""},
		{"another issuer's", token(`{"iss":"https://idp.example/i_2","sub":"usr_1","sid":"s_1"}`), says, ""},
		{"no sid", token(`{"iss":"https://idp.example/i_1","sub":"usr_1"}`), says, ""},
		{"no JSON", token(`x`), says, ""},
		{"opaque", "opaque", says, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) {
				return testkit.Reply(r, 200, nil, tc.userInfo), nil
			})
			tokens := authpi.TokenSet{AccessToken: tc.access, ExpiresAt: time.Now().Add(time.Hour), SubjectHint: "usr_1"}
			agent, err := client.CreateAgent(t.Context(), tokens, nil)
			if err != nil || agent.SessionID != tc.session {
				t.Errorf("got %v, %v with session %q; want %q", agent, err, agent.SessionID, tc.session)
			}
		})
	}
}

// What a refresh without ID token keeps of the agent before, at an issuer whose
// access tokens are opaque: the facts of the login, and what user info leaves out.
func TestRefreshKeepsTheLogin(t *testing.T) {
	t.Parallel()
	const idToken = `{"iss":"https://idp.example/i_1","aud":"c_1","sub":"usr_1","sid":"s_1","auth_time":1700000000,
		"email":"a@example.org","email_verified":true,"org_id":"org_1","exp":1800000000,"iat":1700000000}`
	tests := []struct {
		name, userInfo string
		want           authpi.Agent
	}{
		{"says nothing", `{"sub":"usr_1"}`, authpi.Agent{Email: "a@example.org", EmailVerified: true, OrgID: "org_1"}},
		{"the same address", `{"sub":"usr_1","email":"a@example.org"}`, authpi.Agent{Email: "a@example.org", EmailVerified: true, OrgID: "org_1"}},
		{"another address", `{"sub":"usr_1","email":"b@example.org"}`, authpi.Agent{Email: "b@example.org", OrgID: "org_1"}},
		{"not verified", `{"sub":"usr_1","email_verified":false}`, authpi.Agent{Email: "a@example.org", OrgID: "org_1"}},
		{"another organization", `{"sub":"usr_1","org_id":"org_2"}`, authpi.Agent{Email: "a@example.org", EmailVerified: true, OrgID: "org_2"}},
		{"no organization", `{"sub":"usr_1","org_id":""}`, authpi.Agent{Email: "a@example.org", EmailVerified: true}},
		{"a session and a login of its own", `{"sub":"usr_1","sid":"s_2","auth_time":1}`, authpi.Agent{Email: "a@example.org", EmailVerified: true, OrgID: "org_1"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			refreshes := 0
			client := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/i_1/userinfo" {
					return testkit.Reply(r, 200, nil, tc.userInfo), nil
				}
				refreshes++
				return testkit.Reply(r, 200, nil, fmt.Sprintf(`{"access_token":"at-%d","refresh_token":"rt-%d","expires_in":3600}`, refreshes, refreshes)), nil
			})
			tokens := authpi.TokenSet{AccessToken: "at", RefreshToken: "rt", IDToken: testkit.Unsigned(idToken)}
			for range 3 { // from the ID token, then from what is remembered
				agent, err := client.CreateAgent(t.Context(), tokens, nil)
				if err != nil {
					t.Fatal(err)
				}
				if agent.SessionID != "s_1" || !agent.AuthTime.Equal(time.Unix(1700000000, 0)) || agent.Email != tc.want.Email ||
					agent.EmailVerified != tc.want.EmailVerified || agent.OrgID != tc.want.OrgID {
					t.Errorf("after %d refreshes: got %+v; want %+v of session s_1", refreshes, agent, tc.want)
				}
				again, err := client.CreateAgent(t.Context(), agent.Tokens, nil)
				if err != nil || again.SessionID != agent.SessionID || again.Email != agent.Email || again.EmailVerified != agent.EmailVerified || again.OrgID != agent.OrgID {
					t.Errorf("the next view: got %+v, %v; want %+v", again, err, agent)
				}
				tokens = agent.Tokens
				tokens.ExpiresAt = time.Now()
			}
			if refreshes != 3 {
				t.Errorf("got %d refreshes; want 3", refreshes)
			}
		})
	}
}

// A caller that knows less than an earlier one of the same refresh does not take
// away what that one brought along.
func TestLateCallerKnowsLess(t *testing.T) {
	t.Parallel()
	client := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/i_1/userinfo" {
			return testkit.Reply(r, 200, nil, `{"sub":"usr_1"}`), nil
		}
		return testkit.Reply(r, 200, nil, `{"access_token":"at-1","refresh_token":"rt-1"}`), nil
	})
	old := authpi.TokenSet{AccessToken: "at", RefreshToken: "rt"}
	first, late := old, old
	first.IDToken = testkit.Unsigned(`{"sub":"usr_1","org_id":"org_1","sid":"s_1","email":"a@example.org"}`)
	late.SubjectHint = "usr_1"
	for _, tokens := range []authpi.TokenSet{first, late, late} {
		agent, err := client.CreateAgent(t.Context(), tokens, nil)
		if err != nil || agent.Tokens.AccessToken != "at-1" || agent.OrgID != "org_1" || agent.SessionID != "s_1" || agent.Email != "a@example.org" {
			t.Errorf("got %+v, %v; want all of it", agent, err)
		}
	}
}

// A process that starts with an expired set without ID token knows nothing of the
// login, and says so. What user info says counts then.
func TestRefreshWithoutAPast(t *testing.T) {
	t.Parallel()
	client := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/i_1/userinfo" {
			return testkit.Reply(r, 200, nil, `{"sub":"usr_1","email":"a@example.org","auth_time":7,"sid":"s_1"}`), nil
		}
		return testkit.Reply(r, 200, nil, `{"access_token":"at-1","refresh_token":"rt-1"}`), nil
	})
	agent, err := client.CreateAgent(t.Context(), authpi.TokenSet{AccessToken: "at", RefreshToken: "rt", SubjectHint: "usr_1"}, nil)
	if err != nil || agent.Email != "a@example.org" || agent.SessionID != "s_1" || agent.AuthTime.Unix() != 7 {
		t.Errorf("got %+v, %v; want what user info says", agent, err)
	}
}

// A set that mixes two users' tokens carries nothing of the one over to the other.
func TestMixedTokensCarryNothingOver(t *testing.T) {
	t.Parallel()
	client := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Path != "/i_1/userinfo":
			return testkit.Reply(r, 200, nil, `{"access_token":"at-bob","refresh_token":"rt-2"}`), nil
		case r.Header.Get("Authorization") == "Bearer at-bob":
			return testkit.Reply(r, 200, nil, `{"sub":"usr_bob"}`), nil
		}
		return testkit.Reply(r, 200, nil, `{"sub":"usr_ada","email":"ada@example.org","sid":"s_ada","org_id":"org_ada"}`), nil
	})
	ada := authpi.TokenSet{AccessToken: "at-ada", ExpiresAt: time.Now().Add(time.Hour), SubjectHint: "usr_ada"}
	if agent, err := client.CreateAgent(t.Context(), ada, nil); err != nil || agent.SessionID != "s_ada" {
		t.Fatalf("got %v, %v; want Ada", agent, err)
	}
	agent, err := client.CreateAgent(t.Context(), authpi.TokenSet{AccessToken: "at-ada", RefreshToken: "rt-bob", SubjectHint: "usr_bob"}, nil)
	if err != nil || agent.ID != "usr_bob" || agent.Email != "" || agent.SessionID != "" || agent.OrgID != "" {
		t.Errorf("got %+v, %v; want Bob, and nothing of Ada's", agent, err)
	}
}
