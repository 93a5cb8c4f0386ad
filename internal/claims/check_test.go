package claims_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/claims"
)

var now = time.Unix(1_800_000_000, 0)

func policy() claims.Policy {
	return claims.Policy{Issuer: "https://idp.example/i_1", ClientID: "c_1", Now: now, Skew: 30 * time.Second}
}

// members are a token's claims; nil takes one out.
type members map[string]any

func after(d time.Duration) int64 { return now.Add(d).Unix() }

// decoded are base's claims with change.
func decoded(t *testing.T, base, change members) *claims.Claims {
	t.Helper()
	all := maps.Clone(base)
	for name, value := range change {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := claims.Parse[organization](string(text))
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// wantPart fails the test unless err is an *Error about part; an empty part is none.
func wantPart(t *testing.T, err error, part string) {
	t.Helper()
	var refused *claims.Error
	switch {
	case part == "" && err != nil:
		t.Errorf("got %v; want it accepted", err)
	case part != "" && (!errors.As(err, &refused) || refused.Part != part || refused.Reason == "" || err.Error() != part+": "+refused.Reason):
		t.Errorf("got %v; want %s refused, with a reason", err, part)
	}
}

var idToken = members{
	"iss": "https://idp.example/i_1", "aud": "c_1", "sub": "usr_1", "exp": after(time.Minute), "iat": after(0),
	"nonce": "n", "azp": "c_1", "auth_time": after(-time.Minute),
}

func TestIDToken(t *testing.T) {
	t.Parallel()
	const access = "the access token"
	half := func(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) }
	sha256Half, sha512Half := sha256.Sum256([]byte(access)), sha512.Sum512([]byte(access))
	tests := []struct {
		name   string
		change members
		want   func(*claims.IDTokenPolicy)
		part   string
	}{
		{name: "as it should be"},
		{name: "no iss", change: members{"iss": nil}, part: "iss"},
		{name: "another issuer", change: members{"iss": "https://idp.example/i_1/"}, part: "iss"},
		{name: "no aud", change: members{"aud": nil}, part: "aud"},
		{name: "another client", change: members{"aud": "c_2"}, part: "aud"},
		{name: "aud with a number", change: members{"aud": []any{"c_1", 1}}, part: "aud"},
		{name: "aud with a number in front", change: members{"aud": []any{1, "c_1"}}, part: "aud"},
		{name: "several audiences", change: members{"aud": []string{"api", "c_1"}}},
		{name: "several audiences, no azp", change: members{"aud": []string{"api", "c_1"}, "azp": nil}, part: "azp"},
		{name: "one audience, no azp", change: members{"aud": []string{"c_1"}, "azp": nil}},
		{name: "azp of another", change: members{"azp": "c_2"}, part: "azp"},
		{name: "azp a number", change: members{"azp": 1}, part: "azp"},
		{name: "no exp", change: members{"exp": nil}, part: "exp"},
		{name: "exp a text", change: members{"exp": "1"}, part: "exp"},
		{name: "exp passed, within the leeway", change: members{"exp": after(-29 * time.Second)}},
		{name: "exp passed by the leeway", change: members{"exp": after(-30 * time.Second)}, part: "exp"},
		{name: "no iat", change: members{"iat": nil}, part: "iat"},
		{name: "iat a text", change: members{"iat": "1"}, part: "iat"},
		{name: "iat ahead, within the leeway", change: members{"iat": after(30 * time.Second)}},
		{name: "iat ahead of the leeway", change: members{"iat": after(31 * time.Second)}, part: "iat"},
		{name: "nbf a text", change: members{"nbf": "1"}, part: "nbf"},
		{name: "nbf ahead, within the leeway", change: members{"nbf": after(30 * time.Second)}},
		{name: "nbf ahead of the leeway", change: members{"nbf": after(31 * time.Second)}, part: "nbf"},
		{name: "exp passed since it was asked for", change: members{"exp": after(-time.Hour)},
			want: func(p *claims.IDTokenPolicy) { p.SentAt = now.Add(-time.Hour) }},
		{name: "exp passed before it was asked for", change: members{"exp": after(-time.Hour)},
			want: func(p *claims.IDTokenPolicy) { p.SentAt = now.Add(-time.Hour + 30*time.Second) }, part: "exp"},
		{name: "iat ahead, by a clock set back since", change: members{"iat": after(time.Hour), "exp": after(2 * time.Hour)},
			want: func(p *claims.IDTokenPolicy) { p.SentAt = now.Add(time.Hour) }},
		{name: "exp passed by a clock set back since", change: members{"exp": after(30 * time.Minute)},
			want: func(p *claims.IDTokenPolicy) { p.SentAt = now.Add(time.Hour) }},
		{name: "no sub", change: members{"sub": nil}, part: "sub"},
		{name: "sub a number", change: members{"sub": 7}, part: "sub"},
		{name: "the session's sub", want: func(p *claims.IDTokenPolicy) { p.Subject = "usr_1" }},
		{name: "the login's nonce", want: func(p *claims.IDTokenPolicy) { p.Nonce = "n" }},
		{name: "max_age, signed in just then", want: func(p *claims.IDTokenPolicy) { p.MaxAge = 30 * time.Second }},
		{name: "max_age, signed in before", want: func(p *claims.IDTokenPolicy) { p.MaxAge = 29 * time.Second }, part: "auth_time"},
		{name: "max_age, not said when", change: members{"auth_time": nil}, want: func(p *claims.IDTokenPolicy) { p.MaxAge = time.Hour }, part: "auth_time"},
		{name: "a fresh one asked for, and it is", change: members{"auth_time": after(-30 * time.Second)}, want: func(p *claims.IDTokenPolicy) { p.MaxAge = -1 }},
		{name: "a fresh one asked for, and it is not", want: func(p *claims.IDTokenPolicy) { p.MaxAge = -1 }, part: "auth_time"},
		{name: "at_hash", change: members{"at_hash": half(sha256Half[:])}},
		{name: "at_hash by SHA-512 for EdDSA", change: members{"at_hash": half(sha512Half[:])}, want: func(p *claims.IDTokenPolicy) { p.Algorithm = "EdDSA" }},
		{name: "at_hash by SHA-256 for EdDSA", change: members{"at_hash": half(sha256Half[:])}, want: func(p *claims.IDTokenPolicy) { p.Algorithm = "EdDSA" }},
		{name: "at_hash of another token for EdDSA", change: members{"at_hash": half(sha256Half[1:])},
			want: func(p *claims.IDTokenPolicy) { p.Algorithm = "EdDSA" }, part: "at_hash"},
		{name: "at_hash by SHA-512 for ES256", change: members{"at_hash": half(sha512Half[:])}, part: "at_hash"},
		{name: "at_hash of another token", change: members{"at_hash": half(sha256Half[1:])}, part: "at_hash"},
		{name: "at_hash a number", change: members{"at_hash": 1}, part: "at_hash"},
		{name: "at_hash of no known algorithm", change: members{"at_hash": half(sha256Half[:])}, want: func(p *claims.IDTokenPolicy) { p.Algorithm = "" }, part: "at_hash"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := claims.IDTokenPolicy{Policy: policy(), AccessToken: access, Algorithm: "ES256"}
			if tc.want != nil {
				tc.want(&p)
			}
			wantPart(t, p.Check(decoded(t, idToken, tc.change)), tc.part)
		})
	}
}

// What is missing is told from what is wrong.
func TestReasons(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]members{
		"exp: is missing": {"exp": nil},
		"exp: is no date": {"exp": "1"},
		"exp: has passed, at 2027-01-15T07:00:00Z; here it is 2027-01-15T08:00:00Z": {"exp": after(-time.Hour)},
		"iat: is missing": {"iat": nil},
		"iat: is no date": {"iat": true},
		"iat: lies ahead, at 2027-01-15T09:00:00Z; here it is 2027-01-15T08:00:00Z":                       {"iat": after(time.Hour)},
		"nbf: lies ahead, at 2027-01-15T09:00:00Z; here it is 2027-01-15T08:00:00Z":                       {"nbf": after(time.Hour)},
		"auth_time: is missing or no date, although max_age was asked for":                                {"auth_time": nil},
		"auth_time: is longer ago than max_age, at 2027-01-15T07:59:00Z; here it is 2027-01-15T08:00:00Z": {},
	} {
		p := claims.IDTokenPolicy{Policy: policy(), MaxAge: time.Second}
		p.Now = p.Now.In(time.FixedZone("", 3600)) // the dates of a token have no zone
		if err := p.Check(decoded(t, idToken, change)); err == nil || err.Error() != says {
			t.Errorf("got %v; want %s", err, says)
		}
	}
}

func TestIDTokenOfAnother(t *testing.T) {
	t.Parallel()
	p := claims.IDTokenPolicy{Policy: policy(), Subject: "usr_2"}
	var other *claims.SubjectError
	if err := p.Check(decoded(t, idToken, nil)); !errors.As(err, &other) || other.Expected != "usr_2" || other.Actual != "usr_1" {
		t.Errorf("got %v; want a *SubjectError with both", err)
	}
	for _, nonce := range []any{nil, "", "other", 7} {
		p = claims.IDTokenPolicy{Policy: policy(), Nonce: "n"}
		if err := p.Check(decoded(t, idToken, members{"nonce": nonce})); !errors.Is(err, claims.ErrNonce) {
			t.Errorf("nonce %v: got %v; want ErrNonce", nonce, err)
		}
	}
}

// What both the new ID token and the one before say must be the same.
func TestContinuity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		before, change members
		part           string
	}{
		{name: "the same"},
		{name: "another issuer before", before: members{"iss": "https://idp.example/i_0"}, part: "iss"},
		{name: "no issuer before", before: members{"iss": nil}},
		{name: "an audience less", before: members{"aud": []string{"c_1", "api"}}, part: "aud"},
		{name: "an audience more", change: members{"aud": []string{"c_1", "api"}}},
		{name: "no audience before", before: members{"aud": nil}},
		{name: "another auth_time", before: members{"auth_time": after(-time.Hour)}, part: "auth_time"},
		{name: "no auth_time before", before: members{"auth_time": nil}},
		{name: "no auth_time now", change: members{"auth_time": nil}},
		{name: "another azp", before: members{"azp": "c_2"}, part: "azp"},
		{name: "no azp now", change: members{"azp": nil}},
		{name: "another nonce", before: members{"nonce": "m"}, part: "nonce"},
		{name: "no nonce before", before: members{"nonce": nil}},
		{name: "no nonce now", change: members{"nonce": nil}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := claims.IDTokenPolicy{Policy: policy(), Previous: decoded(t, idToken, tc.before)}
			wantPart(t, p.Check(decoded(t, idToken, tc.change)), tc.part)
		})
	}
}

func TestAccessToken(t *testing.T) {
	t.Parallel()
	base := members{"iss": "https://idp.example/i_1", "aud": []string{"api", "c_1"}, "sub": "usr_1", "exp": after(time.Minute), "iat": after(0)}
	tests := []struct {
		name, typ, audience string
		change              members
		part, says          string
	}{
		{name: "as it should be", typ: "at+jwt", audience: "api"},
		{name: "typ in full and capitals", typ: "Application/AT+JWT", audience: "c_1"},
		{name: "no typ", audience: "api", part: "typ", says: "this is an ID token or a refresh token"},
		{name: "an ID token by its nonce", audience: "api", change: members{"nonce": "n"}, part: "typ", says: "this is an ID token"},
		{name: "an ID token by its at_hash", audience: "api", change: members{"at_hash": "n"}, part: "typ", says: "this is an ID token"},
		{name: "an ID token by its email", audience: "api", change: members{"email": "n"}, part: "typ", says: "this is an ID token"},
		{name: "an ID token by its memberships", audience: "api", change: members{"organizations": []any{map[string]any{"id": "o"}}}, part: "typ", says: "this is an ID token"},
		{name: "a logout token", typ: "logout+jwt", audience: "api", part: "typ", says: `a token of type "logout+jwt"`},
		{name: "another issuer", typ: "at+jwt", audience: "api", change: members{"iss": "x"}, part: "iss"},
		{name: "another API", typ: "at+jwt", audience: "other", part: "aud", says: `want "other"`},
		{name: "no sub", typ: "at+jwt", audience: "api", change: members{"sub": nil}, part: "sub"},
		{name: "no exp", typ: "at+jwt", audience: "api", change: members{"exp": nil}, part: "exp"},
		{name: "no iat", typ: "at+jwt", audience: "api", change: members{"iat": nil}, part: "iat"},
		{name: "nbf ahead", typ: "at+jwt", audience: "api", change: members{"nbf": after(time.Hour)}, part: "nbf"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := policy()
			err := p.AccessToken(decoded(t, base, tc.change), tc.typ, tc.audience)
			wantPart(t, err, tc.part)
			if err != nil && !strings.HasSuffix(err.Error(), tc.says) {
				t.Errorf("got %v; want it to end in %q", err, tc.says)
			}
		})
	}
}

func TestLogoutToken(t *testing.T) {
	t.Parallel()
	const event = "http://schemas.openid.net/event/backchannel-logout"
	base := members{
		"iss": "https://idp.example/i_1", "aud": "c_1", "sub": "usr_1", "sid": "s_1", "jti": "j", "exp": after(time.Minute), "iat": after(0),
		"events": map[string]any{event: map[string]any{}},
	}
	tests := []struct {
		name, typ string
		change    members
		part      string
	}{
		{name: "as it should be", typ: "logout+jwt"},
		{name: "no typ"},
		{name: "typ JWT", typ: "JWT"},
		{name: "typ in full", typ: "application/Logout+JWT"},
		{name: "an access token", typ: "at+jwt", part: "typ"},
		{name: "sub alone", change: members{"sid": nil}},
		{name: "sid alone", change: members{"sub": nil}},
		{name: "neither", change: members{"sub": nil, "sid": nil}, part: "sub"},
		{name: "another issuer", change: members{"iss": "x"}, part: "iss"},
		{name: "another client", change: members{"aud": "x"}, part: "aud"},
		{name: "expired", change: members{"exp": after(-time.Hour)}, part: "exp"},
		{name: "no events", change: members{"events": nil}, part: "events"},
		{name: "another event", change: members{"events": members{"x": members{}}}, part: "events"},
		{name: "an event that is no object", change: members{"events": members{event: true}}, part: "events"},
		{name: "a nonce", change: members{"nonce": ""}, part: "nonce"},
		{name: "no jti", change: members{"jti": nil}, part: "jti"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := policy()
			wantPart(t, p.LogoutToken(decoded(t, base, tc.change), tc.typ), tc.part)
		})
	}
}

// What is stored is checked for what does not change; a user info answer needs no
// dates.
func TestStoredTokensAndUserInfo(t *testing.T) {
	t.Parallel()
	base := members{"iss": "https://idp.example/i_1", "aud": "c_1", "sub": "usr_1", "client_id": "c_1", "exp": 1}
	p := policy()
	idToken := func(typ string) func(*claims.Claims) error {
		return func(c *claims.Claims) error { return p.StoredIDToken(c, typ) }
	}
	access := func(typ, subject string) func(*claims.Claims) error {
		return func(c *claims.Claims) error { return p.StoredAccessToken(c, typ, subject) }
	}
	tests := []struct {
		name   string
		check  func(*claims.Claims) error
		change members
		part   string
	}{
		{"ID token", idToken(""), nil, ""},
		{"ID token: an access token", idToken("at+jwt"), nil, "typ"},
		{"ID token: another issuer", idToken("JWT"), members{"iss": "x"}, "iss"},
		{"ID token: another client", idToken(""), members{"aud": "x"}, "aud"},
		{"access token", access("at+jwt", "usr_1"), members{"aud": "api"}, ""},
		{"access token: anybody's", access("at+jwt", ""), nil, ""},
		{"access token: an ID token", access("", "usr_1"), nil, "typ"},
		{"access token: another issuer", access("at+jwt", "usr_1"), members{"iss": "x"}, "iss"},
		{"access token: another client", access("at+jwt", "usr_1"), members{"client_id": "x"}, "client_id"},
		{"access token: another subject", access("at+jwt", "usr_2"), nil, "sub"},
		{"user info", p.UserInfo, members{"exp": nil}, ""},
		{"user info: another issuer", p.UserInfo, members{"exp": nil, "iss": "x"}, "iss"},
		{"user info: another client", p.UserInfo, members{"exp": nil, "aud": "x"}, "aud"},
		{"user info: expired", p.UserInfo, nil, "exp"},
		{"user info: iat ahead", p.UserInfo, members{"exp": nil, "iat": after(time.Hour)}, "iat"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			wantPart(t, tc.check(decoded(t, base, tc.change)), tc.part)
		})
	}
}

func TestPlausible(t *testing.T) {
	t.Parallel()
	p := policy()
	for name, tc := range map[string]struct {
		change  members
		subject string
		want    bool
	}{
		"anybody's":        {nil, "", true},
		"the session's":    {nil, "usr_1", true},
		"another's":        {nil, "usr_2", false},
		"nobody's":         {members{"sub": ""}, "", false},
		"another issuer":   {members{"iss": "x"}, "", false},
		"another client":   {members{"aud": "x"}, "", false},
		"expired long ago": {members{"exp": 1}, "", true},
	} {
		if got := p.Plausible(decoded(t, idToken, tc.change), tc.subject); got != tc.want {
			t.Errorf("%s: got %v; want %v", name, got, tc.want)
		}
	}
}
