// Package authpiredis lets several processes share refreshes, sign-ins and machines'
// tokens over Redis:
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	cfg.Coordinator = authpiredis.NewCoordinator(client, nil)
//	store := authpiredis.NewStore(client, nil) // for package authpihttp
//	cfg.MachineTokens = store                  // for ClientCredentialsSource
//
// [Store] keeps bytes, and writes only over what was read. The rest of this text is
// about [Coordinator].
//
// For each refresh token there are two keys, both in one Cluster slot: a lease,
// which the process that talks to the issuer holds and renews, and the result,
// which the others read. Results are sealed by package authpi: Redis never sees a
// token, and its operator cannot read one.
//
// # What it guarantees
//
// One process at a time spends a refresh token, however slow the issuer is, and all
// others get its result. Redis is required: while it is unreachable, refreshes fail
// for now and nothing is spent. A Redis that is slow, or a pool whose connections
// are all in use, is waited for and never mistaken for an outage.
//
// # What it cannot prevent
//
// A request that was sent cannot be called back. In these cases a refresh token may
// be spent twice, which an issuer treats as any reuse:
//
//   - The holder is stopped, or cut off from Redis, for longer than
//     [Options].Lease in the middle of a refresh, and another process takes over.
//     When the first one goes on, its callers get what it received itself; the
//     result that was published first stays.
//   - Redis loses the lease or the result: a restart without persistence, a
//     failover before the replica had them, an eviction. A holder that is still at
//     work restores its lease with the next renewal.
//   - Redis is unreachable and Options.AllowWithoutRedis is set: each process then
//     coordinates its own calls only.
package authpiredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Coordinator satisfies authpi.RefreshCoordinator. All processes that share
// sessions need the same Redis and the same [Options].Prefix. It is safe for
// concurrent use. Between refreshes it keeps no goroutine and no connection.
type Coordinator struct {
	opts    Options
	pipe    *pipe
	turns   turns
	wakeups *wakeups
	outage  *outage
	keeper  *keeper
}

// Options configure a [Coordinator]. Durations of zero or less take the default.
type Options struct {
	// Prefix begins every key and names the channel; it must not contain braces.
	// Empty: "authpi:refresh:".
	Prefix string
	// Lease is how long a process that died in the middle of a refresh blocks the
	// others, and how long one may be stopped without losing its turn. It is
	// renewed while the process works, so it may be shorter than the issuer is
	// slow. Default: 10 s; at least 100 ms.
	Lease time.Duration
	// Memory is how long a result is kept for processes that come late with the
	// old tokens. Default: 60 s.
	Memory time.Duration
	// AllowWithoutRedis lets this process go on by itself while Redis is
	// unreachable, with one warning for each outage. Another process may then
	// spend the same refresh token. A Redis that is only slow is still waited for.
	AllowWithoutRedis bool
	// Logger is told about outages and lost leases. It gets twelve characters of an
	// id, and nothing of a result. Nil: silent.
	Logger *slog.Logger
}

// ErrUnavailable is wrapped by the error of a refresh that failed because Redis
// cannot be used: it refuses connections, drops them, or answers with an error such
// as READONLY, CLUSTERDOWN or NOPERM, for two seconds. The text has the cause.
var ErrUnavailable = errors.New("redis is unavailable")

// NewCoordinator returns a Coordinator over a client of any kind: single server,
// Sentinel, Cluster, or Ring, over which waiters only poll. It makes no connection,
// and the caller closes the client. A nil opts takes every default. It panics
// without a client and for a Prefix with braces, since neither ever works.
func NewCoordinator(client redis.UniversalClient, opts *Options) *Coordinator {
	if client == nil {
		panic("authpiredis: NewCoordinator needs a client")
	}
	o := opts.withDefaults()
	if strings.ContainsAny(o.Prefix, "{}") {
		// They would choose the Cluster slot instead of the id.
		panic("authpiredis: Options.Prefix must hold no braces")
	}
	c := &Coordinator{
		opts:    o,
		pipe:    &pipe{client: client},
		turns:   turns{busy: make(map[string]chan struct{})},
		wakeups: newWakeups(client, o.channel()),
		outage:  &outage{log: o.Logger, alone: o.AllowWithoutRedis},
	}
	c.keeper = newKeeper(c)
	return c
}

func (o *Options) withDefaults() Options {
	var full Options
	if o != nil {
		full = *o
	}
	if full.Prefix == "" {
		full.Prefix = "authpi:refresh:"
	}
	if full.Lease <= 0 {
		full.Lease = 10 * time.Second
	}
	full.Lease = max(full.Lease, 100*time.Millisecond)
	if full.Memory <= 0 {
		full.Memory = time.Minute
	}
	full.Memory = max(full.Memory, time.Millisecond) // what Redis can count
	if full.Logger == nil {
		full.Logger = slog.New(slog.DiscardHandler)
	}
	return full
}

func (o *Options) channel() string { return o.Prefix + "done" }

// keys lie in one Cluster slot, by the hash tag.
func (o *Options) keys(id string) []string {
	base := o.Prefix + "{" + id + "}:"
	return []string{base + "result", base + "lease"}
}

// The parts of a lease. A holder that lives renews every fifth. Who waits for it
// looks every tenth, and takes over from a holder that was silent for the whole
// lease, while it looked on for at least quiet, without a gap between two answers
// of Redis. Together gap and renewEvery are no longer than quiet: a Redis that was
// stuck is noticed, and the holder's renewal gets the time to arrive.
func (o *Options) renewEvery() time.Duration { return o.Lease / 5 }
func (o *Options) lookEvery() time.Duration  { return o.Lease / 10 }
func (o *Options) gap() time.Duration        { return o.Lease / 5 }
func (o *Options) quiet() time.Duration      { return 2 * o.Lease / 5 }

// expiry is when Redis drops a lease that nobody renews. It comes long after the
// lease, since Redis's clock goes on while Redis is stuck and no renewal arrives.
func (o *Options) expiry() time.Duration { return 6 * o.Lease }

// Do runs spend at most once for an id among all who share the Redis and the
// prefix, and returns to each of them the bytes that it returned, for
// Options.Memory after too. See the package comment for what no lease can prevent.
//
// An error of spend is returned as it is and not kept: the lease is free at once,
// and whoever waits takes the next turn. The same goes for a panic. spend is called
// with ctx. Its result is published even if ctx has ended. If that takes longer
// than two seconds, Do returns the result and publishing goes on in the background,
// for Options.Memory.
//
// While Redis is slow, or all connections of the client are in use, Do waits until
// ctx ends; its error then wraps ctx.Err() and nothing was spent. If Redis is
// unreachable it wraps [ErrUnavailable], unless Options.AllowWithoutRedis is set.
func (c *Coordinator) Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	leave, err := c.turns.enter(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("authpiredis: waiting for another call in this process: %w", err)
	}
	defer leave()
	if value, ok := c.keeper.unpublished(id); ok {
		return value, nil
	}
	t := &try{c: c, id: id, token: rand.Text()}
	return t.run(ctx, spend)
}
