// Package authpiredis lets several processes spend an AuthPI refresh token once
// between them, over Redis:
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
//	cfg.Coordinator = authpiredis.NewCoordinator(client, nil)
//
// For each refresh token there are two keys, both in one Cluster slot: a lease,
// held and renewed by the one process that talks to the issuer, and its result,
// which the others read. Values are sealed by package authpi: Redis never sees a
// token, and its operator can open none.
//
// # What it guarantees
//
// While Redis answers and keeps its data, one process at a time spends, however
// slow the issuer is, and all others get what it got. A process that dies blocks
// the others for no longer than [Options].Lease.
//
// # What it cannot
//
// A request that is out cannot be called back. In these cases a refresh token may
// be spent twice, which an issuer answers as it answers any reuse:
//
//   - The holder freezes, or loses Redis, for longer than its lease in the middle
//     of a refresh, and another process takes over. When the first wakes up it gives
//     its own callers what it received itself; what was published first stays.
//   - Redis loses the lease or the result: a restart without persistence, a failover
//     before the replica had them, an eviction. A holder that is still at work puts
//     its lease back at the next renewal.
//   - Redis cannot be reached, and Options.RequireRedis is not set: each process then
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
// concurrent use; between calls it holds no goroutine and no connection of its own.
type Coordinator struct {
	client  redis.UniversalClient
	opts    Options
	dials   dials
	scripts scripts
	turns   turns
	wakeups *wakeups
	outage  outage
	unsent  unsent
}

// Options of a [Coordinator]. Durations of zero or less take the default.
type Options struct {
	// Prefix begins every key and names the channel; it must hold no braces.
	// Empty: "authpi:refresh:".
	Prefix string
	// Lease is how long a process that died in the middle of a refresh blocks the
	// others. It is renewed while the process works, so it may be shorter than the
	// issuer is slow; it should be several times Timeout. Default: 5 s.
	Lease time.Duration
	// Memory is how long a result stays for processes that come late with the old
	// tokens. Default: 60 s.
	Memory time.Duration
	// Poll is how often a waiting process looks where no wake-up reaches it.
	// Default: 100 ms.
	Poll time.Duration
	// Timeout is how long one command may take, connecting included, before Redis
	// counts as unreachable. Default: 1 s.
	Timeout time.Duration
	// RequireRedis makes a Redis that cannot be used an error, [ErrUnavailable],
	// before anything is spent. Otherwise this process goes on by itself, with one
	// warning for each outage.
	RequireRedis bool
	// Logger hears of outages and lost leases; of an id it sees twelve characters, of
	// a result nothing. Nil: silent.
	Logger *slog.Logger
}

// ErrUnavailable is wrapped by the errors of a [Coordinator] that requires a Redis
// and cannot use it: no connection, no answer in time, or an error such as LOADING,
// READONLY, CLUSTERDOWN or NOPERM. A lease held by another process is none of these.
// The text holds the cause, for a timeout also why the last dial failed.
var ErrUnavailable = errors.New("redis is unavailable")

// NewCoordinator makes a Coordinator over a client of any kind: single server,
// Sentinel, Cluster; over a Ring waiters only poll. The client stays the caller's
// to close; it gets a hook that remembers failed dials, for the text of errors. It
// makes no connection. A nil opts takes every default. It panics without a client
// and for a Prefix with braces, since neither ever works.
//
// Set ContextTimeoutEnabled in the client's options: without it a command to a
// Redis that hangs is left behind after Options.Timeout, and ends when the client's
// own timeouts end it.
func NewCoordinator(client redis.UniversalClient, opts *Options) *Coordinator {
	if client == nil {
		panic("authpiredis: NewCoordinator needs a client")
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Prefix == "" {
		o.Prefix = "authpi:refresh:"
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		// They would choose the Cluster slot instead of the id.
		panic("authpiredis: Options.Prefix must hold no braces")
	}
	o.Lease = orDefault(o.Lease, 5*time.Second)
	o.Memory = orDefault(o.Memory, time.Minute)
	o.Poll = orDefault(o.Poll, 100*time.Millisecond)
	o.Timeout = orDefault(o.Timeout, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Coordinator{
		client:  client,
		opts:    o,
		scripts: newScripts(),
		turns:   turns{busy: make(map[string]chan struct{})},
		wakeups: newWakeups(client, o.Prefix+"done"),
		outage:  outage{log: o.Logger, required: o.RequireRedis},
		unsent:  unsent{results: make(map[string]result)},
	}
	c.dials.watch(client)
	return c
}

// orDefault also rounds up to what Redis can count: milliseconds.
func orDefault(d, standard time.Duration) time.Duration {
	if d <= 0 {
		return standard
	}
	return max(d, time.Millisecond)
}

// Do runs spend at most once for an id among all who share the Redis and the
// prefix, and gives each of them the bytes that it returned, for Options.Memory
// after too. See the package comment for what no lease can prevent.
//
// An error of spend is returned as it is and not kept: the lease is free at once,
// and whoever waits takes the next turn. So it is where spend panics. spend gets
// ctx. What it returned is published even if ctx has ended, with three attempts
// within 2 s, and returned even if that fails.
//
// Where Redis stops answering while another process holds the lease, Do waits until
// that lease must have run out before it goes on alone, or with RequireRedis fails.
// When ctx ends while Do waits, its error wraps ctx.Err() and nothing was spent.
func (c *Coordinator) Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	leave, err := c.turns.enter(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("authpiredis: waiting for another call in this process: %w", err)
	}
	defer leave()
	t := &try{c: c, id: id, token: rand.Text()}
	if value, ok := c.unsent.get(id); ok {
		if t.publish(ctx, value, true) {
			c.unsent.drop(id)
		}
		return value, nil
	}
	return t.run(ctx, spend)
}
