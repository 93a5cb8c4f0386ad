package records_test

import (
	"testing"

	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Where everything goes well nothing warns.
func TestNothingToWarnOf(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		e.MustCreate(e.Expired(), nil)
		if _, err := e.Client.ClientCredentialsSource(nil).Token(); err != nil {
			t.Error(err)
		}
		if lines := e.Log.With(`"level":"WARN"`); len(lines) != 0 {
			t.Errorf("got %q; want no warning", lines)
		}
	})
}

// A refresh by name that fails is a failure, whether or not the access token is good:
// its caller gets no tokens.
func TestRefreshByNameFails(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		agent := e.MustCreate(e.SignIn(), nil)
		e.Fault(authpitest.Fault{Status: 503})
		if _, err := e.Client.Refresh(t.Context(), agent, nil); err == nil {
			t.Fatal("got no error")
		}
		if lines := e.Log.With(`"still_good":false`); len(lines) != 1 {
			t.Errorf("got %q; want one record of the failure", lines)
		}
	})
}

// A request that fails is worth a warning, unless it says no more than that the user
// has to sign in again.
func TestLevelOfAFailedRequest(t *testing.T) {
	for name, tc := range map[string]struct {
		fault authpitest.Fault
		level string
	}{
		"the session is over":           {authpitest.Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, "INFO"},
		"the issuer is in trouble":      {authpitest.Fault{Status: 503}, "WARN"},
		"the client is refused":         {authpitest.Fault{Status: 401, Body: `{"error":"invalid_client"}`}, "WARN"},
		"the new ID token is refused":   {authpitest.Fault{IDToken: testkit.SetClaim("aud", "another")}, "WARN"},
		"the answer cannot be used":     {authpitest.Fault{Body: `{"refresh_token":"rt"}`}, "WARN"},
		"the answer is lost on its way": {authpitest.Fault{Drop: true}, "WARN"},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				e.Fault(tc.fault)
				if _, err := e.Create(tokens, nil); err == nil {
					t.Fatal("got no error")
				}
				if spent := entriesOf(t, e, "spend"); len(spent) != 1 || spent[0].Level != tc.level {
					t.Errorf("got %+v; want one record at %s", spent, tc.level)
				}
			})
		})
	}
}
