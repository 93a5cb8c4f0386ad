package tokens_test

import (
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/tokens"
)

// An answer says what is wrong with it, and what else it holds is read all the same.
func TestFaultOfAnAnswer(t *testing.T) {
	for body, want := range map[string]string{
		`{"access_token":"at"}`:                        "",
		`{"access_token":"at","scope":7,"id_token":7}`: "scope, id_token: no text",
		`{"refresh_token":"rt"}`:                       "access_token is missing",
		`<html>`:                                       "the answer is no JSON object",
		`[]`:                                           "the answer is no JSON object",
	} {
		if got := tokens.ReadAnswer(body, time.Now()).Fault(); got != want {
			t.Errorf("%s: got %q; want %q", body, got, want)
		}
	}
}

// A lifetime is a number, or one as text; anything else counts as an hour.
func TestLifetimeOfAnAnswer(t *testing.T) {
	for raw, want := range map[string]int64{
		`60`: 60, `"60"`: 60, `"x"`: 3600, `"60x"`: 3600, `""`: 3600, `null`: 3600, `1.5`: 1, `-60`: -60,
	} {
		now := time.Unix(1_800_000_000, 0)
		answer := tokens.ReadAnswer(`{"access_token":"at","expires_in":`+raw+`}`, now)
		if got := answer.Set.ExpiresAt.Unix() - now.Unix(); got != want {
			t.Errorf("%s: got %d s; want %d", raw, got, want)
		}
	}
}

// One token of any kind makes a set more than the session of who has signed out.
func TestIsZero(t *testing.T) {
	for _, s := range []tokens.Set{{AccessToken: "at"}, {RefreshToken: "rt"}, {IDToken: "id"}} {
		if s.IsZero() {
			t.Errorf("%+v: got zero; want a set", s)
		}
	}
	if !(tokens.Set{Scope: "openid"}).IsZero() {
		t.Error("no token: got a set; want zero")
	}
}
