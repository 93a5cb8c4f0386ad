package fuzz_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// FuzzParseTokenSet holds stored token sets against encoding/json, and stores them
// again.
func FuzzParseTokenSet(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := authpi.ParseTokenSet(data)
		want, ok := wantTokenSet(t, string(data))
		if (err == nil) != ok || set != want {
			t.Fatalf("got %v, %v; encoding/json says %v, %t", set, err, want, ok)
		}
		if err != nil {
			if !errors.Is(err, authpi.ErrInvalidToken) {
				t.Errorf("got %v; want ErrInvalidToken", err)
			}
			if len(data) > 12 {
				testkit.WantSilent(t, err, string(data))
			}
			return
		}
		stored, err := json.Marshal(set)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		var again authpi.TokenSet
		if err := json.Unmarshal(stored, &again); err != nil || again != set {
			t.Errorf("got %v, %v back from %s; want %v", again, err, stored, set)
		}
	})
}

// wantTokenSet is the storage form, as encoding/json reads it.
func wantTokenSet(t *testing.T, text string) (set authpi.TokenSet, ok bool) {
	o, ok := readObject(t, text)
	if !ok {
		return authpi.TokenSet{}, false
	}
	set.TokenType = "Bearer"
	for name, field := range map[string]*string{"access_token": &set.AccessToken, "token_type": &set.TokenType} {
		value, isText := o[name].(string)
		if !isText && (o.has(name) || name == "access_token") {
			return authpi.TokenSet{}, false
		}
		if isText {
			*field = value
		}
	}
	for name, field := range map[string]*string{
		"refresh_token": &set.RefreshToken, "id_token": &set.IDToken, "subject_hint": &set.SubjectHint, "scope": &set.Scope,
	} {
		if *field, ok = o.textOrNull(name); !ok {
			return authpi.TokenSet{}, false
		}
	}
	seconds, ok := whole(o["expires_at"])
	if !ok {
		return authpi.TokenSet{}, false
	}
	set.ExpiresAt = time.Unix(seconds, 0).UTC()
	return set, true
}

// FuzzStoredAuthorization does the same for stored logins.
func FuzzStoredAuthorization(f *testing.F) {
	f.Fuzz(func(t *testing.T, data string) {
		before := authpi.AuthorizationURL{URL: "before", Resources: []string{"before"}}
		auth := before
		err := auth.UnmarshalJSON([]byte(data))
		o, ok := readObject(t, data)
		for _, name := range []string{"url", "code_verifier", "state", "nonce"} {
			_, isText := o[name].(string)
			ok = ok && isText
		}
		resources, all := o.texts("resources")
		if ok = ok && (all || o["resources"] == nil); (err == nil) != ok {
			t.Fatalf("got %v; want a refusal: %t", err, !ok)
		}
		if err != nil {
			testkit.WantCode(t, err, "invalid_request")
			if !sameLogin(auth, before) {
				t.Errorf("got %v beside %v; want nothing changed", auth, err)
			}
			for _, name := range []string{"code_verifier", "state", "nonce"} {
				if secret := o.text(name); len(secret) > 12 {
					testkit.WantSilent(t, err, secret)
				}
			}
			return
		}
		want := authpi.AuthorizationURL{
			URL: o.text("url"), CodeVerifier: o.text("code_verifier"), State: o.text("state"), Nonce: o.text("nonce"), Resources: resources,
		}
		if !sameLogin(auth, want) || (auth.Resources == nil) != (o["resources"] == nil) {
			t.Errorf("got %v; encoding/json says %v", auth, want)
		}
		stored, err := json.Marshal(auth)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		var again authpi.AuthorizationURL
		if err := json.Unmarshal(stored, &again); err != nil || !sameLogin(again, auth) || (again.Resources == nil) != (auth.Resources == nil) {
			t.Errorf("got %v, %v back from %s; want %v", again, err, stored, auth)
		}
	})
}

func sameLogin(a, b authpi.AuthorizationURL) bool {
	return a.URL == b.URL && a.CodeVerifier == b.CodeVerifier && a.State == b.State && a.Nonce == b.Nonce && slices.Equal(a.Resources, b.Resources)
}
