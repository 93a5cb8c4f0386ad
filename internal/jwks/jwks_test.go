package jwks_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestNothingIsFetchedAtFirst(t *testing.T) {
	t.Parallel()
	i := &issuer{}
	jwks.New(i.fetch, time.Now, nil)
	i.count(t, 0)
}

// TestVerify verifies tokens with the keys of documents. For most that are refused
// there is a row in which what was wrong is right.
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

		time.Sleep(45*time.Minute - 1)
		if !s.Trusts(t.Context(), a) || !s.Trusts(t.Context(), b) {
			t.Error("before 45 min: got no trust")
		}
		check(t, s, newKey("b").sign(), jwks.Untrusted, "")
		i.count(t, 1)

		time.Sleep(time.Nanosecond)
		if !s.Trusts(t.Context(), a) {
			t.Error("after 45 min: got no trust in the other key")
		}
		synctest.Wait() // for the fetch that this began
		if s.Trusts(t.Context(), b) {
			t.Error("after 45 min: got trust in the withdrawn key")
		}
		if !s.Trusts(t.Context(), a) {
			t.Error("got no trust in the other key")
		}
		i.count(t, 1)
		check(t, s, newKey("b").sign(), jwks.FromIssuer, "kid")
		i.count(t, 1)
	})
}

// TestWithdrawnKeyAfterIdling has a process that asked for no key for an hour: the
// first that asks is told that it has been withdrawn.
func TestWithdrawnKeyAfterIdling(t *testing.T) {
	t.Parallel()
	for _, idle := range []time.Duration{time.Hour, 5 * time.Hour, 24*time.Hour - 1} {
		synctest.Test(t, func(t *testing.T) {
			i := &issuer{takes: 100 * time.Millisecond}
			i.publish(newKey("a"), newKey("b"))
			s := jwks.New(i.fetch, time.Now, nil)
			b := check(t, s, newKey("b").sign(), jwks.Untrusted, "")
			i.publish(newKey("a"))
			time.Sleep(idle - 100*time.Millisecond) // counted from the fetch's beginning
			if s.Trusts(t.Context(), b) {
				t.Errorf("after %v: got trust in the withdrawn key", idle)
			}
			i.count(t, 2)
		})
	}
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
				time.Sleep(time.Hour)
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

// A fetch that Trusts causes has helped, whatever keys it brings: it costs nothing.
func TestTrustsPaysNothing(t *testing.T) {
	t.Parallel()
	c := testkit.NewClock()
	i := &issuer{doc: published(newKey("a"))}
	s := jwks.New(i.fetch, c.Now, nil)
	k := check(t, s, newKey("a").sign(), jwks.Untrusted, "")
	c.Advance(25 * time.Hour)
	if !s.Trusts(t.Context(), k) {
		t.Error("got no trust")
	}
	i.count(t, 2)
	for range 5 {
		check(t, s, newKey("forged").sign(), jwks.Untrusted, "kid")
	}
	i.count(t, 2)
}

// Check names what keeps tokens from being verified.
func TestCheck(t *testing.T) {
	t.Parallel()
	ed := newKey("a")
	for name, tc := range map[string]struct {
		doc  string
		err  error
		algs []string
		want error
	}{
		"a key that fits":        {doc: published(ecKey(), ed), algs: []string{"RS256", "EdDSA"}},
		"keys of other kinds":    {doc: published(ecKey(), ed), algs: []string{"RS256", "ES384"}, want: jwks.ErrNoFit},
		"a key for encryption":   {doc: document(ed.jwk(map[string]any{"use": "enc"})), algs: []string{"EdDSA"}, want: jwks.ErrNoKeys},
		"no key":                 {doc: document(), algs: []string{"EdDSA"}, want: jwks.ErrNoKeys},
		"no document":            {doc: "<html>", algs: []string{"EdDSA"}, want: jwks.ErrDocument},
		"no array of keys":       {doc: "{}", algs: []string{"EdDSA"}, want: jwks.ErrDocument},
		"an issuer that is down": {err: errDown, algs: []string{"EdDSA"}, want: errDown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := &issuer{doc: tc.doc, err: tc.err}
			err := jwks.New(i.fetch, time.Now, nil).Check(t.Context(), tc.algs)
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v; want %v", err, tc.want)
			}
			var unavailable *jwks.UnavailableError
			if got, want := errors.As(err, &unavailable), tc.want == errDown || tc.want == jwks.ErrDocument; got != want {
				t.Errorf("got %v, unavailable: %v; want %v", err, got, want)
			}
		})
	}
}

func TestIsUnknownKey(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"no error":      {nil, false},
		"unknown":       {&jws.Error{Part: "kid"}, true},
		"wrapped":       {fmt.Errorf("x: %w", &jws.Error{Part: "kid"}), true},
		"bad signature": {&jws.Error{Part: "signature"}, false},
		"another error": {errDown, false},
	} {
		if got := jwks.IsUnknownKey(tc.err); got != tc.want {
			t.Errorf("%s: got %v; want %v", name, got, tc.want)
		}
	}
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
		synctest.Wait()
		said("level=WARN", "age=1h0m0s", "issuer is down")
		time.Sleep(24 * time.Hour)
		check(t, s, newKey("a").sign(), jwks.Untrusted, "unavailable")
		said("level=WARN", "op=keys outcome=failed", "issuer is down")
	})
}
