package authpiredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Store keeps bytes under keys until they expire. It is a ConditionalStore of
// package authpihttp, for sign-ins that several processes share, a MachineTokenStore
// of package authpi, and has the methods of a store of
// github.com/alexedwards/scs/v2. It is safe for concurrent use.
//
// Finding takes one round trip, and so does writing. A write that was sent twice,
// because its answer was lost, is one write.
type Store struct {
	client redis.UniversalClient
	prefix string
}

// StoreOptions configure a [Store].
type StoreOptions struct {
	// Prefix begins every key; it must not contain braces. Empty: "authpi:store:".
	Prefix string
}

// NewStore returns a Store over a client of any kind: single server, Sentinel,
// Cluster, or Ring. The client must not read from replicas, which lag behind: a user
// who has signed out would still be signed in there. It makes no connection, and the
// caller closes the client. A nil opts takes the default. It panics without a client
// and for a Prefix with braces, since neither ever works.
func NewStore(client redis.UniversalClient, opts *StoreOptions) *Store {
	if client == nil {
		panic("authpiredis: NewStore needs a client")
	}
	s := &Store{client: client, prefix: "authpi:store:"}
	if opts != nil && opts.Prefix != "" {
		s.prefix = opts.Prefix
	}
	if strings.ContainsAny(s.prefix, "{}") {
		panic("authpiredis: StoreOptions.Prefix must hold no braces")
	}
	return s
}

// key has the whole key as its hash tag, so that what belongs to it lies in the same
// Cluster slot.
func (s *Store) key(key string) string { return s.prefix + "{" + key + "}" }

// FindCtx returns what is stored under key, and whether there is anything.
func (s *Store) FindCtx(ctx context.Context, key string) (b []byte, found bool, err error) {
	b, err = s.client.Get(ctx, s.key(key)).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("authpiredis: find: %w", err)
	}
	return b, true, nil
}

// CommitCtx stores b under key until expiry, whatever was there before.
func (s *Store) CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error {
	left := time.Until(expiry)
	if left <= 0 {
		return s.DeleteCtx(ctx, key)
	}
	if err := s.client.Set(ctx, s.key(key), b, max(left, time.Millisecond)).Err(); err != nil {
		return fmt.Errorf("authpiredis: commit: %w", err)
	}
	return nil
}

// commitIfScript stores a value over the one that was read. A client sends a command
// again when its answer is lost, so each success leaves the token of its call for a
// minute: the second time finds it and changes nothing. KEYS: value, token. ARGV:
// token, new value, its life in ms, and the old value unless there was none.
var commitIfScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) == ARGV[1] then
  return 1
end
local now = redis.call('GET', KEYS[1])
if now ~= (ARGV[4] or false) then
  return 0
end
if tonumber(ARGV[3]) > 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', 60000)
return 1`)

// CommitIf stores b under key until expiry, only if old is what is stored there. A
// nil old means that nothing is. It reports whether it has stored b.
func (s *Store) CommitIf(ctx context.Context, key string, old, b []byte, expiry time.Time) (written bool, err error) {
	keys := []string{s.key(key), s.key(key) + ":call"}
	args := []any{rand.Text(), b, time.Until(expiry).Milliseconds()}
	if old != nil {
		args = append(args, old)
	}
	done, err := commitIfScript.Run(ctx, s.client, keys, args...).Int()
	if err != nil {
		return false, fmt.Errorf("authpiredis: commit: %w", err)
	}
	return done == 1, nil
}

// DeleteCtx removes what is stored under key.
func (s *Store) DeleteCtx(ctx context.Context, key string) error {
	// Not the token of a call, which may be sent again: it would bring the value
	// back.
	if err := s.client.Del(ctx, s.key(key)).Err(); err != nil {
		return fmt.Errorf("authpiredis: delete: %w", err)
	}
	return nil
}

// Load is [Store.FindCtx] as Config.MachineTokens of package authpi wants it.
func (s *Store) Load(ctx context.Context, id string) ([]byte, error) {
	b, _, err := s.FindCtx(ctx, id)
	return b, err
}

// Save is [Store.CommitCtx] as Config.MachineTokens wants it.
func (s *Store) Save(ctx context.Context, id string, sealed []byte, expiry time.Time) error {
	return s.CommitCtx(ctx, id, sealed, expiry)
}

// Find is [Store.FindCtx] without a context.
func (s *Store) Find(key string) (b []byte, found bool, err error) {
	return s.FindCtx(context.Background(), key)
}

// Commit is [Store.CommitCtx] without a context.
func (s *Store) Commit(key string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, b, expiry)
}

// Delete is [Store.DeleteCtx] without a context.
func (s *Store) Delete(key string) error { return s.DeleteCtx(context.Background(), key) }
