package fuzz_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// FuzzParseCallback holds callbacks against net/url: whatever was understood is
// understood the same way once it is written out, bare or in a URL.
func FuzzParseCallback(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := authpi.ParseCallback(raw)
		if err != nil {
			testkit.WantCode(t, err, "invalid_request")
			if got != nil {
				t.Errorf("got %v with %v; want nothing with an error", got, err)
			}
			if len(raw) > 12 {
				testkit.WantSilent(t, err, raw)
			}
			return
		}
		encoded := got.Encode()
		for _, form := range []string{encoded, "?" + encoded, "https://app.example/cb?" + encoded, "com.example.app:/cb?" + encoded + "#c=d"} {
			if len(form) > 64<<10 {
				continue
			}
			again, err := authpi.ParseCallback(form)
			if err != nil || again.Encode() != encoded {
				t.Errorf("ParseCallback(%q): got %v, %v; want %v", form, again, err, got)
			}
		}
		if stated, err := url.ParseQuery(encoded); err != nil || stated.Encode() != encoded {
			t.Errorf("url.ParseQuery(%q): got %v, %v; want %v", encoded, stated, err, got)
		}
		// What a server would make of the very same text, but for semicolons.
		if u, err := url.Parse(raw); err == nil && u.IsAbs() && u.Host != "" && !strings.Contains(u.RawQuery, ";") && u.Query().Encode() != encoded {
			t.Errorf("%q: got %v; net/url says %v", raw, got, u.Query())
		}
	})
}

// FuzzExchangeCallback asks which callbacks lead to a request: those that answer the
// login.
func FuzzExchangeCallback(f *testing.F) {
	const state, nonce, verifier = "state-8c1f-d2a7-41be", "nonce-77aa-90c3-15fd", "verifier-2ab9-0cc4-e83a"
	issuer := &answering{
		status: http.StatusOK,
		body: `{"access_token":"` + fuzzAccess + `","id_token":"` +
			fuzzKey.Sign(`{"alg":"EdDSA","kid":"raw"}`, withMember(idClaims, "nonce", `"`+nonce+`"`)) + `"}`,
	}
	client := issuer.client(f, withSecret)
	auth := authpi.AuthorizationURL{URL: fuzzIssuer + "/authorize", CodeVerifier: verifier, State: state, Nonce: nonce}
	f.Fuzz(func(t *testing.T, raw string) {
		raw = strings.NewReplacer("$STATE", state, "$NONCE", nonce, "$VERIFIER", verifier, "$ISS", url.QueryEscape(fuzzIssuer)).Replace(raw)
		callback, err := authpi.ParseCallback(raw)
		if err != nil {
			return // FuzzParseCallback's
		}
		issuer.request = nil
		agent, err := client.ExchangeCallback(context.Background(), callback, auth)
		ok := len(callback["state"]) == 1 && callback["state"][0] == state && len(callback["error"]) <= 1 && callback.Get("error") == "" &&
			len(callback["code"]) == 1 && callback["code"][0] != "" && (!callback.Has("iss") || len(callback["iss"]) == 1 && callback["iss"][0] == fuzzIssuer)
		if (err == nil) != ok || (issuer.request != nil) != ok {
			t.Fatalf("%v: got %v and a request %t; want %t", callback, err, issuer.request != nil, ok)
		}
		if err != nil {
			if agent != nil {
				t.Errorf("got %v beside %v", agent, err)
			}
			testkit.WantSilent(t, err, state, nonce, verifier, sentSecret, fuzzAccess)
			if !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("got %q; want one line of text", err)
			}
			return
		}
		form := issuer.request.PostForm
		if form.Get("code") != callback["code"][0] || form.Get("code_verifier") != verifier || form.Get("redirect_uri") != testkit.RedirectURI || agent.ID != testkit.Subject {
			t.Errorf("got %s by %v; want the callback's code and the login's verifier", agent.ID, form)
		}
	})
}
