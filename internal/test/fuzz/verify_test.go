package fuzz_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// otherKey is one that the issuer does not publish.
var otherKey = testkit.RawKey{Alg: "EdDSA", Private: ed25519.NewKeyFromSeed([]byte("another seed of thirty-two bytes"))}

// forge makes a token of a header and of claims, one of which is changed: value is
// JSON, and an empty one leaves the claim out. more is put in after the rest, as it
// is. how says who signs.
func forge(how uint8, header, claims, name, value, more string) (raw, payload string) {
	payload = withMember(claims, name, value)
	payload = strings.TrimSuffix(payload, "}") + more + "}"
	switch how {
	default:
		raw = fuzzKey.Sign(header, payload)
	case 1:
		raw = otherKey.Sign(header, payload)
	case 2: // alg none, or whatever the header says
		raw = testkit.Base64([]byte(header)) + "." + testkit.Base64([]byte(payload)) + "."
	case 3: // HMAC under the public key
		raw = testkit.Base64([]byte(header)) + "." + testkit.Base64([]byte(payload))
		mac := hmac.New(sha256.New, fuzzKey.Private.Public().(ed25519.PublicKey))
		mac.Write([]byte(raw))
		raw += "." + testkit.Base64(mac.Sum(nil))
	case 4: // another payload's signature
		raw = fuzzKey.Sign(header, payload+" ")
		raw = testkit.Base64([]byte(header)) + "." + testkit.Base64([]byte(payload)) + raw[strings.LastIndexByte(raw, '.'):]
	}
	return raw, payload
}

// withMember replaces a member of a flat object of ours, or puts it in.
func withMember(text, name, value string) string {
	var o map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	delete(o, name)
	raw, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	if value == "" {
		return string(raw)
	}
	return strings.TrimSuffix(string(raw), "}") + "," + string(strictjson.AppendString(nil, name)) + ":" + value + "}"
}

// signedBy reports whether a token is one of the issuer's: strictly written, with
// its key, EdDSA and no key ID but that one. What package jws takes is held against
// go-jose by its own target.
func signedBy(t testing.TB, raw string) (token jws.Token, ok bool) {
	t.Helper()
	token, err := jws.Parse(raw)
	ok = err == nil && token.Algorithm == "EdDSA" && (!token.HasKeyID || token.KeyID == "raw")
	i := strings.LastIndexByte(raw, '.')
	return token, ok && raw == fuzzKey.Sign(headerOf(t, raw[:i]), token.Payload)
}

func headerOf(t testing.TB, raw string) string {
	t.Helper()
	part, _, _ := strings.Cut(raw, ".")
	return unb64(t, part)
}

// timely is what every kind of token must satisfy; the clock has no leeway here.
func timely(o object) bool {
	expires, ok := o.date("exp")
	issued, okIssued := o.date("iat")
	begins, okBegins := o.date("nbf")
	return ok && expires > fuzzNow && okIssued && issued <= fuzzNow && (!o.has("nbf") || okBegins && begins <= fuzzNow)
}

const accessClaims = `{"iss":"` + fuzzIssuer + `","aud":["https://api.example"],"sub":"usr_ada","client_id":"c_2","exp":1760000900,"iat":1760000000,"scope":"openid projects:read","organizations":[{"id":"org_1","scopes":["projects:**"]}]}`

// FuzzAccessToken holds VerifyAccessToken against the rules of RFC 9068 section 4,
// written down a second time: both accept, or both refuse.
func FuzzAccessToken(f *testing.F) {
	issuer := &answering{}
	client := issuer.client(f, nil)
	f.Fuzz(func(t *testing.T, how uint8, header, name, value, more string) {
		raw, payload := forge(how, header, accessClaims, name, value, more)
		agent, err := client.VerifyAccessToken(context.Background(), raw, "https://api.example")
		token, ok := signedBy(t, raw)
		o, strict := readObject(t, payload)
		typ := strings.ToLower(token.Type)
		ok = ok && strict && (typ == "at+jwt" || typ == "application/at+jwt") && timely(o) &&
			o.text("iss") == fuzzIssuer && slices.Contains(o.audience(), "https://api.example") && o.text("sub") != ""
		if (err == nil) != ok {
			t.Fatalf("%s %s: got %v; want a refusal: %t", header, payload, err, !ok)
		}
		again, errAgain := client.VerifyAccessToken(context.Background(), raw, "https://api.example")
		if (errAgain == nil) != ok {
			t.Fatalf("%s %s: got %v, and then %v", header, payload, err, errAgain)
		}
		if err != nil {
			wantRefused(t, agent, err, raw)
			return
		}
		wantIdentity(t, agent, o)
		wantOrganizations(t, again.Organizations, agent.Organizations)
		expires, _ := o.date("exp")
		want := authpi.TokenSet{AccessToken: raw, TokenType: "Bearer", ExpiresAt: agent.Tokens.ExpiresAt, Scope: o.text("scope")}
		if agent.Tokens != want || agent.Tokens.ExpiresAt.Unix() != expires || !agent.AuthTime.IsZero() || again.ID != agent.ID {
			t.Errorf("got %v; want %v", agent.Tokens, want)
		}
		wantOnlyOwnAccess(t, agent)
	})
}

// wantRefused is what every refusal of a token has in common.
func wantRefused(t testing.TB, agent *authpi.Agent, err error, raw string) {
	t.Helper()
	if agent != nil || !errors.Is(err, authpi.ErrInvalidToken) {
		t.Errorf("got %v, %v; want nobody and ErrInvalidToken", agent, err)
	}
	testkit.WantSilent(t, err, raw)
	if len(err.Error()) > 1<<10 {
		t.Errorf("got an error of %d bytes; want a short one", len(err.Error()))
	}
}

const logoutClaims = `{"iss":"` + fuzzIssuer + `","aud":"c_1","sub":"usr_ada","sid":"s_1","jti":"j_1","exp":1760000120,"iat":1760000000,"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`

// FuzzLogoutToken does the same by OpenID Connect Back-Channel Logout 1.0 section
// 2.6.
func FuzzLogoutToken(f *testing.F) {
	issuer := &answering{}
	client := issuer.client(f, nil)
	f.Fuzz(func(t *testing.T, how uint8, header, name, value, more string) {
		raw, payload := forge(how, header, logoutClaims, name, value, more)
		got, err := client.VerifyLogoutToken(context.Background(), raw)
		token, ok := signedBy(t, raw)
		o, strict := readObject(t, payload)
		typ := strings.ToLower(token.Type)
		events, _ := o["events"].(map[string]any)
		_, event := events["http://schemas.openid.net/event/backchannel-logout"].(map[string]any)
		ok = ok && strict && (!strings.Contains(typ, "+jwt") || typ == "logout+jwt" || typ == "application/logout+jwt") &&
			timely(o) && o.text("iss") == fuzzIssuer && slices.Contains(o.audience(), fuzzClient) &&
			(o.text("sub") != "" || o.text("sid") != "") && event && !o.has("nonce") && o.text("jti") != ""
		if (err == nil) != ok {
			t.Fatalf("%s %s: got %v; want a refusal: %t", header, payload, err, !ok)
		}
		if err != nil {
			if got != nil {
				t.Errorf("got %v beside %v", got, err)
			}
			wantRefused(t, nil, err, raw)
			return
		}
		expires, _ := o.date("exp")
		issued, _ := o.date("iat")
		if got.Issuer != fuzzIssuer || got.Subject != o.text("sub") || got.SessionID != o.text("sid") || got.JTI != o.text("jti") ||
			!slices.Equal(got.Audience, o.audience()) || got.ExpiresAt.Unix() != expires || got.IssuedAt.Unix() != issued {
			t.Errorf("got %+v; encoding/json says %v", got, o)
		}
	})
}

// FuzzTokenText changes whole tokens: nobody without the key makes one that is
// accepted, not even another spelling of a good one.
func FuzzTokenText(f *testing.F) {
	issuer := &answering{}
	client := issuer.client(f, nil)
	good := []string{
		fuzzKey.Sign(`{"alg":"EdDSA","kid":"raw","typ":"at+jwt"}`, accessClaims),
		fuzzKey.Sign(`{"alg":"EdDSA","typ":"at+jwt"}`, accessClaims),
		fuzzKey.Sign(`{"alg":"EdDSA","kid":"raw","typ":"logout+jwt"}`, logoutClaims),
	}
	for _, raw := range good {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		agent, err := client.VerifyAccessToken(context.Background(), raw, "https://api.example")
		if ok := slices.Contains(good[:2], raw); (err == nil) != ok {
			t.Errorf("access token: got %v; want a refusal: %t", err, !ok)
		}
		logout, logoutErr := client.VerifyLogoutToken(context.Background(), raw)
		if ok := slices.Contains(good[2:], raw); (logoutErr == nil) != ok {
			t.Errorf("logout token: got %v; want a refusal: %t", logoutErr, !ok)
		}
		for _, err := range []error{err, logoutErr} {
			if err != nil && len(raw) > 12 {
				testkit.WantSilent(t, err, raw)
			}
		}
		if (agent != nil) != (err == nil) || (logout != nil) != (logoutErr == nil) {
			t.Errorf("got %v, %v and %v, %v", agent, err, logout, logoutErr)
		}
	})
}
