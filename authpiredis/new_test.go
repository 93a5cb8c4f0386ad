package authpiredis_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpiredis"
)

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

func TestNewStorePanics(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	for _, tc := range []struct {
		name   string
		client redis.UniversalClient
		prefix string
		want   string
	}{
		{"no client", nil, "", "authpiredis: NewStore needs a client"},
		{"hash tag", client, "{app}:", "authpiredis: StoreOptions.Prefix must hold no braces"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer func() {
				if got := recover(); got != tc.want {
					t.Errorf("got %v; want a panic with %q", got, tc.want)
				}
			}()
			authpiredis.NewStore(tc.client, &authpiredis.StoreOptions{Prefix: tc.prefix})
		})
	}
}
