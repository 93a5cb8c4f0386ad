package authpitest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestSign(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	kids := c.srv.KeyIDs()
	for name, tc := range map[string]struct {
		header   map[string]any
		want     map[string]any
		verifies bool
	}{
		"plain":            {nil, map[string]any{"alg": "ES256", "kid": kids[0]}, true},
		"typ":              {map[string]any{"typ": "at+jwt"}, map[string]any{"alg": "ES256", "kid": kids[0], "typ": "at+jwt"}, true},
		"another alg":      {map[string]any{"alg": "EdDSA"}, map[string]any{"alg": "EdDSA", "kid": kids[2]}, true},
		"previous key":     {map[string]any{"kid": kids[3]}, map[string]any{"alg": "ES256", "kid": kids[3]}, true},
		"kid of other alg": {map[string]any{"kid": kids[1]}, map[string]any{"alg": "ES256", "kid": kids[1]}, false},
		"without kid":      {map[string]any{"kid": nil}, map[string]any{"alg": "ES256"}, false},
		"none":             {map[string]any{"alg": "none"}, map[string]any{"alg": "none", "kid": kids[0]}, false},
		"bad signature":    {map[string]any{"_signature": "bad"}, map[string]any{"alg": "ES256", "kid": kids[0]}, false},
		"crit":             {map[string]any{"crit": []string{"x"}, "x": 1}, map[string]any{"alg": "ES256", "kid": kids[0], "crit": []string{"x"}, "x": 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			token := c.srv.Sign(map[string]any{"sub": "x"}, tc.header)
			header, claims := decode(t, token)
			equalJSON(t, "header", header, tc.want)
			equalJSON(t, "claims", claims, map[string]any{"sub": "x"})
			if err := verify(c, token); (err == nil) != tc.verifies {
				t.Errorf("verify: got %v; want ok %v", err, tc.verifies)
			}
		})
	}
}

func TestHMAC(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	der, err := x509.MarshalPKIXPublicKey(c.keySet().Keys[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		secret any
		want   []byte
	}{
		"text":           {"shh", []byte("shh")},
		"bytes":          {[]byte("shh"), []byte("shh")},
		"the public key": {nil, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})},
	} {
		t.Run(name, func(t *testing.T) {
			token := c.srv.Sign(map[string]any{"sub": "x"}, map[string]any{"alg": "HS256", "_secret": tc.secret})
			signed := token[:strings.LastIndex(token, ".")]
			mac := hmac.New(sha256.New, tc.want)
			mac.Write([]byte(signed))
			if want := signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)); token != want {
				t.Errorf("got %s; want %s", token, want)
			}
		})
	}
}

func TestMadeTokens(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	c := inMemory(t, &authpitest.Options{Now: func() time.Time { return now }})
	header, claims := verified(t, c, c.srv.AccessToken(map[string]any{"sub": "usr_ada", "jti": nil, "org_id": "org_1"}))
	equalJSON(t, "typ", header["typ"], "at+jwt")
	equalJSON(t, "claims", claims, map[string]any{
		"iss": c.srv.URL, "aud": "c_test", "client_id": "c_test", "sub": "usr_ada", "org_id": "org_1",
		"iat": 1_800_000_000, "auth_time": 1_800_000_000, "exp": 1_800_001_800,
		"scope": "openid profile email", "dat": map[string]string{"type": "user"},
	})
	header, claims = verified(t, c, c.srv.LogoutToken(map[string]any{"sid": "s_1", "jti": "j"}))
	equalJSON(t, "typ", header["typ"], "logout+jwt")
	equalJSON(t, "claims", claims, map[string]any{
		"iss": c.srv.URL, "aud": "c_test", "sub": "usr_test", "sid": "s_1", "jti": "j",
		"iat": 1_800_000_000, "exp": 1_800_000_120,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	info := c.userinfo(c.srv.AccessToken(map[string]any{"sub": "usr_ada", "org_id": "org_1"}))
	info.wantOK(t)
	equalJSON(t, "org_id", info.json["org_id"], "org_1")
}
