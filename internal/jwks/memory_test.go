package jwks_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/jws"
)

// remembered is a Memory that has verified one token of key a.
func remembered(t *testing.T, decode func(string) (string, error)) (*issuer, *jwks.Memory[string], string) {
	t.Helper()
	i := &issuer{}
	i.publish(newKey("a"))
	set := jwks.New(i.fetch, time.Now, nil)
	memory := jwks.NewMemory(set, decode)
	raw := newKey("a").raw("EdDSA", "kid", "a", "typ", "at+jwt")
	token, err := jws.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := set.Verify(t.Context(), &token, jwks.Untrusted)
	if err != nil {
		t.Fatal(err)
	}
	memory.Remember(raw, &token, key, time.Now().Add(2*time.Hour))
	return i, memory, raw
}

func recalls(t *testing.T, memory *jwks.Memory[string], raw string, want bool) {
	t.Helper()
	got, typ := memory.Recall(t.Context(), raw)
	if (got != nil) != want || want && (*got != `decoded {"sub":"s"}` || typ != "at+jwt") {
		t.Errorf("got %v, %q; want it remembered: %v", got, typ, want)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		decodes := 0
		i, memory, raw := remembered(t, func(payload string) (string, error) { decodes++; return "decoded " + payload, nil })
		signature := raw[strings.LastIndexByte(raw, '.'):]
		foreign := newKey("a").raw("EdDSA", "kid", "a", "typ", "JWT")
		altered := foreign[:strings.LastIndexByte(foreign, '.')] + signature // another text under a signature that held
		recalls(t, memory, altered, false)
		for range 3 {
			recalls(t, memory, raw, true)
			for _, other := range []string{altered, foreign, raw + "A", raw[1:], raw + strings.Repeat("A", jws.MaxLength), "", "a", "."} {
				recalls(t, memory, other, false)
			}
		}
		if decodes != 1 {
			t.Errorf("got %d times decoded; want 1", decodes)
		}
		time.Sleep(2*time.Hour - 1)
		recalls(t, memory, raw, true)
		time.Sleep(time.Nanosecond)
		recalls(t, memory, raw, false) // expired
		i.count(t, 2)
	})
}

func TestMemoryForgetsWithTheKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, memory, raw := remembered(t, func(payload string) (string, error) { return "decoded " + payload, nil })
		recalls(t, memory, raw, true)
		i.publish(newKey("b"))
		time.Sleep(time.Hour)
		recalls(t, memory, raw, false)
		i.publish(newKey("a"))
		time.Sleep(50 * time.Minute)
		recalls(t, memory, raw, false) // begins the fetch
		synctest.Wait()
		recalls(t, memory, raw, true) // it is the very same key
	})
}

func TestMemoryThatCannotDecode(t *testing.T) {
	t.Parallel()
	_, memory, raw := remembered(t, func(string) (string, error) { return "half", errors.New("cannot be read") })
	recalls(t, memory, raw, false)
	recalls(t, memory, raw, false)
}
