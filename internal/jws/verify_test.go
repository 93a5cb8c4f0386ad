package jws_test

//lint:file-ignore SA1019 invalid keys can only be made from coordinates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/go-jose/go-jose/v4"
)

var algorithms = []string{
	"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
}

// testKeys returns one private key for each type and curve, made once.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{"Ed25519": edKey}
	for name, curve := range map[string]elliptic.Curve{
		"P-224": elliptic.P224(), "P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(),
	} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		keys[name] = key
	}
	for name, bits := range map[string]int{"RSA 2048": 2048, "RSA 1024": 1024} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		keys[name] = key
	}
	return keys
})

// keyOf returns the name of the test key for an algorithm.
func keyOf(alg string) string {
	switch alg[:2] {
	case "ES":
		return map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[alg]
	case "RS", "PS":
		return "RSA 2048"
	default:
		return "Ed25519"
	}
}

// signJOSE returns a token that go-jose has signed.
func signJOSE(t testing.TB, alg, payload string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: testKeys()[keyOf(alg)]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t testing.TB, raw string) jws.Token {
	t.Helper()
	token, err := jws.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestVerifyBindsAlgorithmAndKey tries every algorithm with every key.
func TestVerifyBindsAlgorithmAndKey(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		token := parse(t, signJOSE(t, alg, plainPayload))
		for name, key := range testKeys() {
			if got, want := token.Verify(key.Public()), name == keyOf(alg); got != want {
				t.Errorf("%s with a key of %s: got %v; want %v", alg, name, got, want)
			}
			if token.Verify(key) {
				t.Errorf("%s with a private key of %s: got true; want false", alg, name)
			}
			if got, want := jws.Fits(alg, key.Public()), name == keyOf(alg); got != want {
				t.Errorf("Fits(%s, %s): got %v; want %v", alg, name, got, want)
			}
		}
	}
}

// TestVerifyRenamed tries each signature under every other algorithm's name. Even
// with the key that made it, it is only valid under its own.
func TestVerifyRenamed(t *testing.T) {
	t.Parallel()
	for _, made := range algorithms {
		parts := strings.Split(signJOSE(t, made, plainPayload), ".")
		for _, named := range algorithms {
			token := parse(t, b64(`{"alg":"`+named+`"}`)+"."+parts[1]+"."+parts[2])
			if named != made && token.Verify(testKeys()[keyOf(made)].Public()) {
				t.Errorf("signature of %s named %s: got true; want false", made, named)
			}
		}
	}
}

func TestVerifyChanged(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		raw := signJOSE(t, alg, plainPayload)
		key := testKeys()[keyOf(alg)].Public()
		parts := strings.Split(raw, ".")
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		last := len(signature) - 1
		tests := map[string]string{
			"other payload":        parts[0] + "." + b64("{}") + "." + parts[2],
			"other header":         b64(`{"alg":"`+alg+`","x":1}`) + "." + parts[1] + "." + parts[2],
			"a bit":                parts[0] + "." + parts[1] + "." + b64(string(signature[:last])+string(signature[last]^1)),
			"a byte less":          parts[0] + "." + parts[1] + "." + b64(string(signature[:last])),
			"a byte more":          parts[0] + "." + parts[1] + "." + b64(string(signature)+"\x00"),
			"a zero in front":      parts[0] + "." + parts[1] + "." + b64("\x00"+string(signature)),
			"zeros around r, s":    parts[0] + "." + parts[1] + "." + b64("\x00"+string(signature[:len(signature)/2])+"\x00"+string(signature[len(signature)/2:])),
			"a zero in the middle": parts[0] + "." + parts[1] + "." + b64(string(signature[:len(signature)/2])+"\x00"+string(signature[len(signature)/2:])),
			"all zero":             parts[0] + "." + parts[1] + "." + b64(strings.Repeat("\x00", len(signature))),
			"all ones":             parts[0] + "." + parts[1] + "." + b64(strings.Repeat("\xff", len(signature))),
		}
		for name, changed := range tests {
			if token := parse(t, changed); token.Verify(key) {
				t.Errorf("%s, %s: got true; want false", alg, name)
			}
		}
		if token := parse(t, raw); !token.Verify(key) {
			t.Errorf("%s unchanged: got false; want true", alg)
		}
	}
}

func TestVerifyECDSAInDER(t *testing.T) {
	t.Parallel()
	input := b64(`{"alg":"ES256"}`) + "." + b64("{}")
	digest := sha256.Sum256([]byte(input))
	key := testKeys()["P-256"].(*ecdsa.PrivateKey)
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if token := parse(t, input+"."+b64(string(der))); token.Verify(key.Public()) {
		t.Error("got true; want false")
	}
}

// TestVerifyECDSAHighBit has an r that begins with 0x80: in DER a zero comes before
// it.
func TestVerifyECDSAHighBit(t *testing.T) {
	t.Parallel()
	key := testKeys()["P-256"]
	for range 20_000 {
		raw := signJOSE(t, "ES256", "{}")
		signature, err := base64.RawURLEncoding.DecodeString(raw[strings.LastIndex(raw, ".")+1:])
		if err != nil {
			t.Fatal(err)
		}
		if signature[0] != 0x80 {
			continue
		}
		if token := parse(t, raw); !token.Verify(key.Public()) {
			t.Error("got false; want true")
		}
		return
	}
	t.Error("found no such signature")
}

func TestVerifyPSSSaltLength(t *testing.T) {
	t.Parallel()
	key := testKeys()["RSA 2048"].(*rsa.PrivateKey)
	// "Auto" is the longest salt that fits; in FIPS mode it is no longer than the
	// hash (FIPS 186-5 section 5.4).
	auto := fips140.Enabled()
	for salt, want := range map[int]bool{32: true, 31: false, 20: false, 64: false, rsa.PSSSaltLengthAuto: auto} {
		input := b64(`{"alg":"PS256"}`) + "." + b64("{}")
		digest := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		token := parse(t, input+"."+b64(string(signature)))
		if got := token.Verify(key.Public()); got != want {
			t.Errorf("salt length %d: got %v; want %v", salt, got, want)
		}
	}
}

// TestVerifyRSASize signs with a key that is too small, but otherwise valid.
func TestVerifyRSASize(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"RSA 1024": false, "RSA 2048": true} {
		key := testKeys()[name].(*rsa.PrivateKey)
		input := b64(`{"alg":"RS256"}`) + "." + b64("{}")
		digest := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		token := parse(t, input+"."+b64(string(signature)))
		if got := token.Verify(key.Public()); got != want {
			t.Errorf("%s: got %v; want %v", name, got, want)
		}
	}
	for bits, want := range map[uint]bool{2047: false, 2048: true, 16384: true, 16385: false} {
		n := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
		if got := jws.Fits("RS256", &rsa.PublicKey{N: n, E: 65537}); got != want {
			t.Errorf("%d bits: got %v; want %v", bits, got, want)
		}
	}
}

// TestVerifyOddKeys tries values that are not valid keys, although some have the type
// of one.
func TestVerifyOddKeys(t *testing.T) {
	t.Parallel()
	even := new(big.Int).SetBit(new(big.Int), 2047, 1)
	tests := map[string]struct {
		alg string
		key crypto.PublicKey
	}{
		"none":               {"EdDSA", nil},
		"bytes":              {"EdDSA", []byte(edKey.Public().(ed25519.PublicKey))},
		"short Ed25519":      {"EdDSA", ed25519.PublicKey("short")},
		"empty Ed25519":      {"EdDSA", ed25519.PublicKey(nil)},
		"nil ECDSA":          {"ES256", (*ecdsa.PublicKey)(nil)},
		"empty ECDSA":        {"ES256", &ecdsa.PublicKey{}},
		"ECDSA curve alone":  {"ES256", &ecdsa.PublicKey{Curve: elliptic.P256()}},
		"ECDSA without X":    {"ES256", &ecdsa.PublicKey{Curve: elliptic.P256(), Y: big.NewInt(1)}},
		"ECDSA without Y":    {"ES256", &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1)}},
		"ECDSA at infinity":  {"ES256", &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}},
		"ECDSA off curve":    {"ES256", &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}},
		"ECDSA value":        {"ES256", *testKeys()["P-256"].Public().(*ecdsa.PublicKey)},
		"nil RSA":            {"RS256", (*rsa.PublicKey)(nil)},
		"empty RSA":          {"PS256", &rsa.PublicKey{}},
		"even RSA":           {"RS256", &rsa.PublicKey{N: even, E: 65537}},
		"RSA exponent zero":  {"PS256", &rsa.PublicKey{N: testKeys()["RSA 2048"].(*rsa.PrivateKey).N}},
		"secret of the same": {"EdDSA", "text"},
	}
	for name, tc := range tests {
		token := parse(t, signJOSE(t, tc.alg, "{}"))
		if token.Verify(tc.key) {
			t.Errorf("%s: got true; want false", name)
		}
	}
	point := testKeys()["P-256"].Public().(*ecdsa.PublicKey)
	if jws.Fits("EdDSA", &ecdsa.PublicKey{X: point.X, Y: point.Y}) {
		t.Error("ECDSA without curve for an algorithm without one: got true; want false")
	}
	for _, alg := range []string{"RS", "RS1", "PS1", "R", ""} {
		if jws.Fits(alg, testKeys()["RSA 2048"].Public()) {
			t.Errorf("RSA for %q: got true; want false", alg)
		}
	}
	if (&jws.Token{}).Verify(edKey.Public()) {
		t.Error("zero Token: got true; want false")
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	tests := []struct {
		alg  string
		want crypto.Hash // 0 if it is not supported
	}{
		{"ES256", crypto.SHA256}, {"ES384", crypto.SHA384}, {"ES512", crypto.SHA512},
		{"RS256", crypto.SHA256}, {"RS384", crypto.SHA384}, {"RS512", crypto.SHA512},
		{"PS256", crypto.SHA256}, {"PS384", crypto.SHA384}, {"PS512", crypto.SHA512},
		{"EdDSA", crypto.SHA512},
		{"", 0}, {"none", 0}, {"HS256", 0}, {"es256", 0}, {"ES256K", 0}, {"Ed25519", 0}, {"ES", 0}, {"ES257", 0},
	}
	for _, tc := range tests {
		got, ok := jws.Hash(tc.alg)
		if got != tc.want || ok != (tc.want != 0) || jws.Supported(tc.alg) != ok {
			t.Errorf("%q: got %v, %v, %v; want %v", tc.alg, got, ok, jws.Supported(tc.alg), tc.want)
		}
	}
}
