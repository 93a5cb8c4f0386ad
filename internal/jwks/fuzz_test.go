package jwks_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
)

// fixedECKey is the same in every process of a run, unlike ecKey.
func fixedECKey(id string) signingKey {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{'#'}, 32))
	if err != nil {
		panic(err)
	}
	return signingKey{id, "ES256", key}
}

// FuzzKeySet checks that a key is trusted only if encoding/json and go-jose find it
// in the document too, as a public key for signatures, and that it is the one that
// the token names.
func FuzzKeySet(f *testing.F) {
	ed, ec := newKey("a"), fixedECKey("b")
	f.Add(published(ed, ec))
	f.Add(document(ed.jwk(map[string]any{"use": "enc"}), ec.jwk(nil)))
	f.Add(document(ed.jwk(map[string]any{"key_ops": []string{"verify"}, "use": nil})))
	f.Add(document(ec.jwk(map[string]any{"key_ops": []string{"sign"}, "use": nil})))
	f.Add(document(ed.jwk(map[string]any{"kid": nil, "alg": nil}), ec.jwk(map[string]any{"kid": 1})))
	f.Add(document(ec.jwk(map[string]any{"kid": "a"}), ed.jwk(map[string]any{"kid": "b"})))
	f.Add(document(ec.jwk(map[string]any{"alg": "ES384"}), ed.jwk(map[string]any{"alg": "RS256"})))
	f.Add(document(ec.jwk(map[string]any{"crv": "P-384"}), ec.jwk(map[string]any{"x": "AA"}), ec.jwk(map[string]any{"d": "AA"})))
	f.Add(document(`{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}`, `{"kty":"oct","k":"AA"}`, `{"kty":"AKP"}`, ed.jwk(nil)))
	f.Add(`{"keys":[{}],"\u006beys":[]}`)
	type pair struct {
		key            signingKey
		named, unnamed *jws.Token
	}
	var pairs []pair
	for _, key := range []signingKey{ed, ec} {
		pairs = append(pairs, pair{key, key.sign(), key.signWithoutID()})
	}
	f.Fuzz(func(t *testing.T, doc string) {
		for _, p := range pairs {
			checkTrusted(t, doc, p.key, p.named, p.unnamed)
		}
	})
}

// checkTrusted verifies two tokens by key, with its kid and without.
func checkTrusted(t *testing.T, doc string, key signingKey, withID, withoutID *jws.Token) {
	i := &issuer{doc: doc}
	s := jwks.New(i.fetch, time.Now, nil)
	named, err := s.Verify(context.Background(), withID, jwks.Untrusted)
	unnamed, unnamedErr := s.Verify(context.Background(), withoutID, jwks.Untrusted)
	if err == nil && unnamedErr != nil && strings.Count(doc, "kty") <= 32 {
		t.Errorf("trusted with its kid, but without: %v", unnamedErr)
	}
	if (err != nil) != (named == jwks.Key{}) || (unnamedErr != nil) != (unnamed == jwks.Key{}) {
		t.Errorf("got %v beside %v, and %v beside %v", named, err, unnamed, unnamedErr)
	}
	for _, k := range []jwks.Key{named, unnamed} {
		if k != (jwks.Key{}) && !s.Trusts(context.Background(), k) {
			t.Error("the key that verified is not trusted")
		}
	}
	if err == nil && !holds(t, doc, key, true) || unnamedErr == nil && !holds(t, doc, key, false) {
		t.Errorf("encoding/json and go-jose do not find the key in %q", doc)
	}
}

// holds looks for the public key in the document, under its kid if it was named.
func holds(t *testing.T, doc string, key signingKey, named bool) bool {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal([]byte(doc), &set); err != nil {
		t.Fatalf("encoding/json refuses the document: %v", err)
	}
	return slices.ContainsFunc(set.Keys, func(raw json.RawMessage) bool {
		var m map[string]any
		if json.Unmarshal(raw, &m) != nil {
			return false
		}
		material, err := json.Marshal(map[string]any{"kty": m["kty"], "crv": m["crv"], "x": m["x"], "y": m["y"]})
		if err != nil {
			t.Fatal(err)
		}
		var theirs jose.JSONWebKey
		public, ok := key.key.Public().(interface{ Equal(crypto.PublicKey) bool })
		_, private := m["d"]
		ops, _ := m["key_ops"].([]any)
		return theirs.UnmarshalJSON(material) == nil && ok && public.Equal(theirs.Key) && !private && (!named || m["kid"] == key.id) &&
			(m["use"] == nil || m["use"] == "sig") && (m["alg"] == nil || m["alg"] == key.alg) &&
			(m["key_ops"] == nil || slices.Contains(ops, any("verify")))
	})
}
