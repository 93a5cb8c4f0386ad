package authpitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
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
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

const (
	algES256 = "ES256"
	algRS256 = "RS256"
	algEdDSA = "EdDSA"
)

var algorithms = []string{algES256, algRS256, algEdDSA}

// key is one signing key. It never changes, and is made when it first signs or is published.
type key struct {
	id, alg string
	private func() crypto.Signer
}

// keyring holds every key the server ever had: withdrawn ones still check what comes back
// from clients.
type keyring struct {
	all       []*key
	published []*key // newest first
	current   map[string]*key
	rsaDrawn  int
}

func newKeyring() keyring {
	k := keyring{current: map[string]*key{}}
	k.rotate()
	k.rotate() // as AuthPI: the current and the previous key of each algorithm
	return k
}

func (k *keyring) rotate() {
	var fresh []*key
	for _, alg := range algorithms {
		nk := &key{id: newUUID(), alg: alg}
		switch alg {
		case algES256:
			nk.private = sync.OnceValue(newECDSA)
		case algEdDSA:
			nk.private = sync.OnceValue(newEd25519)
		case algRS256:
			nk.private = rsaPool[k.rsaDrawn%len(rsaPool)]
			k.rsaDrawn++
		}
		k.current[alg] = nk
		fresh = append(fresh, nk)
	}
	k.all = append(k.all, fresh...)
	k.published = append(fresh, k.published...)
}

// pick finds the key that kid names, if it fits alg, else the one that signs alg now, else
// the one that signs fallback.
func (k *keyring) pick(alg, kid, fallback string) *key {
	for _, c := range k.all {
		if c.id == kid && c.alg == alg {
			return c
		}
	}
	if c := k.current[alg]; c != nil {
		return c
	}
	return k.current[fallback]
}

func newECDSA() crypto.Signer {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
}

func newEd25519() crypto.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic("authpitest: " + err.Error())
	}
	return private
}

func newRSA() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) }

// rsaPool serves all servers of the process: one RSA key takes longer to make than all else
// that a test does. Key ids are never shared.
var rsaPool = [...]func() crypto.Signer{
	sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA),
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("authpitest: " + err.Error())
	}
	return v
}

// RotateKeys makes a new key for each algorithm, which signs from now on. The old ones stay
// published until [Server.WithdrawKeys].
func (s *Server) RotateKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.rotate()
}

// WithdrawKeys takes all keys but the signing ones out of the JWKS.
func (s *Server) WithdrawKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.published = slices.Clone(s.keys.published[:len(algorithms)])
}

// KeyIDs returns the kids in the JWKS, in its order: the signing keys for ES256, RS256 and
// EdDSA, then older ones.
func (s *Server) KeyIDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, k := range s.keys.published {
		ids = append(ids, k.id)
	}
	return ids
}

func (s *Server) jwks(*exchange) *answer {
	s.mu.Lock()
	published := s.keys.published
	s.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range published {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: k.private().Public(), KeyID: k.id, Algorithm: k.alg, Use: "sig",
		})
	}
	a := jsonAnswer(http.StatusOK, set)
	a.header.Set("Cache-Control", "public, max-age=300")
	return a
}

// Sign makes any JWT of claims, signed by the current key of [Options.Algorithm]. It sets the
// headers alg and kid and no typ; the members of header replace them or join them, and a nil
// value leaves one out:
//
//   - alg ES256, RS256 or EdDSA signs with that algorithm's current key and sets its kid;
//     kid then picks another key of this server, if it names one.
//   - alg HS256, HS384 or HS512 makes an HMAC under the member _secret (a string or []byte),
//     by default the PEM of the public key, which is what an attacker would try.
//   - alg none leaves the signature empty. Any other alg is written but not obeyed.
//   - the member _signature with the value "bad" spoils the signature.
//
// Members that begin with an underscore are not written. Sign panics if a value cannot be JSON.
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

// signExactly writes the header as it stands, but for the members with an underscore.
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

// verify checks a token's signature under any key this server ever had, and nothing else.
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

// random returns 128 random bits as text.
func random() string {
	var b [16]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return encode(b[:])
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562: version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
