package records_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
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

// The record of a coordinator is about the coordinator alone: whether it did what was
// asked of it, whatever the issuer said.
func TestRecordOfACoordinator(t *testing.T) {
	loses := func(ctx context.Context, _ string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
		_, err := spend(ctx)
		return nil, errors.Join(err, errors.New("redis has left"))
	}
	for _, tc := range []struct {
		name   string
		issuer *authpitest.Options
		fault  authpitest.Fault
		do     testkit.CoordinatorFunc
		want   string // its error; empty: it did
	}{
		{"shares a set", nil, authpitest.Fault{}, testkit.NewCoordinator().Do, ""},
		{"shares a refusal", nil, authpitest.Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, testkit.NewCoordinator().Do, ""},
		{"has no set to share", &authpitest.Options{NoRotation: true}, authpitest.Fault{}, testkit.NewCoordinator().Do, ""},
		{"has no refusal to share", nil, authpitest.Fault{Status: 503}, testkit.NewCoordinator().Do, ""},
		{"loses a set", nil, authpitest.Fault{}, loses, "could not be shared"},
		{"loses a refusal", nil, authpitest.Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, loses, "could not be shared"},
		{"loses a token that stays", &authpitest.Options{NoRotation: true}, authpitest.Fault{}, loses, ""},
		{"loses what is not final", nil, authpitest.Fault{Status: 503}, loses, ""},
		{"is deaf once it has a set", nil, authpitest.Fault{}, func(ctx context.Context, _ string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
			defer time.Sleep(time.Hour)
			return spend(ctx)
		}, "could not be shared: no answer in time"},
		{"fails", nil, authpitest.Fault{}, func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error) {
			return nil, errors.New("redis is away")
		}, "redis is away"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			shared := func(cfg *authpi.Config) { cfg.Coordinator = tc.do }
			testkit.Bubble(t, tc.issuer, shared, func(t *testing.T, e *testkit.Env) {
				tokens := e.Expired()
				if tc.fault.Status != 0 {
					e.Fault(tc.fault)
				}
				_, _ = e.Create(tokens, nil)
				time.Sleep(2 * time.Hour)
				lines := e.Log.With(`"op":"coordinate"`)
				if len(lines) != 1 || !strings.Contains(lines[0], tc.want) || strings.Contains(lines[0], `"outcome":"ok"`) != (tc.want == "") {
					t.Errorf("got %q; want the error %q", lines, tc.want)
				}
			})
		})
	}
}
