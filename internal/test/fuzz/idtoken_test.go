package fuzz_test

import (
	"context"
	"crypto"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

const idClaims = `{"iss":"` + fuzzIssuer + `","aud":"c_1","sub":"usr_ada","exp":1760000900,"iat":1760000000,"nonce":"n_1","email":"ada@example.com","organizations":[{"id":"org_1","scopes":["owner"]}]}`

// fuzzAccess is the access token beside it.
const fuzzAccess = "the-access-token-9c1f"

// FuzzIDToken holds the ID token of an exchange against go-oidc. Both accept or both
// refuse, but for the differences that stricter and looser list.
func FuzzIDToken(f *testing.F) {
	issuer := &answering{status: 200}
	client := issuer.client(f, nil)
	oracle := oidc.NewVerifier(fuzzIssuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{fuzzKey.Private.Public()}}, &oidc.Config{
		ClientID: fuzzClient, SupportedSigningAlgs: []string{"EdDSA", "ES256", "RS256"},
		Now: func() time.Time { return time.Unix(fuzzNow, 0) },
	})
	const code, verifier = "the-code-5f1d9a7b", "the-verifier-2ab90c"
	f.Fuzz(func(t *testing.T, how uint8, header, name, value, more string) {
		raw, payload := forge(how, header, idClaims, name, value, more)
		issuer.body = fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":900,"id_token":%q}`, fuzzAccess, raw)
		agent, err := client.ExchangeCode(context.Background(), code, verifier, nil)
		theirs, theirErr := oracle.Verify(context.Background(), raw)

		token := readToken(t, raw, payload)
		switch {
		case err == nil && theirErr != nil:
			if i := slices.IndexFunc(looser, token.is); i < 0 {
				t.Fatalf("%s %s: accepted; go-oidc says %v", header, payload, theirErr)
			}
		case err != nil && theirErr == nil:
			if i := slices.IndexFunc(stricter, token.is); i < 0 {
				t.Fatalf("%s %s: got %v; go-oidc accepts", header, payload, err)
			}
		}
		if passing := "transport_error"; err != nil && token.header.text("kid") != "raw" && strings.Contains(err.Error(), passing) {
			testkit.WantCode(t, err, passing) // made-up keys have used up what may be fetched
			return
		}
		if err != nil {
			wantRefused(t, agent, err, raw)
			testkit.WantSilent(t, err, fuzzAccess, code, verifier)
			return
		}
		// What is stricter is refused, also where go-oidc refuses too.
		if i := slices.IndexFunc(stricter, token.is); i >= 0 {
			t.Errorf("%s %s: accepted; want it refused: %s", header, payload, stricter[i].why)
		}
		wantIdentity(t, agent, token.claims)
		if theirErr == nil && theirs.Subject != agent.ID && !foldsToo(token.claims, "sub") {
			t.Errorf("got %s; go-oidc says %s", agent.ID, theirs.Subject)
		}
		if agent.Tokens.IDToken != raw {
			t.Errorf("got another ID token: %s", agent.Tokens.IDToken)
		}
	})
}

// difference is why the two verifiers may disagree about a token.
type difference struct {
	why string
	is  func(idToken) bool
}

// idToken is a token as the differences look at it.
type idToken struct {
	raw                    string
	header, claims         object
	strictHeader, isStrict bool
}

func readToken(t testing.TB, raw, payload string) idToken {
	t.Helper()
	it := idToken{raw: raw}
	it.header, it.strictHeader = readObject(t, headerOf(t, raw))
	it.claims, it.isStrict = readObject(t, payload)
	return it
}

func (it idToken) is(d difference) bool { return d.is(it) }

// stricter is what we refuse on top of go-oidc.
var stricter = []difference{
	{"JSON with a repeated name, a broken character or too many levels", func(it idToken) bool { return !it.strictHeader || !it.isStrict }},
	{"a header that would bring a key or change the rules", func(it idToken) bool {
		return slices.ContainsFunc([]string{"jku", "jwk", "x5u", "crit", "b64"}, it.header.has)
	}},
	{"a kid that the issuer has no key of", func(it idToken) bool { return it.header.has("kid") && it.header["kid"] != "raw" }},
	{"a typ that is no text, or another token's", func(it idToken) bool {
		_, isText := it.header["typ"].(string)
		return it.header.has("typ") && !isText || strings.Contains(strings.ToLower(it.header.text("typ")), "+jwt")
	}},
	{"a header name in other case", func(it idToken) bool { return foldsOnly(it.header, "alg") }},
	{"the issuer by a name in other case", func(it idToken) bool { return foldsOnly(it.claims, "iss") }},
	{"no subject", func(it idToken) bool { return it.claims.text("sub") == "" }},
	{"an audience that is no text", func(it idToken) bool { return len(it.claims.audience()) == 0 }},
	{"another client's azp, or none beside several audiences", func(it idToken) bool {
		if it.claims.has("azp") {
			return it.claims.text("azp") != fuzzClient
		}
		return len(it.claims.audience()) > 1
	}},
	{"exp that is no date, or now", func(it idToken) bool {
		exp, ok := it.claims.date("exp")
		return !ok || exp <= fuzzNow
	}},
	{"iat that is no date, or ahead", func(it idToken) bool {
		iat, ok := it.claims.date("iat")
		return !ok || iat > fuzzNow
	}},
	{"nbf that is no date, or ahead by less than go-oidc's five minutes", func(it idToken) bool {
		nbf, ok := it.claims.date("nbf")
		return it.claims.has("nbf") && (!ok || nbf > fuzzNow)
	}},
	{"at_hash of another access token", func(it idToken) bool {
		long := sha512.Sum512([]byte(fuzzAccess))
		return it.claims.has("at_hash") && it.claims["at_hash"] != testkit.LeftHalfSHA256(fuzzAccess) && it.claims["at_hash"] != testkit.Base64(long[:32])
	}},
}

// looser is what go-oidc refuses and we accept.
var looser = []difference{
	{"a header or claim that we do not read, of a kind that go-oidc does not expect", func(it idToken) bool {
		_, nonce := it.claims.textOrNull("nonce")
		return !nonce || it.claims.has("_claim_names") || it.claims.has("_claim_sources") || it.header.has("x5c") || it.header.has("nonce")
	}},
	{"a number in the header that does not fit into a float64", func(it idToken) bool {
		part, _, _ := strings.Cut(it.raw, ".")
		header, _ := base64.RawURLEncoding.DecodeString(part)
		return json.Unmarshal(header, new(map[string]any)) != nil
	}},
	{"a name in other case, which encoding/json takes for the right one", func(it idToken) bool {
		return foldsToo(it.claims, "iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "_claim_names", "_claim_sources") ||
			foldsToo(it.header, "alg", "kid", "typ", "jwk", "nonce", "x5c")
	}},
}

// foldsOnly reports whether o has one of the names in other case alone.
func foldsOnly(o object, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return !o.has(name) && foldsToo(o, name) })
}

// foldsToo reports whether o has one of the names in other case.
func foldsToo(o object, names ...string) bool {
	for have := range o {
		if slices.ContainsFunc(names, func(name string) bool { return have != name && strings.EqualFold(have, name) }) {
			return true
		}
	}
	return false
}
