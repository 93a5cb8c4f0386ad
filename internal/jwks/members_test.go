package jwks_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
)

// TestMembersInAnyOrder has members of a key that forbid its use, before others that
// would allow it: what is read later must not undo what was read before. The same
// key without that member verifies.
func TestMembersInAnyOrder(t *testing.T) {
	t.Parallel()
	ed, rs := newKey("a"), rsaKey()
	tests := []struct {
		name, before string
		k            signingKey
		change       map[string]any
	}{
		{"use enc, then alg", `"use":"enc",`, ed, map[string]any{"use": nil}},
		{"use enc, then key_ops", `"use":"enc",`, ed, map[string]any{"use": nil, "alg": nil, "key_ops": []string{"verify"}}},
		{"alg empty, then use", `"alg":"",`, ed, map[string]any{"alg": nil}},
		{"key_ops sign, then alg", `"key_ops":["sign"],`, ed, nil},
		{"key_ops of numbers, then alg", `"key_ops":[1,null],`, ed, nil},
		{"a private part, then key_ops", `"d":"AA",`, ed, map[string]any{"key_ops": []string{"verify"}}},
		{"kid a number, then the rest", `"kid":7,`, ed, map[string]any{"kid": nil}},
		{"alg null, then the rest", `"alg":null,`, ed, map[string]any{"alg": nil}},
		{"use null, then the rest", `"use":null,`, ed, map[string]any{"use": nil}},
		// go-jose, which reads the others, is not asked for RSA.
		{"RSA: a private part, then key_ops", `"d":"AA",`, rs, map[string]any{"key_ops": []string{"verify"}}},
		{"RSA: kid a number, then the rest", `"kid":7,`, rs, map[string]any{"kid": nil}},
		{"RSA: use null, then the rest", `"use":null,`, rs, map[string]any{"use": nil}},
		{"modulus with more behind", `"n":"` + rs.member("n") + `!",`, rs, map[string]any{"n": nil}},
		{"exponent with more behind", `"e":"` + rs.member("e") + `!",`, rs, map[string]any{"e": nil}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			key := tc.k.jwk(tc.change)
			i := &issuer{doc: document(strings.Replace(key, "{", "{"+tc.before, 1), newKey("other").jwk(nil))}
			s := jwks.New(i.fetch, time.Now, nil)
			if _, err := s.Verify(t.Context(), tc.k.signWithoutID(), jwks.Untrusted); err == nil {
				t.Error("got the token accepted; want the key left out")
			}
			if !strings.Contains(tc.name, "more behind") { // there it is the member that is doubled
				i = &issuer{doc: document(key, newKey("other").jwk(nil))}
				check(t, jwks.New(i.fetch, time.Now, nil), tc.k.signWithoutID(), jwks.Untrusted, "")
			}
		})
	}
}

// member is a member of k's JWK, a text.
func (k signingKey) member(name string) string {
	_, rest, _ := strings.Cut(k.jwk(nil), `"`+name+`":"`)
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// TestKidOfAnotherKindOfKey has a kid whose key cannot be meant: no alg stands
// there, but the key is of another type than the token's algorithm asks for.
func TestKidOfAnotherKindOfKey(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: document(ecKey().jwk(map[string]any{"kid": "a", "alg": nil}))}
	check(t, jwks.New(i.fetch, time.Now, nil), newKey("a").sign(), jwks.Untrusted, "alg")
}

// TestUnavailableSaysWhy wants the reason of a failed fetch in the error.
func TestUnavailableSaysWhy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ doc, says string }{
		"no object":      {`[]`, "no array of keys"},
		"no JSON":        {`{"keys":[]`, "jwks: "},
		"keys a text":    {`{"keys":"x"}`, "no array of keys"},
		"more behind it": {`{"keys":[]}{}`, "jwks: "},
	} {
		i := &issuer{doc: tc.doc}
		_, err := jwks.New(i.fetch, time.Now, nil).Verify(t.Context(), newKey("a").sign(), jwks.Untrusted)
		var unavailable *jwks.UnavailableError
		if !errors.As(err, &unavailable) || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "panicked") {
			t.Errorf("%s: got %v; want it to say %q", name, err, tc.says)
		}
	}
}

// TestStaleSetServesWhileForgersAsk has an issuer that is away, and tokens with
// made-up key IDs that use up the budget: what is good goes on being good.
func TestStaleSetServesWhileForgersAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.publish(newKey("a"))
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		time.Sleep(46 * time.Minute)
		i.answer("", errors.New("away"))
		for range 5 {
			_, _ = s.Verify(t.Context(), newKey("forged").sign(), jwks.Untrusted)
			check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		}
	})
}
