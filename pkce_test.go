package authpi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestCreateAuthorizationURL(t *testing.T) {
	t.Parallel()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: "https://idp.example/i_1", ClientID: "c 1&x", ClientSecret: "hush-hush", RedirectURI: "https://app.example/cb?tenant=a&b=c",
		RedirectURIs: []string{"https://b.example/cb"}, Resources: []string{"https://own.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		scopes []string
		opts   *authpi.AuthorizationOptions
		want   url.Values // besides what every login has
	}{
		{"plain", []string{"openid"}, nil, url.Values{"scope": {"openid"}, "resource": {"https://own.example"}}},
		{"empty options", []string{"openid", "e mail"}, &authpi.AuthorizationOptions{}, url.Values{"scope": {"openid e mail"}, "resource": {"https://own.example"}}},
		{"everything", []string{"profile", "openid"}, &authpi.AuthorizationOptions{
			State: "st&te", Nonce: "n=nce", Org: "org_1", Resources: []string{"https://b.example/?x=y", "https://a.example", "https://b.example/?x=y"},
			Prompt: []string{"login", "consent"}, MaxAge: 90 * time.Second, ACRValues: []string{"urn:a", "urn:b"}, LoginHint: "ada+x@example.com",
			Extra: url.Values{"ui_locales": {"fr en"}, "x": {"1", "2"}},
		}, url.Values{
			"scope": {"profile openid"}, "state": {"st&te"}, "nonce": {"n=nce"}, "org": {"org_1"},
			"resource": {"https://b.example/?x=y", "https://a.example", "https://b.example/?x=y"},
			"prompt":   {"login consent"}, "max_age": {"90"}, "acr_values": {"urn:a urn:b"}, "login_hint": {"ada+x@example.com"},
			"ui_locales": {"fr en"}, "x": {"1", "2"},
		}},
		{"no resources", []string{"openid"}, &authpi.AuthorizationOptions{Resources: []string{}}, url.Values{"scope": {"openid"}}},
		{"an hour", []string{"openid"}, &authpi.AuthorizationOptions{MaxAge: time.Hour}, url.Values{
			"scope": {"openid"}, "resource": {"https://own.example"}, "max_age": {"3600"},
		}},
		{"a fresh sign-in", []string{"openid"}, &authpi.AuthorizationOptions{MaxAge: -1}, url.Values{
			"scope": {"openid"}, "resource": {"https://own.example"}, "max_age": {"0"},
		}},
		{"on another host", []string{"openid"}, &authpi.AuthorizationOptions{RedirectURI: "https://b.example/cb"}, url.Values{
			"scope": {"openid"}, "resource": {"https://own.example"}, "redirect_uri": {"https://b.example/cb"},
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			auth, err := client.CreateAuthorizationURL(tc.scopes, tc.opts)
			if err != nil {
				t.Fatalf("CreateAuthorizationURL: %v", err)
			}
			u, err := url.Parse(auth.URL)
			if err != nil || u.Scheme+"://"+u.Host+u.Path != "https://idp.example/i_1/authorize" {
				t.Fatalf("got %s, %v; want AuthPI's authorization endpoint", auth.URL, err)
			}
			got := u.Query()
			sum := sha256.Sum256([]byte(auth.CodeVerifier))
			want := url.Values{
				"client_id": {"c 1&x"}, "redirect_uri": {"https://app.example/cb?tenant=a&b=c"}, "response_type": {"code"},
				"state": {auth.State}, "nonce": {auth.Nonce}, "code_challenge_method": {"S256"},
				"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
			}
			for name, values := range tc.want {
				want[name] = values
			}
			if got.Encode() != want.Encode() {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			testkit.WantHidden(t, auth.URL, auth.CodeVerifier, "hush-hush")
			if slices.Contains([]string{auth.State, auth.Nonce}, "") {
				t.Errorf("got an empty state or nonce")
			}
		})
	}
}

func TestAuthorizationURLSecrets(t *testing.T) {
	t.Parallel()
	issuer, client := testkit.New(t, nil, nil)
	urlSafe := regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`) // 32 bytes
	seen := map[string]bool{}
	for range 200 {
		auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{auth.CodeVerifier, auth.State, auth.Nonce} {
			if !urlSafe.MatchString(secret) || seen[secret] {
				t.Fatalf("got %q; want 43 characters of base64url that never come twice", secret)
			}
			seen[secret] = true
		}
	}
	if got := issuer.Requests(""); got != 0 {
		t.Errorf("got %d requests; want 0", got)
	}
}

func TestCreateAuthorizationURLRefusals(t *testing.T) {
	t.Parallel()
	client := testkit.NewClient(t, testkit.NewIssuer(t, nil), nil)
	openid := []string{"openid"}
	type test struct {
		name   string
		scopes []string
		opts   *authpi.AuthorizationOptions
		says   string
	}
	tests := []test{
		{"no scopes", nil, nil, "scopes are required"},
		{"empty scopes", []string{}, nil, "scopes are required"},
		{"no openid", []string{"email"}, nil, "openid"},
		{"openid in other case", []string{"OpenID"}, nil, "openid"},
		{"a redirect URI of nobody", openid, &authpi.AuthorizationOptions{RedirectURI: "https://evil.example/cb"}, "RedirectURI"},
		{"part of a second", openid, &authpi.AuthorizationOptions{MaxAge: 1500 * time.Millisecond}, "MaxAge"},
	}
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
		"org", "resource", "prompt", "max_age", "acr_values", "login_hint", "request", "request_uri",
	} {
		tests = append(tests, test{"Extra " + name + " without values", openid, &authpi.AuthorizationOptions{Extra: url.Values{name: nil}}, name})
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			auth, err := client.CreateAuthorizationURL(tc.scopes, tc.opts)
			testkit.WantCode(t, err, "invalid_request", tc.says)
			if auth != nil {
				t.Errorf("got %v beside the error; want nothing", auth)
			}
		})
	}
}

func TestAuthorizationEndpointWithQuery(t *testing.T) {
	t.Parallel()
	client := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.Endpoints.Authorization = "https://idp.example/a?tenant=1" }, nil)
	auth, err := client.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(auth.URL)
	if err != nil || u.Query().Get("tenant") != "1" || u.Query().Get("client_id") != "c_1" || strings.Count(auth.URL, "?") != 1 {
		t.Errorf("got %s; want one query with both", auth.URL)
	}
}

func TestAuthorizationURLJSON(t *testing.T) {
	t.Parallel()
	auth := authpi.AuthorizationURL{URL: "https://idp.example/authorize?a=b&c=<d>", CodeVerifier: "v\"1", State: "s\u2028", Nonce: "n"}
	tests := []struct {
		name      string
		resources []string
		want      string
	}{
		{"no resources", nil, `null`},
		{"empty resources", []string{}, `[]`},
		{"resources", []string{"https://b.example", "urn:a"}, `["https://b.example","urn:a"]`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			auth := auth
			auth.Resources = tc.resources
			data, err := auth.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			want := `{"url":"https://idp.example/authorize?a=b&c=<d>","code_verifier":"v\"1","state":"s` + "\u2028" + `","nonce":"n","resources":` + tc.want + `}`
			if string(data) != want {
				t.Errorf("got  %s\nwant %s", data, want)
			}
			whole, err := json.Marshal(auth)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range [][]byte{data, whole} {
				var back authpi.AuthorizationURL
				if err := json.Unmarshal(text, &back); err != nil {
					t.Fatal(err)
				}
				if back.URL != auth.URL || back.CodeVerifier != auth.CodeVerifier || back.State != auth.State || back.Nonce != auth.Nonce ||
					!slices.Equal(back.Resources, auth.Resources) || (back.Resources == nil) != (auth.Resources == nil) {
					t.Errorf("got %+v; want what was stored", back)
				}
			}
		})
	}
}

func TestUnmarshalAuthorizationURL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stored string
		ok           bool
	}{
		{"whole", `{"url":"u","code_verifier":"v","state":"s","nonce":"n","resources":["r"]}`, true},
		{"without resources", `{"url":"u","code_verifier":"v","state":"s","nonce":"n"}`, true},
		{"with a redirect URI", `{"url":"u","code_verifier":"v","state":"s","nonce":"n","redirect_uri":"r","resources":null}`, true},
		{"redirect URI a number", `{"url":"u","code_verifier":"v","state":"s","nonce":"n","redirect_uri":1}`, false},
		{"with others", `{"url":"u","code_verifier":"v","state":"s","nonce":"n","x":{"y":[1]}}`, true},
		{"url missing", `{"code_verifier":"v","state":"s","nonce":"n"}`, false},
		{"verifier missing", `{"url":"u","state":"s","nonce":"n"}`, false},
		{"state a number", `{"url":"u","code_verifier":"v","state":1,"nonce":"n"}`, false},
		{"nonce null", `{"url":"u","code_verifier":"v","state":"s","nonce":null}`, false},
		{"nonce in other case", `{"url":"u","code_verifier":"v","state":"s","Nonce":"n"}`, false},
		{"state twice", `{"url":"u","code_verifier":"v","state":"s","state":"s","nonce":"n"}`, false},
		{"resources a text", `{"url":"u","code_verifier":"v","state":"s","nonce":"n","resources":"r"}`, false},
		{"resources with a number", `{"url":"u","code_verifier":"v","state":"s","nonce":"n","resources":["r",1]}`, false},
		{"nonce twice", `{"url":"u","code_verifier":"v","state":"s","nonce":"n","nonce":"n"}`, false},
		{"more behind it", `{"url":"u","code_verifier":"v","state":"s","nonce":"n"}{}`, false},
		{"cut", `{"url":"u","code_verifier":"v","state":"s","nonce":"n"`, false},
		{"a list", `["u"]`, false},
		{"null", `null`, false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			auth := authpi.AuthorizationURL{URL: "before"}
			err := auth.UnmarshalJSON([]byte(tc.stored))
			if tc.ok {
				if err != nil || auth.URL != "u" || auth.CodeVerifier != "v" || auth.State != "s" || auth.Nonce != "n" {
					t.Errorf("got %+v, %v; want it read", auth, err)
				}
				return
			}
			testkit.WantCode(t, err, "invalid_request", "stored authorization")
			if auth.URL != "before" {
				t.Errorf("got %q; want nothing changed by what cannot be read", auth.URL)
			}
		})
	}
}

func TestPromptNoneStandsAlone(t *testing.T) {
	t.Parallel()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: "https://idp.example/i_1", ClientID: "c_1", RedirectURI: "https://app.example/callback"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		prompt []string
		ok     bool
	}{
		{"none", []string{"none"}, true},
		{"login and consent", []string{"login", "consent"}, true},
		{"none and login", []string{"none", "login"}, false},
		{"login and none", []string{"login", "none"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := client.CreateAuthorizationURL([]string{"openid"}, &authpi.AuthorizationOptions{Prompt: tc.prompt})
			if tc.ok {
				if err != nil {
					t.Errorf("got %v; want the URL", err)
				}
				return
			}
			testkit.WantCode(t, err, "invalid_request")
		})
	}
}
