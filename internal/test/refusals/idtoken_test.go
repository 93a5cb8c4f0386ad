package refusals_test

import (
	"errors"
	"net/http"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// tokenRow is a token that fails one check alone. given is changed in both tokens.
func tokenRow(name, source, part string, fault testkit.Change, given ...testkit.Change) refusal {
	return refusal{
		name: name, source: source, code: "invalid_token", part: part,
		given: []edit{inToken(given...)}, fault: inToken(fault),
	}
}

const oidcCore = "OpenID Connect Core "

// refusedIDTokens hold for every ID token, be it a login's or a refresh's.
func refusedIDTokens() refusals {
	iss := func(name, value string) refusal {
		return tokenRow(name, oidcCore+"3.1.3.7 (2)", "iss", testkit.SetClaim("iss", value))
	}
	aud := func(name string, value any, given ...testkit.Change) refusal {
		return tokenRow(name, oidcCore+"3.1.3.7 (3)", "aud", testkit.SetClaim("aud", value), given...)
	}
	typ := func(name, value string) refusal {
		return tokenRow(name, "RFC 8725 section 3.11", "typ", testkit.SetHeader("typ", value), testkit.SetHeader("typ", "jwt"))
	}
	several := testkit.SetClaim("aud", []string{"api", "c_test"})
	return refusals{"ID token", []way{byExchange, byRefresh}, []refusal{
		iss("iss of another issuer", "https://evil.example"),
		tokenRow("iss of a tenant under the same keys", "RFC 8725 section 3.8", "iss", testkit.SetClaim("iss", "https://idp.authpi.test/i_other")),
		iss("iss with a slash behind", testkit.IssuerURL+"/"),
		iss("iss in other case", "https://idp.authpi.test/I_TEST"),
		iss("iss with its host in other case", "https://IDP.authpi.test/i_test"),
		iss("iss with the default port", "https://idp.authpi.test:443/i_test"),
		iss("iss over http", "http://idp.authpi.test/i_test"),
		iss("iss percent-encoded", "https://idp.authpi.test/%69_test"),
		iss("iss with a dot segment", "https://idp.authpi.test/i_other/../i_test"),
		iss("iss with a look-alike letter", "https://idp.\u0430uthpi.test/i_test"),
		iss("iss with an invisible letter", testkit.IssuerURL+"\u200b"),
		iss("iss with a space behind", testkit.IssuerURL+" "),
		iss("iss empty", ""),
		tokenRow("iss missing", oidcCore+"2", "iss", testkit.DropClaim("iss")),
		tokenRow("iss null", oidcCore+"2", "iss", testkit.SetClaim("iss", nil)),
		tokenRow("iss a list", oidcCore+"2", "iss", testkit.SetClaim("iss", []string{testkit.IssuerURL})),
		tokenRow("iss under a name in other case", "RFC 7519 section 4", "iss",
			testkit.Both(testkit.DropClaim("iss"), testkit.SetClaim("ISS", testkit.IssuerURL)), testkit.SetClaim("ISS", "https://evil.example")),
		{
			name: "iss without the slash that discovery states", source: oidcCore + "3.1.3.7 (2)", code: "invalid_token", part: "iss",
			given: []edit{inIssuer(func(o *authpitest.Options) { o.TrailingSlash = true })}, fault: inToken(testkit.SetClaim("iss", testkit.IssuerURL)),
		},

		aud("aud of another client", "c_other"),
		aud("aud in other case", "C_TEST"),
		aud("aud that begins like the client's", "c_test2"),
		aud("aud empty", ""),
		aud("aud a number", 7),
		aud("aud null", nil),
		aud("aud an object", map[string]any{"c_test": "c_test"}),
		aud("aud an empty list", []string{}, testkit.SetClaim("aud", []string{"c_test"})),
		aud("aud a list of others", []string{"c_1", "c_2"}),
		aud("aud a list with a number", []any{"c_test", 7}, testkit.SetClaim("aud", []any{"c_test"})),
		aud("aud a list that begins with a number", []any{7, "c_test"}, testkit.SetClaim("aud", []any{"c_test"})),
		aud("aud a list with null", []any{"c_test", nil}, testkit.SetClaim("aud", []any{"c_test"})),
		aud("aud a list in a list", []any{[]string{"c_test"}}, testkit.SetClaim("aud", []any{"c_test"})),
		tokenRow("aud missing", oidcCore+"2", "aud", testkit.DropClaim("aud")),
		tokenRow("several audiences without azp", oidcCore+"3.1.3.7 (4)", "azp", testkit.DropClaim("azp"), several, testkit.SetClaim("azp", "c_test")),
		tokenRow("several audiences with another azp", oidcCore+"3.1.3.7 (5)", "azp", testkit.SetClaim("azp", "api"), several, testkit.SetClaim("azp", "c_test")),
		tokenRow("azp of another client", oidcCore+"3.1.3.7 (5)", "azp", testkit.SetClaim("azp", "c_other"), testkit.SetClaim("azp", "c_test")),
		tokenRow("azp a list", oidcCore+"2", "azp", testkit.SetClaim("azp", []string{"c_test"}), testkit.SetClaim("azp", "c_test")),
		tokenRow("azp empty", oidcCore+"2", "azp", testkit.SetClaim("azp", ""), testkit.SetClaim("azp", "c_test")),
		tokenRow("azp null", oidcCore+"2", "azp", testkit.SetClaim("azp", nil), testkit.SetClaim("azp", "c_test")),

		tokenRow("exp missing", oidcCore+"2", "exp", testkit.DropClaim("exp")),
		tokenRow("exp null", oidcCore+"2", "exp", testkit.SetClaim("exp", nil)),
		tokenRow("exp in 1970", oidcCore+"3.1.3.7 (9)", "exp", testkit.SetClaim("exp", 1)),
		tokenRow("exp zero", oidcCore+"3.1.3.7 (9)", "exp", testkit.SetClaim("exp", 0)),
		tokenRow("exp negative", "RFC 7519 section 2", "exp", testkit.SetClaim("exp", -1)),
		tokenRow("exp true", "RFC 7519 section 2", "exp", testkit.SetClaim("exp", true)),
		tokenRow("exp as text", "RFC 7519 section 2", "exp", testkit.SetClaim("exp", "4000000000"), testkit.SetClaim("exp", int64(4000000000))),
		tokenRow("exp a list", "RFC 7519 section 2", "exp", testkit.SetClaim("exp", []int64{4000000000}), testkit.SetClaim("exp", int64(4000000000))),
		tokenRow("exp beyond the year 9999", "RFC 7519 section 2", "exp", testkit.SetClaim("exp", int64(253402300800)), testkit.SetClaim("exp", int64(253402300799))),
		tokenRow("exp of 64 bits and more", "RFC 7519 section 2", "exp", testkit.SetClaim("exp", 1e300), testkit.SetClaim("exp", 4e9)),
		enormous("RFC 7519 section 2"),
		tokenRow("iat missing", oidcCore+"2", "iat", testkit.DropClaim("iat")),
		tokenRow("iat null", oidcCore+"2", "iat", testkit.SetClaim("iat", nil)),
		tokenRow("iat as text", "RFC 7519 section 2", "iat", testkit.SetClaim("iat", "1760000000")),
		tokenRow("iat negative", "RFC 7519 section 2", "iat", testkit.SetClaim("iat", -1)),
		tokenRow("iat ahead", oidcCore+"3.1.3.7 (10)", "iat", testkit.SetClaim("iat", 4e9)),
		tokenRow("nbf as text", "RFC 7519 section 4.1.5", "nbf", testkit.SetClaim("nbf", "1760000000"), testkit.At("nbf", 0)),
		tokenRow("nbf null", "RFC 7519 section 4.1.5", "nbf", testkit.SetClaim("nbf", nil), testkit.At("nbf", 0)),
		tokenRow("nbf ahead", "RFC 7519 section 4.1.5", "nbf", testkit.SetClaim("nbf", 4e9), testkit.At("nbf", 0)),

		tokenRow("sub missing", oidcCore+"2", "sub", testkit.DropClaim("sub")),
		tokenRow("sub empty", oidcCore+"2", "sub", testkit.SetClaim("sub", "")),
		tokenRow("sub null", oidcCore+"2", "sub", testkit.SetClaim("sub", nil)),
		tokenRow("sub a number", oidcCore+"2", "sub", testkit.SetClaim("sub", 17)),
		typ("typ of an access token", "at+jwt"),
		typ("typ of an access token, long and in capitals", "application/AT+JWT"),
		typ("typ of an access token, with a parameter", "application/at+jwt; v=1"),
		typ("typ of an access token, with a space behind", "at+jwt "),
		typ("typ of a logout token", "logout+jwt"),
		typ("typ of a security event", "secevent+jwt"),
		tokenRow("at_hash of another access token", oidcCore+"3.1.3.8", "at_hash", testkit.SetClaim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")),
		tokenRow("at_hash empty", oidcCore+"3.1.3.8", "at_hash", testkit.SetClaim("at_hash", "")),
		tokenRow("at_hash null", oidcCore+"3.1.3.8", "at_hash", testkit.SetClaim("at_hash", nil)),
		{
			name: "at_hash by another digest than the signature's", source: oidcCore + "3.1.3.6", code: "invalid_token", part: "at_hash",
			given: []edit{ownKey("ES384"), inRaw(func(r *rawToken) {
				r.payload = withFirst(r.payload, `"at_hash":"`+testkit.LeftHalfSHA384(r.access)+`"`)
			})},
			fault: inRaw(func(r *rawToken) {
				r.payload = strings.Replace(r.payload, testkit.LeftHalfSHA384(r.access), testkit.LeftHalfSHA256(r.access), 1)
			}),
		},
	}}
}

// refusedLoginTokens hold for the ID token of a login.
func refusedLoginTokens() refusals {
	nonce := func(name string, fault testkit.Change) refusal {
		row := tokenRow(name, oidcCore+"3.1.3.7 (11)", "nonce", fault)
		row.code = "invalid_nonce"
		return row
	}
	maxAge := func(name string, fault testkit.Change, given ...testkit.Change) refusal {
		row := tokenRow(name, oidcCore+"3.1.3.7 (13)", "auth_time", fault, given...)
		row.given = append(row.given, func(s *scene) { s.login.MaxAge = 5 * time.Minute })
		return row
	}
	return refusals{"ID token of a login", []way{byExchange}, []refusal{
		nonce("nonce missing", testkit.DropClaim("nonce")),
		nonce("nonce of another login", testkit.SetClaim("nonce", "another")),
		nonce("nonce empty", testkit.SetClaim("nonce", "")),
		nonce("nonce null", testkit.SetClaim("nonce", nil)),
		nonce("nonce a number", testkit.SetClaim("nonce", 1)),
		nonce("nonce in other case", func(_, claims map[string]any) { claims["nonce"] = strings.ToUpper(claims["nonce"].(string)) }),
		nonce("nonce in a list", func(_, claims map[string]any) { claims["nonce"] = []any{claims["nonce"]} }),
		tokenRow("exp passed by the skew", oidcCore+"3.1.3.7 (9)", "exp", testkit.At("exp", -30*time.Second), testkit.At("exp", -29*time.Second)),
		tokenRow("exp passed by the skew, with a fraction", oidcCore+"3.1.3.7 (9)", "exp", testkit.SetClaim("exp", 1759999970.999), testkit.SetClaim("exp", 1759999971.001)),
		tokenRow("iat ahead by more than the skew", oidcCore+"3.1.3.7 (10)", "iat", testkit.At("iat", 31*time.Second), testkit.At("iat", 30*time.Second)),
		tokenRow("nbf ahead by more than the skew", "RFC 7519 section 4.1.5", "nbf", testkit.At("nbf", 31*time.Second), testkit.At("nbf", 30*time.Second)),
		maxAge("auth_time missing", testkit.DropClaim("auth_time")),
		maxAge("auth_time as text", testkit.SetClaim("auth_time", "1760000000")),
		maxAge("auth_time null", testkit.SetClaim("auth_time", nil)),
		maxAge("auth_time longer ago than max_age", testkit.At("auth_time", -331*time.Second), testkit.At("auth_time", -330*time.Second)),
	}}
}

// refusedRefreshTokens are ID tokens that do not go on where the session was.
func refusedRefreshTokens() refusals {
	const same = oidcCore + "12.2"
	several := []testkit.Change{testkit.SetClaim("aud", []string{"c_test", "api"}), testkit.SetClaim("azp", "c_test")}
	sub := func(name, value string) refusal {
		row := tokenRow(name, same, "sub", testkit.SetClaim("sub", value))
		row.code = "subject_mismatch"
		return row
	}
	return refusals{"ID token of a refresh", []way{byRefresh}, []refusal{
		sub("sub of another user", "usr_eve"),
		sub("sub in other case", "USR_ADA"),
		sub("sub with a space behind", testkit.Subject+" "),
		tokenRow("nonce of another login", same, "nonce", testkit.SetClaim("nonce", "another")),
		tokenRow("nonce null", same, "nonce", testkit.SetClaim("nonce", nil)),
		tokenRow("auth_time of another login", same, "auth_time", testkit.SetClaim("auth_time", 12345)),
		tokenRow("auth_time null", same, "auth_time", testkit.SetClaim("auth_time", nil)),
		{
			name: "aud without an audience from before", source: same, code: "invalid_token", part: "aud",
			given: []edit{inToken(several...), func(s *scene) { s.before = several }}, fault: inToken(testkit.SetClaim("aud", "c_test")),
		},
		inPlace("access token in its place", "RFC 9068 section 5", "access_token"),
		inPlace("refresh token in its place", "RFC 8725 section 3.12", "refresh_token"),
	}}
}

// inPlace has another token of the answer where the ID token is due. AuthPI's
// refresh tokens are JWTs under the same keys, without a type of their own.
func inPlace(name, source, member string) refusal {
	return refusal{
		name: name, source: source, code: "invalid_token", part: "id_token",
		fault: inJSON("token", func(answer map[string]any) { answer["id_token"] = answer[member] }),
	}
}

// refusedStoredTokens are ID tokens in a session store that others can write to.
// When they were stored does not matter, so they may have expired.
func refusedStoredTokens() refusals {
	expired := testkit.SetClaim("exp", 1600000000)
	row := func(name, section, part string, fault testkit.Change) refusal {
		return tokenRow(name, oidcCore+section, part, fault, expired)
	}
	return refusals{"Stored ID token", []way{fromStore}, []refusal{
		row("iss missing", "3.1.3.7 (2)", "iss", testkit.DropClaim("iss")),
		row("iss of another issuer", "3.1.3.7 (2)", "iss", testkit.SetClaim("iss", "https://evil.example")),
		row("iss of a tenant under the same keys", "3.1.3.7 (2)", "iss", testkit.SetClaim("iss", "https://idp.authpi.test/i_other")),
		row("aud missing", "3.1.3.7 (3)", "aud", testkit.DropClaim("aud")),
		row("aud of another client", "3.1.3.7 (3)", "aud", testkit.SetClaim("aud", "c_other")),
		tokenRow("typ of an access token", "RFC 8725 section 3.11", "typ", testkit.SetHeader("typ", "at+jwt"), testkit.SetHeader("typ", "JWT"), expired),
		tokenRow("typ of a logout token", "RFC 8725 section 3.11", "typ", testkit.SetHeader("typ", "logout+jwt"), testkit.SetHeader("typ", "JWT"), expired),
	}}
}

// refusedUserInfo are answers about somebody else, or nobody.
func refusedUserInfo() refusals {
	const section = oidcCore + "5.3.2"
	unreadable := func(name, part string, fault edit) refusal {
		return refusal{name: name, source: section, code: "invalid_response", part: part, fault: fault}
	}
	return refusals{"User info", []way{{"UserInfo", tryUserInfo}, {"CreateAgent", tryIdentity}, {"refresh", tryRefreshedIdentity}}, []refusal{
		{name: "sub of another user", source: section, code: "subject_mismatch", part: "sub", fault: inJSON("userinfo", setting("sub", "usr_eve"))},
		{name: "sub in other case", source: section, code: "subject_mismatch", part: "sub", fault: inJSON("userinfo", setting("sub", "USR_ADA"))},
		unreadable("sub missing", "sub", inJSON("userinfo", setting("sub", nil))),
		unreadable("sub empty", "sub", inJSON("userinfo", setting("sub", ""))),
		unreadable("sub a number", "sub", inJSON("userinfo", setting("sub", 1))),
		unreadable("sub a list", "sub", inJSON("userinfo", setting("sub", []string{testkit.Subject}))),
		unreadable("sub under a name in other case", "sub", inJSON("userinfo", func(m map[string]any) { m["SUB"] = m["sub"]; delete(m, "sub") })),
		unreadable("sub twice", "JSON", inBody("userinfo", func(body string) string { return withFirst(body, `"sub":"usr_ada"`) })),
		unreadable("a JWT that nobody asked for", "object", inBody("userinfo", testkit.Unsigned)),
	}}
}

func tryUserInfo(s *scene) error {
	s.start()
	agent := testkit.SignIn(s.t, s.client, s.issuer, nil)
	s.hide(agent.Tokens.AccessToken)
	info, err := s.client.UserInfo(s.t.Context(), agent)
	if err != nil {
		if info != nil {
			s.t.Errorf("got %v beside the error; want nothing", info)
		}
		var e *authpi.OAuthError
		if errors.As(err, &e) && e.Code == "invalid_response" && e.StatusCode != http.StatusOK {
			s.t.Errorf("got status %d; want 200", e.StatusCode)
		}
		return err
	}
	if info.Subject != testkit.Subject {
		s.t.Errorf("got %q; want %q", info.Subject, testkit.Subject)
	}
	return nil
}

// tryIdentity is an agent whose tokens do not say who it is.
func tryIdentity(s *scene) error {
	s.start()
	tokens := testkit.SignIn(s.t, s.client, s.issuer, nil).Tokens
	s.hide(tokens.AccessToken, tokens.RefreshToken)
	tokens.IDToken, tokens.SubjectHint = "", testkit.Subject
	agent, err := s.client.CreateAgent(s.t.Context(), tokens, nil)
	if err == nil && (agent.ID != testkit.Subject || agent.Email == "") {
		s.t.Errorf("got %v; want %s as the endpoint knows her", agent, testkit.Subject)
	}
	return err
}

// tryRefreshedIdentity is a refresh whose answer does not say whose it is.
func tryRefreshedIdentity(s *scene) error {
	s.options.OmitIDTokenOnRefresh = true
	s.start()
	tokens := testkit.SignIn(s.t, s.client, s.issuer, nil).Tokens
	s.hide(tokens.AccessToken, tokens.RefreshToken, tokens.IDToken)
	s.clock.Advance(31 * time.Minute)
	agent, err := s.client.CreateAgent(s.t.Context(), tokens, nil)
	if (err == nil) != (agent != nil && agent.ID == testkit.Subject) {
		s.t.Errorf("got %v, %v; want %s, or nobody", agent, err, testkit.Subject)
	}
	return err
}

func narrowedTo(algs ...string) edit {
	return inConfig(func(cfg *authpi.Config) { cfg.SigningAlgorithms = algs })
}
