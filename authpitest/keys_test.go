package authpitest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/go-jose/go-jose/v4"
)

func (c rp) keySet() jose.JSONWebKeySet {
	c.t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(c.do(c.request(http.MethodGet, "/jwks.json", nil)).body), &set); err != nil {
		c.t.Fatal(err)
	}
	return set
}

// verify checks a token by the published keys, as an API would.
func verify(c rp, token string) error {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA})
	if err != nil {
		return err
	}
	set := c.keySet()
	keys := set.Key(jws.Signatures[0].Header.KeyID)
	if len(keys) != 1 {
		return errors.New("no such key")
	}
	_, err = jws.Verify(keys[0])
	return err
}

func verified(t testing.TB, c rp, token string) (header, claims map[string]any) {
	t.Helper()
	if err := verify(c, token); err != nil {
		t.Errorf("verify: %v", err)
	}
	return decode(t, token)
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	var algs, kids []string
	for _, k := range c.keySet().Keys {
		if !k.Valid() || !k.IsPublic() || k.Use != "sig" || !uuid.MatchString(k.KeyID) {
			t.Errorf("key %+v", k)
		}
		algs, kids = append(algs, k.Algorithm), append(kids, k.KeyID)
	}
	equalJSON(t, "algs", algs, []string{"ES256", "RS256", "EdDSA", "ES256", "RS256", "EdDSA"})
	equalJSON(t, "kids", kids, c.srv.KeyIDs())
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, &authpitest.Options{Algorithm: alg})
			before := c.srv.KeyIDs()
			old := c.login()
			c.srv.RotateKeys()
			if err := verify(c, old.text("id_token")); err != nil {
				t.Errorf("old key, still published: %v", err)
			}
			fresh := c.refresh(old.text("refresh_token"))
			header, _ := verified(t, c, fresh.text("access_token"))
			if slices.Contains(before, header["kid"].(string)) {
				t.Error("an old key signed after the rotation")
			}
			if got := len(c.srv.KeyIDs()); got != 9 {
				t.Errorf("got %d keys; want 9", got)
			}
			c.srv.WithdrawKeys()
			if got := len(c.srv.KeyIDs()); got != 3 {
				t.Errorf("got %d keys; want 3", got)
			}
			if verify(c, old.text("id_token")) == nil {
				t.Error("a withdrawn key still verifies")
			}
			if err := verify(c, fresh.text("id_token")); err != nil {
				t.Errorf("current key: %v", err)
			}
		})
	}
}

// Another process that has the keys is the same issuer to whoever verifies tokens.
func TestKeysSurviveTheProcess(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			before := inMemory(t, &authpitest.Options{Algorithm: alg})
			before.srv.RotateKeys()
			old := before.login().text("access_token")
			after := inMemory(t, &authpitest.Options{Algorithm: alg})
			if err := after.srv.ImportKeys(before.srv.ExportKeys()); err != nil {
				t.Fatal(err)
			}
			equalJSON(t, "kids", after.srv.KeyIDs(), before.srv.KeyIDs())
			was, _ := verified(t, after, old)
			now, _ := verified(t, before, after.login().text("access_token"))
			if was["kid"] != now["kid"] {
				t.Errorf("signed by %v before and %v after", was["kid"], now["kid"])
			}
			after.srv.RotateKeys()
			if _, claims := verified(t, after, old); claims["sub"] != "usr_ada" || len(after.srv.KeyIDs()) != 12 {
				t.Errorf("after a rotation: %v, %d keys", claims, len(after.srv.KeyIDs()))
			}
		})
	}
}

func TestImportKeysRefuses(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	exported := c.srv.ExportKeys()
	change := func(f func(keys []map[string]any) []map[string]any) string {
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal(exported, &set); err != nil {
			t.Fatal(err)
		}
		set.Keys = f(set.Keys)
		data, _ := json.Marshal(set)
		return string(data)
	}
	secret := regexp.MustCompile(`"d":"([^"]+)"`).FindStringSubmatch(string(exported))[1]
	public, _ := json.Marshal(c.keySet())
	for name, data := range map[string]string{
		"nothing":           "",
		"no JSON":           "keys",
		"no keys":           `{"keys":[]}`,
		"public keys":       string(public),
		"one missing":       change(func(k []map[string]any) []map[string]any { return k[:5] }),
		"another order":     change(func(k []map[string]any) []map[string]any { k[0], k[1] = k[1], k[0]; return k }),
		"a kid twice":       change(func(k []map[string]any) []map[string]any { k[3]["kid"] = k[0]["kid"]; return k }),
		"no kid":            change(func(k []map[string]any) []map[string]any { delete(k[0], "kid"); return k }),
		"another algorithm": change(func(k []map[string]any) []map[string]any { k[2]["alg"] = "ES384"; return k }),
		"a key that is cut": change(func(k []map[string]any) []map[string]any { k[0]["d"] = "AA"; return k }),
		"not its own point": change(func(k []map[string]any) []map[string]any { k[0]["x"] = k[3]["x"]; return k }),
	} {
		t.Run(name, func(t *testing.T) {
			before := c.srv.KeyIDs()
			err := c.srv.ImportKeys([]byte(data))
			if err == nil {
				t.Fatal("taken")
			}
			equalJSON(t, "kids", c.srv.KeyIDs(), before)
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}
