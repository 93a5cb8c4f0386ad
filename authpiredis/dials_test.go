package authpiredis_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpiredis"
)

// With the client's default retries a refused connection ends as a timeout.
func TestUnavailableNamesTheDial(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	for name, client := range map[string]redis.UniversalClient{
		"single":  redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true}),
		"cluster": redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}, ContextTimeoutEnabled: true}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer client.Close()
			c := authpiredis.NewCoordinator(client, &authpiredis.Options{RequireRedis: true, Timeout: 300 * time.Millisecond})
			_, err := c.Do(context.Background(), id(1), spend("never"))
			if !errors.Is(err, authpiredis.ErrUnavailable) || !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("got %v; want ErrUnavailable and why", err)
			}
			if want := "dial tcp " + addr + ": connect: connection refused"; !strings.Contains(err.Error(), want) {
				t.Errorf("got %v; want a text with %q", err, want)
			}
		})
	}
}

func TestNewCoordinatorPanics(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	for _, tc := range []struct {
		name   string
		client redis.UniversalClient
		prefix string
		want   string
	}{
		{"no client", nil, "", "authpiredis: NewCoordinator needs a client"},
		{"hash tag", client, "{app}:", "authpiredis: Options.Prefix must hold no braces"},
		{"one brace", client, "app}", "authpiredis: Options.Prefix must hold no braces"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer func() {
				if got := recover(); got != tc.want {
					t.Errorf("got %v; want a panic with %q", got, tc.want)
				}
			}()
			authpiredis.NewCoordinator(tc.client, &authpiredis.Options{Prefix: tc.prefix})
		})
	}
}
