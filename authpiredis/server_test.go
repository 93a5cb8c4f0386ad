package authpiredis_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpiredis"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{}) // the client's own remarks on the servers we stop
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // these tests wait more than they work
	code := m.Run()
	if left := goroutines(5 * time.Second); left != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// goroutines gives the stacks in which our package still runs after patience.
func goroutines(patience time.Duration) string {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		var ours []string
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "authpiredis.(") {
				ours = append(ours, stack)
			}
		}
		if len(ours) == 0 || time.Now().After(end) {
			return strings.Join(ours, "\n\n")
		}
	}
}

// server is a redis-server of this test's own, on loopback, that keeps nothing.
type server struct {
	t     testing.TB
	addr  string
	extra []string
	cmd   *exec.Cmd
	log   bytes.Buffer
}

func startServer(t testing.TB, extra ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed, and CI must test with it")
		}
		t.Skip("redis-server is not installed: this test needs a real one")
	}
	s := &server{t: t, extra: extra}
	t.Cleanup(s.stop)
	for range 5 { // somebody else may take the port
		s.addr = freeAddr(t)
		if s.start() {
			return s
		}
	}
	t.Fatalf("redis-server does not start: %s", s.log.String())
	return nil
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) start() bool {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	args := append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", s.t.TempDir(), "--save", "", "--appendonly", "no",
	}, s.extra...)
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
	defer client.Close()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		info, err := client.Info(context.Background(), "server").Result()
		if err == nil {
			if strings.Contains(info, fmt.Sprintf("process_id:%d\r", s.cmd.Process.Pid)) {
				return true
			}
			break // not ours
		}
	}
	s.stop()
	return false
}

func (s *server) restart() {
	s.t.Helper()
	if !s.start() {
		s.t.Fatalf("redis-server does not start again: %s", s.log.String())
	}
}

// stop kills it: nothing is saved and no client is told.
func (s *server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// client is a process's connection, with its own pool.
func (s *server) client(edit ...func(*redis.Options)) *redis.Client {
	o := &redis.Options{Addr: s.addr, ContextTimeoutEnabled: true}
	for _, e := range edit {
		e(o)
	}
	c := redis.NewClient(o)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// noRetries lets a command to a server that is down fail at once, which the client
// otherwise tries for seconds.
func noRetries(o *redis.Options) { o.MaxRetries, o.DialerRetries = -1, 1 }

// process is one of several that share the Redis.
func (s *server) process(o authpiredis.Options, edit ...func(*redis.Options)) *authpiredis.Coordinator {
	return authpiredis.NewCoordinator(s.client(edit...), &o)
}

// network is the way of one process to Redis, which can be cut and fixed.
type network struct {
	mu    sync.Mutex // guards all below
	cut   bool
	conns []net.Conn
}

func (n *network) use(o *redis.Options) {
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.cut {
			return nil, errors.New("the network is cut")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			n.conns = append(n.conns, conn)
		}
		return conn, err
	}
}

func (n *network) set(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	if cut {
		for _, conn := range n.conns {
			_ = conn.Close()
		}
		n.conns = nil
	}
}

// logged collects log lines.
type logged struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logged) want(t testing.TB, level string, want int) {
	t.Helper()
	if got := strings.Count(l.String(), "level="+level); got != want {
		t.Errorf("%s lines: got %d; want %d\n%s", level, got, want, l)
	}
}

// id is what package authpi calls a refresh token: 64 hexadecimal digits.
func id(n int) string { return fmt.Sprintf("%064x", 0xabcdef0123456789+uint64(n)*0x9e3779b97f4a7c15) }

// spend is one that nobody counts.
func spend(value string) func(context.Context) ([]byte, error) { return new(spender).spend(value) }

// spender counts how often something is spent.
type spender struct {
	times atomic.Int64
	after time.Duration
}

func (s *spender) spend(value string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		s.times.Add(1)
		time.Sleep(s.after)
		return []byte(value), nil
	}
}

func (s *spender) want(t testing.TB, want int64) {
	t.Helper()
	if got := s.times.Load(); got != want {
		t.Errorf("spent: got %d times; want %d", got, want)
	}
}

// held is a spend under way that ends when it is told to.
type held struct {
	begun chan struct{}
	end   chan answer
	got   chan answer // what Do returned
}

type answer struct {
	value string
	err   error
}

// hold has a process spend, and returns once it does.
func hold(t testing.TB, c *authpiredis.Coordinator, id string) *held {
	t.Helper()
	h := &held{make(chan struct{}), make(chan answer, 1), make(chan answer, 1)}
	go func() {
		value, err := c.Do(context.Background(), id, func(context.Context) ([]byte, error) {
			close(h.begun)
			a := <-h.end
			return []byte(a.value), a.err
		})
		h.got <- answer{string(value), err}
	}()
	t.Cleanup(func() { // a test that failed leaves nobody waiting
		select {
		case h.end <- answer{err: errors.New("the test is over")}:
		default:
		}
	})
	receive(t, h.begun)
	return h
}

// do is a Do that may take no longer than the test's patience.
func do(c *authpiredis.Coordinator, id string, spend func(context.Context) ([]byte, error)) <-chan answer {
	got := make(chan answer, 1)
	go func() {
		value, err := c.Do(context.Background(), id, spend)
		got <- answer{string(value), err}
	}()
	return got
}

func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing within 20 s")
		panic("unreachable")
	}
}

func (a answer) want(t testing.TB, value string) {
	t.Helper()
	if a.err != nil || a.value != value {
		t.Errorf("got %q, %v; want %q", a.value, a.err, value)
	}
}

// eventually waits for what has no event of its own.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// subscribers waits until so many processes have their subscription.
func (s *server) subscribers(want int64) {
	s.t.Helper()
	client := s.client()
	const channel = "authpi:refresh:done"
	eventually(s.t, "subscriptions", func() bool {
		return client.PubSubNumSub(context.Background(), channel).Val()[channel] == want
	})
}

// empty fails where a key is left.
func (s *server) empty() {
	s.t.Helper()
	if keys, err := s.client().Keys(context.Background(), "*").Result(); err != nil || len(keys) > 0 {
		s.t.Errorf("keys left: %v, %v", keys, err)
	}
}
