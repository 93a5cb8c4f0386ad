package secrets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Secrets that no print may show. Each is plain letters, so that no encoding hides
// it.
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

// prints returns every way that v may end up in a log.
func prints(v any) map[string]string {
	out := map[string]string{}
	// %p, and %w outside Errorf, ask no type how it wants to be printed: fmt itself
	// calls them mistakes and prints all fields. go vet finds both.
	for _, flags := range []string{"", "+", "#", "+#", " ", "08.3"} {
		out["%"+flags+"v"] = fmt.Sprintf("%"+flags+"v", v)
	}
	for _, verb := range "TtbcdoOqxXUeEfFgGsz!" {
		for _, flags := range []string{"", "+#"} {
			out["%"+flags+string(verb)] = fmt.Sprintf("%"+flags+string(verb), v)
		}
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

// wantNoSecret looks for the secrets, and for their hexadecimal forms that %x
// prints.
func wantNoSecret(t *testing.T, how, text string) (none bool) {
	t.Helper()
	none = true
	for _, secret := range secretsOfTests {
		hex := fmt.Sprintf("%x", secret)
		if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%s: got %.400s; want %s hidden", how, text, secret)
			none = false
		}
	}
	return none
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
	issuer, client := testkit.New(t, nil, nil)
	agent := testkit.SignIn(t, client, issuer, nil)
	var stored authpi.TokenSet
	_, err := client.Refresh(t.Context(), agent, &authpi.RefreshOptions{OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
		stored = tokens
		return storeError{"cannot store " + tokens.AccessToken + " and " + tokens.RefreshToken}
	}})
	var e *authpi.RefreshError
	if !errors.As(err, &e) {
		t.Fatalf("got %v; want a *RefreshError", err)
	}
	if got, ok := e.Tokens(); !ok || got != stored {
		t.Fatalf("Tokens: got %v, %t; want the new set", got, ok)
	}
	for _, one := range testkit.ErrorChain(err) {
		for how, text := range prints(one) {
			for _, secret := range []string{stored.AccessToken, stored.RefreshToken, stored.IDToken} {
				if strings.Contains(text, secret) {
					t.Errorf("%T: %s: got %.300s; want the tokens hidden", one, how, text)
				}
			}
		}
	}
}

// storeError is an error that is a value: fmt goes into one where it does not follow
// a pointer.
type storeError struct{ text string }

func (e storeError) Error() string { return e.text }

// No line of the log holds what it should not, whatever happens.
func TestLogsShowNoSecret(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock()
	issuer := testkit.NewIssuer(t, &authpitest.Options{Now: clock.Now, ClientSecret: secretClient})
	var b testkit.Buffer
	client := testkit.NewClient(t, issuer, func(cfg *authpi.Config) {
		cfg.Now = clock.Now
		cfg.Logger = slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	callback, auth := testkit.StartLogin(t, client, issuer, nil)
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
			issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: testkit.ReplaceIDToken(func(string) string { return "opaque" })})
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
	text := b.String()
	if text == "" {
		t.Error("got no log at all; want the refreshes told")
	}
	testkit.WantHidden(t, text, secrets...)
}
