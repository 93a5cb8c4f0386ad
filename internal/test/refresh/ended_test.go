package refresh_test

import (
	"errors"
	"fmt"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// verdicts are answers that refuse a refresh, and whether the session has ended by them.
var verdicts = []struct {
	status int
	body   string
	asks   bool // resources were asked for
	ended  bool
}{
	{400, `{"error":"invalid_grant"}`, false, true},
	{400, `{"error":"refresh_token_expired"}`, false, true},
	{400, `{"error":"token_revoked"}`, false, true},
	{401, `{"error":"token_revoked"}`, false, true},
	{403, `{"error":"token_revoked"}`, false, true},
	{400, `{"error":"refresh_token_reused","error_description":"used before"}`, true, true},
	{403, `{"error":"user_deleted"}`, false, true},
	{401, `{"error":"session_revoked"}`, true, true},
	{400, `{"error":"login_required"}`, false, true},
	{400, `{"error":"mfa_required"}`, false, true},
	{403, `{"error":"access_denied"}`, false, true},
	{403, `{"error":"access_denied"}`, true, false},
	{401, `{"error":"invalid_client"}`, false, false},
	{400, `{"error":"unauthorized_client"}`, false, false},
	{400, `{"error":"unsupported_grant_type"}`, false, false},
	{400, `{"error":"invalid_request"}`, false, false},
	{400, `{"error":"invalid_scope"}`, false, false},
	{400, `{"error":"invalid_target"}`, true, false},
	{400, `<html>`, false, false}, // a gateway's
	{403, `<html>`, false, false},
	{401, ``, false, false},
	{400, `{"error":""}`, false, false},
	{400, `{"error":7}`, false, false},
	{400, `{"message":"no"}`, false, false},
	{404, `{"error":"token_revoked"}`, false, false},
	{429, `{"error":"token_revoked"}`, false, false},
	{500, `{"error":"token_revoked"}`, false, false},
	{503, `{"error":"invalid_grant"}`, false, false},
}

// A refusal ends the session whatever its code, but for what speaks of the client, of the
// request, or of the issuer's own state.
func TestWhatEndsASession(t *testing.T) {
	for _, tc := range verdicts {
		for _, way := range ways() {
			t.Run(fmt.Sprintf("%d %s, resources asked for %v/%s", tc.status, tc.body, tc.asks, way.name), func(t *testing.T) {
				testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
					withAPI(e)
					tokens := e.Expired()
					e.Fault(authpitest.Fault{Status: tc.status, Body: tc.body})
					store := &testkit.Store{Current: tokens}
					opts := store.Reloading()
					opts.Resources = []string{} // also where nil would mean Config's
					if tc.asks {
						opts.Resources = []string{api}
					}
					err := way.get(t.Context(), e.Client, tokens, opts)
					e.Log.Error(err)
					var failed *authpi.RefreshError
					if !errors.As(err, &failed) || authpi.SessionEnded(err) != tc.ended {
						t.Errorf("got %v, session ended %v; want a *RefreshError, %v", err, authpi.SessionEnded(err), tc.ended)
					}
					if way.hears {
						store.WantCalls(t, 0, 1)
					}
					e.WantSpent(1)
				})
			})
		}
	}
}
