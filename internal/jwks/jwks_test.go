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
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
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
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
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

// verdict names the outcome of a Verify: "" is success, the Part of a refusal, "unavailable" or
// "context".
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

func TestNothingIsFetchedAtFirst(t *testing.T) {
	t.Parallel()
	i := &issuer{}
	jwks.New(i.fetch, time.Now, nil)
	i.count(t, 0)
}

// TestVerify has tokens against documents: what is refused, and what of it after mending.
func TestVerify(t *testing.T) {
	t.Parallel()
	var (
		ed, other = newKey("a"), newKey("b")
		ec, rs    = ecKey(), rsaKey()
		forged    = signingKey{ed.id, ed.alg, newKey("forged").key}
	)
	tests := []struct {
		name  string
		doc   string
		token *jws.Token
		want  string
	}{
		{"EdDSA", published(ed), ed.sign(), ""},
		{"ES256", published(ed, ec), ec.sign(), ""},
		{"RS256", published(ed, ec, rs), rs.sign(), ""},
		{"PS256 while alg says RS256", published(rs), rs.token("PS256", "kid", "rsa"), "alg"},
		{"PS256 without alg", document(rs.jwk(map[string]any{"alg": nil})), rs.token("PS256", "kid", "rsa"), ""},
		{"alg of another type", document(ed.jwk(map[string]any{"alg": "ES256"})), ed.sign(), "alg"},
		{"alg empty", document(ed.jwk(map[string]any{"alg": ""}), other.jwk(nil)), ed.sign(), "alg"},
		{"token's alg of another type", published(ed), ec.token("ES256", "kid", "a"), "alg"},
		{"use enc", document(ed.jwk(map[string]any{"use": "enc"}), other.jwk(nil)), ed.sign(), "alg"},
		{"no use", document(ed.jwk(map[string]any{"use": nil})), ed.sign(), ""},
		{"key_ops verify", document(ed.jwk(map[string]any{"use": nil, "key_ops": []string{"sign", "verify"}})), ed.sign(), ""},
		{"key_ops sign", document(ed.jwk(map[string]any{"key_ops": []string{"sign"}}), other.jwk(nil)), ed.sign(), "alg"},
		{"key_ops empty", document(ed.jwk(map[string]any{"key_ops": []string{}}), other.jwk(nil)), ed.sign(), "alg"},
		{"forged signature", published(ed), forged.sign(), "signature"},
		{"unknown kid", published(ed), other.sign(), "kid"},
		{"kid in other case", published(ed), ed.token("EdDSA", "kid", "A"), "kid"},
		{"empty kid", published(ed), ed.token("EdDSA", "kid", ""), "kid"},
		{"empty kid, key without", document(ed.jwk(map[string]any{"kid": nil})), ed.token("EdDSA", "kid", ""), "kid"},
		{"empty kid, key with one", document(ed.jwk(map[string]any{"kid": ""})), ed.token("EdDSA", "kid", ""), ""},
		{"no kid", published(other, rs, ed), ed.signWithoutID(), ""},
		{"no kid in key and token", document(other.jwk(nil), ed.jwk(map[string]any{"kid": nil})), ed.signWithoutID(), ""},
		{"no kid, forged", published(ed, other), forged.signWithoutID(), "signature"},
		{"no kid, no key fits", published(ed, other), ec.signWithoutID(), "signature"},
		{"no kid, use enc", document(ed.jwk(map[string]any{"use": "enc"}), other.jwk(nil)), ed.signWithoutID(), "signature"},
		{"two types under one kid, first", document(ed.jwk(nil), ec.jwk(map[string]any{"kid": "a"})), ed.sign(), ""},
		{"two types under one kid, second", document(ed.jwk(nil), ec.jwk(map[string]any{"kid": "a"})), ec.token("ES256", "kid", "a"), ""},
		{"two keys under one kid", document(other.jwk(map[string]any{"kid": "a"}), ed.jwk(nil)), ed.sign(), ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			i := &issuer{doc: tc.doc}
			s := jwks.New(i.fetch, time.Now, nil)
			k := check(t, s, tc.token, jwks.Untrusted, tc.want)
			if got, want := s.Trusts(t.Context(), k), tc.want == ""; got != want {
				t.Errorf("Trusts: got %v; want %v", got, want)
			}
			i.count(t, 1)
		})
	}
}

// TestKeysWithoutID counts the keys that a token without kid is tried with.
func TestKeysWithoutID(t *testing.T) {
	t.Parallel()
	for tried, want := range map[int]string{32: "", 33: "signature"} {
		ed := newKey("last")
		var keys []string
		for n := range tried - 1 {
			keys = append(keys, newKey(fmt.Sprint(n)).jwk(nil), rsaKey().jwk(nil)) // RSA does not fit, nor count
		}
		i := &issuer{doc: document(append(keys, ed.jwk(nil))...)}
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, ed.signWithoutID(), jwks.Untrusted, want)
		check(t, s, ed.sign(), jwks.Untrusted, "")
	}
}

func TestColdCallersShareOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed), takes: time.Second}
		s := jwks.New(i.fetch, time.Now, nil)
		token := ed.sign()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { check(t, s, token, jwks.Untrusted, "") })
		}
		wg.Wait()
		i.count(t, 1)
	})
}

func TestCancelledCallerLeavesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed), takes: 3 * time.Second}
		s := jwks.New(i.fetch, time.Now, nil)
		token := ed.sign()

		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := s.Verify(first, token, jwks.Untrusted)
			if !errors.Is(err, context.Canceled) || verdict(err) != "context" {
				t.Errorf("got %v; want context.Canceled", err)
			}
			if got := time.Since(synctestEpoch); got != time.Second {
				t.Errorf("left after %v; want 1s", got)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() { check(t, s, token, jwks.FromIssuer, "") })
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := s.Verify(ctx, token, jwks.Untrusted); !errors.Is(err, context.DeadlineExceeded) || verdict(err) != "context" {
				t.Errorf("got %v; want context.DeadlineExceeded", err)
			}
		})
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		i.count(t, 1)

		// All left: the fetch goes on, for those who come later.
		s = jwks.New(i.fetch, time.Now, nil)
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Verify(brief, token, jwks.Untrusted); verdict(err) != "context" {
			t.Errorf("got %v; want the context's end", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		check(t, s, token, jwks.Untrusted, "")
		i.count(t, 1)
	})
}

// synctestEpoch is when every bubble begins.
var synctestEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestEndedContext(t *testing.T) {
	t.Parallel()
	ed := newKey("a")
	i := &issuer{doc: published(ed)}
	s := jwks.New(i.fetch, time.Now, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Verify(ended, ed.sign(), jwks.Untrusted); !errors.Is(err, context.Canceled) {
		t.Errorf("cold: got %v; want context.Canceled", err)
	}
	i.count(t, 0)
	k := check(t, s, ed.sign(), jwks.Untrusted, "")
	i.count(t, 1)
	if _, err := s.Verify(ended, ed.sign(), jwks.Untrusted); err != nil {
		t.Errorf("warm: got %v; want no error", err)
	}
	if !s.Trusts(ended, k) {
		t.Error("warm: got no trust")
	}
	if _, err := s.Verify(ended, newKey("b").sign(), jwks.Untrusted); !errors.Is(err, context.Canceled) {
		t.Errorf("unknown: got %v; want context.Canceled", err)
	}
	i.count(t, 0)
}

func TestFetchContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ed := newKey("a")
		i := &issuer{doc: published(ed)}
		i.hook = func(ctx context.Context) {
			if ctx.Value(key{}) != "value" {
				t.Error("the caller's values are gone")
			}
			deadline, ok := ctx.Deadline()
			if got := time.Until(deadline); !ok || got != 10*time.Second {
				t.Errorf("got deadline in %v, %v; want 10s", got, ok)
			}
		}
		s := jwks.New(i.fetch, time.Now, nil)
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Minute)
		defer cancel()
		if _, err := s.Verify(ctx, ed.sign(), jwks.Untrusted); err != nil {
			t.Error(err)
		}
	})
}

func TestForgedKeyIDs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		workers int
		warm    bool
		without bool // kid is missing, not unknown
		from    jwks.Source
		fetches int64 // after the warm one
	}{
		{"cold, one worker", 1, false, false, jwks.Untrusted, 2},
		{"cold, 64 workers", 64, false, false, jwks.Untrusted, 2},
		{"warm, one worker", 1, true, false, jwks.Untrusted, 2},
		{"warm, 64 workers", 64, true, false, jwks.Untrusted, 2},
		{"cold, one worker, no kid", 1, false, true, jwks.Untrusted, 2},
		{"cold, 64 workers, no kid", 64, false, true, jwks.Untrusted, 2},
		{"warm, 64 workers, no kid", 64, true, true, jwks.Untrusted, 2},
		{"cold, 64 workers, from the issuer", 64, false, false, jwks.FromIssuer, 2},
		{"warm, one worker, from the issuer", 1, true, false, jwks.FromIssuer, 2},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ed := newKey("a")
				i := &issuer{doc: published(ed), takes: time.Microsecond}
				s := jwks.New(i.fetch, time.Now, nil)
				if tc.warm {
					check(t, s, ed.sign(), jwks.Untrusted, "")
					i.count(t, 1)
				}
				forger := newKey("forger")
				template, tokens := forger.sign(), 10_000
				if tc.without { // each is tried with the key, which takes its time
					template, tokens = forger.signWithoutID(), 1000
				}
				var wg sync.WaitGroup
				var refused, unavailable atomic.Int64
				for w := range tc.workers {
					wg.Go(func() {
						for n := w; n < tokens; n += tc.workers {
							token := *template
							if !tc.without {
								token.KeyID = fmt.Sprint("forged-", n)
							}
							switch _, err := s.Verify(t.Context(), &token, tc.from); verdict(err) {
							case "kid", "signature":
								refused.Add(1)
							case "unavailable":
								unavailable.Add(1)
							default:
								t.Errorf("got %v; want a refusal", err)
							}
						}
					})
				}
				wg.Wait()
				i.count(t, tc.fetches)
				if tc.from == jwks.Untrusted && unavailable.Load() > 0 {
					t.Errorf("got %d tokens unavailable; want all refused", unavailable.Load())
				}
				if tc.from == jwks.FromIssuer && refused.Load() > int64(2*tc.workers) {
					t.Errorf("got %d refused; want unavailable once the budget is used up", refused.Load())
				}
				check(t, s, ed.sign(), tc.from, "") // the honest go on
				i.count(t, 0)

				// One more for each ten seconds, two at most.
				for _, wait := range []struct {
					d    time.Duration
					want int64
				}{{10*time.Second - time.Millisecond, 0}, {time.Millisecond, 1}, {10 * time.Second, 1}, {15 * time.Minute, 2}} {
					time.Sleep(wait.d)
					for range 5 {
						s.Verify(t.Context(), template, tc.from)
					}
					i.count(t, wait.want)
				}
			})
		})
	}
}

// TestRotation has a new key that is picked up at once, also after a forged kid, as often as
// keys rotate.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, warm := range []bool{false, true} {
		t.Run(fmt.Sprintf("warm %v", warm), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := &issuer{}
				i.publish(newKey("0"))
				s := jwks.New(i.fetch, time.Now, nil)
				if warm {
					check(t, s, newKey("0").sign(), jwks.Untrusted, "")
					i.count(t, 1)
				}
				check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
				i.count(t, 1)
				for n := range 20 {
					next := newKey(fmt.Sprint(n + 1))
					i.publish(next)
					if n%2 == 0 {
						check(t, s, next.sign(), jwks.Untrusted, "")
					} else {
						check(t, s, next.signWithoutID(), jwks.Untrusted, "")
					}
					i.count(t, 1) // not charged
					check(t, s, next.sign(), jwks.Untrusted, "")
					i.count(t, 0)
				}
				check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
				i.count(t, 1) // what was left of the budget
				i.publish(newKey("late"))
				check(t, s, newKey("late").sign(), jwks.Untrusted, "kid")
				i.count(t, 0)
				time.Sleep(10 * time.Second)
				check(t, s, newKey("late").sign(), jwks.Untrusted, "")
				i.count(t, 1)
			})
		})
	}
}

// TestChargeOutlivesCaller has a caller that leaves while the fetch it began is under way: it
// pays all the same if the fetch was for nothing, and only then.
func TestChargeOutlivesCaller(t *testing.T) {
	t.Parallel()
	for _, found := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			i := &issuer{}
			i.publish(newKey("a"))
			s := jwks.New(i.fetch, time.Now, nil)
			check(t, s, newKey("a").sign(), jwks.Untrusted, "")
			i.set(time.Second, nil)
			if found {
				i.publish(newKey("a"), newKey("b"))
			}
			brief, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := s.Verify(brief, newKey("b").sign(), jwks.Untrusted); verdict(err) != "context" {
				t.Errorf("got %v; want the context's end", err)
			}
			time.Sleep(time.Second)
			i.count(t, 2)
			for range 3 {
				check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
			}
			i.count(t, map[bool]int64{false: 1, true: 2}[found])
		})
	}
}

func TestKnownKeyNeverFetches(t *testing.T) {
	t.Parallel()
	ed := newKey("a")
	i := &issuer{doc: published(ed)}
	s := jwks.New(i.fetch, time.Now, nil)
	check(t, s, ed.sign(), jwks.Untrusted, "")
	i.count(t, 1)
	forged := signingKey{"a", "EdDSA", newKey("forged").key}
	for range 100 {
		check(t, s, forged.sign(), jwks.Untrusted, "signature")
		check(t, s, forged.sign(), jwks.FromIssuer, "signature")
		check(t, s, ecKey().token("ES256", "kid", "a"), jwks.Untrusted, "alg")
	}
	i.count(t, 0)
}

func TestBudgetsAreSeparate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.publish(newKey("a"))
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		for range 10 {
			check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
		}
		i.count(t, 1+2)
		i.publish(newKey("b"))
		check(t, s, newKey("b").sign(), jwks.Untrusted, "kid")
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "")
		i.count(t, 1)
		check(t, s, newKey("b").sign(), jwks.Untrusted, "")

		// And the other way round.
		time.Sleep(time.Minute)
		for n := range 10 {
			want := "kid"
			if n >= 2 {
				want = "unavailable"
			}
			check(t, s, newKey("forged").sign(), jwks.FromIssuer, want)
		}
		_, err := s.Verify(t.Context(), newKey("c").sign(), jwks.FromIssuer)
		if !strings.Contains(fmt.Sprint(err), "keys cannot be fetched again yet") {
			t.Errorf("got %v; want it to say that keys cannot be fetched again yet", err)
		}
		i.count(t, 2)
		i.publish(newKey("c"))
		check(t, s, newKey("c").sign(), jwks.Untrusted, "")
		i.count(t, 1)
	})
}

// TestJoiningFetches has callers that come before and during a fetch for another's unknown kid.
func TestJoiningFetches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{takes: time.Second}
		i.publish(newKey("a"))
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		i.count(t, 1)

		// Before: the fetch of the one answers for the other, too.
		var wg sync.WaitGroup
		for n := range 50 {
			wg.Go(func() { check(t, s, newKey(fmt.Sprint("forged-", n)).sign(), jwks.Untrusted, "kid") })
		}
		wg.Wait()
		if got := i.fetches.Swap(0); got > 2 {
			t.Errorf("got %d fetches; want 2 at most", got)
		}

		// During: the fetch may be too old to have the key, and one more is made.
		time.Sleep(time.Minute)
		wg.Go(func() { check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid") })
		time.Sleep(500 * time.Millisecond)
		for range 50 {
			wg.Go(func() { check(t, s, newKey("b").sign(), jwks.FromIssuer, "") })
		}
		wg.Go(func() {
			time.Sleep(750 * time.Millisecond)
			i.publish(newKey("b"))
		})
		wg.Wait()
		i.count(t, 2)

		// During, and it has the key: no other is made.
		time.Sleep(time.Minute)
		wg.Go(func() { check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid") })
		time.Sleep(500 * time.Millisecond)
		i.publish(newKey("c"))
		for range 50 {
			wg.Go(func() { check(t, s, newKey("c").sign(), jwks.Untrusted, "") })
		}
		wg.Wait()
		i.count(t, 1)
	})
}

// TestWithdrawnKey has a key that the issuer took back.
func TestWithdrawnKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.publish(newKey("a"), newKey("b"))
		s := jwks.New(i.fetch, time.Now, nil)
		a := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		b := check(t, s, newKey("b").sign(), jwks.Untrusted, "")
		i.publish(newKey("a"))

		time.Sleep(45 * time.Minute)
		if !s.Trusts(t.Context(), a) || !s.Trusts(t.Context(), b) {
			t.Error("after 45 min: got no trust")
		}
		check(t, s, newKey("b").sign(), jwks.Untrusted, "")
		i.count(t, 1)

		time.Sleep(time.Nanosecond)
		if s.Trusts(t.Context(), b) {
			t.Error("after 45 min and 1 ns: got trust in the withdrawn key")
		}
		if !s.Trusts(t.Context(), a) {
			t.Error("got no trust in the other key")
		}
		i.count(t, 1)
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "kid")
		i.count(t, 1)
	})
}

// TestTrusts has the same kid with other key material, and other words for the same.
func TestTrusts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		next string
		want bool
	}{
		{"same document", published(newKey("a")), true},
		{"among others", published(rsaKey(), newKey("a")), true},
		{"without alg", document(newKey("a").jwk(map[string]any{"alg": nil}), ecKey().jwk(nil)), false},
		{"without use", document(newKey("a").jwk(map[string]any{"use": nil})), true},
		{"use enc", document(newKey("a").jwk(map[string]any{"use": "enc"}), ecKey().jwk(nil)), false},
		{"other material", document(newKey("b").jwk(map[string]any{"kid": "a"})), false},
		{"other kid", document(newKey("a").jwk(map[string]any{"kid": "b"})), false},
		{"no kid", document(newKey("a").jwk(map[string]any{"kid": nil})), false},
		{"gone", published(rsaKey()), false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := &issuer{doc: published(newKey("a"))}
				s := jwks.New(i.fetch, time.Now, nil)
				k := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
				i.answer(tc.next, nil)
				time.Sleep(46 * time.Minute)
				if got := s.Trusts(t.Context(), k); got != tc.want {
					t.Errorf("got %v; want %v", got, tc.want)
				}
				i.count(t, 2)
			})
		})
	}
	i := &issuer{doc: published(newKey("a"))}
	s := jwks.New(i.fetch, time.Now, nil)
	if s.Trusts(t.Context(), jwks.Key{}) {
		t.Error("zero Key: got trust")
	}
	i.count(t, 0)
}

func TestTrustsAllocations(t *testing.T) {
	i := &issuer{doc: published(newKey("a"), newKey("b"))}
	s := jwks.New(i.fetch, time.Now, nil)
	k := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { s.Trusts(ctx, k) }); n != 0 {
		t.Errorf("got %v allocations; want none", n)
	}
}

// TestStaleSet has an issuer that is down for longer than a day.
func TestStaleSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed)}
		s := jwks.New(i.fetch, time.Now, nil)
		k := check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 1)
		i.answer("", errDown)

		time.Sleep(46 * time.Minute)
		for range 100 { // one try in ten seconds
			check(t, s, ed.sign(), jwks.Untrusted, "")
			if !s.Trusts(t.Context(), k) {
				t.Error("got no trust")
			}
		}
		i.count(t, 1)
		time.Sleep(10*time.Second - 1)
		check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 0)
		time.Sleep(time.Nanosecond)
		check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 1)

		// A document that is no good is no better than none.
		for _, doc := range []string{"", "{}", "<html>", "[]", `{"keys":null}`} {
			i.answer(doc, nil)
			time.Sleep(time.Minute)
			check(t, s, ed.sign(), jwks.Untrusted, "")
			i.count(t, 1)
		}

		i.answer("", errDown)
		time.Sleep(time.Until(synctestEpoch.Add(24 * time.Hour)))
		check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 1)

		time.Sleep(time.Nanosecond)
		for range 3 { // two more, and then one in ten seconds
			_, err := s.Verify(t.Context(), ed.sign(), jwks.Untrusted)
			if verdict(err) != "unavailable" || !errors.Is(err, errDown) {
				t.Errorf("got %v; want unavailable, down", err)
			}
		}
		if s.Trusts(t.Context(), k) {
			t.Error("after a day: got trust")
		}
		i.count(t, 2)

		i.publish(ed)
		check(t, s, ed.sign(), jwks.Untrusted, "unavailable")
		time.Sleep(10 * time.Second)
		check(t, s, ed.sign(), jwks.Untrusted, "")
		if !s.Trusts(t.Context(), k) {
			t.Error("up again: got no trust")
		}
		i.count(t, 1)
	})
}

// TestUnknownKeyWhileDown has tokens with a new kid while fetches fail: nobody can say that
// there is no such key.
func TestUnknownKeyWhileDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{doc: published(newKey("a"))}
		s := jwks.New(i.fetch, time.Now, nil)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		i.answer("", errDown)
		i.count(t, 1)
		check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable")
		check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable")
		check(t, s, newKey("b").sign(), jwks.Untrusted, "kid") // budget used up
		i.count(t, 2)
		time.Sleep(time.Hour)
		check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable") // the renewal failed
		i.count(t, 1)
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "unavailable")
		i.count(t, 1)
		i.publish(newKey("b"))
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "")
		i.count(t, 1)
	})
}

// TestColdFailure has an issuer that is down when nothing is cached: made-up tokens must not be a
// request each, and a token that cost a login always gets its try. The clock does not move.
func TestColdFailure(t *testing.T) {
	t.Parallel()
	var c clock
	i := &issuer{err: errDown}
	s := jwks.New(i.fetch, c.now, nil)
	down := func(times int, from jwks.Source) {
		t.Helper()
		for n := range times {
			_, err := s.Verify(t.Context(), newKey(fmt.Sprint("forged-", n)).sign(), from)
			if verdict(err) != "unavailable" || !errors.Is(err, errDown) {
				t.Errorf("got %v; want unavailable, down", err)
			}
		}
	}
	down(300, jwks.Untrusted)
	i.count(t, 1+2) // the one that was due, and the burst
	down(20, jwks.FromIssuer)
	i.count(t, 20)
	c.move(10*time.Second - 1)
	down(100, jwks.Untrusted)
	i.count(t, 0)
	c.move(1)
	down(100, jwks.Untrusted)
	i.count(t, 1)
	c.move(time.Hour)
	down(100, jwks.Untrusted)
	i.count(t, 2)

	i.publish(newKey("a"))
	check(t, s, newKey("a").sign(), jwks.Untrusted, "unavailable")
	i.count(t, 0)
	check(t, s, newKey("a").sign(), jwks.FromIssuer, "") // at once
	check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.count(t, 1)
	for range 5 { // the failures have been forgiven
		check(t, s, newKey("b").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 2)
}

// TestColdFailureEnds has tokens that anybody may have sent find the issuer again, ten seconds
// after the burst at the latest.
func TestColdFailureEnds(t *testing.T) {
	t.Parallel()
	var c clock
	i := &issuer{err: errDown}
	s := jwks.New(i.fetch, c.now, nil)
	for range 5 {
		check(t, s, newKey("a").sign(), jwks.Untrusted, "unavailable")
	}
	i.count(t, 1+2)
	i.publish(newKey("a"))
	check(t, s, newKey("a").sign(), jwks.Untrusted, "unavailable")
	i.count(t, 0)
	c.move(10 * time.Second)
	check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	for range 5 {
		check(t, s, newKey("b").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 1+2)
}

// TestTrustsWhileDown has remembered tokens while a day-old set cannot be renewed: asking after
// their keys pays like verifying a token.
func TestTrustsWhileDown(t *testing.T) {
	t.Parallel()
	var c clock
	i := &issuer{doc: published(newKey("a"))}
	s := jwks.New(i.fetch, c.now, nil)
	k := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.answer("", errDown)
	i.count(t, 1)
	c.move(25 * time.Hour)
	for range 100 {
		if s.Trusts(t.Context(), k) {
			t.Fatal("got trust in a set older than a day")
		}
	}
	i.count(t, 1+2)
	i.publish(newKey("a"))
	c.move(10 * time.Second)
	if !s.Trusts(t.Context(), k) {
		t.Error("up again: got no trust")
	}
	i.count(t, 1)
}

// TestColdFailureUnderLoad has many callers at once.
func TestColdFailureUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{err: errDown, takes: time.Millisecond}
		s := jwks.New(i.fetch, time.Now, nil)
		load := func(from jwks.Source) {
			var wg sync.WaitGroup
			token := newKey("forged").sign()
			for range 64 {
				wg.Go(func() {
					for range 20 {
						check(t, s, token, from, "unavailable")
					}
				})
			}
			wg.Wait()
		}
		load(jwks.Untrusted)
		i.count(t, 1+2)
		load(jwks.FromIssuer) // shares each flight
		if got := i.fetches.Swap(0); got < 20 || got > 100 {
			t.Errorf("got %d fetches for 20 rounds of 64 callers; want about 20", got)
		}
	})
}

func TestHangingFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed), takes: time.Hour}
		s := jwks.New(i.fetch, time.Now, nil)
		took := func(want time.Duration, verify func()) {
			t.Helper()
			start := time.Now()
			verify()
			if got := time.Since(start); got != want {
				t.Errorf("got an answer after %v; want %v", got, want)
			}
		}

		took(10*time.Second, func() {
			_, err := s.Verify(t.Context(), ed.sign(), jwks.Untrusted)
			if verdict(err) != "unavailable" || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("cold: got %v; want unavailable, deadline exceeded", err)
			}
		})
		i.set(0, nil)
		check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 2)

		// Aged: 5 s at most, counted from the fetch's beginning, then the stale set serves.
		i.set(time.Hour, nil)
		time.Sleep(46 * time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() { took(5*time.Second, func() { check(t, s, ed.sign(), jwks.Untrusted, "") }) })
		time.Sleep(3 * time.Second)
		wg.Go(func() { took(2*time.Second, func() { check(t, s, ed.sign(), jwks.FromIssuer, "") }) })
		time.Sleep(3 * time.Second)
		took(0, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		wg.Wait()
		took(4*time.Second, func() { check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable") })
		i.count(t, 1)
		took(0, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		i.count(t, 0)

		// The next try: only the caller that makes it waits.
		time.Sleep(10 * time.Second)
		wg.Go(func() { took(5*time.Second, func() { check(t, s, ed.sign(), jwks.Untrusted, "") }) })
		synctest.Wait()
		took(0, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		wg.Wait()
		i.count(t, 1)

		// Slow, but not too slow: the new set counts as soon as it is there.
		time.Sleep(time.Minute)
		i.set(7*time.Second, nil)
		i.publish(newKey("b"))
		took(5*time.Second, func() { check(t, s, ed.sign(), jwks.Untrusted, "") })
		took(2*time.Second, func() { check(t, s, newKey("b").sign(), jwks.Untrusted, "") })
		i.count(t, 1)
	})
}

func TestAgedCallersShareOneFetch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ed := newKey("a")
		i := &issuer{doc: published(ed)}
		s := jwks.New(i.fetch, time.Now, nil)
		k := check(t, s, ed.sign(), jwks.Untrusted, "")
		i.count(t, 1)
		i.set(time.Second, nil)
		i.publish(newKey("b"))
		time.Sleep(time.Hour)
		token := ed.sign()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { check(t, s, token, jwks.Untrusted, "kid") })
			wg.Go(func() {
				if s.Trusts(t.Context(), k) {
					t.Error("got trust in a key that is gone")
				}
			})
		}
		wg.Wait()
		// The renewal, and one more at most for those who came while it was under way.
		if got := i.fetches.Load(); got < 1 || got > 2 {
			t.Errorf("got %d fetches; want 1 or 2", got)
		}
	})
}

func TestFetchThatNeverReturns(t *testing.T) {
	t.Parallel()
	tests := map[string]func(context.Context){
		"panic":            func(context.Context) { panic("in fetch") },
		"panic with nil":   func(context.Context) { panic(nil) },
		"runtime error":    func(ctx context.Context) { _ = []int{}[len(ctx.Err().Error())] },
		"end of goroutine": func(context.Context) { runtime.Goexit() },
	}
	for name, hook := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := &issuer{doc: published(newKey("a")), hook: hook}
			s := jwks.New(i.fetch, time.Now, nil)
			says := "panicked"
			if strings.HasPrefix(name, "end") {
				says = "ended without an answer"
			}
			if _, err := s.Verify(t.Context(), newKey("a").sign(), jwks.Untrusted); verdict(err) != "unavailable" || !strings.Contains(err.Error(), says) {
				t.Errorf("got %v; want the keys unavailable, since the fetch %s", err, says)
			}
			i.set(0, nil)
			check(t, s, newKey("a").sign(), jwks.Untrusted, "")
			i.set(0, hook)
			check(t, s, newKey("b").sign(), jwks.Untrusted, "unavailable")
			check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		})
	}
}

// clock is a clock that a test sets. Its times have no monotonic reading.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(1_800_000_000, c.nanos.Load()) }
func (c *clock) move(d time.Duration) { c.nanos.Add(int64(d)) }

func TestClockMovedBack(t *testing.T) {
	t.Parallel()
	var c clock
	i := &issuer{doc: published(newKey("a"), newKey("b"))}
	s := jwks.New(i.fetch, c.now, nil)
	k := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.count(t, 1)
	i.publish(newKey("b"))

	c.move(-365 * 24 * time.Hour)
	if !s.Trusts(t.Context(), k) {
		t.Error("a set from the future: got no trust; want it to count as fresh")
	}
	i.count(t, 0)
	c.move(46 * time.Minute) // 45 min after that, not after a year
	if s.Trusts(t.Context(), k) {
		t.Error("46 min after the clock was set: got trust in the withdrawn key")
	}
	i.count(t, 1)

	// The budget: nothing for going back, and not a year without fetches either.
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 2)
	c.move(-365 * 24 * time.Hour)
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 0)
	c.move(10 * time.Second)
	for range 3 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 1)

	// The pause between failures.
	i.answer("", errDown)
	c.move(time.Hour)
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	i.count(t, 1)
	c.move(-5 * time.Second)
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	i.count(t, 1)
}

func TestFrozenClock(t *testing.T) {
	t.Parallel()
	var c clock
	i := &issuer{doc: published(newKey("a"))}
	s := jwks.New(i.fetch, c.now, nil)
	for range 100 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	}
	i.count(t, 2)
	i.publish(newKey("b"))
	check(t, s, newKey("b").sign(), jwks.FromIssuer, "")
	i.count(t, 1)
}

// TestSetRenewedMeanwhile has a caller that looked at the old set just before another's fetch
// ended: it looks at the new one instead of fetching again.
func TestSetRenewedMeanwhile(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: published(newKey("a"))}
	var meanwhile atomic.Pointer[func()]
	s := jwks.New(i.fetch, func() time.Time {
		if f := meanwhile.Swap(nil); f != nil {
			(*f)()
		}
		return time.Now()
	}, nil)
	check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	i.publish(newKey("b"))
	other := func() { check(t, s, newKey("b").sign(), jwks.FromIssuer, "") }
	meanwhile.Store(&other) // runs when the caller asks for the age of the set that it has loaded
	check(t, s, newKey("b").sign(), jwks.Untrusted, "")
	i.count(t, 2)
}

func TestLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		i := &issuer{doc: published(newKey("a"), newKey("b"))}
		s := jwks.New(i.fetch, time.Now, log)
		said := func(want ...string) {
			t.Helper()
			line := out.String()
			out.Reset()
			for _, w := range want {
				if !strings.Contains(line, w) {
					t.Errorf("got %q; want it to contain %q", line, w)
				}
			}
			if len(want) == 0 && line != "" {
				t.Errorf("got %q; want nothing", line)
			}
		}
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		said("level=DEBUG", "count=2", "[a b]")
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		said()
		i.answer("", errDown)
		time.Sleep(time.Hour)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "")
		said("level=WARN", "age=1h0m0s", "issuer is down")
		time.Sleep(24 * time.Hour)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "unavailable")
		said() // the caller has the error
	})
}
