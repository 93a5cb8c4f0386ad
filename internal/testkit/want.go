package testkit

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// WantCode fails the test unless err is an *OAuthError with code whose text holds
// every part.
func WantCode(t testing.TB, err error, code string, parts ...string) *authpi.OAuthError {
	t.Helper()
	var e *authpi.OAuthError
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T); want an *OAuthError with the code %s", err, err, code)
	}
	if e.Code != code {
		t.Fatalf("got code %q (%v); want %q", e.Code, err, code)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q; want it to name %q", err, part)
		}
	}
	return e
}

// WantField fails the test unless err is a *ConfigurationError about field.
func WantField(t testing.TB, err error, field string) {
	t.Helper()
	var e *authpi.ConfigurationError
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T); want a *ConfigurationError", err, err)
	}
	if e.Field != field || e.Reason == "" {
		t.Fatalf("got field %q, reason %q; want field %q and a reason", e.Field, e.Reason, field)
	}
}

// WantHidden fails the test if any of the secrets shows in text, as it is or
// URL-encoded.
func WantHidden(t testing.TB, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if secret != "" && strings.Contains(text, form) {
				t.Errorf("got %.300q, which shows the secret %q; want it hidden", text, form)
			}
		}
	}
}

// WantSilent fails the test if an error, or one behind it, shows a secret in any way
// to print it.
func WantSilent(t testing.TB, err error, secrets ...string) {
	t.Helper()
	for _, one := range ErrorChain(err) {
		WantHidden(t, fmt.Sprintf("%v\n%+v\n%#v\n", one, one, one)+one.Error(), secrets...)
	}
}

// ErrorChain returns err and every error that it wraps.
func ErrorChain(err error) []error {
	if err == nil {
		return nil
	}
	all := []error{err}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		all = append(all, ErrorChain(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			all = append(all, ErrorChain(one)...)
		}
	}
	return all
}

// WantEqual compares two lists.
func WantEqual(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q; want %q", what, got, want)
	}
}

// WantSame compares tokens without printing them.
func WantSame(t testing.TB, what string, got, want authpi.TokenSet) {
	t.Helper()
	if got.AccessToken != want.AccessToken || got.RefreshToken != want.RefreshToken {
		t.Errorf("%s: got another token set than wanted (expiries %s and %s)", what, got.ExpiresAt, want.ExpiresAt)
	}
}

// WantError checks an error's code, status and whether the session has ended.
func WantError(t testing.TB, err error, code string, ended bool) {
	t.Helper()
	var e *authpi.OAuthError
	if !errors.As(err, &e) {
		t.Fatalf("got %v; want an OAuthError with code %s", err, code)
	}
	if e.Code != code || authpi.SessionEnded(err) != ended {
		t.Errorf("got %q (%v), session ended %v; want %s, %v", e.Code, err, authpi.SessionEnded(err), code, ended)
	}
}

// Carried returns the tokens that a refresh error carries.
func Carried(t testing.TB, err error) authpi.TokenSet {
	t.Helper()
	var failed *authpi.RefreshError
	if !errors.As(err, &failed) {
		t.Fatalf("got %T %v; want a RefreshError", err, err)
	}
	tokens, ok := failed.Tokens()
	if !ok || tokens.AccessToken == "" || tokens.RefreshToken == "" {
		t.Fatal("the error carries no tokens")
	}
	return tokens
}

// ownCode is a line of a stack in the SDK itself, its tests and this package aside.
var ownCode = regexp.MustCompile(`authpi-idp-go(\.\(\*|/internal/[^t]|/internal/t[^e])`)

// WantNoGoroutines waits for every goroutine of the package's own to end. It is for
// tests with sockets that do not run in parallel; a bubble checks by itself.
func WantNoGoroutines(t testing.TB) {
	t.Helper()
	stacks := ""
	if !within(patience, func() bool {
		buf := make([]byte, 4<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		return !ownCode.MatchString(stacks)
	}) {
		t.Errorf("goroutines left behind:\n%s", stacks)
	}
}

// patience is how long a test waits for what a busy machine does late. It is no
// measure of anything: what takes so long never comes.
const patience = time.Minute

// WantTook fails the test unless do takes exactly so long, in virtual time.
func WantTook(t testing.TB, want time.Duration, do func()) {
	t.Helper()
	start := time.Now()
	do()
	if got := time.Since(start); got != want {
		t.Errorf("took %v; want %v", got, want)
	}
}

// Eventually waits until something holds, and ends the test if it never does. Inside
// a bubble the waiting costs no time.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !within(patience, holds) {
		t.Fatalf("waited %s in vain: %s", patience, what)
	}
}

func within(limit time.Duration, holds func() bool) bool {
	for start := time.Now(); !holds(); time.Sleep(100 * time.Microsecond) {
		if time.Since(start) > limit {
			return false
		}
	}
	return true
}

// Heap is what is in use of the heap, in bytes.
func Heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// WantHeap fails the test if the heap has grown by more than so many MiB, and
// returns by how many it has. What a cleanup frees may take a while on a busy
// machine.
func WantHeap(t testing.TB, what string, before uint64, limit int) (grown int) {
	t.Helper()
	for range 50 {
		if grown = int((max(Heap(), before) - before) >> 20); grown <= limit {
			return grown
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: the heap grew by %d MiB; want at most %d", what, grown, limit)
	return grown
}
