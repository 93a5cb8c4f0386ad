package testkit

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

// RawKey signs headers and payloads byte for byte, which the issuer's own Sign does
// not. alg is the one that it signs for, whatever the header says.
type RawKey struct {
	Alg     string
	Private crypto.Signer
}

// RawHeader is the header that goes with NewRawKey.
const RawHeader = `{"alg":"ES256","kid":"raw"}`

// NewRawKey makes a key for ES256.
func NewRawKey(t testing.TB) RawKey {
	t.Helper()
	return NewRawKeyFor(t, "ES256")
}

// NewRawKeyFor makes a key for any algorithm.
func NewRawKeyFor(t testing.TB, alg string) RawKey {
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
	return RawKey{alg, private}
}

// RSA keys are slow to make, so all tests share one of each size.
var (
	rawRSA2048 = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	RawRSA1024 = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 1024) })
)

// JWK is the public key, under the kid "raw".
func (k RawKey) JWK() map[string]any {
	text, err := jose.JSONWebKey{Key: k.Private.Public(), KeyID: "raw"}.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		panic(err)
	}
	return members
}

// JWKS is the JWK Set with the key alone.
func (k RawKey) JWKS() string { return keySet(k.JWK()) }

func keySet(keys ...any) string {
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Sign makes a token of a header and a payload, byte for byte.
func (k RawKey) Sign(header, payload string) string {
	input := Base64([]byte(header)) + "." + Base64([]byte(payload))
	return input + "." + Base64(k.signature(input))
}

func (k RawKey) signature(input string) []byte {
	hash := map[string]crypto.Hash{"ES384": crypto.SHA384, "EdDSA": 0}[k.Alg]
	if hash == 0 && k.Alg != "EdDSA" {
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
	switch private := k.Private.(type) {
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
		if strings.HasPrefix(k.Alg, "PS") {
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
