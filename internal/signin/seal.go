package signin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Base64URL is strict: no two texts stand for the same bytes.
var Base64URL = base64.RawURLEncoding.Strict()

// Pack joins texts so that no other texts give the same bytes.
func Pack(parts ...string) []byte {
	size := 0
	for _, part := range parts {
		size += len(part) + 2
	}
	b := make([]byte, 0, size)
	for _, part := range parts {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// Unpack returns want texts that were packed, as parts of one, and what stands
// behind them.
func Unpack(b []byte, want int) (parts []string, rest []byte, ok bool) {
	ends, at := make([][2]int, want), 0
	for i := range ends {
		n, used := binary.Uvarint(b[at:])
		if used <= 0 || n > uint64(len(b)-at-used) {
			return nil, nil, false
		}
		ends[i] = [2]int{at + used, at + used + int(n)}
		at = ends[i][1]
	}
	text := string(b[:at])
	parts = make([]string, want)
	for i, end := range ends {
		parts[i] = text[end[0]:end[1]]
	}
	return parts, b[at:], true
}

func digest(parts ...string) [sha256.Size]byte { return sha256.Sum256(Pack(parts...)) }

// Name is a digest as a key of the store: 43 characters.
func Name(parts ...string) string {
	sum := digest(parts...)
	return Base64URL.EncodeToString(sum[:])
}

// Random returns 32 random bytes.
func Random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return string(b[:])
}

// cipherOf makes AES-256-GCM of a key that was derived by digest. The nonce is made
// and put in front by the cipher itself.
func cipherOf(key [sha256.Size]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// seal encrypts plain so that it takes this Book's key and secret to open it, and
// opens as a label in one place only.
func (b *Book) seal(label, secret, place string, plain []byte) []byte {
	return cipherOf(b.sealKey(b.keys()[0], label, secret)).Seal(nil, nil, plain, []byte(place))
}

// open decrypts what seal made, under any of the keys, and appends it to dst. What
// does not open is not ours.
func (b *Book) open(dst []byte, label, secret, place string, sealed []byte) (plain []byte, ok bool) {
	for _, key := range b.keys() {
		plain, err := cipherOf(b.sealKey(key, label, secret)).Open(dst, nil, sealed, []byte(place))
		if err == nil {
			return plain, true
		}
	}
	return nil, false
}

func (b *Book) sealKey(key, label, secret string) [sha256.Size]byte {
	return digest("authpihttp "+label, key, b.identity, secret)
}

// Seal encrypts plain, which opens under the same label and place alone.
func (b *Book) Seal(label, place string, plain []byte) []byte {
	return b.seal(label, "", place, plain)
}

// Open decrypts what Seal made.
func (b *Book) Open(label, place string, sealed []byte) (plain []byte, ok bool) {
	return b.open(nil, label, "", place, sealed)
}
