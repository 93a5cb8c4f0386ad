package authpitest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
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
