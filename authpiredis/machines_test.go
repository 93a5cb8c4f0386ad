package authpiredis_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

var _ authpi.MachineTokenStore = (*authpiredis.Store)(nil)

// Twenty processes that start at once share a machine's token, Redis never sees it,
// and without Redis each asks for itself.
func TestMachineTokens(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_job", ClientSecret: "a-secret-of-many-letters"})
	t.Cleanup(issuer.Close)
	tokens := func() map[string]bool {
		var mu sync.Mutex
		got := map[string]bool{}
		var wg sync.WaitGroup
		for range 20 {
			client, err := authpi.NewIdpClient(authpi.Config{
				IssuerURL: issuer.URL, ClientID: "c_job", ClientSecret: "a-secret-of-many-letters",
				MachineTokens: authpiredis.NewStore(s.client(noRetries), nil),
			})
			if err != nil {
				t.Fatal(err)
			}
			source := client.ClientCredentialsSource([]string{"jobs:run"})
			wg.Go(func() {
				token, err := source.Token()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				got[token.AccessToken] = true
			})
		}
		wg.Wait()
		return got
	}
	// On a machine with other work to do, some may not see each other's claims in
	// time.
	if first := tokens(); len(first) > 5 || issuer.Grants("client_credentials") != len(first) {
		t.Errorf("got %d tokens by %d requests; want one, or a few", len(first), issuer.Grants("client_credentials"))
	}
	issuer.ResetCounters()
	if later := tokens(); len(later) != 1 || issuer.Grants("client_credentials") != 0 {
		t.Errorf("later: got %d tokens by %d requests; want the stored one", len(later), issuer.Grants("client_credentials"))
	}
	keys := s.client().Keys(t.Context(), "*").Val()
	for _, key := range keys {
		value := s.client().Get(t.Context(), key).Val()
		if strings.Contains(key+value, "ey") && strings.Contains(key+value, ".ey") || strings.Contains(key+value, "c_job") {
			t.Errorf("Redis has %q: %q", key, value)
		}
		if left := s.client().PTTL(t.Context(), key).Val(); left <= 0 || left > 5*time.Minute {
			t.Errorf("%s expires in %s; want within the token's life", key, left)
		}
	}
	if len(keys) == 0 {
		t.Error("Redis has nothing")
	}
	s.stop()
	issuer.ResetCounters()
	if alone := tokens(); len(alone) != 20 || issuer.Grants("client_credentials") != 20 {
		t.Errorf("without Redis: got %d tokens by %d requests; want 20", len(alone), issuer.Grants("client_credentials"))
	}
}
