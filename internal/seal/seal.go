// Package seal closes a text so that only a holder of one refresh token can
// open it: AES-256-GCM under a key derived from that token.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// errUnreadable is for everything that does not open: cut, changed, or sealed
// under another token. Which of them it was helps only an attacker.
var errUnreadable = errors.New("the sealed refresh result cannot be opened")

const keyInfo = "authpi refresh result v1"

// ID names a refresh token without showing any of it: a digest that is safe to
// store and log. context (issuer and client) keeps equal tokens of two issuers
// apart.
func ID(context, token string) string {
	sum := sha256.Sum256([]byte("authpi refresh id v1\x00" + context + "\x00" + token))
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

// Seal encrypts plain for holders of token. id, the digest of the same token,
// is bound to it, so that a result cannot be moved to another key of a store.
func Seal(token, id string, plain []byte) ([]byte, error) {
	aead, err := newCipher(token)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, []byte(id)), nil
}

// Open decrypts what Seal made of the same token and id.
func Open(token, id string, sealed []byte) ([]byte, error) {
	aead, err := newCipher(token)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, []byte(id))
	if err != nil {
		return nil, errUnreadable
	}
	return plain, nil
}

// newCipher derives the key of one token. The random nonce is made and prepended by
// the cipher itself, which also satisfies FIPS 140-3.
func newCipher(token string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(token), nil, keyInfo, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
