package sessions

import (
	"context"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
)

// newRedisApp keeps sign-ins in Redis. key is 32 random bytes, the same in every process.
func newRedisApp(client *authpi.IdpClient, rdb *redis.Client, key []byte) *authpihttp.App {
	return authpihttp.New(client, authpiredis.NewStore(rdb, nil), &authpihttp.Options{
		Keys:                  [][]byte{key},
		PostLogoutRedirectURI: "https://app.example/auth/signed-out", // as registered
	})
}

// Store is any store of token sets under the sessions' IDs.
type Store interface {
	Load(ctx context.Context, sessionID string) (authpi.TokenSet, error)
	Save(ctx context.Context, sessionID string, tokens authpi.TokenSet) error
}

// agentOf returns the session's agent, refreshed where needed.
func agentOf(ctx context.Context, client *authpi.IdpClient, store Store, sessionID string) (*authpi.Agent, error) {
	tokens, err := store.Load(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	return client.CreateAgent(ctx, tokens, &authpi.AgentOptions{
		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error {
			return store.Save(ctx, sessionID, tokens)
		},
		Reload: func(ctx context.Context) (authpi.TokenSet, error) {
			return store.Load(ctx, sessionID)
		},
	})
}
