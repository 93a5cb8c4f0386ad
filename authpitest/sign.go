package authpitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Sign makes any JWT of claims, signed by the current key of [Options.Algorithm]. It
// sets the headers alg and kid and no typ; the members of header replace them or
// join them, and a nil value leaves one out:
//
//   - alg ES256, RS256 or EdDSA signs with that algorithm's current key and sets its kid;
//     kid then picks another key of this server, if it names one.
//   - alg HS256, HS384 or HS512 makes an HMAC under the member _secret (a string or []byte),
//     by default the PEM of the public key, which is what an attacker would try.
//   - alg none leaves the signature empty. Any other alg is written but not obeyed.
//   - the member _signature with the value "bad" spoils the signature.
//
// Members that begin with an underscore are not written. Sign panics if a value
// cannot be JSON.
func (s *Server) Sign(claims, header map[string]any) string {
	return s.sign(s.opts.Algorithm, claims, header)
}

// sign fills in alg and kid, lets override change them, and signs.
func (s *Server) sign(alg string, claims, override map[string]any) string {
	h := map[string]any{"alg": alg}
	if a, ok := override["alg"].(string); ok {
		h["alg"] = a
	}
	s.mu.Lock()
	h["kid"] = s.keys.pick(h["alg"].(string), "", alg).id
	s.mu.Unlock()
	maps.Copy(h, override)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	return s.signExactly(alg, claims, h)
}

// signExactly writes the header as it stands, but for the members with an
// underscore.
func (s *Server) signExactly(fallback string, claims, header map[string]any) string {
	alg, _ := header["alg"].(string)
	kid, _ := header["kid"].(string)
	s.mu.Lock()
	k := s.keys.pick(alg, kid, fallback)
	s.mu.Unlock()

	written := maps.Clone(header)
	maps.DeleteFunc(written, func(name string, _ any) bool { return strings.HasPrefix(name, "_") })
	input := encode(mustJSON(written)) + "." + encode(mustJSON(claims))
	signature := k.signature(alg, input, header["_secret"])
	if header["_signature"] == "bad" {
		if len(signature) == 0 {
			signature = []byte("bad")
		}
		signature[len(signature)/2] ^= 1
	}
	return input + "." + encode(signature)
}

func (k *key) signature(alg, input string, secret any) []byte {
	switch alg {
	case "none":
		return nil
	case "HS256", "HS384", "HS512":
		hash := map[string]crypto.Hash{"HS256": crypto.SHA256, "HS384": crypto.SHA384, "HS512": crypto.SHA512}[alg]
		mac := hmac.New(hash.New, k.macSecret(secret))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}
	private := k.private()
	digest := sha256.Sum256([]byte(input))
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(rand.Reader, p, digest[:])
		if err != nil {
			panic("authpitest: " + err.Error())
		}
		out := make([]byte, 64) // RFC 7518 section 3.4: R and S, 32 octets each
		r.FillBytes(out[:32])
		v.FillBytes(out[32:])
		return out
	case *rsa.PrivateKey:
		return must(rsa.SignPKCS1v15(rand.Reader, p, crypto.SHA256, digest[:]))
	case ed25519.PrivateKey:
		return ed25519.Sign(p, []byte(input))
	default:
		panic(fmt.Sprintf("authpitest: unexpected key type %T", p))
	}
}

func (k *key) macSecret(secret any) []byte {
	switch v := secret.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	der := must(x509.MarshalPKIXPublicKey(k.private().Public()))
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// verify checks a token's signature under any key this server ever had, and nothing
// else.
func (s *Server) verify(token string) (claims map[string]any, typ string, ok bool) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA})
	if err != nil {
		return nil, "", false
	}
	h := jws.Signatures[0].Protected
	s.mu.Lock()
	i := slices.IndexFunc(s.keys.all, func(k *key) bool { return k.id == h.KeyID && k.alg == h.Algorithm })
	var k *key
	if i >= 0 {
		k = s.keys.all[i]
	}
	s.mu.Unlock()
	if k == nil {
		return nil, "", false
	}
	payload, err := jws.Verify(k.private().Public())
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return nil, "", false
	}
	typ, _ = h.ExtraHeaders[jose.HeaderType].(string)
	return claims, typ, true
}

// leftHalfHash is at_hash of OIDC Core section 3.1.3.6: the hash that goes with alg.
func leftHalfHash(alg, token string) string {
	if alg == algEdDSA { // Ed25519 hashes with SHA-512
		sum := sha512.Sum512([]byte(token))
		return encode(sum[:32])
	}
	sum := sha256.Sum256([]byte(token))
	return encode(sum[:16])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
