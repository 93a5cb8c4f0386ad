package refusals_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestSentinels(t *testing.T) {
	t.Parallel()
	sentinels := map[string]error{
		"token_expired": authpi.ErrTokenExpired, "invalid_token": authpi.ErrInvalidToken, "invalid_state": authpi.ErrInvalidState,
		"invalid_nonce": authpi.ErrInvalidNonce, "invalid_grant": authpi.ErrInvalidGrant, "insufficient_scope": authpi.ErrInsufficientScope,
		"session_expired": authpi.ErrSessionExpired, "user_blocked": authpi.ErrUserBlocked,
		"account_linking_required": authpi.ErrAccountLinkingRequired, "interaction_required": authpi.ErrInteractionRequired,
		"login_required": authpi.ErrLoginRequired, "consent_required": authpi.ErrConsentRequired,
	}
	if len(sentinels) != 12 {
		t.Fatalf("got %d sentinels; want 12", len(sentinels))
	}
	for code, sentinel := range sentinels {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			err := fmt.Errorf("handler: %w", &authpi.OAuthError{Code: code})
			for other, candidate := range sentinels {
				if got := errors.Is(err, candidate); got != (other == code) {
					t.Errorf("errors.Is(%s, %s): got %t; want %t", code, other, got, other == code)
				}
			}
			if got := sentinel.Error(); got != "authpi: "+code {
				t.Errorf("got %q; want authpi: %s", got, code)
			}
			if errors.Is(&authpi.OAuthError{Code: "another"}, sentinel) || errors.Is(&authpi.OAuthError{}, sentinel) {
				t.Errorf("got another code to match %s", code)
			}
		})
	}
}

func TestOAuthErrorText(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*authpi.OAuthError{
		"authpi":           {},
		"authpi: a":        {Code: "a"},
		"authpi: a: b":     {Code: "a", Description: "b", URI: "https://x.example", StatusCode: 400},
		"authpi: just why": {Description: "just why"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q; want %q", got, want)
		}
		if e.Unwrap() != nil {
			t.Errorf("%s: got a cause; want none", want)
		}
	}
	c := &authpi.ConfigurationError{Field: "ClientID", Reason: "is required"}
	if got := c.Error(); got != "authpi: configuration: ClientID is required" {
		t.Errorf("got %q", got)
	}
}

func TestSubjectMismatchError(t *testing.T) {
	t.Parallel()
	err := error(&authpi.SubjectMismatchError{Expected: "usr_1", Actual: "usr_2"})
	e := testkit.WantCode(t, err, "subject_mismatch", "usr_1", "usr_2")
	if errors.Is(err, authpi.ErrInvalidToken) || !authpi.SessionEnded(err) || e.StatusCode != 0 {
		t.Errorf("got %+v; want a mismatch alone, which ends the session", e)
	}
}

func TestSessionEnded(t *testing.T) {
	t.Parallel()
	oauth := func(code string, status int) error { return &authpi.OAuthError{Code: code, StatusCode: status} }
	ended := []string{
		"token_expired", "invalid_token", "invalid_state", "invalid_nonce", "invalid_grant", "session_expired", "user_blocked",
		"account_linking_required", "interaction_required", "login_required", "consent_required", "subject_mismatch", "invalid_issuer", "access_denied",
	}
	alive := []string{
		"", "transport_error", "invalid_request", "invalid_client", "invalid_scope", "insufficient_scope", "server_error",
		"temporarily_unavailable", "slow_down", "token_error", "refresh_error", "userinfo_error", "invalid_response", "INVALID_GRANT",
	}
	for _, code := range ended {
		for _, status := range []int{0, 400, 401, 403} {
			if err := oauth(code, status); !authpi.SessionEnded(err) || !authpi.SessionEnded(fmt.Errorf("x: %w", err)) {
				t.Errorf("%s with %d: got false; want true", code, status)
			}
		}
		// What speaks of the issuer's state says nothing of the session.
		for _, status := range []int{408, 425, 429, 500, 502, 503, 504, 599} {
			if authpi.SessionEnded(oauth(code, status)) {
				t.Errorf("%s with %d: got true; want false, a passing failure", code, status)
			}
		}
	}
	for _, code := range alive {
		for _, status := range []int{0, 400, 401, 429, 503} {
			if authpi.SessionEnded(oauth(code, status)) {
				t.Errorf("%q with %d: got true; want false", code, status)
			}
		}
	}
	for name, err := range map[string]error{
		"nil": nil, "foreign": errors.New("invalid_grant"), "cancelled": context.Canceled, "sentinel alone": authpi.ErrInvalidGrant,
		"configuration": &authpi.ConfigurationError{Field: "ClientID", Reason: "is required"},
	} {
		if authpi.SessionEnded(err) {
			t.Errorf("%s: got true; want false", name)
		}
	}
	if !authpi.SessionEnded(&authpi.SubjectMismatchError{Expected: "a", Actual: "b"}) {
		t.Error("subject mismatch: got false; want true")
	}
}

// Every failure of a refresh is a *RefreshError that unwraps to an *OAuthError.
func TestRefreshErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fault authpitest.Fault
		code  string
		ended bool
		kept  bool // the error carries the new tokens
	}{
		{"invalid_grant", authpitest.Fault{Status: 400, Body: `{"error":"invalid_grant"}`}, "invalid_grant", true, false},
		{"user_blocked", authpitest.Fault{Status: 403, Body: `{"error":"user_blocked"}`}, "user_blocked", true, false},
		{"429", authpitest.Fault{Status: 429, Body: `{"error":"invalid_grant"}`}, "invalid_grant", false, false},
		{"503", authpitest.Fault{Status: 503, Body: `busy`}, "refresh_error", false, false},
		{"400 without code", authpitest.Fault{Status: 400, Body: `{}`}, "refresh_error", false, false},
		{"no JSON", authpitest.Fault{Body: `<html>`}, "invalid_response", false, false},
		{"no answer", authpitest.Fault{Drop: true}, "transport_error", false, false},
		{"ID token of another subject", authpitest.Fault{IDToken: testkit.SetClaim("sub", "usr_bob")}, "subject_mismatch", true, true},
		{"ID token of another issuer", authpitest.Fault{IDToken: testkit.SetClaim("iss", "https://evil.example")}, "invalid_token", true, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			issuer, client := testkit.New(t, nil, nil)
			agent := testkit.SignIn(t, client, issuer, nil)
			tc.fault.Endpoint = "token"
			issuer.Inject(tc.fault)
			renewed, err := client.Refresh(t.Context(), agent, nil)
			var e *authpi.RefreshError
			if !errors.As(err, &e) || renewed != nil {
				t.Fatalf("got %v, %v; want a *RefreshError", renewed, err)
			}
			testkit.WantCode(t, err, tc.code)
			if got := authpi.SessionEnded(err); got != tc.ended {
				t.Errorf("SessionEnded(%v): got %t; want %t", err, got, tc.ended)
			}
			tokens, ok := e.Tokens()
			if ok != tc.kept || ok != (tokens.AccessToken != "") {
				t.Errorf("Tokens: got %v, %t; want them %t", tokens, ok, tc.kept)
			}
			testkit.WantHidden(t, err.Error(), agent.Tokens.RefreshToken, agent.Tokens.AccessToken, agent.Tokens.IDToken, tokens.AccessToken, tokens.RefreshToken)
		})
	}
}

// A type of ours is found from any call, and none of its texts ends in a full stop.
func TestErrorStyle(t *testing.T) {
	t.Parallel()
	client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.ClientSecret = "hush-hush" }, func(r *http.Request) (*http.Response, error) {
		return testkit.Reply(r, 500, nil, "oops"), nil
	})
	for name, call := range testkit.FormCalls(t.Context(), client) {
		text := call().Error()
		if len(text) < 8 || text[:8] != "authpi: " || text[len(text)-1] == '.' {
			t.Errorf("%s: got %q; want a text that begins with authpi: and has no full stop", name, text)
		}
	}
}
