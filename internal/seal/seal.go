// Package seal closes a text so that only a holder of one refresh token, or of a
// client's secret, can open it: AES-256-GCM under a key derived from that.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// errUnreadable is for everything that does not open: cut, changed, or sealed
// under another token. Which of them it was helps only an attacker.
var errUnreadable = errors.New("the sealed refresh result cannot be opened")

const keyInfo = "authpi refresh result v1"

// ID names a refresh token without showing any of it: a digest that is safe to
// store and log. context (issuer and client) keeps equal tokens of two issuers
// apart.
func ID(context, token string) string {
	named := append(make([]byte, 0, 256), "authpi refresh id v1\x00"...) // on the stack, as a rule
	named = append(named, context...)
	named = append(named, 0)
	named = append(named, token...)
	sum := sha256.Sum256(named)
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

// Seal encrypts plain for holders of token. id, the digest of the same token,
// is bound to it, so that a result cannot be moved to another key of a store.
func Seal(token, id string, plain []byte) ([]byte, error) {
	aead, err := newCipher(token, keyInfo)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, []byte(id)), nil
}

// Open decrypts what Seal made of the same token and id.
func Open(token, id string, sealed []byte) ([]byte, error) {
	aead, err := newCipher(token, keyInfo)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, []byte(id))
	if err != nil {
		return nil, errUnreadable
	}
	return plain, nil
}

// newCipher derives a key from a secret, for one purpose. The random nonce is made
// and prepended by the cipher itself, which also satisfies FIPS 140-3.
func newCipher(secret, purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Key seals for the processes of one client, which share its secret.
type Key struct {
	aead  cipher.AEAD
	names []byte
}

// MachineKey derives the Key of a client secret.
func MachineKey(secret string) (*Key, error) {
	aead, err := newCipher(secret, "authpi machine token v1")
	if err != nil {
		return nil, err
	}
	names, err := hkdf.Key(sha256.New, []byte(secret), nil, "authpi machine token id v1", 32)
	return &Key{aead, names}, err
}

// ID names what is made of parts, whose number and order count. Without the secret
// nobody can tell what it is of.
func (k *Key) ID(parts ...string) string {
	mac := hmac.New(sha256.New, k.names)
	for _, part := range parts {
		_, _ = fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// Seal encrypts plain, and binds it to its id.
func (k *Key) Seal(id string, plain []byte) []byte {
	return k.aead.Seal(nil, nil, plain, []byte(id))
}

var errForeign = errors.New("what is stored cannot be opened")

// Open decrypts what Seal made under the same secret and id.
func (k *Key) Open(id string, sealed []byte) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, sealed, []byte(id))
	if err != nil {
		return nil, errForeign
	}
	return plain, nil
}
