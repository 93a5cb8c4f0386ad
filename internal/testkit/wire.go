package testkit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
)

// TransportFunc is an http.RoundTripper made of a function.
type TransportFunc func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f TransportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Reply is an answer for a TransportFunc.
func Reply(r *http.Request, status int, header http.Header, body string) *http.Response {
	all := http.Header{"Content-Type": {"application/json"}}
	maps.Copy(all, header)
	return &http.Response{
		StatusCode: status, Header: all, Body: io.NopCloser(strings.NewReader(body)), Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)),
	}
}

// Scripted is a client whose every request answer gets; the form is parsed already.
func Scripted(t testing.TB, mutate func(*authpi.Config), answer TransportFunc) *authpi.IdpClient {
	t.Helper()
	cfg := authpi.Config{
		IssuerURL: "https://idp.example/i_1", ClientID: "c_1", RedirectURI: RedirectURI,
		HTTPClient: &http.Client{Transport: TransportFunc(func(r *http.Request) (*http.Response, error) {
			if err := r.ParseForm(); err != nil {
				return nil, err
			}
			return answer(r)
		})},
		Endpoints: authpi.Endpoints{
			Authorization: "https://idp.example/i_1/authorize", Token: "https://idp.example/i_1/token",
			UserInfo: "https://idp.example/i_1/userinfo", Revocation: "https://idp.example/i_1/revoke",
			Introspection: "https://idp.example/i_1/introspect", EndSession: "https://idp.example/i_1/logout",
			JWKS: "https://idp.example/i_1/jwks.json",
		},
	}
	if mutate != nil {
		mutate(&cfg)
	}
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatalf("NewIdpClient: %v", err)
	}
	return client
}

// Offline is a client whose issuer must not be asked.
func Offline(t testing.TB, mutate func(*authpi.Config)) *authpi.IdpClient {
	return Scripted(t, mutate, func(r *http.Request) (*http.Response, error) {
		t.Errorf("got a request to %s; want none", r.URL)
		return nil, errors.New("no request was due")
	})
}

// SentBy is what a round tripper could print: the form and the credentials.
func SentBy(r *http.Request) string {
	return Form(r).Encode() + " " + r.Header.Get("Authorization")
}

// FormCalls are all that send a form to the issuer.
func FormCalls(ctx context.Context, client *authpi.IdpClient) map[string]func() error {
	agent := &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: "the-access-token", RefreshToken: "the-refresh-token"}}
	return map[string]func() error{
		"exchange":   func() error { _, err := client.ExchangeCode(ctx, "the-code", "the-verifier", nil); return err },
		"refresh":    func() error { _, err := client.Refresh(ctx, agent, nil); return err },
		"machine":    func() error { _, err := client.ClientCredentials(ctx, nil); return err },
		"revoke":     func() error { return client.RevokeToken(ctx, "the-token", "") },
		"introspect": func() error { _, err := client.Introspect(ctx, "the-token", ""); return err },
	}
}

// Wire passes requests on to the issuer, or to hook where that is set, and notes
// every token that comes back as a secret.
type Wire struct {
	Base http.RoundTripper
	log  *Log
	hook atomic.Pointer[func(*http.Request) (*http.Response, error)]
}

// RoundTrip asks the hook, and the issuer where that has no answer.
func (w *Wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if hook := w.hook.Load(); hook != nil {
		if resp, err := (*hook)(r); resp != nil || err != nil {
			return resp, err
		}
	}
	resp, err := w.Base.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/token") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	w.log.secretsOf(body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// Set puts a hook in front of the issuer; nil takes it away. A hook that returns
// neither an answer nor an error lets the request pass.
func (w *Wire) Set(hook func(*http.Request) (*http.Response, error)) {
	if hook == nil {
		w.hook.Store(nil)
		return
	}
	w.hook.Store(&hook)
}

// Form reads a request's form and puts the body back.
func Form(r *http.Request) url.Values {
	if r.Body == nil {
		return nil
	}
	body, _ := io.ReadAll(r.Body)
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	return form
}
