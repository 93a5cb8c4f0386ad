package refusals_test

import (
	"net/url"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func inCallback(f func(*login)) edit { return func(s *scene) { s.callback = append(s.callback, f) } }

func setParam(name string, values ...string) edit {
	return inCallback(func(l *login) { l.callback[name] = values })
}

func dropParam(name string) edit { return inCallback(func(l *login) { l.callback.Del(name) }) }

func repeatParam(name string) edit {
	return inCallback(func(l *login) { l.callback.Add(name, l.callback.Get(name)) })
}

func inStored(f func(*authpi.AuthorizationURL)) edit { return inCallback(func(l *login) { f(l.auth) }) }

func edits(all ...edit) edit {
	return func(s *scene) {
		for _, edit := range all {
			edit(s)
		}
	}
}

// announced lets the issuer send iss with every answer, and say so in its discovery
// document.
var announced = inIssuer(func(o *authpitest.Options) { o.AnnounceIss = true })

// tryCallback is an exchange that must end before the code is sent, if it does not
// succeed.
func tryCallback(s *scene) error {
	err := tryExchange(s)
	if err == nil {
		return nil
	}
	requests, allowed := s.issuer.Requests(""), 0
	if text := err.Error(); strings.Contains(text, "invalid_issuer") || strings.Contains(text, "verifier") {
		allowed = s.issuer.Requests("discovery") // to know who the issuer is
	}
	if requests != allowed {
		s.t.Errorf("got %d requests; want %d: the callback did not hold", requests, allowed)
	}
	return err
}

// pasted is a callback that comes as text, as a program on a user's machine gets it.
func pasted(rewrite func(u *url.URL)) edit {
	return inCallback(func(l *login) {
		u := &url.URL{Scheme: "https", Host: "app.example", Path: "/callback", RawQuery: l.callback.Encode()}
		rewrite(u)
		parsed, err := authpi.ParseCallback(u.String())
		if err != nil {
			l.t.Fatal(err)
		}
		clear(l.callback)
		for name, values := range parsed {
			l.callback[name] = values
		}
	})
}

func refusedCallbacks() refusals {
	const (
		csrf    = "RFC 9700 section 4.7, RFC 6749 section 10.12"
		mixUp   = "RFC 9207 section 2.4, RFC 9700 section 4.4"
		once    = "RFC 6749 section 3.1"
		inject  = "RFC 9700 section 4.5"
		another = "https://idp.authpi.test/i_other"
	)
	state := func(name string, fault edit) refusal {
		return refusal{name: name, source: csrf, code: "invalid_state", part: "state", fault: fault}
	}
	iss := func(name, value string, given ...edit) refusal {
		return refusal{name: name, source: mixUp, code: "invalid_issuer", part: "iss", fault: setParam("iss", value), given: given}
	}
	return refusals{"Callback", []way{{"callback", tryCallback}}, []refusal{
		state("state missing", dropParam("state")),
		state("state empty", setParam("state", "")),
		state("state of another login", inCallback(func(l *login) { l.callback.Set("state", l.other(testkit.Subject).auth.State) })),
		state("state in other case", inCallback(func(l *login) { l.callback.Set("state", strings.ToUpper(l.auth.State)) })),
		state("state with a space behind", inCallback(func(l *login) { l.callback.Set("state", l.auth.State+" ") })),
		state("state cut", inCallback(func(l *login) { l.callback.Set("state", l.auth.State[:len(l.auth.State)-1]) })),
		state("state repeated", repeatParam("state")),
		state("state right, then another", inCallback(func(l *login) { l.callback.Add("state", "another") })),
		state("state under a name in other case", inCallback(func(l *login) {
			l.callback["State"] = l.callback["state"]
			l.callback.Del("state")
		})),
		state("no state stored", inStored(func(a *authpi.AuthorizationURL) { a.State = "" })),
		state("state neither sent nor stored", edits(dropParam("state"), inStored(func(a *authpi.AuthorizationURL) { a.State = "" }))),
		state("state empty, and empty in the store", edits(setParam("state", ""), inStored(func(a *authpi.AuthorizationURL) { a.State = "" }))),
		{
			name: "answer in the fragment (response_mode fragment)", source: "RFC 9700 section 2.1.2", code: "invalid_state", part: "state",
			given: []edit{pasted(func(*url.URL) {})}, fault: pasted(func(u *url.URL) { u.Fragment, u.RawQuery = u.RawQuery, "" }),
		},
		{
			name: "answer in one JWT (response_mode jwt)", source: csrf, code: "invalid_state", part: "state",
			fault: inCallback(func(l *login) {
				claims := map[string]any{"iss": testkit.IssuerURL, "code": l.callback.Get("code"), "state": l.auth.State}
				clear(l.callback)
				l.callback.Set("response", l.issuer.Sign(claims, nil))
			}),
		},

		iss("iss of another issuer", "https://evil.example"),
		iss("iss of another issuer, though announced", "https://evil.example", announced),
		iss("iss of a tenant under the same keys", another, announced),
		iss("iss with a slash behind", testkit.IssuerURL+"/", announced),
		iss("iss in other case", strings.ToUpper(testkit.IssuerURL), announced),
		iss("iss with its host in other case", "https://IDP.authpi.test/i_test", announced),
		iss("iss with the default port", "https://idp.authpi.test:443/i_test", announced),
		iss("iss percent-encoded", "https://idp.authpi.test/%69_test", announced),
		iss("iss with a dot segment", "https://idp.authpi.test/i_other/../i_test", announced),
		iss("iss with a look-alike letter", "https://idp.\u0430uthpi.test/i_test", announced),
		iss("iss with a query", testkit.IssuerURL+"?x", announced),
		iss("iss with a space behind", testkit.IssuerURL+" ", announced),
		iss("iss empty", "", announced),
		{
			name: "iss that holds the code and the login's secrets", source: mixUp, code: "invalid_issuer", part: "iss", given: []edit{announced},
			fault: inCallback(func(l *login) {
				l.callback.Set("iss", "https://evil.example/?code="+l.callback.Get("code")+"&state="+l.auth.State+
					"&nonce="+l.auth.Nonce+"&code_verifier="+l.auth.CodeVerifier)
			}),
		},
		{name: "iss missing where it is announced", source: mixUp, code: "invalid_issuer", part: "iss", given: []edit{announced}, fault: dropParam("iss")},
		{name: "iss repeated", source: once, code: "invalid_request", part: "iss", given: []edit{announced}, fault: repeatParam("iss")},
		{
			name: "iss right, then another", source: once, code: "invalid_request", part: "iss", given: []edit{announced},
			fault: inCallback(func(l *login) { l.callback.Add("iss", another) }),
		},

		{name: "code missing", source: "RFC 6749 section 4.1.2", code: "invalid_request", part: "code", fault: dropParam("code")},
		{name: "code empty", source: "RFC 6749 section 4.1.2", code: "invalid_request", part: "code", fault: setParam("code", "")},
		{name: "code repeated", source: once, code: "invalid_request", part: "code", fault: repeatParam("code")},
		{
			name: "tokens in the callback and no code", source: "RFC 9700 section 2.1.2", code: "invalid_request", part: "code",
			given: []edit{setParam("access_token", "stolen-access-token"), setParam("id_token", "stolen.id.token")}, fault: dropParam("code"),
		},
		{name: "error repeated", source: once, code: "invalid_request", part: "error", fault: setParam("error", "", "access_denied")},

		{
			name: "no nonce stored", source: "OpenID Connect Core 3.1.2.1, " + inject, code: "invalid_nonce", part: "nonce",
			fault: inStored(func(a *authpi.AuthorizationURL) { a.Nonce = "" }),
		},
		{
			name: "no verifier stored (PKCE downgrade)", source: "RFC 9700 section 4.8", code: "invalid_request", part: "verifier",
			fault: inStored(func(a *authpi.AuthorizationURL) { a.CodeVerifier = "" }),
		},
	}}
}

// answers are about what the token endpoint says to a callback that holds.
func refusedAnswers() refusals {
	const inject = "RFC 9700 section 4.5"
	grant := func(name, source string, fault edit) refusal {
		return refusal{name: name, source: source, code: "invalid_grant", part: "code", fault: fault}
	}
	return refusals{"Code and token answer", []way{byExchange}, []refusal{
		grant("code of another user's login", inject+".3.1", inCallback(func(l *login) {
			l.issuer.AddUser(authpitest.User{ID: "usr_eve"})
			l.callback.Set("code", l.other("usr_eve").callback.Get("code"))
		})),
		grant("verifier of another login", "RFC 7636 section 4.6", inCallback(func(l *login) {
			l.auth.CodeVerifier = l.other(testkit.Subject).auth.CodeVerifier
		})),
		grant("verifier cut", "RFC 7636 section 4.6", inStored(func(a *authpi.AuthorizationURL) { a.CodeVerifier = a.CodeVerifier[:42] })),
		grant("code used before", "RFC 6749 section 4.1.2, RFC 9700 section 2.2", inCallback(func(l *login) {
			if _, err := l.client.ExchangeCallback(l.t.Context(), l.callback, *l.auth); err != nil {
				l.t.Fatal(err)
			}
		})),
		{
			name: "code of another login, at an issuer without PKCE", source: inject + ".3.2", code: "invalid_nonce", part: "nonce",
			fault: inCallback(func(l *login) {
				l.token = append(l.token, testkit.SetClaim("nonce", l.other(testkit.Subject).auth.Nonce))
			}),
		},
		{
			name: "ID token of an earlier login", source: "OpenID Connect Core 3.1.3.7 (11), " + inject + ".3.2", code: "invalid_nonce", part: "nonce",
			fault: inCallback(func(l *login) {
				before := l.other(testkit.Subject)
				agent, err := l.client.ExchangeCallback(l.t.Context(), before.callback, *before.auth)
				if err != nil {
					l.t.Fatal(err)
				}
				inJSON("token", setting("id_token", agent.Tokens.IDToken))(l.scene)
			}),
		},
		inPlace("access token in the ID token's place", "RFC 9068 section 5", "access_token"),
		inPlace("refresh token in the ID token's place", "RFC 8725 section 3.12", "refresh_token"),
		{name: "ID token missing", source: "OpenID Connect Core 3.1.3.3", code: "invalid_token", part: "id_token", fault: inJSON("token", setting("id_token", nil))},
		{name: "ID token a number", source: "OpenID Connect Core 3.1.3.3", code: "invalid_response", part: "id_token", fault: inJSON("token", setting("id_token", 7))},
		{
			name: "ID token twice", source: "RFC 8259 section 4", code: "invalid_response", part: "JSON",
			fault: inBody("token", func(body string) string { return withFirst(body, `"id_token":"a.b.c"`) }),
		},
		{
			name: "access token twice", source: "RFC 8259 section 4", code: "invalid_response", part: "JSON",
			fault: inBody("token", func(body string) string { return withFirst(body, `"access_token":"a"`) }),
		},
		{
			name: "answer nested deeper than 64", source: "RFC 8259 section 9", code: "invalid_response", part: "JSON",
			fault: inBody("token", func(body string) string {
				return withFirst(body, `"x":`+strings.Repeat("[", 64)+strings.Repeat("]", 64))
			}),
		},
		{name: "access token missing", source: "RFC 6749 section 5.1", code: "invalid_response", part: "access_token", fault: inJSON("token", setting("access_token", nil))},
		{name: "access token empty", source: "RFC 6749 section 5.1", code: "invalid_response", part: "access_token", fault: inJSON("token", setting("access_token", ""))},
		{name: "answer longer than 1 MiB", source: "RFC 8259 section 9", code: "invalid_response", part: "1 MiB", fault: inJSON("token", setting("x", strings.Repeat("x", 1<<20)))},
	}}
}

// other is another login at the same client, at the same time.
func (l *login) other(user string) *login {
	auth, err := l.client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	raw, err := l.issuer.SignIn(auth.URL, user)
	if err != nil {
		l.t.Fatal(err)
	}
	values, err := authpi.ParseCallback(raw)
	if err != nil {
		l.t.Fatal(err)
	}
	l.hide(auth.Nonce, auth.State, auth.CodeVerifier, values.Get("code"))
	return &login{l.scene, values, auth}
}
