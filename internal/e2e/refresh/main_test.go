//go:build unix

package refresh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{}) // the client's own remarks on the servers we stop
	if order := os.Getenv(workerEnv); order != "" {
		os.Exit(work(order))
	}
	code := m.Run()
	database.stop()
	os.Exit(code)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// lacking ends a test for want of something that this machine does not have.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, so nothing may be skipped: "+format, args...)
	}
	t.Skipf("skipped: "+format, args...)
}

// times is how often a scenario repeats.
func times(t testing.TB, variable string, usually int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		t.Logf("%d rounds (%s sets another number)", usually, variable)
		return usually
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number of rounds", variable, text)
	}
	t.Logf("%d rounds, from %s", n, variable)
	return n
}

// moments is where a test takes its random moments from.
func moments(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("AUTHPI_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("AUTHPI_SEED=%q: want a number", text)
		}
		seed = n
	}
	t.Logf("random moments of AUTHPI_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// within is a random duration of less than limit.
func within(moments *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(moments.Int64N(int64(limit)))
}

// eventually waits for what has no event of its own.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	const patience = 30 * time.Second
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := tryFreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func tryFreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// expired is the same set at the end of its access token's life.
func expired(tokens authpi.TokenSet) authpi.TokenSet {
	tokens.ExpiresAt = time.Now().Add(-time.Hour)
	return tokens
}

// wantNoToken fails where text holds a token of one of the sets, or the claims or
// the signature of one.
func wantNoToken(t testing.TB, where, text string, sets ...authpi.TokenSet) {
	t.Helper()
	looked := 0
	for _, set := range sets {
		for _, token := range []string{set.AccessToken, set.RefreshToken, set.IDToken} {
			parts := strings.Split(token, ".")
			if len(parts) == 3 {
				parts = parts[1:] // the header is no secret
			}
			for _, part := range append(parts, token) {
				if part == "" {
					continue
				}
				looked++
				if strings.Contains(text, part) {
					t.Errorf("%s holds (a part of) a token: %.12s...", where, part)
				}
			}
		}
	}
	if text == "" || looked == 0 {
		t.Errorf("%s: looked for %d secrets in %d bytes; want some of both", where, looked, len(text))
	}
}

// failure is an error of ours as it comes out of a worker.
type failure struct {
	Text  string `json:"text"`
	Code  string `json:"code"`
	Typed bool   `json:"typed"` // an *authpi.OAuthError
	Ended bool   `json:"ended"` // authpi.SessionEnded
}

func failureOf(err error) failure {
	f := failure{Text: err.Error(), Ended: authpi.SessionEnded(err)}
	var e *authpi.OAuthError
	if errors.As(err, &e) {
		f.Code, f.Typed = e.Code, true
	}
	return f
}

func (f failure) String() string {
	return fmt.Sprintf("%s (code %q, typed %t, ended %t)", f.Text, f.Code, f.Typed, f.Ended)
}
