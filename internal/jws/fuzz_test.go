package jws_test

import (
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/go-jose/go-jose/v4"
)

// FuzzParse checks that go-jose accepts each token that Parse accepts, and reads the
// same header and payload. If two parsers disagree, one can be used to get around
// the other.
func FuzzParse(f *testing.F) {
	for _, alg := range algorithms {
		f.Add(signJOSE(f, alg, plainPayload))
	}
	for _, header := range []string{
		plainHeader, `{"alg":"none"}`, `{"alg":"EdDSA","kid":""}`, `{"alg":"EdDSA","\u006bid":"\ud83d\ude00"}`,
		`{"alg":"EdDSA","b64":true,"crit":["b64"]}`, `{"alg":"EdDSA","ALG":"none"}`, `{"alg":"EdDSA","x5c":["AA"]}`,
		`{"alg":"EdDSA","nonce":1,"cty":{},"x":1e999}`,
	} {
		f.Add(sign(header, plainPayload))
	}
	f.Add(sign(plainHeader, ""))
	f.Add("..")
	f.Add("e30.e30.AA")

	var accepted []jose.SignatureAlgorithm
	for _, alg := range algorithms {
		accepted = append(accepted, jose.SignatureAlgorithm(alg))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := jws.Parse(raw)
		if err != nil {
			if token != (jws.Token{}) {
				t.Fatalf("got a token beside the error: %+v", token)
			}
			if text := err.Error(); len(text) > 100 || len(raw) > 12 && strings.Contains(text, raw) {
				t.Errorf("got %q, which quotes the token", text)
			}
			return
		}
		theirs, err := jose.ParseSignedCompact(raw, accepted)
		if err != nil && tooStrict(err) {
			return
		}
		if err != nil {
			t.Fatalf("go-jose refuses %q: %v", raw, err)
		}
		if got := string(theirs.UnsafePayloadWithoutVerification()); got != token.Payload {
			t.Errorf("go-jose reads the payload %q; want %q", got, token.Payload)
		}
		h := theirs.Signatures[0].Protected
		if h.Algorithm != token.Algorithm || h.KeyID != token.KeyID {
			t.Errorf("go-jose reads alg %q, kid %q; want %q, %q", h.Algorithm, h.KeyID, token.Algorithm, token.KeyID)
		}
		if typ, _ := h.ExtraHeaders[jose.HeaderType].(string); typ != token.Type {
			t.Errorf("go-jose reads typ %q; want %q", typ, token.Type)
		}
		_, verifyErr := theirs.Verify(edKey.Public())
		if got := token.Verify(edKey.Public()); got != (verifyErr == nil) {
			t.Errorf("got %v; go-jose says %v", got, verifyErr)
		}
	})
}

// tooStrict reports whether go-jose refuses a token for a header member that we do
// not read: a certificate chain (we never use certificates), a nonce (only ACME has
// one), or a number that does not fit into a float64.
func tooStrict(err error) bool {
	for _, text := range []string{"failed to unmarshal x5c header", "failed to unmarshal nonce", "cannot unmarshal number"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}
