package jwks_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/testkit"
	"github.com/go-jose/go-jose/v4"
)

// signingKey is a private key with what its JWK says.
type signingKey struct {
	id, alg string
	key     crypto.Signer
}

// newKey returns an Ed25519 key that depends on its ID alone.
func newKey(id string) signingKey {
	seed := bytes.Repeat([]byte{'#'}, ed25519.SeedSize)
	copy(seed, id)
	return signingKey{id, "EdDSA", ed25519.NewKeyFromSeed(seed)}
}

var (
	ecKey = sync.OnceValue(func() signingKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return signingKey{"ec", "ES256", key}
	})
	rsaKey = sync.OnceValue(func() signingKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return signingKey{"rsa", "RS256", key}
	})
)

// jwk returns k's public JWK, with members changed: nil takes one out.
func (k signingKey) jwk(change map[string]any) string {
	text, err := jose.JSONWebKey{Key: k.key.Public(), KeyID: k.id, Algorithm: k.alg, Use: "sig"}.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		panic(err)
	}
	for name, value := range change {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	text, err = json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// document returns a JWK Set.
func document(jwks ...string) string { return `{"keys":[` + strings.Join(jwks, ",") + `]}` }

func published(keys ...signingKey) string {
	var jwks []string
	for _, k := range keys {
		jwks = append(jwks, k.jwk(nil))
	}
	return document(jwks...)
}

// sign returns a token of k with k's kid.
func (k signingKey) sign() *jws.Token { return k.token(k.alg, "kid", k.id) }

// signWithoutID returns a token of k without a kid.
func (k signingKey) signWithoutID() *jws.Token { return k.token(k.alg) }

// token returns a token of k with the names and values given as header members.
func (k signingKey) token(alg string, header ...string) *jws.Token {
	t, err := jws.Parse(k.raw(alg, header...))
	if err != nil {
		panic(err)
	}
	return &t
}

func (k signingKey) raw(alg string, header ...string) string {
	opts := &jose.SignerOptions{}
	for i := 0; i < len(header); i += 2 {
		opts.WithHeader(jose.HeaderKey(header[i]), header[i+1])
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: k.key}, opts)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign([]byte(`{"sub":"s"}`))
	if err != nil {
		panic(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return raw
}

// issuer is a source of key sets that counts how often it is asked.
type issuer struct {
	mu      sync.Mutex
	doc     string
	err     error
	takes   time.Duration // how long an answer takes
	hook    func(ctx context.Context)
	fetches atomic.Int64
}

func (i *issuer) fetch(ctx context.Context) ([]byte, error) {
	i.fetches.Add(1)
	i.mu.Lock()
	takes, hook := i.takes, i.hook
	i.mu.Unlock()
	if hook != nil {
		hook(ctx)
	}
	if err := testkit.Wait(ctx, takes); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return []byte(i.doc), i.err
}

// publish makes keys the issuer's.
func (i *issuer) publish(keys ...signingKey) { i.answer(published(keys...), nil) }

// answer sets what the issuer answers.
func (i *issuer) answer(doc string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.doc, i.err = doc, err
}

func (i *issuer) set(takes time.Duration, hook func(context.Context)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.takes, i.hook = takes, hook
}

// count checks how many fetches there were since the last check.
func (i *issuer) count(t *testing.T, want int64) {
	t.Helper()
	if got := i.fetches.Swap(0); got != want {
		t.Errorf("got %d fetches; want %d", got, want)
	}
}

var errDown = errors.New("issuer is down")

// verdict names the outcome of a Verify: "" is success, the Part of a refusal,
// "unavailable" or "context".
func verdict(err error) string {
	var refusal *jws.Error
	var unavailable *jwks.UnavailableError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Part
	case errors.As(err, &unavailable):
		return "unavailable"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "context"
	default:
		return err.Error()
	}
}

// check checks the outcome of verifying t.
func check(t *testing.T, s *jwks.Set, token *jws.Token, from jwks.Source, want string) jwks.Key {
	t.Helper()
	k, err := s.Verify(t.Context(), token, from)
	if got := verdict(err); got != want {
		t.Errorf("got %q (%v); want %q", got, err, want)
	}
	if (k == jwks.Key{}) != (err != nil) {
		t.Errorf("got key %v beside the error %v", k, err)
	}
	return k
}
