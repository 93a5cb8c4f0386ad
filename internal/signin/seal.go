package signin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
)

// Base64URL is strict: no two texts stand for the same bytes.
var Base64URL = base64.RawURLEncoding.Strict()

// Pack joins texts so that no other texts give the same bytes.
func Pack(parts ...string) []byte {
	size := 0
	for _, part := range parts {
		size += len(part) + binary.MaxVarintLen64
	}
	return appendPacked(make([]byte, 0, size), parts)
}

func appendPacked(b []byte, parts []string) []byte {
	for _, part := range parts {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// Packed reads what Pack joined, from first to last. Each part is one of the whole.
type Packed struct {
	rest string
	bad  bool
}

// Unpack begins at the first part.
func Unpack(packed []byte) Packed { return Packed{rest: string(packed)} }

// Text returns the next part, empty where there is none.
func (p *Packed) Text() (part string) {
	size, used := binary.Uvarint([]byte(p.rest[:min(len(p.rest), binary.MaxVarintLen64)]))
	if used <= 0 || size > uint64(len(p.rest)-used) {
		p.rest, p.bad = "", true
		return ""
	}
	end := used + int(size)
	part, p.rest = p.rest[used:end], p.rest[end:]
	return part
}

// Number returns the next part, which is a number.
func (p *Packed) Number() int64 {
	n, err := strconv.ParseInt(p.Text(), 10, 64)
	p.bad = p.bad || err != nil
	return n
}

// Whole reports whether all parts were there, and no other.
func (p *Packed) Whole() bool { return !p.bad && p.rest == "" }

func number(n int64) string { return strconv.FormatInt(n, 10) }

// digest packs on the stack: each request takes several.
func digest(parts ...string) [sha256.Size]byte {
	return sha256.Sum256(appendPacked(make([]byte, 0, 256), parts))
}

// Name is a digest as a key of the store: 43 characters.
func Name(parts ...string) string { return encoded(digest(parts...)) }

func encoded(sum [sha256.Size]byte) string {
	return string(Base64URL.AppendEncode(make([]byte, 0, 43), sum[:]))
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
