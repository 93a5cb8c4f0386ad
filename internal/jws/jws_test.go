package jws_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/jws"
)

// edKey signs the tokens whose header is written by the test.
var edKey = ed25519.NewKeyFromSeed([]byte("a seed of thirty-two bytes, fix."))

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sign returns a token with exactly these bytes as header and payload, signed with
// edKey.
func sign(header, payload string) string {
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(string(ed25519.Sign(edKey, []byte(input))))
}

const (
	plainHeader  = `{"alg":"EdDSA","kid":"k1","typ":"JWT"}`
	plainPayload = `{"sub":"secret-subject"}`
)

func TestParse(t *testing.T) {
	t.Parallel()
	token, err := jws.Parse(sign(plainHeader, plainPayload))
	if err != nil {
		t.Fatal(err)
	}
	if token.Algorithm != "EdDSA" || token.KeyID != "k1" || !token.HasKeyID || token.Type != "JWT" || token.Payload != plainPayload {
		t.Errorf("got %+v", token)
	}
	if !token.Verify(edKey.Public()) {
		t.Error("the signature does not verify")
	}
}

// TestParseHeader tries each wrong header, and the same header fixed.
func TestParseHeader(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name, header, part, fixed string
	}{
		{"no alg", `{"kid":"k1"}`, "alg", `{"alg":"EdDSA","kid":"k1"}`},
		{"alg not text", `{"alg":1}`, "alg", `{"alg":"EdDSA"}`},
		{"alg null", `{"alg":null}`, "alg", `{"alg":"EdDSA"}`},
		{"alg empty", `{"alg":""}`, "alg", `{"alg":"EdDSA"}`},
		{"alg none", `{"alg":"none"}`, "alg", `{"alg":"EdDSA"}`},
		{"alg None", `{"alg":"None"}`, "alg", `{"alg":"EdDSA"}`},
		{"alg nOnE", `{"alg":"nOnE"}`, "alg", `{"alg":"EdDSA"}`},
		{"alg HS256", `{"alg":"HS256"}`, "alg", `{"alg":"ES256"}`},
		{"alg HS384", `{"alg":"HS384"}`, "alg", `{"alg":"ES384"}`},
		{"alg HS512", `{"alg":"HS512"}`, "alg", `{"alg":"ES512"}`},
		{"alg ES256K", `{"alg":"ES256K"}`, "alg", `{"alg":"ES256"}`},
		{"alg lower case", `{"alg":"es256"}`, "alg", `{"alg":"ES256"}`},
		{"alg with space", `{"alg":"ES256 "}`, "alg", `{"alg":"ES256"}`},
		{"alg of encryption", `{"alg":"RSA-OAEP"}`, "alg", `{"alg":"RS256"}`},
		{"alg name in capitals", `{"ALG":"ES256"}`, "alg", `{"ALG":"none","alg":"ES256"}`},
		{"alg twice", `{"alg":"none","alg":"ES256"}`, "header", `{"alg":"ES256"}`},
		{"alg twice, once escaped", `{"\u0061lg":"none","alg":"ES256"}`, "header", `{"\u0061lg":"ES256"}`},
		{"crit", `{"alg":"EdDSA","crit":["exp"]}`, "crit", `{"alg":"EdDSA"}`},
		{"crit empty", `{"alg":"EdDSA","crit":[]}`, "crit", `{"alg":"EdDSA"}`},
		{"crit null", `{"alg":"EdDSA","crit":null}`, "crit", `{"alg":"EdDSA","Crit":null}`},
		{"b64", `{"alg":"EdDSA","b64":false}`, "crit", `{"alg":"EdDSA"}`},
		{"b64 and crit", `{"alg":"EdDSA","b64":false,"crit":["b64"]}`, "crit", `{"alg":"EdDSA"}`},
		{"jku", `{"alg":"EdDSA","jku":"https://a.example/"}`, "jku", `{"alg":"EdDSA"}`},
		{"jku before alg", `{"jku":"","alg":"EdDSA"}`, "jku", `{"alg":"EdDSA"}`},
		{"jwk", `{"alg":"EdDSA","jwk":{}}`, "jwk", `{"alg":"EdDSA"}`},
		{"jwk null", `{"alg":"EdDSA","jwk":null}`, "jwk", `{"alg":"EdDSA"}`},
		{"x5u", `{"alg":"EdDSA","x5u":"https://a.example/"}`, "x5u", `{"alg":"EdDSA","x5t":"x"}`},
		{"kid number", `{"alg":"EdDSA","kid":1}`, "kid", `{"alg":"EdDSA","kid":"1"}`},
		{"kid null", `{"alg":"EdDSA","kid":null}`, "kid", `{"alg":"EdDSA","kid":""}`},
		{"typ number", `{"alg":"EdDSA","typ":1}`, "typ", `{"alg":"EdDSA","typ":"1"}`},
		{"typ null", `{"alg":"EdDSA","typ":null}`, "typ", `{"alg":"EdDSA"}`},
		{"first fault counts", `{"typ":1,"kid":1,"alg":"none"}`, "typ", `{"typ":"1","kid":"1","alg":"EdDSA"}`},
		{"empty", ``, "header", `{"alg":"EdDSA"}`},
		{"array", `["alg","EdDSA"]`, "header", `{"alg":"EdDSA"}`},
		{"null", `null`, "header", `{"alg":"EdDSA"}`},
		{"text", `"alg"`, "header", `{"alg":"EdDSA"}`},
		{"cut", `{"alg":"EdDSA"`, "header", `{"alg":"EdDSA"}`},
		{"cut inside a value", `{"alg":"EdD`, "header", `{"alg":"EdDSA"}`},
		{"cut after a bad value", `{"typ":1,"alg":`, "header", `{"typ":"1","alg":"EdDSA"}`},
		{"more behind", `{"alg":"EdDSA"}{}`, "header", `{"alg":"EdDSA"} `},
		{"byte order mark", "\ufeff" + `{"alg":"EdDSA"}`, "header", `{"alg":"EdDSA"}`},
		{"not UTF-8", `{"alg":"EdDSA","x":"` + "\xff" + `"}`, "header", `{"alg":"EdDSA","x":"ÿ"}`},
		{"other name twice", `{"alg":"EdDSA","x":1,"x":1}`, "header", `{"alg":"EdDSA","x":1,"y":1}`},
		{"name twice inside", `{"alg":"EdDSA","x":{"y":1,"y":1}}`, "header", `{"alg":"EdDSA","x":{"y":1}}`},
		{"too deep", `{"alg":"EdDSA","x":` + deep(64) + `}`, "header", `{"alg":"EdDSA","x":` + deep(63) + `}`},
		{
			"8 KiB and a byte", `{"alg":"EdDSA","x":"` + strings.Repeat("x", 8<<10-22+1) + `"}`, "header",
			`{"alg":"EdDSA","x":"` + strings.Repeat("x", 8<<10-22) + `"}`,
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			refused(t, sign(tc.header, plainPayload), tc.part)
			if _, err := jws.Parse(sign(tc.fixed, plainPayload)); err != nil {
				t.Errorf("fixed: got %v; want no error", err)
			}
		})
	}
}

// TestParseParts tries texts that are wrong elsewhere than in their header's JSON.
func TestParseParts(t *testing.T) {
	t.Parallel()
	good := sign(plainHeader, plainPayload)
	parts := strings.Split(good, ".")
	h, p, s := parts[0], parts[1], parts[2]
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	if _, err := jws.Parse(good); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, raw, part string
	}{
		{"empty", "", "format"},
		{"one part", h, "format"},
		{"two parts", join(h, p), "format"},
		{"four parts", join(h, p, s, s), "format"},
		{"dot behind", good + ".", "format"},
		{"encrypted", join(h, p, s, s, s), "format"},
		{"JSON serialization", `{"payload":"` + p + `"}`, "format"},
		{"dots alone", "..", "header"},
		{"header missing", join("", p, s), "header"},
		{"dot in front", "." + good[:len(good)-len(s)-1], "header"},
		{"header padded", join(h+"=", p, s), "header"},
		{"header with line end", join(h[:8]+"\n"+h[8:], p, s), "header"},
		{"space in front", " " + good, "header"},
		{"Bearer in front", "Bearer " + good, "header"},
		{"payload padded", join(h, p+"=", s), "payload"},
		{"payload with line end", join(h, p+"\n", s), "payload"},
		{"payload begins with line end", join(h, "\n"+p, s), "payload"},
		{"payload begins with carriage return", join(h, "\r"+p, s), "payload"},
		{"payload with carriage return", join(h, p[:4]+"\r"+p[4:], s), "payload"},
		{"payload with space", join(h, p[:4]+" "+p[4:], s), "payload"},
		{"payload with plus", join(h, "-_-_-_-+", s), "payload"},
		{"payload with slash", join(h, "-_-_-_-/", s), "payload"},
		{"payload of one letter more", join(h, "aaaaa", s), "payload"},
		{"payload with bits behind", join(h, "aR", s), "payload"},
		{"payload with bits behind, three letters", join(h, "aaB", s), "payload"},
		{"payload with bits behind a full piece", join(h, strings.Repeat("a", 1024)+"aR", s), "payload"},
		{"payload with NUL", join(h, "aaa\x00", s), "payload"},
		{"payload not ASCII", join(h, "aaä", s), "payload"},
		{"signature missing", join(h, p, ""), "signature"},
		{"signature padded", join(h, p, s+"=="), "signature"},
		{"signature with line end", good + "\n", "signature"},
		{"signature with carriage return and line end", good + "\r\n", "signature"},
		{"space behind", good + " ", "signature"},
		{"signature with bits behind", join(h, p, "aR"), "signature"},
		{"too long", good + strings.Repeat("A", jws.MaxLength-len(good)+1), "length"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			refused(t, tc.raw, tc.part)
		})
	}
	for _, payload := range []string{"-_-_-_--", "aaaa", "aQ", "aaE", strings.Repeat("a", 1024) + "aQ", ""} {
		if token, err := jws.Parse(join(h, payload, s)); err != nil {
			t.Errorf("payload %q: got %v; want no error", payload, err)
		} else if want, _ := base64.RawURLEncoding.DecodeString(payload); token.Payload != string(want) {
			t.Errorf("got payload %q; want %q", token.Payload, want)
		}
	}
	short := b64(`{"alg":"EdDSA"}`) // with it, the longest payload is whole groups of 4 characters
	longest := strings.Repeat("A", jws.MaxLength-len(join(short, "", s)))
	if _, err := jws.Parse(join(short, longest, s)); err != nil {
		t.Errorf("longest: got %v; want no error", err)
	}
	if _, err := jws.Parse(join(h+"=", p, s)); !strings.Contains(err.Error(), "header: not base64url") {
		t.Errorf("got %v; want the encoding named", err)
	}
}

// refused checks that raw is refused, that the error names part, and that it shows
// nothing of raw.
func refused(t *testing.T, raw, part string) {
	t.Helper()
	token, err := jws.Parse(raw)
	var e *jws.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v; want a *jws.Error", err)
	}
	if e.Part != part {
		t.Errorf("got part %q (%v); want %q", e.Part, err, part)
	}
	if token != (jws.Token{}) {
		t.Errorf("got a token beside the error: %+v", token)
	}
	for _, piece := range strings.Split(raw, ".") {
		if len(piece) > 6 && strings.Contains(err.Error(), piece) {
			t.Errorf("the error shows part of the token: %v", err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows the payload: %v", err)
	}
}

func TestParseAllocations(t *testing.T) {
	for _, payload := range []string{plainPayload, `{"x":"` + strings.Repeat("x", 10_000) + `"}`} {
		raw := sign(plainHeader, payload)
		n := testing.AllocsPerRun(100, func() {
			if _, err := jws.Parse(raw); err != nil {
				t.Fatal(err)
			}
		})
		if n > 4 {
			t.Errorf("payload of %d bytes: got %v allocations; want at most 4", len(payload), n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	raw := sign(plainHeader, `{"x":"`+strings.Repeat("x", 800)+`"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jws.Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}
