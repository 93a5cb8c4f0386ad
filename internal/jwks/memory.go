package jwks

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync/atomic"
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/jws"
)

// Memory remembers tokens whose signature held, by the digest of the signature,
// until they expire or their key is withdrawn. No signature is kept, so nothing in
// here can be used as a token. What a token says is a T. It is safe for concurrent
// use.
type Memory[T any] struct {
	set    *Set
	decode func(payload string) (T, error)
	known  *fresh.Map[[sha256.Size]byte, *verified[T]]
}

// NewMemory returns an empty Memory of tokens by set's keys, whose payloads decode
// reads.
func NewMemory[T any](set *Set, decode func(payload string) (T, error)) *Memory[T] {
	limits := fresh.Limits{Entries: 16384, Bytes: 64 << 20}
	return &Memory[T]{set: set, decode: decode, known: fresh.NewMap[[sha256.Size]byte, *verified[T]](limits, set.now)}
}

// verified is a remembered token, with the key that it held for.
type verified[T any] struct {
	sum          [sha256.Size]byte // SHA-256 of header and payload, as they came
	payload, typ string
	key          Key
	again        atomic.Pointer[decoded[T]] // nil until the token is seen again
}

// decoded is what saves time when a token is seen a third time: comparing a text
// costs a tenth of hashing it. Most tokens of a large API are not seen so often by
// one process.
type decoded[T any] struct {
	signed string // header and payload, as they came
	value  T
}

// Remember notes that k has verified t, whose text is raw.
func (m *Memory[T]) Remember(raw string, t *jws.Token, k Key, expiry time.Time) {
	id, _ := cutSignature(raw)
	known := &verified[T]{sum: t.SignedSHA256(), payload: t.Payload, typ: t.Type, key: k}
	m.known.Put(id, known, 4*len(raw), expiry)
}

// Recall returns what a remembered token says and its typ, if it is the very same
// token and its key is still the issuer's; nil otherwise. The value is shared: the
// caller must not change it.
func (m *Memory[T]) Recall(ctx context.Context, raw string) (value *T, typ string) {
	id, signed := cutSignature(raw)
	known, ok := m.known.Get(id)
	if !ok || !m.set.Trusts(ctx, known.key) {
		return nil, ""
	}
	return m.recall(known, signed), known.typ
}

func (m *Memory[T]) recall(known *verified[T], signed string) *T {
	if again := known.again.Load(); again != nil {
		if again.signed != signed {
			return nil
		}
		return &again.value
	}
	if jws.SHA256(signed) != known.sum {
		return nil
	}
	value, err := m.decode(known.payload)
	if err != nil {
		return nil // it could be decoded when it came
	}
	// A part of the token would keep the whole of it in memory.
	again := &decoded[T]{strings.Clone(signed), value}
	known.again.Store(again)
	return &again.value
}

// cutSignature returns the digest of a token's signature and what that signs. A text
// too long for a token has neither, so that nobody makes us search or hash it.
func cutSignature(raw string) (id [sha256.Size]byte, signed string) {
	if len(raw) > jws.MaxLength {
		return id, ""
	}
	dot := strings.LastIndexByte(raw, '.')
	if dot < 0 {
		return id, ""
	}
	return jws.SHA256(raw[dot+1:]), raw[:dot]
}
