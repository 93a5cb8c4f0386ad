package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"io"
)

// The sizes of RSA keys that count, in bits. RFC 7518 section 3.3 asks for 2048 or
// more; the other bound is what crypto/tls allows, so that a key cannot make
// verifying expensive.
const (
	minRSABits = 2048
	maxRSABits = 16384
)

// Supported reports whether alg is a signature algorithm of RFC 7518 section 3.1 or
// RFC 8037 that verifies with a public key. The names are case-sensitive.
func Supported(alg string) bool {
	_, ok := Hash(alg)
	return ok
}

// Hash returns the hash function of a supported algorithm, the one that at_hash uses
// too (OpenID Connect Core 3.1.3.6). For EdDSA that is SHA-512, which Ed25519 uses
// inside.
func Hash(alg string) (crypto.Hash, bool) {
	switch alg {
	case "ES256", "RS256", "PS256":
		return crypto.SHA256, true
	case "ES384", "RS384", "PS384":
		return crypto.SHA384, true
	case "ES512", "RS512", "PS512", "EdDSA":
		return crypto.SHA512, true
	default:
		return 0, false
	}
}

// Fits reports whether key is of the type, and on the curve or of the size, that alg
// asks for. A key is good for some algorithms only, so that no token can choose how
// it is used.
func Fits(alg string, key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		//lint:ignore SA1019 a key without a point must not reach package ecdsa, which would panic
		return key != nil && key.X != nil && key.Y != nil && key.Curve != nil && key.Curve == curve(alg)
	case *rsa.PublicKey:
		if key == nil || key.N == nil || key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits {
			return false
		}
		return Supported(alg) && (alg[:2] == "RS" || alg[:2] == "PS")
	case ed25519.PublicKey:
		return alg == "EdDSA" && len(key) == ed25519.PublicKeySize
	default:
		return false
	}
}

// curve returns the curve of an ECDSA algorithm, nil for any other. See RFC 7518
// section 3.4.
func curve(alg string) elliptic.Curve {
	switch alg {
	case "ES256":
		return elliptic.P256()
	case "ES384":
		return elliptic.P384()
	case "ES512":
		return elliptic.P521()
	default:
		return nil
	}
}

// Verify reports whether the signature is one by key with the token's algorithm. It
// is false for a key that does not fit the algorithm, see [Fits].
func (t *Token) Verify(key crypto.PublicKey) bool {
	if !Fits(t.Algorithm, key) {
		return false
	}
	signature := []byte(t.signature)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return verifyECDSA(key, t.digest(), signature)
	case *rsa.PublicKey:
		hash, _ := Hash(t.Algorithm)
		if t.Algorithm[0] == 'P' {
			// The salt is as long as the hash value (RFC 7518 section 3.5).
			opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.VerifyPSS(key, hash, t.digest(), signature, opts) == nil
		}
		return rsa.VerifyPKCS1v15(key, hash, t.digest(), signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, []byte(t.signed), signature)
	default:
		return false
	}
}

// verifyECDSA verifies a signature that is r and s, each as long as the curve's
// order, one after the other. See RFC 7518 section 3.4. It makes the ASN.1 for
// ecdsa.VerifyASN1 itself, which takes 1 allocation where ecdsa.Verify takes 16 for
// the same.
func verifyECDSA(key *ecdsa.PublicKey, digest, signature []byte) bool {
	size := (key.Curve.Params().N.BitLen() + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	der := make([]byte, 3, 2*size+9) // room for a SEQUENCE's head of two or three bytes
	der = appendInteger(appendInteger(der, signature[:size]), signature[size:])
	head := 1
	if length := len(der) - 3; length < 0x80 {
		der[1], der[2] = 0x30, byte(length)
	} else { // only P-521's are that long, and none needs more than one byte
		der[0], der[1], der[2], head = 0x30, 0x81, byte(length), 0
	}
	return ecdsa.VerifyASN1(key, digest, der[head:])
}

// appendInteger appends an unsigned big-endian number as an ASN.1 INTEGER in DER.
func appendInteger(der, n []byte) []byte {
	n = bytes.TrimLeft(n, "\x00")
	if len(n) > 0 && n[0] < 0x80 {
		return append(append(der, 0x02, byte(len(n))), n...)
	}
	return append(append(der, 0x02, byte(len(n)+1), 0), n...) // zero, or a high bit that is no sign
}

// digest returns the hash value of what is signed.
func (t *Token) digest() []byte {
	hash, _ := Hash(t.Algorithm)
	if hash != crypto.SHA256 {
		h := hash.New()
		_, _ = io.WriteString(h, t.signed) // a hash never fails
		return h.Sum(nil)
	}
	sum := t.SignedSHA256()
	return sum[:]
}

// SignedSHA256 is the SHA-256 of what is signed: the token up to its last dot. It is
// taken once.
func (t *Token) SignedSHA256() [sha256.Size]byte {
	if !t.summed {
		t.sum, t.summed = SHA256(t.signed), true
	}
	return t.sum
}

// SHA256 is [sha256.Sum256] of a text, which it takes in pieces: made a slice as a
// whole, a long token would be copied.
func SHA256(text string) (sum [sha256.Size]byte) {
	var piece [1024]byte
	h := sha256.New()
	for len(text) > 0 {
		n := copy(piece[:], text)
		h.Write(piece[:n]) // a hash never fails
		text = text[n:]
	}
	h.Sum(sum[:0])
	return sum
}
