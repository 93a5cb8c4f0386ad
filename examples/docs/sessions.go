package docs

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// redisSessions keeps sessions in Redis for a day, and for two hours without a request.
func redisSessions(rdb *redis.Client) *scs.SessionManager {
	sessions := scs.New()
	sessions.Store = goredisstore.New(rdb)
	sessions.Lifetime = 24 * time.Hour
	sessions.IdleTimeout = 2 * time.Hour
	sessions.HashTokenInStore = true // who reads the store cannot take over sessions
	sessions.Cookie.Name = "__Host-session"
	sessions.Cookie.Secure = true // __Host- needs it, and https
	return sessions
}

// sealed encrypts what another store keeps.
type sealed struct {
	scs.Store
	aead cipher.AEAD
}

// newSealed takes a key of 32 random bytes, the same in every process.
func newSealed(store scs.Store, key []byte) (*sealed, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &sealed{store, aead}, err
}

func (s *sealed) Commit(token string, data []byte, expiry time.Time) error {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return s.Store.Commit(token, s.aead.Seal(nonce, nonce, data, []byte(token)), expiry)
}

func (s *sealed) Find(token string) (data []byte, found bool, err error) {
	data, found, err = s.Store.Find(token)
	n := s.aead.NonceSize()
	if err != nil || !found || len(data) < n {
		return nil, false, err
	}
	data, err = s.aead.Open(nil, data[:n], data[n:], []byte(token))
	return data, err == nil, nil // what another key has sealed is no session
}

// mountLogout lets the issuer end sessions (back-channel logout).
func mountLogout(mux *http.ServeMux, client *authpi.IdpClient, app *authpihttp.App, sessions *scs.SessionManager) {
	mux.Handle("POST /auth/backchannel-logout", authpihttp.BackchannelLogout(client,
		func(ctx context.Context, token authpi.LogoutToken) error {
			return sessions.Iterate(ctx, func(ctx context.Context) error {
				return app.EndSession(ctx, token)
			})
		}, nil))
}

// Store is any store of token sets under the sessions' IDs.
type Store interface {
	Load(ctx context.Context, sessionID string) (authpi.TokenSet, error)
	Save(ctx context.Context, sessionID string, tokens authpi.TokenSet) error
}

// agentOf is all that an app without authpihttp needs on each request.
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
