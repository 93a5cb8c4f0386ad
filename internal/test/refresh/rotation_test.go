package refresh_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// The memory is bounded in number and in bytes, however many sessions refresh.
func TestMemoryIsBounded(t *testing.T) {
	tokens := 20_000
	if os.Getenv("SOAK") != "" { // as make soak sets it
		tokens = 1_000_000
	}
	for _, tc := range []struct {
		name   string
		tokens int
		issuer *rtCheapIssuer
		limit  int // MiB
	}{
		{"many small sets", tokens, &rtCheapIssuer{size: 64}, 64},
		{"large sets", 1500, &rtCheapIssuer{size: 64 << 10}, 64 + 16},
		{"large token types", 1500, &rtCheapIssuer{size: 64, kind: 64 << 10}, 64 + 16},
		{"answers full of junk", 40, &rtCheapIssuer{size: 64, junk: 900 << 10}, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Now()
			c, err := authpi.NewIdpClient(authpi.Config{
				IssuerURL: "https://idp.example", ClientID: "c_1",
				HTTPClient: &http.Client{Transport: tc.issuer}, Now: func() time.Time { return now },
			})
			if err != nil {
				t.Fatal(err)
			}
			before := testkit.Heap()
			for i := range tc.tokens {
				source := c.TokenSource(&authpi.Agent{ID: testkit.Subject, Tokens: authpi.TokenSet{
					AccessToken: "old", RefreshToken: fmt.Sprintf("rt-%d", i), SubjectHint: testkit.Subject,
				}}, nil)
				if _, err := source.Token(); err != nil {
					t.Fatal(err)
				}
			}
			grown := testkit.WantHeap(t, tc.name, before, tc.limit)
			t.Logf("%d sets: the heap grew by %d MiB", tc.tokens, grown)
			if tc.issuer.n != tc.tokens {
				t.Errorf("requests: got %d; want %d", tc.issuer.n, tc.tokens)
			}
			testkit.WantNoGoroutines(t)
			runtime.KeepAlive(c)
		})
	}
}
