package secrets_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// secretIDToken is a JWT in form; what it says of the user is no secret.
var secretIDToken = secretID + "." + testkit.Base64([]byte(`{"sub":"usr_1","email":"ada@example.com"}`)) + "." + secretID

// exportedValues returns values of every exported type, filled with secrets wherever
// they can hold any. echo is a client of an issuer that says back whatever it hears.
func exportedValues(t *testing.T) map[string][]any {
	t.Helper()
	cfg := authpi.Config{
		IssuerURL: "https://idp.example/i_1", ClientID: "c_1", ClientSecret: secretClient, RedirectURI: testkit.RedirectURI,
		HTTPClient: &http.Client{Transport: testkit.TransportFunc(echo)},
		Endpoints: authpi.Endpoints{
			Token: "https://idp.example/t", UserInfo: "https://idp.example/u", Introspection: "https://idp.example/i", Revocation: "https://idp.example/r",
		},
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tokens := authpi.TokenSet{
		AccessToken: secretAccess, TokenType: "Bearer", ExpiresAt: time.Now().Add(time.Hour), RefreshToken: secretRefresh, IDToken: secretIDToken,
		SubjectHint: "usr_1", Scope: "openid",
	}
	off := authpi.AgentOptions{AutoRefresh: authpi.RefreshOff}
	agent, err := client.CreateAgent(t.Context(), tokens, &off)
	if err != nil {
		t.Fatal(err)
	}
	auth := authpi.AuthorizationURL{
		URL: "https://idp.example/authorize?state=" + secretState + "&nonce=" + secretNonce, CodeVerifier: secretVerifier, State: secretState, Nonce: secretNonce,
	}
	values := map[string][]any{
		"Config": {cfg}, "IdpClient": {*client}, "Endpoints": {cfg.Endpoints},
		"TokenSet": {tokens}, "Agent": {*agent}, "AuthorizationURL": {auth},
		"AuthorizationOptions": {authpi.AuthorizationOptions{State: secretState, Nonce: secretNonce, LoginHint: "ada", Extra: url.Values{"x": {secretCode}}}},
		"ExchangeOptions":      {authpi.ExchangeOptions{Nonce: secretNonce}},
		"LogoutOptions":        {authpi.LogoutOptions{IDTokenHint: secretIDToken, State: secretState}},
		"AgentOptions":         {off}, "RefreshOptions": {authpi.RefreshOptions{Scopes: []string{"openid"}}},
		"Organization": {authpi.Organization{ID: "org_1"}}, "Scope": {authpi.Scope{Resource: "a", Action: "b"}},
		"PrincipalType": {authpi.PrincipalUser}, "RefreshMode": {authpi.RefreshOff}, "AuthMethod": {authpi.AuthMethodBasic},
		"UserInfo": {authpi.UserInfo{Subject: "usr_1"}}, "Introspection": {authpi.Introspection{Active: true}}, "LogoutToken": {authpi.LogoutToken{JTI: "j"}},
		"SubjectMismatchError": {authpi.SubjectMismatchError{Expected: "usr_1", Actual: "usr_2"}},
		"ConfigurationError":   {authpi.ConfigurationError{Field: "ClientSecret", Reason: "is required"}},
	}
	for _, err := range echoedErrors(t, client, agent, auth) {
		for _, one := range testkit.ErrorChain(err) {
			switch one := one.(type) {
			case *authpi.OAuthError:
				values["OAuthError"] = append(values["OAuthError"], *one)
			case *authpi.RefreshError:
				values["RefreshError"] = append(values["RefreshError"], *one)
			}
		}
		values[otherValue] = append(values[otherValue], err, fmt.Errorf("wrapped: %w", err), errors.Join(err, err))
	}
	httpClient := client.HTTPClient(agent, &off)
	values[otherValue] = append(values[otherValue],
		client.TokenSource(agent, &off), client.ClientCredentialsSource([]string{"a"}), httpClient, httpClient.Transport)
	return values
}

// otherValue is for what is of no exported type.
const otherValue = "(others)"

// echo refuses everything, and repeats what it was sent.
func echo(r *http.Request) (*http.Response, error) {
	said, err := json.Marshal(map[string]string{"error": "invalid_grant", "error_description": testkit.SentBy(r), "error_uri": "https://idp.example/?" + testkit.SentBy(r)})
	return testkit.Reply(r, 400, nil, string(said)), err
}

// echoedErrors are the errors of every call that sends a secret, or is given one.
func echoedErrors(t *testing.T, client *authpi.IdpClient, agent *authpi.Agent, auth authpi.AuthorizationURL) []error {
	t.Helper()
	ctx := t.Context()
	var all []error
	keep := func(_ any, err error) {
		t.Helper()
		if err == nil {
			t.Error("got no error; want one")
		}
		all = append(all, err)
	}
	keep(client.Refresh(ctx, agent, nil))
	keep(client.CreateAgent(ctx, authpi.TokenSet{AccessToken: secretAccess, RefreshToken: secretRefresh, IDToken: secretIDToken}, nil))
	keep(client.CreateAgent(ctx, authpi.TokenSet{AccessToken: secretAccess, IDToken: secretID}, nil))
	keep(client.ExchangeCode(ctx, secretCode, secretVerifier, &authpi.ExchangeOptions{Nonce: secretNonce}))
	keep(client.ExchangeCallback(ctx, url.Values{
		"state": {secretState}, "error": {"x" + secretState}, "error_description": {secretVerifier + secretNonce}, "code": {secretCode},
	}, auth))
	keep(client.ExchangeCallback(ctx, url.Values{"state": {secretState}, "iss": {secretCode + secretState}, "code": {secretCode}}, auth))
	keep(client.UserInfo(ctx, agent))
	keep(client.Introspect(ctx, secretAccess, ""))
	keep(nil, client.RevokeToken(ctx, secretRefresh, ""))
	keep(client.ClientCredentials(ctx, nil))
	keep(client.VerifyAccessToken(ctx, secretIDToken, ""))
	keep(client.VerifyLogoutToken(ctx, secretIDToken))
	keep(authpi.ParseTokenSet([]byte(`{"access_token":"` + secretAccess + `","refresh_token":["` + secretRefresh + `"]}`)))
	keep(authpi.ParseCallback("code=" + secretCode + "&x=%zz"))
	return all
}

// Their JSON is what a session stores, as their comments say, or the parameters of
// one call, which nobody stores.
var wholeInJSON = []string{"TokenSet", "AuthorizationURL", "AuthorizationOptions", "ExchangeOptions", "LogoutOptions"}

// Every exported type, by every way that a program prints things. A type that is new
// fails the test until exportedValues knows it.
func TestPrintingShowsNoSecret(t *testing.T) {
	t.Parallel()
	values := exportedValues(t)
	for _, name := range exportedTypes(t) {
		if len(values[name]) == 0 {
			t.Errorf("%s is an exported type without a value in exportedValues", name)
		}
		for _, v := range values[name] {
			if got := reflect.TypeOf(v).Name(); got != name {
				t.Errorf("got a %s; want a value of type %s", got, name)
			}
		}
	}
	found, total := 0, 0
	for name, all := range values {
		whole := slices.Contains(wholeInJSON, name)
		for _, v := range all {
			for how, text := range printsOf(v, whole) {
				total++
				if !wantNoSecret(t, name+" by "+how, text) {
					found++
				}
			}
		}
	}
	t.Logf("secrets: %d found in %d prints", found, total)
}

// printsOf returns every print of v, of pointers to it, and of what may hold it.
func printsOf(v any, wholeInJSON bool) map[string]string {
	pointer := reflect.New(reflect.TypeOf(v))
	pointer.Elem().Set(reflect.ValueOf(v))
	p := pointer.Interface()
	all := map[string]string{}
	forms := map[string]any{
		"": v, "pointer to ": p, "pointer to a pointer to ": &p, "slice of ": []any{v, p}, "map of ": map[string]any{"a": v, "b": p},
		"struct with ": struct{ Value, Pointer any }{v, p}, "array of pointers to ": [1]any{p},
	}
	if isOpaque(reflect.TypeOf(v)) {
		// fmt asks no method of a field that is not exported, and where a verb does
		// not fit a pointer it looks behind it. Apps keep their client in such a
		// field.
		forms["unexported field with a pointer to "] = struct{ value any }{p}
	}
	for form, v := range forms {
		for how, text := range prints(v) {
			// A JSON handler marshals what it does not know as a whole.
			if how == "slog JSON" && wholeInJSON && form != "" && form != "pointer to " {
				continue
			}
			all[form+"it by "+how] = text
		}
		if data, err := json.Marshal(v); err == nil && !wholeInJSON {
			all[form+"it by JSON"] = string(data)
		}
		var b strings.Builder
		dump(&b, reflect.ValueOf(v), 0)
		all[form+"it by a dump"] = b.String()
	}
	return all
}

// isOpaque reports whether a type shows nothing to begin with.
func isOpaque(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return t.Kind() == reflect.Pointer && isOpaque(t.Elem())
	}
	return len(reflect.VisibleFields(t)) > 0 && !slices.ContainsFunc(reflect.VisibleFields(t), reflect.StructField.IsExported)
}

// dump prints as debugging libraries do: it asks a type how it wants to be printed,
// or else goes through pointers and exported fields by itself.
func dump(b *strings.Builder, v reflect.Value, depth int) {
	if !v.IsValid() || depth > 8 {
		return
	}
	if v.CanInterface() {
		switch own := v.Interface().(type) {
		case fmt.Formatter, error, fmt.Stringer, fmt.GoStringer:
			fmt.Fprintf(b, "%v %+v %#v ", own, own, own)
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		dump(b, v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				dump(b, v.Field(i), depth+1)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			dump(b, v.Index(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			dump(b, it.Key(), depth+1)
			dump(b, it.Value(), depth+1)
		}
	default:
		fmt.Fprintf(b, "%v ", v)
	}
}

// exportedTypes finds them in the source, interfaces left out: a value of one is a
// value of another type.
func exportedTypes(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, file := range testkit.Sources(t, ".") {
		for _, decl := range file.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				named, ok := spec.(*ast.TypeSpec)
				if !ok || !named.Name.IsExported() {
					continue
				}
				if _, isInterface := named.Type.(*ast.InterfaceType); !isInterface {
					names = append(names, named.Name.Name)
				}
			}
		}
	}
	if len(names) < 20 {
		t.Fatalf("found %d exported types; want all of them", len(names))
	}
	return names
}

// A panic of ours would be printed by whoever recovers it. There is none, whatever a
// foreign part panics with but for the app's own callbacks.
func TestPanicsShowNoSecret(t *testing.T) {
	t.Parallel()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: "https://idp.example/i_1", ClientID: "c_1", ClientSecret: secretClient, RedirectURI: testkit.RedirectURI,
		HTTPClient: &http.Client{Transport: testkit.TransportFunc(func(r *http.Request) (*http.Response, error) { panic(testkit.SentBy(r)) })},
	})
	if err != nil {
		t.Fatal(err)
	}
	agent := &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: secretAccess, RefreshToken: secretRefresh, IDToken: secretIDToken}}
	auth := authpi.AuthorizationURL{CodeVerifier: secretVerifier, State: secretState, Nonce: secretNonce}
	defer func() {
		if fault := recover(); fault != nil {
			t.Errorf("a panic went through")
			wantNoSecret(t, "a panic", fmt.Sprintf("%v %+v %#v", fault, fault, fault))
		}
	}()
	for _, err := range echoedErrors(t, client, agent, auth) {
		for _, one := range testkit.ErrorChain(err) {
			for how, text := range prints(one) {
				wantNoSecret(t, how, text)
			}
		}
	}
	var none *authpi.IdpClient
	func() {
		defer func() { wantNoSecret(t, "a nil client", fmt.Sprint(recover())) }()
		_, _ = none.Refresh(t.Context(), agent, nil)
	}()
}

// What is redacted can still be told apart, and what is no secret is shown.
func TestPrintingShowsTheRest(t *testing.T) {
	t.Parallel()
	values := exportedValues(t)
	for name, want := range map[string]string{
		"Config": "c_1", "IdpClient": "https://idp.example/i_1", "TokenSet": "usr_1", "Agent": "usr_1", "AuthorizationURL": "https://idp.example/authorize",
	} {
		if got := fmt.Sprint(values[name][0]); !strings.Contains(got, want) {
			t.Errorf("%s: got %q; want it to say %s", name, got, want)
		}
	}
}
