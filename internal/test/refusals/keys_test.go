package refusals_test

import (
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// refusedKeys are key sets in which the key that has signed must not count.
func refusedKeys() refusals {
	const public = "RFC 7517 section 9.2"
	jwk := func(name, source, part, alg string, f func(map[string]any), given ...edit) refusal {
		return withoutKey(refusal{
			name: name, source: source, code: "invalid_token", part: part,
			given: append([]edit{ownKey(alg)}, given...),
			fault: func(s *scene) { s.jwk = append(s.jwk, f) },
		})
	}
	set := func(name, source, part, alg, member string, value any) refusal {
		return jwk(name, source, part, alg, setting(member, value))
	}
	return refusals{"Key set", []way{byAPI, byExchange}, []refusal{
		set("EC key with its private part", public, "kid", "ES256", "d", "AAAA"),
		set("RSA key with its private part", public, "kid", "RS256", "d", "AQAB"),
		set("RSA key with a prime", public, "kid", "RS256", "p", "AQAB"),
		set("OKP key with its private part, empty", public, "kid", "EdDSA", "d", ""),
		set("symmetric key", "RFC 8725 section 3.1", "kid", "ES256", "kty", "oct"),
		set("symmetric part", "RFC 8725 section 3.1", "kid", "ES256", "k", "c2VjcmV0"),
		set("key for encryption", "RFC 7517 section 4.2", "alg", "ES256", "use", "enc"),
		set("use in other case", "RFC 7517 section 4.2", "alg", "ES256", "use", "SIG"),
		set("key_ops without verify", "RFC 7517 section 4.3", "alg", "ES256", "key_ops", []string{"sign", "wrapKey"}),
		set("key_ops no list", "RFC 7517 section 4.3", "kid", "ES256", "key_ops", "verify"),
		set("alg of another curve", "RFC 7517 section 4.4", "alg", "ES256", "alg", "ES384"),
		set("alg PS256 for a signature by RS256", "RFC 7517 section 4.4", "alg", "RS256", "alg", "PS256"),
		set("alg HS256 for a public key", "RFC 8725 section 3.1", "alg", "RS256", "alg", "HS256"),
		set("alg empty", "RFC 7517 section 4.4", "alg", "ES256", "alg", ""),
		set("kid in other case", "RFC 7517 section 4.5", "kid", "ES256", "kid", "RAW"),
		set("kid a list", "RFC 7517 section 4.5", "kid", "ES256", "kid", []string{"raw"}),
		set("kid missing", oidcCore+"10.1", "kid", "ES256", "kid", nil),
		set("kty of another", "RFC 7517 section 4.1", "kid", "ES256", "kty", "OKP"),
		set("point off the curve", "RFC 8725 section 3.4", "kid", "ES256", "y", testkit.Base64(make([]byte, 32))),
		set("point of another curve", "RFC 8725 section 3.4", "kid", "ES256", "crv", "P-384"),
		set("curve secp256k1", "RFC 8812 section 3.1", "kid", "ES256", "crv", "secp256k1"),
		set("RSA exponent 1", "RFC 8725 section 3.4", "kid", "RS256", "e", "AQ"),
		set("RSA exponent even", "RFC 8725 section 3.4", "kid", "RS256", "e", "AQAA"),
		set("RSA modulus even", "RFC 8725 section 3.4", "kid", "RS256", "n", testkit.Base64(append([]byte{0x80}, make([]byte, 255)...))),
		withoutKey(refusal{
			name: "RSA key of 1024 bits", source: "RFC 7518 section 3.3", code: "invalid_token", part: "kid", given: []edit{ownKey("RS256")},
			fault: func(s *scene) {
				small, err := testkit.RawRSA1024()
				if err != nil {
					s.t.Fatal(err)
				}
				s.key.Private = small
			},
		}),
		{
			name: "two keys with one kid, and neither has signed", source: "RFC 7517 section 4.5", code: "invalid_token", part: "signature",
			given: []edit{ownKey("ES256"), func(s *scene) { s.beside = append(s.beside, testkit.NewRawKey(s.t).JWK()) }},
			fault: byAnother("ES256"),
		},
		{
			name: "set with a member twice", source: "RFC 8259 section 4", code: "transport_error", part: "keys", given: []edit{ownKey("ES256")},
			fault: inBody("jwks", func(body string) string { return withFirst(body, `"keys":[]`) }),
		},
		{
			name: "set that is a list", source: "RFC 7517 section 5", code: "transport_error", part: "keys", given: []edit{ownKey("ES256")},
			fault: inBody("jwks", func(body string) string { return "[" + body + "]" }),
		},
		{
			name: "set longer than 1 MiB", source: "RFC 8259 section 9", code: "transport_error", part: "keys", given: []edit{ownKey("ES256")},
			fault: inJSON("jwks", setting("x", strings.Repeat("x", 1<<20))),
		},
	}}
}

// withoutKey is a row whose key is left out of the set if the part is kid: at a
// login it may be published yet.
func withoutKey(row refusal) refusal {
	if row.part == "kid" {
		row.login = "transport_error"
	}
	return row
}

// refusedDiscovery are documents that another issuer could have written, or that
// lead away.
func refusedDiscovery() refusals {
	const same = "OpenID Connect Discovery 4.3"
	issuer := func(name, value string) refusal {
		return refusal{name: name, source: same, code: "invalid_issuer", part: "issuer", fault: inJSON("discovery", setting("issuer", value))}
	}
	unreadable := func(name, source, part string, fault edit) refusal {
		return refusal{name: name, source: source, code: "invalid_response", part: part, fault: fault}
	}
	member := func(name, source, field string, value any) refusal {
		return unreadable(name, source, field, inJSON("discovery", setting(field, value)))
	}
	const (
		metadata = "OpenID Connect Discovery 3"
		secure   = "OpenID Connect Discovery 7.1"
	)
	slashed := inIssuer(func(o *authpitest.Options) { o.TrailingSlash = true })
	two := issuer("issuer with two slashes behind", testkit.IssuerURL+"//")
	two.given = []edit{slashed}
	return refusals{"Discovery", []way{{"login", tryDiscovery}, {"DiscoverEndpoints", tryEndpoints}}, []refusal{
		issuer("another issuer", "https://evil.example"),
		issuer("a tenant under the same keys", "https://idp.authpi.test/i_other"),
		issuer("a path below the issuer", testkit.IssuerURL+"/x"),
		issuer("the issuer above", "https://idp.authpi.test"),
		two,
		issuer("issuer in other case", "https://idp.authpi.test/I_TEST"),
		issuer("issuer with its host in other case", "https://IDP.authpi.test/i_test"),
		issuer("issuer with the default port", "https://idp.authpi.test:443/i_test"),
		issuer("issuer over http", "http://idp.authpi.test/i_test"),
		issuer("issuer percent-encoded", "https://idp.authpi.test/%69_test"),
		issuer("issuer with a query", testkit.IssuerURL+"?x"),
		member("issuer missing", metadata, "issuer", nil),
		member("issuer a list", metadata, "issuer", []string{testkit.IssuerURL}),
		member("jwks_uri missing", metadata, "jwks_uri", nil),
		member("jwks_uri over http", secure, "jwks_uri", "http://keys.example/"),
		member("jwks_uri javascript", secure, "jwks_uri", "javascript:x"),
		member("jwks_uri file", secure, "jwks_uri", "file:///etc/passwd"),
		member("jwks_uri with a user", secure, "jwks_uri", "https://idp.authpi.test@evil.example/"),
		member("token_endpoint over http", secure, "token_endpoint", "http://idp.authpi.test/token"),
		member("end_session_endpoint javascript", secure, "end_session_endpoint", "javascript:x"),
		unreadable("issuer twice", "RFC 8259 section 4", "JSON", inBody("discovery", func(body string) string {
			return withFirst(body, `"issuer":"https://evil.example"`)
		})),
		unreadable("a list", "OpenID Connect Discovery 4.2", "object", inBody("discovery", func(body string) string { return "[" + body + "]" })),
		unreadable("a page", "OpenID Connect Discovery 4.2", "object", inBody("discovery", func(string) string { return "<html>" })),
		unreadable("longer than 1 MiB", "RFC 8259 section 9", "1 MiB", inJSON("discovery", setting("x", strings.Repeat("x", 1<<20)))),
	}}
}

// tryDiscovery is a login at an issuer whose document is wrong: the code is not
// sent.
func tryDiscovery(s *scene) error {
	err := tryExchange(s)
	if got := s.issuer.Requests("token"); err != nil && got != 0 {
		s.t.Errorf("got %d token requests; want 0: the code must not be spent", got)
	}
	return err
}

func tryEndpoints(s *scene) error {
	s.start()
	got, err := authpi.DiscoverEndpoints(s.t.Context(), testkit.IssuerURL, s.issuer.Client())
	if err != nil && got != (authpi.Endpoints{}) {
		s.t.Errorf("got %+v beside the error; want nothing", got)
	}
	return err
}
