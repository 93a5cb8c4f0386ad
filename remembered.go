package authpi

import (
	"crypto/sha256"
	"strings"
	"sync/atomic"
	"time"

	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/recent"
)

// verifiedTokens remembers tokens whose signature held, by the digest of the
// signature, until they expire. No signature is kept, so nothing in here can be
// used as a token.
type verifiedTokens = recent.Map[[sha256.Size]byte, *verifiedToken]

func newVerifiedTokens(now func() time.Time) *verifiedTokens {
	return recent.New[[sha256.Size]byte, *verifiedToken](recent.Limits{Entries: 16384, Bytes: 64 << 20}, now)
}

// verifiedToken is one of them, with the key that it held for.
type verifiedToken struct {
	sum          [sha256.Size]byte // SHA-256 of header and payload, as they came
	payload, typ string
	key          jwks.Key
	kept         atomic.Pointer[keptToken] // nil until the token is seen again
}

// keptToken is what saves time when a token is seen a third time: comparing a text
// costs a tenth of hashing it. Most tokens of a large API are not seen so often by
// one process.
type keptToken struct {
	signed string // header and payload, as they came
	claims tokenClaims
}

// again gives the token's claims, as the caller's own, if what is signed is the same.
func (v *verifiedToken) again(signed string) (tokenClaims, bool) {
	kept := v.kept.Load()
	switch {
	case kept != nil:
		if kept.signed != signed {
			return tokenClaims{}, false
		}
	case jws.SHA256(signed) != v.sum:
		return tokenClaims{}, false
	default:
		parsed, err := parseClaims(v.payload)
		if err != nil {
			return tokenClaims{}, false // it could be parsed when it came
		}
		// A part of the token would keep the whole of it in memory.
		kept = &keptToken{strings.Clone(signed), parsed}
		v.kept.Store(kept)
	}
	own := kept.claims
	own.organizations = claims.CloneOrganizations(own.organizations)
	return own, true
}

// cutSignature gives the digest of a token's signature and what that signs. A text too
// long for a token has neither, so that nobody makes us search or hash it.
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
