package testkit

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// Base64 is b in base64url without padding.
func Base64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// PayloadOf decodes a token's claims and verifies nothing.
func PayloadOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("got %d parts; want a JWT", len(parts))
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(data, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// Unsigned is a token that no key has signed, as a session store may hold it.
func Unsigned(payload string) string {
	return Base64([]byte(`{"alg":"ES256"}`)) + "." + Base64([]byte(payload)) + "." + Base64([]byte("signature"))
}

// ReplaceIDToken is for Fault.Malform: it puts another ID token into a token answer.
func ReplaceIDToken(change func(old string) string) func([]byte) []byte {
	return func(body []byte) []byte {
		var answer map[string]any
		if err := json.Unmarshal(body, &answer); err != nil {
			panic(err)
		}
		old, _ := answer["id_token"].(string)
		return bytes.Replace(body, []byte(`"`+old+`"`), []byte(`"`+change(old)+`"`), 1)
	}
}

// LeftHalfSHA384 is at_hash for the algorithms of 384 bits.
func LeftHalfSHA384(token string) string {
	sum := sha512.Sum384([]byte(token))
	return Base64(sum[:24])
}

// LeftHalfSHA256 is at_hash for the algorithms of 256 bits.
func LeftHalfSHA256(token string) string {
	sum := sha256.Sum256([]byte(token))
	return Base64(sum[:16])
}

// Change alters a token before it is signed.
type Change func(header, claims map[string]any)

// SetClaim puts a value in place of the claim.
func SetClaim(name string, value any) Change {
	return func(_, claims map[string]any) { claims[name] = value }
}

// SetHeader puts a value in place of the header.
func SetHeader(name string, value any) Change {
	return func(header, _ map[string]any) { header[name] = value }
}

// DropClaim leaves the claim out.
func DropClaim(name string) Change {
	return func(_, claims map[string]any) { delete(claims, name) }
}

// At moves a date claim to so long before or after the issuer's now.
func At(name string, d time.Duration) Change {
	return func(_, claims map[string]any) { claims[name] = NewClock().Now().Add(d).Unix() }
}

// Both makes several changes in turn.
func Both(changes ...Change) Change {
	return func(header, claims map[string]any) {
		for _, c := range changes {
			c(header, claims)
		}
	}
}

// Quote is s as a JSON string.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// JSON is v as JSON text.
func JSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
