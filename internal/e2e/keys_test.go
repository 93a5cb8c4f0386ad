package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	authpi "github.com/authpi/authpi-idp-go"
)

// tamper is a proxy between the client and the provider: it changes the bodies
// of answers on their way.
type tamper struct {
	path   string // which answers, by the end of the request's path
	change func(body []byte) []byte
	off    atomic.Bool
	hits   atomic.Int32
}

func (p *tamper) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || p.off.Load() || !strings.HasSuffix(r.URL.Path, p.path) {
		return resp, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	p.hits.Add(1)
	changed := p.change(body)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(changed)), int64(len(changed))
	resp.Header.Del("Content-Length")
	return resp, nil
}

// through is the confidential client behind a proxy.
func (p *provider) through(t *testing.T, proxy *tamper) *authpi.IdpClient {
	t.Helper()
	cfg := p.config(t, webID, webSecret)
	cfg.HTTPClient = &http.Client{Transport: proxy}
	return newClient(t, cfg)
}

// exchange signs somebody in as far as the code goes.
func exchange(t *testing.T, client *authpi.IdpClient) error {
	t.Helper()
	auth, err := client.CreateAuthorizationURL(allScopes, nil)
	if err != nil {
		t.Fatal(err)
	}
	callback := newBrowser(t, redirectURI).logIn(auth.URL)
	agent, err := client.ExchangeCallback(t.Context(), callback.Query(), *auth)
	if err != nil && agent != nil {
		t.Error("an agent beside an error")
	}
	return err
}

// The ID token is verified with the keys that the provider publishes: with
// others in their place nobody gets in.
func TestZitadelOtherKeys(t *testing.T) {
	t.Parallel()
	p := newProvider(t, providerOptions{})
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	// swap puts the foreign key in the published one's place, under kid, or under
	// the published name where kid is empty.
	swap := func(kid string) func([]byte) []byte {
		return func(body []byte) []byte {
			var set jose.JSONWebKeySet
			if err := json.Unmarshal(body, &set); err != nil || len(set.Keys) != 1 {
				t.Errorf("the provider's keys: %v in %s", err, body)
				return body
			}
			set.Keys[0].Key = foreign.Public()
			if kid != "" {
				set.Keys[0].KeyID = kid
			}
			changed, _ := json.Marshal(set)
			return changed
		}
	}
	t.Run("another key under the same kid", func(t *testing.T) {
		t.Parallel()
		proxy := &tamper{path: pathKeys, change: swap("")}
		err := exchange(t, p.through(t, proxy))
		wantInvalid(t, "another key under the same kid", err, "signature")
		if err != nil && !authpi.SessionEnded(err) {
			t.Error("SessionEnded is false for a refused ID token")
		}
		if proxy.hits.Load() == 0 {
			t.Error("the keys were never fetched")
		}
	})
	t.Run("another key under another kid", func(t *testing.T) {
		t.Parallel()
		err := exchange(t, p.through(t, &tamper{path: pathKeys, change: swap("someone-else")}))
		var e *authpi.OAuthError
		if !errors.As(err, &e) || e.Code != "transport_error" || !strings.Contains(e.Description, "kid") || authpi.SessionEnded(err) {
			t.Errorf("got %v; want transport_error: the issuer may publish the token's key later", err)
		}
	})
	t.Run("no key at all", func(t *testing.T) {
		t.Parallel()
		err := exchange(t, p.through(t, &tamper{path: pathKeys, change: func([]byte) []byte { return []byte(`{"keys":[]}`) }}))
		var e *authpi.OAuthError
		if !errors.As(err, &e) || e.Code != "transport_error" || authpi.SessionEnded(err) {
			t.Errorf("no key at all: %v; want transport_error: nothing is wrong with the token", err)
		}
	})
	t.Run("the provider's own", func(t *testing.T) {
		t.Parallel()
		proxy := &tamper{path: pathKeys, change: func(body []byte) []byte { return body }}
		client := p.through(t, proxy)
		for range 2 {
			if err := exchange(t, client); err != nil {
				t.Errorf("ExchangeCallback: %v", err)
			}
		}
		if n := proxy.hits.Load(); n != 1 {
			t.Errorf("the keys were fetched %d times; want once", n)
		}
	})
}

// editClaims changes the ID token of a token answer and leaves its signature.
func editClaims(t *testing.T, edit func(header, claims map[string]any)) func([]byte) []byte {
	return func(body []byte) []byte {
		var answer map[string]any
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Errorf("token answer: %v", err)
			return body
		}
		token, _ := answer["id_token"].(string)
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			t.Error("token answer without ID token")
			return body
		}
		var decoded [2]map[string]any
		for i := range decoded {
			raw, err := base64.RawURLEncoding.DecodeString(parts[i])
			if err == nil {
				err = json.Unmarshal(raw, &decoded[i])
			}
			if err != nil {
				t.Errorf("ID token: %v", err)
			}
		}
		edit(decoded[0], decoded[1])
		for i := range decoded {
			raw, _ := json.Marshal(decoded[i])
			parts[i] = base64.RawURLEncoding.EncodeToString(raw)
		}
		if decoded[0]["alg"] == "none" {
			parts[2] = ""
		}
		answer["id_token"] = strings.Join(parts, ".")
		changed, _ := json.Marshal(answer)
		return changed
	}
}

func TestZitadelChangedIDToken(t *testing.T) {
	t.Parallel()
	p := newProvider(t, providerOptions{})
	for _, tc := range []struct {
		name string
		edit func(header, claims map[string]any)
		part string
	}{
		{"another subject", func(_, c map[string]any) { c["sub"] = "id1" }, "signature"},
		{"an added claim", func(_, c map[string]any) { c["organizations"] = []any{} }, "signature"},
		{"no signature", func(h, _ map[string]any) { h["alg"] = "none" }, "alg"},
		{"a symmetric algorithm", func(h, _ map[string]any) { h["alg"] = "HS256" }, "alg"},
		{"a curve's algorithm", func(h, _ map[string]any) { h["alg"] = "ES256" }, "kid"},
		{"an access token's type", func(h, _ map[string]any) { h["typ"] = "at+jwt" }, "typ"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			proxy := &tamper{path: pathToken, change: editClaims(t, tc.edit)}
			wantInvalid(t, tc.name, exchange(t, p.through(t, proxy)), tc.part)

			// The same on a refresh: nothing is stored, and the error has the set.
			proxy.off.Store(true)
			client := p.through(t, proxy)
			tokens := signIn(t, client).Tokens
			proxy.off.Store(false)
			_, err := client.CreateAgent(t.Context(), expired(tokens), &authpi.AgentOptions{
				OnRefresh: func(context.Context, authpi.TokenSet) error { t.Error("OnRefresh was called"); return nil },
			})
			wantInvalid(t, tc.name+", refresh", err, tc.part)
			var e *authpi.RefreshError
			if errors.As(err, &e) {
				if set, ok := e.Tokens(); !ok || set.RefreshToken == tokens.RefreshToken {
					t.Error("RefreshError.Tokens does not give what the provider sent")
				}
			} else {
				t.Errorf("%v is no RefreshError", err)
			}
		})
	}
}

// Where the provider's access tokens are JWTs of its own kind they are no proof
// to an API: they lack RFC 9068's type. Opaque ones are refused as no JWT.
func TestZitadelAccessTokens(t *testing.T) {
	t.Parallel()
	for name, isJWT := range map[string]bool{"opaque": false, "JWT": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, providerOptions{jwtAccess: isJWT})
			client := p.web(t)
			agent := signIn(t, client)
			part := "format"
			if isJWT {
				part = "typ"
			}
			_, err := client.VerifyAccessToken(t.Context(), agent.Tokens.AccessToken, webID)
			wantInvalid(t, "access token", err, part)
			_, err = client.VerifyAccessToken(t.Context(), agent.Tokens.IDToken, webID)
			wantInvalid(t, "ID token as access token", err, "typ")
			_, err = client.VerifyLogoutToken(t.Context(), agent.Tokens.IDToken)
			wantInvalid(t, "ID token as logout token", err, "events", "sub", "nonce", "jti")
			if _, err := client.UserInfo(t.Context(), agent); err != nil {
				t.Errorf("UserInfo: %v", err)
			}
		})
	}
}

// A stored ID token is verified where that is asked for.
func TestZitadelStoredTokens(t *testing.T) {
	t.Parallel()
	p := newProvider(t, providerOptions{})
	cfg := p.config(t, webID, webSecret)
	cfg.VerifyStoredTokens = true
	client := newClient(t, cfg)
	tokens := signIn(t, client).Tokens
	if _, err := client.CreateAgent(t.Context(), tokens, nil); err != nil {
		t.Errorf("CreateAgent: %v", err)
	}
	forged := tokens
	forged.IDToken = strings.Split(signIn(t, client).Tokens.IDToken, ".")[0] + "." +
		strings.SplitN(tokens.IDToken, ".", 3)[1] + "." + strings.Repeat("A", 342)
	_, err := client.CreateAgent(t.Context(), forged, nil)
	wantInvalid(t, "a forged stored ID token", err, "signature")
}
