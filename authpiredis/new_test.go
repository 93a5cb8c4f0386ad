package authpiredis_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpiredis"
)

func TestNewPanics(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	coordinator := func(client redis.UniversalClient, prefix string) {
		authpiredis.NewCoordinator(client, &authpiredis.Options{Prefix: prefix})
	}
	store := func(client redis.UniversalClient, prefix string) {
		authpiredis.NewStore(client, &authpiredis.StoreOptions{Prefix: prefix})
	}
	for _, tc := range []struct {
		name   string
		make   func(redis.UniversalClient, string)
		client redis.UniversalClient
		prefix string
		want   string
	}{
		{"coordinator, no client", coordinator, nil, "", "authpiredis: NewCoordinator needs a client"},
		{"coordinator, hash tag", coordinator, client, "{app}:", "authpiredis: Options.Prefix must hold no braces"},
		{"coordinator, one brace", coordinator, client, "app}", "authpiredis: Options.Prefix must hold no braces"},
		{"store, no client", store, nil, "", "authpiredis: NewStore needs a client"},
		{"store, hash tag", store, client, "{app}:", "authpiredis: StoreOptions.Prefix must hold no braces"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer func() {
				if got := recover(); got != tc.want {
					t.Errorf("got %v; want a panic with %q", got, tc.want)
				}
			}()
			tc.make(tc.client, tc.prefix)
		})
	}
}
