package authpiredis_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpiredis"
)

// A pool whose connections are all in use is waited for.
func TestFullPool(t *testing.T) {
	t.Parallel()
	for name, allowed := range map[string]bool{"required": false, "allowed without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			var log logged
			o := authpiredis.Options{Logger: log.logger(), AllowWithoutRedis: allowed}
			client := s.client(func(o *redis.Options) { o.PoolSize, o.PoolTimeout = 1, 50*time.Millisecond })
			c := authpiredis.NewCoordinator(client, &o)
			var spender spender
			h := hold(t, s.process(authpiredis.Options{}), id(1))
			release := fill(t, client)
			waiter, first := do(c, id(1), spender.spend("mine")), do(c, id(2), spender.spend("first"))
			time.Sleep(4 * time.Second)
			select {
			case got := <-waiter:
				t.Errorf("with a full pool: got %q, %v; want it to wait", got.value, got.err)
			case got := <-first:
				t.Errorf("with a full pool: got %q, %v; want it to wait", got.value, got.err)
			default:
			}
			release()
			receive(t, first).want(t, "first")
			h.end <- answer{value: "theirs"}
			receive(t, waiter).want(t, "theirs")
			spender.want(t, 1)
			log.want(t, "WARN", 0)
		})
	}
}

// The app fills the pool in the middle of a refresh, for longer than the lease. The
// lease is renewed all the same.
func TestFullPoolOfTheHolder(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Second}
	client := s.client(func(o *redis.Options) { o.PoolSize, o.PoolTimeout, o.ClientName = 1, 30*time.Second, "holder" })
	h := hold(t, authpiredis.NewCoordinator(client, &o), id(1))
	release := fill(t, client)
	var spender spender
	waiter := do(s.process(o), id(1), spender.spend("mine"))
	time.Sleep(4 * time.Second)
	h.end <- answer{value: "theirs"}
	receive(t, waiter).want(t, "theirs")
	release()
	receive(t, h.got).want(t, "theirs")
	spender.want(t, 0)
	admin := s.client()
	eventually(t, "the spare connection is closed", func() bool {
		return strings.Count(admin.ClientList(context.Background()).Val(), "name=holder") == 1
	})
}

// fill takes the one connection of a client's pool.
func fill(t *testing.T, client *redis.Client) (release func()) {
	t.Helper()
	conn := client.Conn()
	if err := conn.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close() }
}

// Thousands of refreshes need few connections, and leave the app its own.
func TestSmallPool(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := s.client(func(o *redis.Options) { o.PoolSize, o.PoolTimeout = 2, 100*time.Millisecond })
	c := authpiredis.NewCoordinator(client, nil)
	spender := spender{after: time.Second}
	var all []<-chan answer
	for n := range 2000 {
		all = append(all, do(c, id(n), spender.spend("value")))
	}
	for range 100 {
		if err := client.Set(t.Context(), "app", "value", 0).Err(); err != nil {
			t.Errorf("the app's own command: %v", err)
		}
	}
	for _, got := range all {
		receive(t, got).want(t, "value")
	}
	spender.want(t, 2000)
}

// A Redis that takes its time is waited for, whatever the client thinks of it.
func TestSlowRedis(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*redis.Options){
		"default client":      func(*redis.Options) {},
		"an impatient client": func(o *redis.Options) { o.ReadTimeout, o.MaxRetries = 200*time.Millisecond, -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			o := authpiredis.Options{AllowWithoutRedis: true}
			a, b := s.process(o, edit), s.process(o, edit)
			s.pause(3 * time.Second)
			spender := spender{after: 100 * time.Millisecond}
			first, second := do(a, id(1), spender.spend("value")), do(b, id(1), spender.spend("value"))
			receive(t, first).want(t, "value")
			receive(t, second).want(t, "value")
			spender.want(t, 1)
		})
	}
}

func (s *server) pause(d time.Duration) {
	s.t.Helper()
	if err := s.client().ClientPause(context.Background(), d).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// While Redis stands still no renewal arrives, and its clock goes on.
func TestStuckForLongerThanTheLease(t *testing.T) {
	t.Parallel()
	for n := range 3 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			o := authpiredis.Options{Lease: time.Second}
			h := hold(t, s.process(o), id(n))
			var spender spender
			waiter := do(s.process(o), id(n), spender.spend("mine"))
			s.subscribers(1)
			s.pause(3 * time.Second)
			comesLater := do(s.process(o), id(n), spender.spend("mine"))
			time.Sleep(4 * time.Second)
			h.end <- answer{value: "theirs"}
			receive(t, waiter).want(t, "theirs")
			receive(t, comesLater).want(t, "theirs")
			spender.want(t, 0)
		})
	}
}

// A process whose answers take long claims the lease again before it spends. Others
// see that it lives, and wait.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Second}
	var late late
	far := s.process(o, late.use)
	late.delay.Store(int64(700 * time.Millisecond))
	var spender spender
	first := do(far, id(1), spender.spend("theirs"))
	client := s.client()
	eventually(t, "a lease", func() bool { return client.DBSize(context.Background()).Val() == 1 })
	second := do(s.process(o), id(1), spender.spend("mine"))
	time.Sleep(4 * time.Second)
	spender.want(t, 0)
	late.delay.Store(0)
	receive(t, first).want(t, "theirs")
	receive(t, second).want(t, "theirs")
	spender.want(t, 1)
}

// late is a network whose answers take long.
type late struct{ delay atomic.Int64 }

func (l *late) use(o *redis.Options) {
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &lateConn{conn, l}, err
	}
}

type lateConn struct {
	net.Conn
	late *late
}

func (c *lateConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	time.Sleep(time.Duration(c.late.delay.Load()))
	return n, err
}

// A Redis that never answers: nothing is spent, and the error says so.
func TestHangingRedis(t *testing.T) {
	t.Parallel()
	for name, heeds := range map[string]bool{"client heeds contexts": true, "client does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			c := s.process(authpiredis.Options{AllowWithoutRedis: true}, func(o *redis.Options) {
				o.ContextTimeoutEnabled, o.ReadTimeout, o.MaxRetries = heeds, 300*time.Millisecond, -1
			})
			s.pause(8 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var spender spender
			_, err := c.Do(ctx, id(1), spender.spend("never"))
			if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "authpiredis: waiting for Redis: context deadline exceeded") {
				t.Errorf("got %v; want what it waited for, and why", err)
			}
			spender.want(t, 0)
		})
	}
}

// A lease without expiry, which nobody renews, is taken over after a lease's time,
// and waited for in peace.
func TestLeaseWithoutExpiry(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := s.client()
	if err := client.Set(t.Context(), "authpi:refresh:{"+id(1)+"}:lease", "somebody", 0).Err(); err != nil {
		t.Fatal(err)
	}
	before := s.commands()
	began := time.Now()
	receive(t, do(s.process(authpiredis.Options{Lease: 2 * time.Second}), id(1), spend("value"))).want(t, "value")
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("taken over after %v; want the lease of 2 s", took)
	}
	if sent := s.commands() - before; sent > 200 {
		t.Errorf("%d commands while waiting; want a few looks", sent)
	}
}

// commands is how many the server has processed.
func (s *server) commands() (n int) {
	s.t.Helper()
	stats := s.client().InfoMap(context.Background(), "stats").Val()
	for _, r := range stats["Stats"]["total_commands_processed"] {
		n = n*10 + int(r-'0')
	}
	return n
}
