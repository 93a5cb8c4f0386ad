package jwks_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
)

// loads reports how a document is taken: whether it is a set at all, and whether the
// key that signs for k is in it.
func loads(t testing.TB, doc string, k signingKey) (isSet, hasKey bool) {
	t.Helper()
	i := &issuer{doc: doc}
	s := jwks.New(i.fetch, time.Now, nil)
	_, err := s.Verify(t.Context(), k.sign(), jwks.Untrusted)
	i.fetches.Store(0)
	return verdict(err) != "unavailable", err == nil
}

// TestDocument has documents as a whole, and the same fixed.
func TestDocument(t *testing.T) {
	t.Parallel()
	ed := newKey("a")
	key := ed.jwk(nil)
	tests := []struct {
		name, doc, fixed string
	}{
		{"empty", "", document(key)},
		{"null", "null", document(key)},
		{"array", "[" + key + "]", document(key)},
		{"text", `"keys"`, document(key)},
		{"one key without a set", key, document(key)},
		{"page", "<html></html>", document(key)},
		{"cut", document(key)[:20], document(key)},
		{"last brace missing", strings.TrimSuffix(document(key), "}"), document(key)},
		{"more behind", document(key) + "{}", document(key) + "\n"},
		{"byte order mark", "\ufeff" + document(key), document(key)},
		{"keys missing", `{"key":[` + key + `]}`, `{"key":[],"keys":[` + key + `]}`},
		{"keys in capitals", `{"Keys":[` + key + `]}`, `{"Keys":[],"keys":[` + key + `]}`},
		{"keys null", `{"keys":null}`, document(key)},
		{"keys an object", `{"keys":{"a":` + key + `}}`, document(key)},
		{"keys twice", `{"keys":[` + key + `],"keys":[` + key + `]}`, `{"keys":[` + key + `,` + key + `]}`},
		{"comma at the end", `{"keys":[` + key + `,]}`, document(key)},
		{"repeated name elsewhere", `{"x":1,"x":1,"keys":[` + key + `]}`, `{"x":1,"y":1,"keys":[` + key + `]}`},
		{"repeated name in a key", document(key, `{"kty":"x","kty":"EC"}`), document(key, `{"kty":"x"}`)},
		{"not UTF-8", document(key, `{"kid":"`+"\xff"+`"}`), document(key, `{"kid":"ÿ"}`)},
		{"too deep", document(key, strings.Repeat("[", 70)+strings.Repeat("]", 70)), document(key, "[[]]")},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if isSet, _ := loads(t, tc.doc, ed); isSet {
				t.Error("got a set; want an error")
			}
			if _, hasKey := loads(t, tc.fixed, ed); !hasKey {
				t.Error("fixed: got no key; want one")
			}
		})
	}
}

// TestSetWithoutUsableKey has well-formed documents that withdraw every key: a
// token's key is not there, which is another thing than a document that cannot be
// read.
func TestSetWithoutUsableKey(t *testing.T) {
	t.Parallel()
	ed := newKey("a")
	tests := []struct{ name, doc, want string }{
		{"empty", `{"keys":[]}`, "unavailable"},
		{"other members beside", `{"keys":[],"next":"x"}`, "unavailable"},
		{"unknown type", document(`{"kty":"AKP","alg":"ML-DSA-44","kid":"a","pub":"AAAA"}`), "unavailable"},
		{"symmetric key and no key", document(`{"kty":"oct","kid":"a","k":"AAAA"}`, `{}`, `7`), "unavailable"},
		{"private part", document(ed.jwk(map[string]any{"d": "AAAA"})), "unavailable"},
		{"use enc", document(ed.jwk(map[string]any{"use": "enc"})), "alg"}, // the kid is there
		{"key_ops sign", document(ed.jwk(map[string]any{"key_ops": []string{"sign"}})), "alg"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				i := &issuer{}
				i.publish(ed)
				s := jwks.New(i.fetch, time.Now, slog.New(slog.NewTextHandler(&out, nil)))
				k := check(t, s, ed.sign(), jwks.Untrusted, "")
				i.answer(tc.doc, nil)
				time.Sleep(time.Hour)
				if s.Trusts(t.Context(), k) {
					t.Error("got trust in a withdrawn key")
				}
				if !strings.Contains(out.String(), "level=WARN") {
					t.Errorf("got log %q; want a warning", out.String())
				}
				i.count(t, 2)
				for range 10 {
					check(t, s, ed.sign(), jwks.Untrusted, tc.want)
				}
				if got := i.fetches.Swap(0); got > 2 {
					t.Errorf("got %d fetches for a withdrawn kid; want 2 at most", got)
				}
				i.publish(newKey("b"))
				time.Sleep(10 * time.Second)
				check(t, s, newKey("b").sign(), jwks.Untrusted, "")

				// And it says so from the start.
				i.answer(tc.doc, nil)
				check(t, jwks.New(i.fetch, time.Now, nil), ed.sign(), jwks.Untrusted, tc.want)

				check(t, jwks.New(i.fetch, time.Now, nil), ed.sign(), jwks.FromIssuer, tc.want)
			})
		})
	}
}

// TestOddKeys has keys that are left out, each in a set whose other key goes on.
func TestOddKeys(t *testing.T) {
	t.Parallel()
	var (
		ed, ec, rs = newKey("a"), ecKey(), rsaKey()
		other      = newKey("other")
	)
	type change = map[string]any
	b64 := base64.RawURLEncoding.EncodeToString
	number := func(bits int, last byte) string {
		n := make([]byte, bits/8)
		n[0], n[len(n)-1] = 0x80, last
		return b64(n)
	}
	tests := []struct {
		name string
		k    signingKey
		key  string
	}{
		{"kty missing", ed, ed.jwk(change{"kty": nil})},
		{"kty unknown", ed, ed.jwk(change{"kty": "XYZ"})},
		{"kty in lower case", ed, ed.jwk(change{"kty": "okp"})},
		{"kty number", ed, ed.jwk(change{"kty": 1})},
		{"kty of another", ed, ed.jwk(change{"kty": "EC"})},
		{"kty AKP", ed, ed.jwk(change{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"})},
		{"symmetric", ed, ed.jwk(change{"kty": "oct", "k": "c2VjcmV0"})},
		{"symmetric part", ed, ed.jwk(change{"k": "c2VjcmV0"})},
		{"crv missing", ed, ed.jwk(change{"crv": nil})},
		{"crv Ed448", ed, ed.jwk(change{"crv": "Ed448"})},
		{"crv X25519", ed, ed.jwk(change{"crv": "X25519"})},
		{"crv secp256k1", ec, ec.jwk(change{"crv": "secp256k1"})},
		{"crv of another size", ec, ec.jwk(change{"crv": "P-384"})},
		{"kid number", ed, ed.jwk(change{"kid": 1})},
		{"alg number", ed, ed.jwk(change{"alg": 1})},
		{"use array", ed, ed.jwk(change{"use": []string{"sig"}})},
		{"key_ops text", ed, ed.jwk(change{"key_ops": "verify"})},
		{"private", ed, ed.jwk(change{"d": b64([]byte("a seed of thirty-two bytes, fix."))})},
		{"private, empty", ec, ec.jwk(change{"d": ""})},
		{"private RSA", rs, rs.jwk(change{"d": "AQAB"})},
		{"private RSA prime", rs, rs.jwk(change{"p": "AQAB"})},
		{"x missing", ed, ed.jwk(change{"x": nil})},
		{"x short", ed, ed.jwk(change{"x": "AAAA"})},
		{"x not base64", ed, ed.jwk(change{"x": "?"})},
		{"x number", ed, ed.jwk(change{"x": 1})},
		{"y missing", ec, ec.jwk(change{"y": nil})},
		{"not on the curve", ec, ec.jwk(change{"y": b64(make([]byte, 32))})},
		{"x5c broken", ec, ec.jwk(change{"x5c": []string{"AA"}})},
		{"n missing", rs, rs.jwk(change{"n": nil})},
		{"n number", rs, rs.jwk(change{"n": 1})},
		{"n padded", rs, rs.jwk(change{"n": number(2048, 1) + "=="})},
		{"n too small", rs, rs.jwk(change{"n": number(2040, 1)})},
		{"n too large", rs, rs.jwk(change{"n": number(16392, 1)})},
		{"n even", rs, rs.jwk(change{"n": number(2048, 2)})},
		{"e missing", rs, rs.jwk(change{"e": nil})},
		{"e not base64", rs, rs.jwk(change{"e": "?"})},
		{"e one", rs, rs.jwk(change{"e": b64([]byte{1})})},
		{"e even", rs, rs.jwk(change{"e": b64([]byte{1, 0})})},
		{"e of 32 bits", rs, rs.jwk(change{"e": b64([]byte{0x80, 0, 0, 1})})},
		{"e of 80 bits", rs, rs.jwk(change{"e": b64([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 1})})},
		{"null", ed, "null"},
		{"text", ed, `"key"`},
		{"array", ed, "[]"},
		{"empty", ed, "{}"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := document(tc.key, other.jwk(nil))
			if _, hasOther := loads(t, doc, other); !hasOther {
				t.Error("the other key is gone")
			}
			i := &issuer{doc: doc}
			s := jwks.New(i.fetch, time.Now, nil)
			check(t, s, tc.k.sign(), jwks.Untrusted, "kid")
			fixed := tc.k.jwk(map[string]any{"x-vendor": map[string]any{"d": 1}, "oth_": 1})
			if _, hasKey := loads(t, document(fixed, other.jwk(nil)), tc.k); !hasKey {
				t.Error("fixed: got no key; want one")
			}
		})
	}
}

// TestLargeRSAKeys has the sizes that go-jose would refuse. They are known keys: a
// bad signature is a bad signature.
func TestLargeRSAKeys(t *testing.T) {
	t.Parallel()
	for _, bits := range []uint{2048, 4096, 4104, 8192, 16384} {
		n := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
		key := rsaKey().jwk(map[string]any{"n": base64.RawURLEncoding.EncodeToString(n.Bytes())})
		i := &issuer{doc: document(key)}
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, rsaKey().sign(), jwks.Untrusted, "signature")
	}
}

func TestManyKeys(t *testing.T) {
	t.Parallel()
	var keys []string
	for n := range 254 {
		keys = append(keys, newKey(fmt.Sprint(n)).jwk(nil), `{"kty":"XYZ"}`)
	}
	for n := range 4 {
		keys = append(keys, newKey(fmt.Sprint("last-", n)).jwk(nil))
	}
	for n, want := range []bool{true, true, false, false} {
		if _, hasKey := loads(t, document(keys...), newKey(fmt.Sprint("last-", n))); hasKey != want {
			t.Errorf("key %d: got %v; want %v", 255+n, hasKey, want)
		}
	}
}
