package authpi_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// rawKey signs headers and payloads byte for byte, which the issuer's own Sign does not. alg is
// the one that it signs for, whatever the header says.
type rawKey struct {
	alg     string
	private crypto.Signer
}

const rawHeader = `{"alg":"ES256","kid":"raw"}`

// newRawKey makes a key for ES256.
func newRawKey(t testing.TB) rawKey {
	t.Helper()
	return newRawKeyFor(t, "ES256")
}

func newRawKeyFor(t testing.TB, alg string) rawKey {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "RS256", "PS256":
		private, err = rawRSA2048()
	default:
		t.Fatalf("no raw key for %s", alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rawKey{alg, private}
}

// RSA keys are slow to make, so all tests share one of each size.
var (
	rawRSA2048 = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	rawRSA1024 = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 1024) })
)

// jwk is the public key, under the kid "raw".
func (k rawKey) jwk() map[string]any {
	text, err := jose.JSONWebKey{Key: k.private.Public(), KeyID: "raw"}.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		panic(err)
	}
	return members
}

// jwks is the JWK Set with the key alone.
func (k rawKey) jwks() string { return keySet(k.jwk()) }

func keySet(keys ...any) string {
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (k rawKey) sign(header, payload string) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	return input + "." + b64(k.signature(input))
}

func (k rawKey) signature(input string) []byte {
	hash := map[string]crypto.Hash{"ES384": crypto.SHA384, "EdDSA": 0}[k.alg]
	if hash == 0 && k.alg != "EdDSA" {
		hash = crypto.SHA256
	}
	digest := []byte(input)
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	var out []byte
	var err error
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey: // RFC 7518 section 3.4
		size := (private.Params().BitSize + 7) / 8
		r, s, signErr := ecdsa.Sign(rand.Reader, private, digest)
		if signErr != nil {
			panic(signErr)
		}
		out = make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
	case *rsa.PrivateKey:
		if strings.HasPrefix(k.alg, "PS") {
			out, err = private.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
		} else {
			out, err = private.Sign(rand.Reader, digest, hash)
		}
	default:
		out, err = private.Sign(rand.Reader, digest, hash)
	}
	if err != nil {
		panic(err)
	}
	return out
}
