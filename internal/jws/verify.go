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

// The sizes of RSA keys that are accepted, in bits. RFC 7518 section 3.3 asks for
// 2048 or more. The upper bound is OpenSSL's: a larger key would only make verifying
// expensive.
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

// Hash returns the hash function of a supported algorithm. The at_hash claim uses it
// too (OpenID Connect Core section 3.1.3.6). For EdDSA it is SHA-512, which Ed25519
// uses internally.
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

// Fits reports whether key has the type, and the curve or size, that alg asks for. A
// token names its algorithm; with this check it cannot choose how a key is used.
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

// Verify reports whether the signature is valid under key and the token's algorithm.
// It returns false for a key that does not fit the algorithm, see [Fits].
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

// verifyECDSA verifies a signature that is r and then s, each as long as the curve's
// order. See RFC 7518 section 3.4. It encodes them in DER for ecdsa.VerifyASN1, which
// takes 1 allocation; ecdsa.Verify takes 16.
func verifyECDSA(key *ecdsa.PublicKey, digest, signature []byte) bool {
	size := (key.Curve.Params().N.BitLen() + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	der := make([]byte, 3, 2*size+9) // room for a SEQUENCE's header of two or three bytes
	der = appendInteger(appendInteger(der, signature[:size]), signature[size:])
	head := 1
	if length := len(der) - 3; length < 0x80 {
		der[1], der[2] = 0x30, byte(length)
	} else { // only P-521's are that long; for them one byte after 0x81 is enough
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
	return append(append(der, 0x02, byte(len(n)+1), 0), n...) // zero, or a high bit that must not be read as a sign
}

// digest returns the hash value of what the signature covers.
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

// SignedSHA256 returns the SHA-256 of what the signature covers: the token up to its
// last dot. It is computed once.
func (t *Token) SignedSHA256() [sha256.Size]byte {
	if !t.summed {
		t.sum, t.summed = SHA256(t.signed), true
	}
	return t.sum
}

// SHA256 returns the SHA-256 of a text. It hashes piece by piece, since converting a
// long text to a slice for [sha256.Sum256] would copy it.
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
