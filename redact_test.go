package authpi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// Secrets that no print may show. Each is plain letters, so that no encoding hides it.
const (
	secretAccess   = "AccessTokenSecretAAAA"
	secretRefresh  = "RefreshTokenSecretBBBB"
	secretID       = "IDTokenSecretCCCC"
	secretClient   = "ClientSecretDDDD"
	secretVerifier = "VerifierSecretEEEE"
	secretState    = "StateSecretFFFF"
	secretNonce    = "NonceSecretGGGG"
	secretCode     = "CodeSecretHHHH"
)

var secretsOfTests = []string{
	secretAccess, secretRefresh, secretID, secretClient, secretVerifier, secretState, secretNonce, secretCode,
}

// prints gives every way that v may end up in a log.
func prints(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%08.3f", "%T %[1]v", "%!"} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	out["Sprint"] = fmt.Sprint("x", v)
	out["Sprintln"] = fmt.Sprintln(v)
	out["%w"] = fmt.Errorf("wrapped: %w", asError(v)).Error()
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		log := slog.New(handler(&b))
		log.Info("message", "value", v, slog.Group("group", slog.Any("inside", v)))
		log.With("value", v).Info("message")
		out[name] = b.String()
	}
	return out
}

func asError(v any) error {
	if err, ok := v.(error); ok {
		return err
	}
	return fmt.Errorf("%v", v)
}

// wantNoSecret looks for the secrets, and for their hexadecimal forms that %x prints.
func wantNoSecret(t *testing.T, how, text string) {
	t.Helper()
	for _, secret := range secretsOfTests {
		hex := fmt.Sprintf("%x", secret)
		if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%s: got %.400s; want %s hidden", how, text, secret)
		}
	}
}

func TestPrintingShowsNoSecret(t *testing.T) {
	t.Parallel()
	idToken := secretID + "." + b64([]byte(`{"sub":"usr_1","email":"ada@example.com"}`)) + "." + secretID
	tokens := authpi.TokenSet{
		AccessToken: secretAccess, TokenType: "Bearer", ExpiresAt: time.Now().Add(time.Hour), RefreshToken: secretRefresh, IDToken: idToken,
		SubjectHint: "usr_1", Scope: "openid",
	}
	cfg := authpi.Config{
		IssuerURL: "https://idp.example/i_1", ClientID: "c_1", ClientSecret: secretClient, RedirectURI: testRedirectURI,
		HTTPClient: &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			return reply(r, 400, nil, `{"error":"invalid_grant","error_description":"`+secretRefresh+` `+secretAccess+` `+secretClient+`"}`), nil
		})},
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	off := &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff}
	agent, err := client.CreateAgent(t.Context(), tokens, off)
	if err != nil {
		t.Fatal(err)
	}
	auth := authpi.AuthorizationURL{
		URL: "https://idp.example/authorize?state=" + secretState + "&nonce=" + secretNonce, CodeVerifier: secretVerifier, State: secretState, Nonce: secretNonce,
	}
	options := authpi.AuthorizationOptions{State: secretState, Nonce: secretNonce, LoginHint: "ada", Extra: url.Values{"x": {secretCode}}}
	exchange := authpi.ExchangeOptions{Nonce: secretNonce}
	logout := authpi.LogoutOptions{IDTokenHint: idToken, State: secretState}
	_, refreshErr := client.Refresh(t.Context(), agent, nil)
	_, callbackErr := client.ExchangeCallback(t.Context(), url.Values{
		"state": {secretState}, "error": {"x" + secretState}, "error_description": {secretVerifier + secretNonce}, "code": {secretCode},
	}, auth)
	var oauthErr *authpi.OAuthError
	if !errors.As(refreshErr, &oauthErr) {
		t.Fatalf("got %v; want a refusal", refreshErr)
	}
	storedErr := func() error {
		_, err := authpi.ParseTokenSet([]byte(`{"access_token":"` + secretAccess + `","refresh_token":["` + secretRefresh + `"]}`))
		return err
	}()
	tokenSource, httpClient := client.TokenSource(agent, off), client.HTTPClient(agent, off)
	machineSource := client.ClientCredentialsSource([]string{"a"})
	held := struct {
		Tokens authpi.TokenSet
		Agent  *authpi.Agent
		Login  any
		List   []authpi.TokenSet
		Map    map[string]authpi.AuthorizationURL
	}{tokens, agent, &auth, []authpi.TokenSet{tokens}, map[string]authpi.AuthorizationURL{"a": auth}}

	values := map[string]any{
		"Config": cfg, "*Config": &cfg, "IdpClient": *client, "*IdpClient": client,
		"TokenSet": tokens, "*TokenSet": &tokens, "[]TokenSet": []authpi.TokenSet{tokens},
		"Agent": *agent, "*Agent": agent, "Organization": authpi.Organization{ID: "org_1"},
		"AuthorizationURL": auth, "*AuthorizationURL": &auth, "AuthorizationOptions": options, "*AuthorizationOptions": &options,
		"ExchangeOptions": exchange, "*ExchangeOptions": &exchange, "LogoutOptions": logout, "*LogoutOptions": &logout,
		"RefreshError": refreshErr, "OAuthError": oauthErr, "callback error": callbackErr, "stored error": storedErr,
		"SubjectMismatchError": &authpi.SubjectMismatchError{Expected: "usr_1", Actual: "usr_2"},
		"ConfigurationError":   &authpi.ConfigurationError{Field: "ClientSecret", Reason: "is required"},
		"TokenSource":          tokenSource, "ClientCredentialsSource": machineSource, "HTTPClient": httpClient, "its Transport": httpClient.Transport,
		"AgentOptions": *off, "RefreshOptions": authpi.RefreshOptions{}, "Endpoints": authpi.Endpoints{Token: "https://idp.example/t"},
		"a struct that holds them": held, "a pointer to it": &held,
	}
	for name, v := range values {
		for how, text := range prints(v) {
			// A JSON handler marshals what it does not know, and a TokenSet's own JSON is whole.
			if how == "slog JSON" && (strings.HasPrefix(name, "a ") || name == "[]TokenSet") {
				continue
			}
			wantNoSecret(t, name+" by "+how, text)
		}
	}
	// What may be shown is.
	for name, want := range map[string]string{
		cfg.String(): "c_1", client.String(): "https://idp.example/i_1", tokens.String(): "usr_1", agent.String(): "usr_1", auth.String(): "https://idp.example/authorize",
	} {
		if !strings.Contains(name, want) {
			t.Errorf("got %q; want it to say %s", name, want)
		}
	}
	for name, v := range map[string]any{"Config": cfg, "*Config": &cfg, "Agent": *agent, "*Agent": agent, "IdpClient": client} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantNoSecret(t, name+" as JSON", string(data))
	}
}

// An empty secret is told from a hidden one.
func TestPrintingTellsWhetherThereIsASecret(t *testing.T) {
	t.Parallel()
	with := authpi.Config{ClientSecret: secretClient}.String()
	if without := (authpi.Config{}).String(); with == without || strings.Contains(without, "redacted") {
		t.Errorf("got %s and %s; want them to differ", with, without)
	}
	if got := (authpi.TokenSet{}).String(); strings.Contains(got, "redacted") {
		t.Errorf("got %s; want no secret hidden where there is none", got)
	}
}

func TestErrorsWithTokensShowNone(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t, nil)
	client := newClient(t, issuer, nil)
	agent := signIn(t, client, issuer, nil)
	var stored authpi.TokenSet
	_, err := client.Refresh(t.Context(), agent, &authpi.RefreshOptions{OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
		stored = tokens
		return fmt.Errorf("cannot store %s and %s", tokens.AccessToken, tokens.RefreshToken)
	}})
	var e *authpi.RefreshError
	if !errors.As(err, &e) {
		t.Fatalf("got %v; want a *RefreshError", err)
	}
	if got, ok := e.Tokens(); !ok || got != stored {
		t.Fatalf("Tokens: got %v, %t; want the new set", got, ok)
	}
	for how, text := range prints(err) {
		for _, secret := range []string{stored.AccessToken, stored.RefreshToken, stored.IDToken} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: got %.300s; want the tokens hidden", how, text)
			}
		}
	}
}

// No line of the log holds what it should not, whatever happens.
func TestLogsShowNoSecret(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	issuer := newIssuer(t, &authpitest.Options{Now: clock.Now, ClientSecret: secretClient})
	var b bytes.Buffer
	client := newClient(t, issuer, func(cfg *authpi.Config) {
		cfg.Now = clock.Now
		cfg.Logger = slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	callback, auth := startLogin(t, client, issuer, nil)
	agent, err := client.ExchangeCallback(t.Context(), callback, auth)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{secretClient, callback.Get("code"), auth.CodeVerifier, auth.State, auth.Nonce}
	for i := range 4 {
		secrets = append(secrets, agent.Tokens.AccessToken, agent.Tokens.RefreshToken, agent.Tokens.IDToken)
		clock.Advance(30*time.Minute - 30*time.Second)
		switch i {
		case 1:
			issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503, Body: agent.Tokens.RefreshToken})
		case 2:
			issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: replaceIDToken(func(string) string { return "opaque" })})
		}
		next, err := client.CreateAgent(t.Context(), agent.Tokens, nil)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		agent = next
		if i == 1 {
			clock.Advance(-29 * time.Minute) // still good: try again later
		}
	}
	if b.Len() == 0 {
		t.Error("got no log at all; want the refreshes told")
	}
	wantNone(t, b.String(), secrets...)
}
