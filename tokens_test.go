package authpi_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestTokenSetJSON(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		set  authpi.TokenSet
		want string
	}{
		{"zero", authpi.TokenSet{}, `{"access_token":"","token_type":"","expires_at":-62135596800,"refresh_token":null,"id_token":null,"subject_hint":null,"scope":null}`},
		{"machine", authpi.TokenSet{AccessToken: "at", TokenType: "Bearer", ExpiresAt: time.Unix(1760000000, 0).UTC(), Scope: "a b"},
			`{"access_token":"at","token_type":"Bearer","expires_at":1760000000,"refresh_token":null,"id_token":null,"subject_hint":null,"scope":"a b"}`},
		{"whole", authpi.TokenSet{
			AccessToken: "a", TokenType: "DPoP", ExpiresAt: time.Unix(1, 0).UTC(), RefreshToken: "r", IDToken: "i", SubjectHint: "usr_1", Scope: "openid",
		}, `{"access_token":"a","token_type":"DPoP","expires_at":1,"refresh_token":"r","id_token":"i","subject_hint":"usr_1","scope":"openid"}`},
		{"characters", authpi.TokenSet{AccessToken: "<&>\u00e9\u2028\"\\\n", ExpiresAt: time.Unix(-1, 0).UTC()},
			`{"access_token":"<&>` + "\u00e9\u2028" + `\"\\\n","token_type":"","expires_at":-1,"refresh_token":null,"id_token":null,"subject_hint":null,"scope":null}`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			data, err := tc.set.MarshalJSON()
			if err != nil || string(data) != tc.want {
				t.Errorf("got  %s, %v\nwant %s", data, err, tc.want)
			}
			whole, err := json.Marshal(struct{ Tokens authpi.TokenSet }{tc.set})
			if err != nil {
				t.Fatal(err)
			}
			var back struct{ Tokens authpi.TokenSet }
			if err := json.Unmarshal(whole, &back); err != nil || back.Tokens != tc.set {
				t.Errorf("through encoding/json: got %v, %v; want %v", back.Tokens, err, tc.set)
			}
			parsed, err := authpi.ParseTokenSet(data)
			if err != nil || parsed != tc.set {
				t.Errorf("ParseTokenSet: got %v, %v; want %v", parsed, err, tc.set)
			}
		})
	}
	t.Run("parts of a second are dropped", func(t *testing.T) {
		t.Parallel()
		set := authpi.TokenSet{AccessToken: "at", ExpiresAt: time.Unix(5, 999).In(time.FixedZone("", 3600))}
		data, err := set.MarshalJSON()
		if err != nil || !strings.Contains(string(data), `"expires_at":5,`) {
			t.Errorf("got %s, %v; want whole seconds", data, err)
		}
	})
}

func TestParseTokenSet(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stored string
		want         authpi.TokenSet
		says         string // "": accepted
	}{
		{"least", `{"access_token":"at","expires_at":7}`, authpi.TokenSet{AccessToken: "at", TokenType: "Bearer", ExpiresAt: time.Unix(7, 0).UTC()}, ""},
		{"empty access token", `{"access_token":"","expires_at":0}`, authpi.TokenSet{TokenType: "Bearer", ExpiresAt: time.Unix(0, 0).UTC()}, ""},
		{"unknown members and white space", " {\n\"x\": {\"access_token\": 1}, \"access_token\" : \"at\",\t\"expires_at\": 7.0 } ",
			authpi.TokenSet{AccessToken: "at", TokenType: "Bearer", ExpiresAt: time.Unix(7, 0).UTC()}, ""},
		{"escapes", `{"access_token":"\u0061\/t\n","expires_at":1e1}`, authpi.TokenSet{AccessToken: "a/t\n", TokenType: "Bearer", ExpiresAt: time.Unix(10, 0).UTC()}, ""},
		{"names in other case are others", `{"access_token":"at","expires_at":7,"Refresh_Token":"r"}`,
			authpi.TokenSet{AccessToken: "at", TokenType: "Bearer", ExpiresAt: time.Unix(7, 0).UTC()}, ""},

		{"access_token missing", `{"expires_at":7}`, authpi.TokenSet{}, "access_token"},
		{"access_token in other case", `{"Access_Token":"at","expires_at":7}`, authpi.TokenSet{}, "access_token"},
		{"access_token null", `{"access_token":null,"expires_at":7}`, authpi.TokenSet{}, "access_token"},
		{"access_token a number", `{"access_token":7,"expires_at":7}`, authpi.TokenSet{}, "access_token"},
		{"expires_at missing", `{"access_token":"at"}`, authpi.TokenSet{}, "expires_at"},
		{"expires_at null", `{"access_token":"at","expires_at":null}`, authpi.TokenSet{}, "expires_at"},
		{"expires_at digits in a text", `{"access_token":"at","expires_at":"7"}`, authpi.TokenSet{}, "expires_at"},
		{"expires_at with a fraction", `{"access_token":"at","expires_at":7.5}`, authpi.TokenSet{}, "expires_at"},
		{"expires_at too large", `{"access_token":"at","expires_at":9223372036854775808}`, authpi.TokenSet{}, "expires_at"},
		{"expires_at true", `{"access_token":"at","expires_at":true}`, authpi.TokenSet{}, "expires_at"},
		{"token_type null", `{"access_token":"at","expires_at":7,"token_type":null}`, authpi.TokenSet{}, "token_type"},
		{"token_type a number", `{"access_token":"at","expires_at":7,"token_type":7}`, authpi.TokenSet{}, "token_type"},
		{"refresh_token a list", `{"access_token":"at","expires_at":7,"refresh_token":["r"]}`, authpi.TokenSet{}, "refresh_token"},
		{"id_token a number", `{"access_token":"at","expires_at":7,"id_token":7}`, authpi.TokenSet{}, "id_token"},
		{"subject_hint an object", `{"access_token":"at","expires_at":7,"subject_hint":{}}`, authpi.TokenSet{}, "subject_hint"},
		{"scope a list", `{"access_token":"at","expires_at":7,"scope":["a"]}`, authpi.TokenSet{}, "scope"},
		{"a member twice", `{"access_token":"at","expires_at":7,"access_token":"at"}`, authpi.TokenSet{}, "JSON"},
		{"an unknown member twice", `{"access_token":"at","expires_at":7,"x":1,"x":2}`, authpi.TokenSet{}, "JSON"},
		{"two objects", `{"access_token":"at","expires_at":7}{}`, authpi.TokenSet{}, "JSON"},
		{"cut", `{"access_token":"at","expires_at":7`, authpi.TokenSet{}, "JSON"},
		{"no UTF-8", "{\"access_token\":\"\xff\",\"expires_at\":7}", authpi.TokenSet{}, ""},
		{"half a surrogate", `{"access_token":"\ud800","expires_at":7}`, authpi.TokenSet{}, ""},
		{"empty", ``, authpi.TokenSet{}, "object"},
		{"null", `null`, authpi.TokenSet{}, "object"},
		{"a list", `[]`, authpi.TokenSet{}, "object"},
		{"a text", `"{}"`, authpi.TokenSet{}, "object"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := authpi.ParseTokenSet([]byte(tc.stored))
			if tc.want != (authpi.TokenSet{}) {
				if err != nil || got != tc.want {
					t.Errorf("got %v, %v; want %v", got, err, tc.want)
				}
				return
			}
			e := testkit.WantCode(t, err, "invalid_token", "stored token set", tc.says)
			if !errors.Is(e, authpi.ErrInvalidToken) || got != (authpi.TokenSet{}) {
				t.Errorf("got %v, %v; want ErrInvalidToken and no set", got, err)
			}
			before := authpi.TokenSet{AccessToken: "before"}
			after := before
			if err := after.UnmarshalJSON([]byte(tc.stored)); !errors.Is(err, authpi.ErrInvalidToken) || after != before {
				t.Errorf("UnmarshalJSON: got %v, %v; want ErrInvalidToken and nothing changed", after, err)
			}
		})
	}
}

func TestTokenSetOAuth2(t *testing.T) {
	t.Parallel()
	set := authpi.TokenSet{
		AccessToken: "at", TokenType: "Bearer", ExpiresAt: time.Unix(1760000000, 0).UTC(), RefreshToken: "rt", IDToken: "it", Scope: "a b",
	}
	got := set.OAuth2()
	if got.AccessToken != "at" || got.TokenType != "Bearer" || got.RefreshToken != "rt" || !got.Expiry.Equal(set.ExpiresAt) {
		t.Errorf("got %+v; want the set's fields", got)
	}
	if got.Extra("id_token") != "it" || got.Extra("scope") != "a b" {
		t.Errorf("got extra %v and %v; want it and a b", got.Extra("id_token"), got.Extra("scope"))
	}
	if !got.Valid() == time.Now().Before(set.ExpiresAt) {
		t.Errorf("got valid %t at %v", got.Valid(), time.Now())
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	const longest = time.Duration(math.MaxInt64 / int64(time.Second) * int64(time.Second))
	now := testkit.NewClock().Now()
	tests := []struct {
		name    string
		now     time.Time
		expires time.Time
		in      time.Duration
		expired bool
	}{
		{"an hour", now, now.Add(time.Hour), time.Hour, false},
		{"31 s", now, now.Add(31 * time.Second), 31 * time.Second, false},
		{"30 s", now, now.Add(30 * time.Second), 30 * time.Second, true},
		{"29 s", now, now.Add(29 * time.Second), 29 * time.Second, true},
		{"now", now, now, 0, true},
		{"a second ago", now, now.Add(-time.Second), -time.Second, true},
		{"31 s, the clock between seconds", now.Add(999 * time.Millisecond), now.Add(31 * time.Second), 31 * time.Second, false},
		{"zero", now, time.Time{}, longest * -1, true},
		{"300 years", now, now.AddDate(300, 0, 0), longest, false},
		{"the last second there is", now, time.Unix(math.MaxInt64, 0), longest, false},
		{"the first second there is", now, time.Unix(math.MinInt64, 0), -longest, true},
		{"the last second, the clock at the first", time.Unix(math.MinInt64, 0), time.Unix(math.MaxInt64, 0), longest, false},
		{"the first second, the clock at the last", time.Unix(math.MaxInt64, 0), time.Unix(math.MinInt64, 0), -longest, true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.Now = func() time.Time { return tc.now } }, nil)
			agent, err := client.CreateAgent(t.Context(),
				authpi.TokenSet{AccessToken: "at", ExpiresAt: tc.expires, IDToken: testkit.Unsigned(`{"sub":"usr_1"}`)},
				&authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
			if err != nil {
				t.Fatal(err)
			}
			if got := agent.ExpiresIn(); got != tc.in {
				t.Errorf("ExpiresIn: got %v; want %v", got, tc.in)
			}
			if got := agent.IsExpired(); got != tc.expired {
				t.Errorf("IsExpired: got %t; want %t", got, tc.expired)
			}
			if got := agent.ExpiresAt(); !got.Equal(tc.expires) {
				t.Errorf("ExpiresAt: got %v; want %v", got, tc.expires)
			}
			if !agent.ExpiresWithin(tc.in) || tc.in > -longest && agent.ExpiresWithin(tc.in-time.Second) {
				t.Errorf("ExpiresWithin: want true from %v on", tc.in)
			}
		})
	}
}
