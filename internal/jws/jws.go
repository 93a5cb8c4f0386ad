// Package jws reads and verifies compact JSON Web Signatures (RFC 7515).
//
// A token is parsed once, strictly, and verified with a key that the caller has
// chosen: the package holds no keys. It accepts only what every parser reads the
// same way.
package jws

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// MaxLength is the length of the longest token that [Parse] reads, in bytes.
const MaxLength = 512 << 10

// maxHeaderLength bounds the decoded header, in bytes. Real ones have about a
// hundred.
const maxHeaderLength = 8 << 10

// Token is a signed token that has been parsed. Until [Token.Verify] has returned
// true, anybody may have written it.
type Token struct {
	Algorithm string // alg, a supported one
	KeyID     string // kid, see HasKeyID
	Type      string // typ as written, empty if there is none
	HasKeyID  bool   // whether there is a kid, which may be empty
	Payload   string // decoded

	signed    string // what the signature covers: the first two parts and the dot between them
	signature string // decoded

	sum    [sha256.Size]byte // SHA-256 of signed, if summed
	summed bool
}

// Parse reads a token in the compact serialization of RFC 7515 section 7.1. It is
// strict: three parts, base64url without padding, white space or stray bits, and a
// header that is a JSON object without repeated names.
//
// It refuses every algorithm that does not verify with a public key, and every
// header that would let the token choose its own key (jku, jwk, x5u) or change the
// rules (crit, b64). Every error is an [*Error].
func Parse(raw string) (Token, error) {
	if len(raw) > MaxLength {
		return Token{}, &Error{"length", "more than 512 KiB"}
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, more := strings.Cut(rest, ".")
	if !more || strings.Contains(signature, ".") {
		return Token{}, &Error{"format", "not three parts"}
	}

	t := Token{signed: raw[:len(header)+1+len(payload)]}
	if err := t.readHeader(header); err != nil {
		return Token{}, err
	}
	var ok bool
	if t.Payload, ok = decode(payload); !ok {
		return Token{}, &Error{"payload", notBase64}
	}
	if signature == "" {
		return Token{}, &Error{"signature", "empty"}
	}
	if t.signature, ok = decode(signature); !ok {
		return Token{}, &Error{"signature", notBase64}
	}
	return t, nil
}

const notBase64 = "not base64url without padding"

// readHeader reads the token's first part into the fields that come from it.
func (t *Token) readHeader(part string) error {
	if base64.RawURLEncoding.DecodedLen(len(part)) > maxHeaderLength {
		return &Error{"header", "more than 8 KiB"}
	}
	text, ok := decode(part)
	if !ok {
		return &Error{"header", notBase64}
	}
	r := strictjson.NewReader(text)
	if r.Kind() != strictjson.Object {
		return &Error{"header", "not a JSON object"}
	}
	var refused *Error // by the first member that is wrong, if the header is strict JSON
	for m := r.Members(); m.Next(); {
		ok, reason := true, "not text"
		switch m.Name {
		case "alg":
			t.Algorithm, ok = r.Text()
		case "kid":
			t.KeyID, ok = r.Text()
			t.HasKeyID = true
		case "typ":
			t.Type, ok = r.Text()
		case "jku", "jwk", "x5u":
			ok, reason = false, "a token may not bring its own key"
		case "crit", "b64":
			// b64 counts only if crit lists it (RFC 7797 section 6), but a parser
			// that obeys it anyway reads another payload.
			ok, reason = false, "extensions are not supported"
		}
		if !ok && refused == nil {
			// A copy of the name: keeping the name itself would make the Reader
			// escape to the heap.
			refused = &Error{strings.Replace(strings.Clone(m.Name), "b64", "crit", 1), reason}
		}
	}
	switch {
	case r.End() != nil:
		return &Error{"header", "not strict JSON"}
	case refused != nil:
		return refused
	case !Supported(t.Algorithm):
		return &Error{"alg", "missing or not supported"}
	}
	return nil
}

// Error says why a token was refused. Its text holds nothing of the token.
type Error struct {
	// Part names what failed: length, format, header, alg, crit, jku, jwk, x5u, typ,
	// kid, payload or signature.
	Part string
	// Reason says what is wrong with it.
	Reason string
}

// Error returns the part and the reason.
func (e *Error) Error() string { return "jws: " + e.Part + ": " + e.Reason }
