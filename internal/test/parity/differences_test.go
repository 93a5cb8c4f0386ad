package parity_test

import "slices"

// parityDifference are cases of one file that differ in the same way. id is the
// line of docs/review/differences.md that says why; instead is all that comes out
// otherwise than recorded, as parityDiff.compare writes it.
type parityDifference struct {
	id      string
	file    string
	instead []string
	cases   []string
}

// Outcomes that several differences share.
var (
	parityNothingSent = []string{"events[0]=none", "requests[0]=none"}

	// An answer of the token endpoint, whole: Python fails on these cases, so that
	// the recording has nothing to compare with.
	parityMachineTokens = []string{
		"result.tokens.id_token=(ID token)", "result.tokens.refresh_token=rt-2",
		"result.tokens.scope=openid a:b", "result.tokens.token_type=Bearer", "result.type=agent",
	}
	// A refresh whose ID token is no JWT: stored without it, then user info is
	// asked, where the script has no answer left.
	parityStoredWithoutIDToken = []string{
		"events[1].event=on_refresh", "events[1].tokens.access_token=at-2", "events[1].tokens.expires_at=1760000900",
		"events[1].tokens.refresh_token=rt-2", "events[1].tokens.scope=openid a:b",
		"events[1].tokens.subject_hint=usr_1", "events[1].tokens.token_type=Bearer",
		"events[2].event=request", "events[2].index=1",
		"requests[1].headers.authorization=Bearer at-2", "requests[1].method=GET",
		"requests[1].url.place=https://login.parity.test/i_parity/userinfo",
	}

	parityNewOrganization = []string{
		"result.org_id=org_new", "result.organizations[0].id=org_new", "result.organizations[0].joined_at=9",
		"result.organizations[0].scopes[0]=x:y", "result.organizations[0].title=T",
	}
)

// parityUserAnd is the user of the script, whole, and more: Python fails there too.
func parityUserAnd(more ...string) []string {
	return slices.Sorted(slices.Values(append(more,
		"error=none", "result.email=a@parity.test", "result.email_verified=true", "result.id=usr_1",
		"result.org_id=org_a", "result.organizations[0].id=org_a", "result.organizations[0].joined_at=1700000000",
		"result.organizations[0].scopes[0]=owner", "result.organizations[0].title=Chief",
		"result.tokens.access_token=at-2", "result.tokens.id_token=(ID token)", "result.tokens.token_type=Bearer",
		"result.type=user",
	)))
}

func parityRefused(err string) []string { return []string{"error=" + err} }

func parityRefusedUnsent(err string) []string {
	return slices.Concat(parityRefused(err), parityNothingSent)
}

var parityDifferences = slices.Concat(
	parityVerification, parityConfiguration, parityCallbackStrictness, parityStoredTexts, parityMalformed, parityRefreshing)

var parityVerification = []parityDifference{
	{ // difference: D3
		id: "D3", file: "wire", instead: []string{"result.tokens.id_token="},
		cases: []string{"client_credentials/response with a broken ID token"},
	},
	{ // difference: D4
		id: "D4", file: "wire", instead: parityRefused("SubjectMismatchError subject_mismatch"),
		cases: []string{"get_user_info/unicode", "get_user_info/another subject is not refused"},
	},
	{ // difference: D4
		id: "D4", file: "wire", instead: parityRefused("OAuthError invalid_response 200"),
		cases: []string{"get_user_info/sub empty"},
	},
	{ // difference: D8
		id: "D8", file: "wire",
		instead: []string{
			"error=none", "result.aud=c_parity", "result.email=a@parity.test", "result.email_verified=true",
			"result.exp=1760003600", "result.iat=1760000000", "result.iss=https://login.parity.test/i_parity",
			"result.nonce=no-1", "result.org_id=org_a", "result.organizations[0].id=org_a",
			"result.organizations[0].joined_at=1700000000", "result.organizations[0].scopes[0]=owner",
			"result.organizations[0].title=Chief", "result.sub=usr_1",
		},
		cases: []string{"get_user_info/signed answer"},
	},
}

var parityConfiguration = []parityDifference{
	{ // difference: D10
		id: "D10", file: "config", instead: parityRefused("ConfigurationError IssuerURL"),
		cases: []string{"issuer_url 'http://a.test'"},
	},
	{ // difference: D10
		id: "D10", file: "config", instead: parityRefused("ConfigurationError RedirectURI"),
		cases: []string{"redirect_uri 'http://a.test/cb'"},
	},
	{ // difference: D11
		id: "D11", file: "config", instead: parityRefused("ConfigurationError IssuerURL"),
		cases: []string{
			"issuer_url 'https://a.test/i?x=1'", "issuer_url 'https://a.test/i#x'", "issuer_url 'https://a.test/i/?'",
			"issuer_url 'https://u:p@a.test/i'", "issuer_url 'https://u@a.test/i'",
		},
	},
	{ // difference: D11
		id: "D11", file: "authorization_urls", instead: parityRefused("ConfigurationError IssuerURL"),
		cases: []string{"issuer with a query", "issuer with a fragment"},
	},
	{ // difference: D11
		id: "D11", file: "logout_urls", instead: []string{"=ConfigurationError IssuerURL"},
		cases: []string{"issuer with a query", "issuer with a fragment"},
	},
	{ // difference: D11
		id: "D11", file: "wire", instead: parityRefusedUnsent("ConfigurationError IssuerURL"),
		cases: []string{
			"exchange_code/issuer with a query", "exchange_code/issuer with a fragment",
			"exchange_code/issuer with user info", "get_user_info/issuer with user info",
		},
	},
	{ // difference: D12
		id: "D12", file: "config", instead: parityRefused("ConfigurationError IssuerURL"),
		cases: []string{"issuer_url 'ftp://a.test'", "issuer_url 'javascript://a.test/%0aalert(1)'"},
	},
	{ // difference: D12
		id: "D12", file: "config", instead: parityRefused("ConfigurationError RedirectURI"),
		cases: []string{
			"redirect_uri 'javascript://a.test/%0aalert(1)'", "redirect_uri 'file://a.test/x'", "redirect_uri 'myapp://cb'",
		},
	},
	{ // difference: D13
		id: "D13", file: "config", instead: parityRefused("ConfigurationError IssuerURL"),
		cases: []string{
			"issuer_url 'https://a.test:99999'", "issuer_url 'https://a.test:'", "issuer_url 'https://a.test '",
			"issuer_url 'https://a.test/i '", "issuer_url 'https://a .test'", "issuer_url 'https://a.test/a b'",
			"issuer_url 'https://-a.test'", "issuer_url 'https://a..test'", "issuer_url 'https://*.a.test'",
			"issuer_url 'https://1.2.3.4.5'", `issuer_url 'https://a.test\\i'`, "issuer_url 'https://a.test/%zz'",
		},
	},
	{ // difference: D13
		id: "D13", file: "config", instead: parityRefused("ConfigurationError RedirectURI"),
		cases: []string{
			"redirect_uri 'https://a.test:99999/'", "redirect_uri 'http://127.0.0.1:65536/'",
			"redirect_uri 'com.parity.app://h:99999/cb'", "redirect_uri 'https://a.test/a b'",
			"redirect_uri 'https://*.a.test/cb'", `redirect_uri 'https://a.test\\cb'`, `redirect_uri 'https://a.test/\\cb'`,
			"redirect_uri 'https://a.test/%zz'",
		},
	},
	{ // difference: D13
		id: "D13", file: "authorization_urls", instead: parityRefused("ConfigurationError RedirectURI"),
		cases: []string{"redirect URI with query"}, // which holds a space
	},
	{ // difference: D14
		id: "D14", file: "config", instead: parityRefused("ConfigurationError RedirectURI"),
		cases: []string{
			"redirect_uri 'https://a.test/cb#f'", "redirect_uri 'https://a.test/cb#'",
			"redirect_uri 'https://u:p@a.test/cb'", "redirect_uri 'https://u@a.test/cb'",
		},
	},
	{ // difference: D15
		id: "D15", file: "config", instead: parityRefused("ConfigurationError ClientID"),
		cases: []string{"client_id ' c_1 '", `client_id 'c_1\x00'`},
	},
	{ // difference: D15
		id: "D15", file: "authorization_urls", instead: parityRefused("ConfigurationError ClientID"),
		cases: []string{"client id reserved characters"}, // with spaces around it
	},
	{ // difference: D16
		id: "D16", file: "config", instead: parityRefused("ConfigurationError Resources"),
		cases: []string{"resources empty text", "resources not a URL", "resources with fragment"},
	},
}

var parityCallbackStrictness = []parityDifference{
	{ // difference: D20
		id: "D20", file: "callbacks", instead: parityRefused("OAuthError invalid_request"),
		cases: []string{"code twice", "error twice", "mapping, lists"},
	},
	{ // difference: D20
		id: "D20", file: "callbacks", instead: parityRefused("OAuthError invalid_state"),
		cases: []string{"state twice, right first"},
	},
	{ // difference: D21
		id: "D21", file: "callbacks", instead: parityRefused("OAuthError invalid_state"),
		cases: []string{"expected state is empty, none came"},
	},
	{ // difference: D21
		id: "D21", file: "wire", instead: parityRefusedUnsent("OAuthError invalid_nonce"),
		cases: []string{"exchange_callback/nonce empty both"},
	},
	{ // difference: D21
		id: "D21", file: "wire", instead: parityRefusedUnsent("OAuthError invalid_request"),
		cases: []string{"exchange_code/empty code"},
	},
	{ // difference: D22
		id: "D22", file: "callbacks", instead: parityRefused("OAuthError invalid_issuer"),
		cases: []string{"full URL, state first"}, // with iss=x
	},
	{ // difference: D23
		id: "D23", file: "callbacks", instead: parityRefused("OAuthError invalid_request"),
		cases: []string{"bad percent", "not UTF-8"},
	},
	{ // difference: D24
		id: "D24", file: "callbacks", instead: parityRefused("OAuthError invalid_state"),
		cases: []string{"private use URL, fragment only"},
	},
	{ // difference: D24
		id: "D24", file: "callbacks", instead: []string{"sent.code=c\n1"},
		cases: []string{"newline in a URL"},
	},
	{ // difference: D24
		id: "D24", file: "callbacks",
		instead: []string{
			"error=none", "sent.code=c1", "sent.code_verifier=ver-1",
			"sent.redirect_uri=https://app.parity.test/signin/back",
		},
		cases: []string{"broken IPv6 URL"},
	},
}

var parityStoredTexts = []parityDifference{
	{ // difference: D30
		id: "D30", file: "id_tokens", instead: parityRefused("OAuthError invalid_token"),
		cases: []string{"claim name twice", "payload NaN", "payload infinity"},
	},
	{ // difference: D31
		id: "D31", file: "id_tokens", instead: parityRefused("OAuthError invalid_token"),
		cases: []string{
			"alphabet standard", "padding written, length mod 4 was 2", "padding written, length mod 4 was 3",
			"padding too much", "base64 with newline", "base64 with four marks", "base64 with one mark",
			"base64 with four spaces",
		},
	},
	{ // difference: D32
		id: "D32", file: "token_sets", instead: parityRefused("OAuthError invalid_token"),
		cases: []string{
			"token set/expires_at digits", "token set/expires_at digits with spaces",
			"token set/expires_at digits with newline", "token set/expires_at negative digits",
			"token set/expires_at digits and dot zero", "token set/expires_at underscore",
			"token set/expires_at plus sign", "token set/expires_at leading zeros", "token set/expires_at true",
			"token set/expires_at false", "token set/expires_at 2^63", "token set/expires_at 2^80",
			"token set/expires_at -2^63-1",
		},
	},
	{ // difference: D33
		id: "D33", file: "agent_access", instead: []string{"answers[0]=9223372036"},
		cases: []string{"expires far away"},
	},
}

var parityMalformed = []parityDifference{
	{ // difference: D40
		id: "D40", file: "id_tokens", instead: []string{"organizations[0].joined_at="},
		cases: []string{
			"joined_at digits", "joined_at digits with spaces", "joined_at digits signed",
			"joined_at digits with underscore", "joined_at digits whole float", "joined_at beyond 64 bits", "joined_at true",
		},
	},
	{ // difference: D40
		id: "D40", file: "wire", instead: []string{"result.created_at="},
		cases: []string{"get_user_info/created_at digits"},
	},
	{ // difference: D40
		id: "D40", file: "wire", instead: []string{"result.email_verified="},
		cases: []string{
			"get_user_info/email_verified 1", "get_user_info/email_verified 'yes'", "refresh/user info email_verified text",
		},
	},
	{ // difference: D41
		id: "D41", file: "id_tokens", instead: []string{"error=none", "id=usr_1", "organizations[0].id=org_a", "type=user"},
		cases: []string{
			"title number", "title true", "title list", "title object", "scopes with true", "scopes with list",
			"scopes with null", "joined_at null", "joined_at float fraction", "joined_at digits fraction",
			"joined_at hex digits", "joined_at words", "joined_at empty text", "joined_at list", "joined_at object",
		},
	},
	{ // difference: D41
		id: "D41", file: "id_tokens",
		instead: []string{"error=none", "id=usr_1", "organizations[0].id=org_a", "organizations[0].scopes[0]=a:b", "type=user"},
		cases:   []string{"scopes with number"},
	},
	{ // difference: D41
		id: "D41", file: "id_tokens",
		instead: []string{"error=none", "id=usr_1", "organizations[0].id=org_a", "organizations[1].id=org_b", "type=user"},
		cases:   []string{"one bad organization spoils the rest"},
	},
	{ // difference: D41
		id: "D41", file: "wire",
		instead: []string{
			"error=none", "result.id=usr_1", "result.organizations[0].id=o", "result.tokens.access_token=at-2",
			"result.tokens.expires_at=1760000900", "result.tokens.id_token=(ID token)", "result.tokens.refresh_token=rt-2",
			"result.tokens.scope=openid a:b", "result.tokens.token_type=Bearer", "result.type=user",
		},
		cases: []string{"exchange_code/id_token malformed organization"},
	},
	{ // difference: D41
		id: "D41", file: "wire", instead: []string{"error=none", "result.organizations[0].id=o", "result.sub=usr_1"},
		cases: []string{"get_user_info/organization title number"},
	},
	{ // difference: D42
		id: "D42", file: "wire", instead: []string{"error=none", "result.sub=usr_1"},
		cases: []string{"get_user_info/email_verified 'maybe'", "get_user_info/email_verified 2"},
	},
	{ // difference: D42
		id: "D42", file: "wire",
		instead: slices.Concat([]string{"error=none", "result.email=new@parity.test", "result.name=N"}, parityNewOrganization, []string{"result.sub=usr_1"}),
		cases:   []string{"get_user_info/locale object", "get_user_info/created_at words", "get_user_info/created_at fraction"},
	},
	{ // difference: D42
		id: "D42", file: "wire",
		instead: slices.Concat([]string{"error=none", "result.name=N"}, parityNewOrganization, []string{"result.sub=usr_1"}),
		cases:   []string{"get_user_info/email list"},
	},
	{ // difference: D42
		id: "D42", file: "wire",
		instead: slices.Concat([]string{"error=none", "result.email=new@parity.test"}, parityNewOrganization, []string{"result.sub=usr_1"}),
		cases:   []string{"get_user_info/name number"},
	},
	{ // difference: D42
		id: "D42", file: "wire",
		instead: slices.Concat([]string{"error=none", "result.email=old@parity.test", "result.id=usr_1"}, parityNewOrganization, []string{
			"result.tokens.access_token=at-2", "result.tokens.expires_at=1760000900", "result.tokens.refresh_token=rt-2",
			"result.tokens.scope=openid a:b", "result.tokens.subject_hint=usr_1", "result.tokens.token_type=Bearer",
			"result.type=user",
		}),
		cases: []string{"refresh/user info email number"},
	},
	{ // difference: D43
		id: "D43", file: "wire", instead: []string{"result.tokens.expires_at=1760003600"},
		cases: []string{"exchange_code/expires_in true"},
	},
	{ // difference: D43
		id: "D43", file: "wire",
		instead: parityUserAnd("result.tokens.expires_at=1760003600", "result.tokens.refresh_token=rt-2", "result.tokens.scope=openid a:b"),
		cases:   []string{"exchange_code/expires_in null", "exchange_code/expires_in words", "exchange_code/expires_in list"},
	},
	{ // difference: D43
		id: "D43", file: "wire",
		instead: parityUserAnd("result.tokens.expires_at=1760000900", "result.tokens.refresh_token=rt-2", "result.tokens.scope=openid a:b"),
		cases:   []string{"exchange_code/expires_in text", "exchange_code/expires_in fraction"},
	},
	{ // difference: D43
		id: "D43", file: "wire",
		instead: parityUserAnd(
			"events[1].event=on_refresh", "events[1].tokens.access_token=at-2",
			"events[1].tokens.expires_at=1760000900", "events[1].tokens.id_token=(ID token)",
			"events[1].tokens.refresh_token=rt-2", "events[1].tokens.scope=openid a:b", "events[1].tokens.token_type=Bearer",
			"result.tokens.expires_at=1760000900", "result.tokens.refresh_token=rt-2", "result.tokens.scope=openid a:b",
		),
		cases: []string{"refresh/expires_in text", "refresh/expires_in fraction"},
	},
	{ // difference: D43
		id: "D43", file: "wire",
		instead: slices.Concat([]string{"error=none", "result.id=agt_parity", "result.tokens.access_token=at-2", "result.tokens.expires_at=1760003600"}, parityMachineTokens),
		cases:   []string{"client_credentials/expires_in null"},
	},
	{ // difference: D43
		id: "D43", file: "wire",
		instead: slices.Concat([]string{"error=none", "result.id=agt_parity", "result.tokens.access_token=at-2", "result.tokens.expires_at=1760000900"}, parityMachineTokens),
		cases:   []string{"client_credentials/expires_in text"},
	},
	{ // difference: D44
		id: "D44", file: "wire", instead: parityRefused("OAuthError invalid_response 200"),
		cases: []string{"exchange_code/access token empty"},
	},
	{ // difference: D49
		id: "D49", file: "wire",
		instead: []string{
			"events[1].event=request",
			"events[1].index=1",
			"requests[1].form.client_id[0]=c_parity",
			"requests[1].form.token[0]=rt-2",
			"requests[1].form.token_type_hint[0]=refresh_token",
			"requests[1].headers.content-type=application/x-www-form-urlencoded",
			"requests[1].method=POST",
			"requests[1].url.place=https://login.parity.test/i_parity/revoke",
		},
		cases: []string{"exchange_code/id_token object", "exchange_code/id_token number"},
	},
	{ // difference: D49
		id: "D49", file: "wire",
		instead: parityUserAnd(
			"result.tokens.expires_at=1760000900", "result.tokens.refresh_token=rt-2", "result.tokens.scope=openid",
		),
		cases: []string{"exchange_code/scope list"},
	},
	{ // difference: D49
		id: "D49", file: "wire",
		instead: parityUserAnd(
			"result.tokens.expires_at=1760000900", "result.tokens.scope=openid a:b",
		),
		cases: []string{"exchange_code/refresh_token number"},
	},
	{ // difference: D49
		id: "D49", file: "wire",
		instead: parityUserAnd(
			"result.tokens.expires_at=1760000900", "result.tokens.refresh_token=rt-2", "result.tokens.scope=openid a:b",
		),
		cases: []string{"exchange_code/token_type number", "exchange_code/token_type null"},
	},
	{ // difference: D49
		id: "D49", file: "wire",
		instead: parityUserAnd(
			"events[1].event=on_refresh", "events[1].tokens.access_token=at-2", "events[1].tokens.expires_at=1760000900",
			"events[1].tokens.id_token=(ID token)", "events[1].tokens.refresh_token=rt-2", "events[1].tokens.scope=openid",
			"events[1].tokens.token_type=Bearer",
			"result.tokens.expires_at=1760000900", "result.tokens.refresh_token=rt-2", "result.tokens.scope=openid",
		),
		cases: []string{"refresh/scope list"},
	},
}

var parityRefreshing = []parityDifference{
	{ // difference: D2
		id: "D2", file: "wire", instead: slices.Concat(parityRefused("OAuthError userinfo_error 503"), parityStoredWithoutIDToken),
		cases: []string{"refresh/broken ID token"},
	},
	{ // difference: D2
		id: "D2", file: "wire",
		instead: slices.Concat(parityRefused("OAuthError userinfo_error 503"), []string{"events[1].error=none"}, parityStoredWithoutIDToken),
		cases:   []string{"create_agent/expired, broken ID token"},
	},
	{ // difference: D50
		id: "D50", file: "wire",
		instead: []string{ // it refreshes, where the script has no answer
			"error=RefreshError refresh_error 503", "events[0].event=request", "events[0].index=0",
			"events[1].error=RefreshError refresh_error 503", "events[1].event=on_refresh_error",
			"requests[0].form.client_id[0]=c_parity", "requests[0].form.grant_type[0]=refresh_token",
			"requests[0].form.refresh_token[0]=rt-1",
			"requests[0].headers.content-type=application/x-www-form-urlencoded", "requests[0].method=POST",
			"requests[0].url.place=https://login.parity.test/i_parity/token",
		},
		cases: []string{"create_agent/buffer negative, just expired"},
	},
}
