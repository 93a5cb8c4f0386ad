package jwks

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"strings"

	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
	"github.com/go-jose/go-jose/v4"
)

const (
	// maxKeys is how many keys of a document are kept.
	maxKeys = 256
	// maxTries is how many keys one token is tried with.
	maxTries = 32
)

// snapshot is one key set as the issuer gave it. It never changes.
type snapshot struct {
	keys    []*publicKey
	byID    map[string][]*publicKey // those that have a kid
	handles map[Key]struct{}        // of those that may verify
}

// Key is a handle of the key that verified a token: comparable, and equal for the
// same key material under the same kid and alg, from whichever fetch it came. The
// zero Key is no key.
type Key struct {
	id, alg    string            // copies: a Key may be kept for longer than the document
	thumbprint [sha256.Size]byte // RFC 7638
}

// publicKey is a key of a snapshot.
type publicKey struct {
	handle    Key
	hasID     bool
	key       crypto.PublicKey
	verifying bool // "alg", "use" and "key_ops" allow it to verify signatures
}

// fits reports whether k may verify signatures of algorithm alg.
func (k *publicKey) fits(alg string) bool {
	return k.verifying && (k.handle.alg == "" || k.handle.alg == alg) && jws.Fits(alg, k.key)
}

// has reports whether a token's key ID is one of sn's. For a token without one, it
// reports whether a key of sn verifies it.
func (sn *snapshot) has(t *jws.Token) bool {
	if t.HasKeyID {
		return len(sn.byID[t.KeyID]) > 0
	}
	_, ok := verifyWith(sn.keys, t)
	return ok
}

// verify verifies t. Unless the answer is final, a newer set might have another; err
// is what to say if there is none.
func (sn *snapshot) verify(t *jws.Token) (k Key, final bool, err error) {
	keys := sn.keys
	if t.HasKeyID {
		if keys = sn.byID[t.KeyID]; len(keys) == 0 {
			return Key{}, false, &jws.Error{Part: "kid", Reason: "the issuer has no such key"}
		}
	}
	if k, ok := verifyWith(keys, t); ok {
		return k, true, nil
	}
	if t.HasKeyID && !anyFits(keys, t.Algorithm) {
		return Key{}, true, &jws.Error{Part: "alg", Reason: "not one of the key with this kid"}
	}
	return Key{}, t.HasKeyID, &jws.Error{Part: "signature", Reason: "not by a key of the issuer"}
}

// verifyWith tries the keys that fit t's algorithm, maxTries at most.
func verifyWith(keys []*publicKey, t *jws.Token) (Key, bool) {
	tries := 0
	for _, k := range keys {
		if !k.fits(t.Algorithm) {
			continue
		}
		if t.Verify(k.key) {
			return k.handle, true
		}
		if tries++; tries == maxTries {
			break
		}
	}
	return Key{}, false
}

func anyFits(keys []*publicKey, alg string) bool {
	for _, k := range keys {
		if k.fits(alg) {
			return true
		}
	}
	return false
}

// parse reads a JWK Set (RFC 7517 section 5). Keys that cannot be used are left out,
// as that section asks. A set may have no usable key at all: that is how an issuer
// withdraws its last one, and taking it for a failure would keep the old keys
// trusted.
func parse(doc string) (*snapshot, error) {
	sn := &snapshot{byID: map[string][]*publicKey{}, handles: map[Key]struct{}{}}
	r := strictjson.NewReader(doc)
	found := false
	for m := r.Members(); m.Next(); {
		if m.Name != "keys" {
			continue
		}
		found = r.Kind() == strictjson.Array
		for e := r.Elements(); e.Next(); {
			raw, _ := r.Raw()
			if len(sn.keys) == maxKeys {
				continue
			}
			if k, ok := parseKey(raw); ok {
				sn.add(k)
			}
		}
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if !found {
		return nil, fmt.Errorf("%w: no array of keys", ErrDocument)
	}
	return sn, nil
}

// add puts a key wherever it will be looked for.
func (sn *snapshot) add(k *publicKey) {
	sn.keys = append(sn.keys, k)
	if k.hasID {
		sn.byID[k.handle.id] = append(sn.byID[k.handle.id], k)
	}
	if k.verifying {
		sn.handles[k.handle] = struct{}{}
	}
}

// parseKey reads one JWK (RFC 7517 section 4). It is false for anything but a public
// key that package jws can verify with, and for one that comes with private or
// symmetric parts.
func parseKey(raw string) (*publicKey, bool) {
	jwk := readJWK(raw)
	if jwk.refused {
		return nil, false
	}
	k, ok := &jwk.publicKey, false
	if jwk.kty == "RSA" {
		k.key, ok = parseRSA(jwk.n, jwk.e)
	} else {
		k.key, ok = parseJOSE(raw)
	}
	if !ok {
		return nil, false
	}
	sum, err := (&jose.JSONWebKey{Key: k.key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, false
	}
	copy(k.handle.thumbprint[:], sum)
	return k, true
}

// jwk is what a JWK says.
type jwk struct {
	publicKey
	kty, n, e string
	refused   bool // it is no public key, or not as it should be
}

// readJWK reads a text that is known to be JSON.
func readJWK(raw string) *jwk {
	j := &jwk{publicKey: publicKey{verifying: true}}
	r := strictjson.NewReader(raw)
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "kty":
			j.kty = j.text(&r)
		case "kid":
			j.handle.id, j.hasID = strings.Clone(j.text(&r)), true
		case "alg":
			j.handle.alg = strings.Clone(j.text(&r))
			j.needs(j.handle.alg != "") // empty is not the same as absent
		case "use":
			j.needs(j.text(&r) == "sig")
		case "key_ops":
			j.refuse(r.Kind() != strictjson.Array)
			j.needs(hasVerify(&r))
		case "n":
			j.n = j.text(&r)
		case "e":
			j.e = j.text(&r)
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv":
			j.refuse(true) // private material that is published belongs to everybody
		}
	}
	return j
}

func (j *jwk) text(r *strictjson.Reader) string {
	text, ok := r.Text()
	j.refuse(!ok)
	return text
}

func (j *jwk) refuse(wrong bool)  { j.refused = j.refused || wrong }
func (j *jwk) needs(allowed bool) { j.verifying = j.verifying && allowed }

// hasVerify reads a value and reports whether it is an array that holds "verify".
func hasVerify(r *strictjson.Reader) bool {
	found := false
	for e := r.Elements(); e.Next(); {
		if op, _ := r.Text(); op == "verify" {
			found = true
		}
	}
	return found
}

// parseRSA returns the public key of an RSA JWK. See RFC 7518 section 6.3.1. go-jose
// has a bound of its own, 4096 bits unless the program changes a variable, and so is
// not asked.
func parseRSA(n, e string) (crypto.PublicKey, bool) {
	modulus, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		return nil, false
	}
	exponent, err := base64.RawURLEncoding.DecodeString(e)
	if err != nil {
		return nil, false
	}
	var (
		key = &rsa.PublicKey{N: new(big.Int).SetBytes(modulus)}
		exp = new(big.Int).SetBytes(exponent)
	)
	// What crypto/rsa would refuse at every use: even numbers and exponents beyond
	// 31 bits.
	if key.N.Bit(0) == 0 || exp.Bit(0) == 0 || exp.Cmp(big.NewInt(3)) < 0 || exp.Cmp(big.NewInt(math.MaxInt32)) > 0 {
		return nil, false
	}
	key.E = int(exp.Int64())
	return key, jws.Fits("RS256", key)
}

// parseJOSE returns the public key of an EC or OKP JWK.
func parseJOSE(raw string) (crypto.PublicKey, bool) {
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON([]byte(raw)); err != nil {
		return nil, false
	}
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA"} {
		if jws.Fits(alg, k.Key) {
			return k.Key, true
		}
	}
	return nil, false
}
