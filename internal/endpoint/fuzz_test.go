package endpoint_test

import (
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
)

// FuzzRetryAfter reads the header's two forms (RFC 9110 section 10.2.3) a second
// time.
func FuzzRetryAfter(f *testing.F) {
	now := time.Unix(1760000000, 0)
	var header string
	c := endpoint.NewCaller(&http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		return answer(r, http.StatusTooManyRequests, http.Header{"Retry-After": {header}}, strings.NewReader("")), nil
	})}, "0", func() time.Time { return now })
	f.Fuzz(func(t *testing.T, value string) {
		header = value
		got, err := c.Do(t.Context(), endpoint.Request{URL: "https://idp.example"})
		if err != nil || got.Status != http.StatusTooManyRequests {
			t.Fatalf("got %+v, %v; want the answer", got, err)
		}
		if want := wantRetryAfter(value, now); got.RetryAfter != want {
			t.Errorf("%q: got %v; want %v", value, got.RetryAfter, want)
		}
	})
}

// wantRetryAfter is at least nothing and at most a day; a number beyond 64 bits is
// none.
func wantRetryAfter(value string, now time.Time) time.Duration {
	const day = 24 * time.Hour
	number := strings.TrimSpace(value)
	if digits := strings.TrimPrefix(strings.TrimPrefix(number, "-"), "+"); digits != "" && strings.Trim(digits, "0123456789") == "" {
		n, ok := new(big.Int).SetString(number, 10)
		if !ok || n.Sign() <= 0 || !n.IsInt64() {
			return 0
		}
		return time.Duration(min(n.Int64(), int64(day/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), day)
}
