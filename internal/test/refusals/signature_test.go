package refusals_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func inRaw(f func(*rawToken)) edit { return func(s *scene) { s.raw = append(s.raw, f) } }

// rawRow is a token as its key signs it, byte for byte, for ES256.
func rawRow(name, source, part string, fault edit, given ...edit) refusal {
	return refusal{
		name: name, source: source, code: "invalid_token", part: part,
		given: append([]edit{ownKey("ES256")}, given...), fault: fault,
	}
}

// rewritten changes the header's text, which must hold old.
func rewritten(old, text string) edit {
	return inRaw(func(r *rawToken) {
		if !strings.Contains(r.header, old) {
			panic("the header has no " + old)
		}
		r.header = strings.Replace(r.header, old, text, 1)
	})
}

// finished changes the token once it is signed.
func finished(f func(token string) string) edit {
	return inRaw(func(r *rawToken) { r.signed = append(r.signed, f) })
}

// inPart changes one of the three parts, decoded.
func inPart(i int, f func(string) string) edit {
	return finished(func(token string) string {
		parts := strings.Split(token, ".")
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			panic(err)
		}
		parts[i] = testkit.Base64([]byte(f(string(text))))
		return strings.Join(parts, ".")
	})
}

// byAnother lets another key sign than the one that is published.
func byAnother(alg string) edit {
	return func(s *scene) {
		other := testkit.NewRawKeyFor(s.t, alg)
		s.raw = append(s.raw, func(r *rawToken) { r.key = other })
	}
}

// refusedSignatures hold for every JWT, whatever it is for.
func refusedSignatures() refusals {
	const (
		confusion = "RFC 8725 section 3.1"
		foreign   = "RFC 8725 section 3.10"
		crypto    = "RFC 8725 section 3.3"
	)
	alg := func(name, value, source string, given ...testkit.Change) refusal {
		return tokenRow(name, source, "alg", testkit.SetHeader("alg", value), given...)
	}
	narrow := func(row refusal) refusal {
		row.given = append(row.given, narrowedTo("ES256", "EdDSA"))
		return row
	}
	broken := func(alg string) refusal {
		return tokenRow("signature of "+alg+" broken", crypto, "signature", testkit.SetHeader("_signature", "bad"), testkit.SetHeader("alg", alg))
	}
	header := func(name, source string, value any) refusal {
		return tokenRow("header "+name, source, name, testkit.SetHeader(name, value), testkit.SetHeader("x5t", "AAAA"), testkit.SetHeader("cty", "JSON"))
	}
	es256 := `"alg":"ES256"`
	return refusals{"Signature of any token", []way{byExchange, byRefresh, fromStore, byAPI, byLogout}, []refusal{
		alg("alg none", "none", oidcCore+"3.1.3.7 (7), RFC 8725 section 3.2"),
		alg("alg None", "None", "RFC 8725 section 3.2"),
		alg("alg nOnE", "nOnE", "RFC 8725 section 3.2"),
		alg("alg in other case", "es256", "RFC 7515 section 4.1.1"),
		alg("alg with a space behind", "ES256 ", "RFC 7515 section 4.1.1"),
		alg("alg HS256 under the issuer's public key", "HS256", confusion),
		alg("alg HS384 under the issuer's public key", "HS384", confusion),
		alg("alg HS512 under the client's ID", "HS512", confusion, testkit.SetHeader("_secret", "c_test")),
		alg("alg HS256 under an empty key", "HS256", "RFC 8725 section 3.5", testkit.SetHeader("_secret", "")),
		alg("alg of a curve that is not registered here (ES256K)", "ES256K", confusion),
		alg("alg of encryption (dir)", "dir", confusion),
		narrow(alg("alg that the client does not accept", "RS256", oidcCore+"3.1.3.7 (7)")),
		rawRow("alg that the key with this kid does not have", confusion, "alg",
			edits(byAnother("EdDSA"), rewritten(es256, `"alg":"EdDSA"`)), narrowedTo("ES256", "EdDSA")),
		rawRow("alg of another curve than the key's", confusion, "alg",
			rewritten(es256, `"alg":"ES384"`), narrowedTo("ES256", "ES384")),
		rawRow("RS256 signature named PS256", confusion, "signature",
			rewritten(`"alg":"RS256"`, `"alg":"PS256"`), ownKey("RS256"), narrowedTo("ES256", "RS256", "PS256")),

		broken("ES256"), broken("RS256"), broken("EdDSA"),
		rawRow("another key under the same kid", oidcCore+"3.1.3.7 (6)", "signature", byAnother("ES256")),
		rawRow("another key, and no kid", oidcCore+"10.1", "signature", byAnother("ES256"), rewritten(`,"kid":"raw"`, "")),
		rawRow("payload changed", crypto, "signature", inPart(1, func(payload string) string { return withFirst(payload, `"x":1`) })),
		rawRow("header changed", crypto, "signature", inPart(0, func(header string) string { return withFirst(header, `"x":1`) })),
		rawRow("signature all zero", crypto, "signature", inPart(2, func(s string) string { return strings.Repeat("\x00", len(s)) })),
		rawRow("signature with a byte more", crypto, "signature", inPart(2, func(s string) string { return s + "\x00" })),
		rawRow("signature with a byte less", crypto, "signature", inPart(2, func(s string) string { return s[:len(s)-1] })),
		rawRow("ECDSA signature in DER", "RFC 7518 section 3.4", "signature", inDER()),

		header("jku", foreign, "https://evil.example/jwks"),
		header("x5u", foreign, "https://evil.example/cert"),
		header("jwk", foreign, map[string]any{"kty": "EC"}),
		rawRow("jwk in the header, whose key has signed", foreign, "jwk", embedded()),
		header("crit", "RFC 7515 section 4.1.11", []string{"exp"}),
		tokenRow("header crit, empty", "RFC 7515 section 4.1.11", "crit", testkit.SetHeader("crit", []string{})),
		tokenRow("header crit with b64 false", "RFC 7797 section 6", "crit", testkit.Both(testkit.SetHeader("crit", []string{"b64"}), testkit.SetHeader("b64", false))),
		tokenRow("header b64 false without crit", "RFC 7797 section 6", "crit", testkit.SetHeader("b64", false)),
	}}
}

// unknownKeys are tokens that name no key of the issuer's. One that came straight
// from the token endpoint may only be too new: see laggingKeys. A refresh goes on
// without such an ID token.
func unknownKeys() refusals {
	const foreign = "RFC 8725 section 3.10"
	rows := []refusal{
		tokenRow("kid of no key", oidcCore+"10.1", "kid", testkit.SetHeader("kid", "nobody")),
		tokenRow("kid that is a path", foreign, "kid", testkit.SetHeader("kid", "../../../dev/null")),
		tokenRow("kid that is SQL", foreign, "kid", testkit.SetHeader("kid", "x' UNION SELECT 'key")),
		tokenRow("kid that is a URL", foreign, "kid", testkit.SetHeader("kid", "https://evil.example/key")),
		tokenRow("kid empty", oidcCore+"10.1", "kid", testkit.SetHeader("kid", "")),
		rawRow("kid of the issuer's key, in other case", oidcCore+"10.1", "kid", rewritten(`"kid":"raw"`, `"kid":"RAW"`)),
	}
	for i := range rows {
		rows[i].login = "transport_error"
	}
	return refusals{"Key that the issuer does not publish", []way{byExchange, fromStore, byAPI, byLogout}, rows}
}

// laggingKeys are ID tokens from the token endpoint whose key is unknown, and which
// do not even say what they should.
func laggingKeys() refusals {
	row := func(name, source string, fault testkit.Change) refusal {
		return tokenRow(name, source, "kid", testkit.Both(testkit.SetHeader("kid", "nobody"), fault))
	}
	return refusals{"Key that the issuer may publish later", []way{byExchange, byRefresh}, []refusal{
		row("another issuer", oidcCore+"3.1.3.7 (2)", testkit.SetClaim("iss", "https://idp.authpi.test/i_other")),
		row("issuer missing", oidcCore+"2", testkit.DropClaim("iss")),
		row("another client's", oidcCore+"3.1.3.7 (3)", testkit.SetClaim("aud", "c_other")),
		row("audience missing", oidcCore+"2", testkit.DropClaim("aud")),
		row("subject missing", oidcCore+"2", testkit.DropClaim("sub")),
		row("subject empty", oidcCore+"2", testkit.SetClaim("sub", "")),
	}}
}

// inDER signs as most libraries do by themselves: r and s in ASN.1.
func inDER() edit {
	return inRaw(func(r *rawToken) {
		private := r.key.Private.(*ecdsa.PrivateKey)
		r.signed = append(r.signed, func(token string) string {
			input := token[:strings.LastIndex(token, ".")]
			digest := sha256.Sum256([]byte(input))
			der, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
			if err != nil {
				panic(err)
			}
			return input + "." + testkit.Base64(der)
		})
	})
}

// embedded lets a key of the attacker's sign, and brings it along.
func embedded() edit {
	return func(s *scene) {
		other := testkit.NewRawKey(s.t)
		s.raw = append(s.raw, func(r *rawToken) {
			r.key = other
			r.header = withFirst(r.header, `"jwk":`+testkit.JSON(other.JWK()))
		})
	}
}

// refusedForms are texts that two parsers may read in two ways. A refresh goes on
// without such an ID token, and asks the user info endpoint: see
// TestUncheckableIDTokenIsLeftOut.
func refusedForms() refusals {
	const (
		unique   = "RFC 7519 section 4"
		header   = "RFC 7515 section 4"
		compact  = "RFC 7515 section 7.1"
		encoding = "RFC 7515 section 2"
		bounded  = "RFC 8259 section 9"
	)
	payload := func(name, source string, f func(string) string, given ...edit) refusal {
		return rawRow(name, source, "payload", inRaw(func(r *rawToken) { r.payload = f(r.payload) }), given...)
	}
	inserted := func(name, source, member string) refusal {
		return payload(name, source, func(p string) string { return withFirst(p, member) })
	}
	token := func(name, source, part string, f func(string) string) refusal {
		return rawRow(name, source, part, finished(f))
	}
	filled := func(name string) edit {
		return inRaw(func(r *rawToken) { r.payload = withFirst(r.payload, `"`+name+`":"`+strings.Repeat("a", 200<<10)+`"`) })
	}
	deep := func(n int) string { return `"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) }
	kid, alg := `"kid":"raw"`, `"alg":"ES256"`
	return refusals{"Form of any token", []way{byExchange, fromStore, byAPI, byLogout}, []refusal{
		inserted("iss twice", unique, `"iss":"https://evil.example"`),
		inserted("iss twice, once escaped", unique, `"\u0069ss":"https://evil.example"`),
		inserted("sub twice", unique, `"sub":"usr_eve"`),
		inserted("a member twice, deep inside", "RFC 8259 section 4", `"x":[{"a":1,"a":2}]`),
		inserted("a number that is none", "RFC 8259 section 6", `"x":NaN`),
		inserted("a text that is no UTF-8", "RFC 8725 sections 2.6 and 3.7", "\"x\":\"\xff\""),
		inserted("half a surrogate pair", "RFC 8725 section 3.7", `"x":"\ud800"`),
		inserted("nested deeper than 64", bounded, deep(64)),
		inserted("more members than 4,096", bounded, `"x":{`+strings.TrimSuffix(manyMembers(4097), ",")+`}`),
		payload("payload a list", "RFC 7519 section 7.2", func(p string) string { return "[" + p + "]" }),
		payload("payload a text", "RFC 7519 section 7.2", func(p string) string { return `"x"` }),
		payload("payload empty", "RFC 7519 section 7.2", func(string) string { return "" }),
		payload("payload with more behind", "RFC 7519 section 7.2", func(p string) string { return p + "{}" }),
		payload("payload with a byte order mark", "RFC 8259 section 8.1", func(p string) string { return "\ufeff" + p }),

		rawRow("alg twice", header, "header", rewritten(alg, alg+","+alg)),
		rawRow("alg twice, once none", header, "header", rewritten(alg, `"alg":"none",`+alg)),
		rawRow("kid twice, once escaped", header, "header", rewritten(kid, kid+`,"\u006bid":"x"`)),
		rawRow("header a list", header, "header", inRaw(func(r *rawToken) { r.header = "[" + r.header + "]" })),
		rawRow("header longer than 8 KiB", bounded, "header", rewritten(alg, alg+`,"x":"`+strings.Repeat("a", 8<<10)+`"`)),
		rawRow("alg missing", "RFC 7515 section 4.1.1", "alg", rewritten(alg, `"x":1`)),
		rawRow("alg empty", "RFC 7515 section 4.1.1", "alg", rewritten(alg, `"alg":""`)),
		rawRow("alg a number", "RFC 7515 section 4.1.1", "alg", rewritten(alg, `"alg":256`)),
		rawRow("alg in a list", "RFC 7515 section 4.1.1", "alg", rewritten(alg, `"alg":["ES256"]`)),
		rawRow("alg under a name in other case", header, "alg", rewritten(alg, `"ALG":"ES256"`)),
		rawRow("kid a number", "RFC 7515 section 4.1.4", "kid", rewritten(kid, `"kid":1`)),
		rawRow("kid null", "RFC 7515 section 4.1.4", "kid", rewritten(kid, `"kid":null`)),
		rawRow("typ a number", "RFC 7515 section 4.1.9", "typ", inRaw(func(r *rawToken) {
			r.header = `{"alg":"ES256","kid":"raw","typ":1}`
		})),

		token("two parts", compact, "format", func(raw string) string { return raw[:strings.LastIndex(raw, ".")] }),
		token("four parts", compact, "format", func(raw string) string { return raw + ".AAAA" }),
		token("five parts, as if encrypted", oidcCore+"3.1.3.7 (1)", "format", func(raw string) string { return raw + ".AAAA.AAAA" }),
		token("JSON serialization", compact, "format", func(raw string) string {
			p := strings.Split(raw, ".")
			return testkit.JSON(map[string]any{"protected": p[0], "payload": p[1], "signature": p[2]})
		}),
		token("no signature", oidcCore+"3.1.3.7 (6)", "signature", func(raw string) string { return raw[:strings.LastIndex(raw, ".")+1] }),
		token("scheme in front", "RFC 6750 section 2.1", "format", func(raw string) string { return "Bearer " + raw }),
		token("padding", encoding, "signature", func(raw string) string { return raw + "==" }),
		token("white space behind", encoding, "signature", func(raw string) string { return raw + " " }),
		token("line end behind", encoding, "signature", func(raw string) string { return raw + "\n" }),
		token("white space in front", encoding, "header", func(raw string) string { return " " + raw }),
		token("line end in the header", encoding, "header", func(raw string) string { return raw[:4] + "\n" + raw[4:] }),
		token("standard alphabet", encoding, "signature", func(raw string) string { return raw + "+/" }),
		token("bits behind the signature", encoding, "signature", func(raw string) string {
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			end := len(raw) - 1
			return raw[:end] + string(alphabet[strings.IndexByte(alphabet, raw[end])+1])
		}),
		rawRow("longer than 512 KiB", bounded, "length", filled("too much"), filled("much")),
	}}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"` + strconv.Itoa(i) + `":1,`)
	}
	return b.String()
}
