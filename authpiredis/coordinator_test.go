package authpiredis_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpiredis"
)

var _ authpi.RefreshCoordinator = (*authpiredis.Coordinator)(nil)

func TestOneSpend(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	spender := spender{after: 50 * time.Millisecond}
	var wg sync.WaitGroup
	for range 5 {
		c := s.process(authpiredis.Options{})
		for range 10 {
			wg.Go(func() {
				value, err := c.Do(context.Background(), id(1), spender.spend("\x00sealed\xff"))
				answer{string(value), err}.want(t, "\x00sealed\xff")
			})
		}
	}
	wg.Wait()
	spender.want(t, 1)
}

func TestIDsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := s.process(authpiredis.Options{}), s.process(authpiredis.Options{})
	h := hold(t, a, id(1))
	receive(t, do(a, id(2), spend("two"))).want(t, "two")
	receive(t, do(b, id(3), spend("three"))).want(t, "three")
	h.end <- answer{value: "one"}
	receive(t, h.got).want(t, "one")
}

func TestPrefixesDoNotMeet(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var spender spender
	for _, prefix := range []string{"", "staging:", "production:"} {
		receive(t, do(s.process(authpiredis.Options{Prefix: prefix}), id(1), spender.spend(prefix))).want(t, prefix)
	}
	spender.want(t, 3)
}

func TestMemory(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Memory: 400 * time.Millisecond}
	a, b := s.process(o), s.process(o)
	var spender spender
	receive(t, do(a, id(1), spender.spend("first"))).want(t, "first")
	receive(t, do(a, id(1), spender.spend("second"))).want(t, "first")
	receive(t, do(b, id(1), spender.spend("second"))).want(t, "first")
	spender.want(t, 1)
	time.Sleep(o.Memory + 50*time.Millisecond)
	receive(t, do(b, id(1), spender.spend("second"))).want(t, "second")
	spender.want(t, 2)
}

func TestEmptyResultIsAResult(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var spender spender
	for range 2 {
		receive(t, do(s.process(authpiredis.Options{}), id(1), spender.spend(""))).want(t, "")
	}
	spender.want(t, 1)
}

func TestErrorIsNotKept(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Minute}
	a, b := s.process(o), s.process(o)
	h := hold(t, a, id(1))
	var spender spender
	same, other := do(a, id(1), spender.spend("next")), do(b, id(1), spender.spend("next"))
	s.subscribers(1)
	failure := errors.New("503")
	h.end <- answer{err: failure}
	if got := receive(t, h.got); !errors.Is(got.err, failure) || got.value != "" {
		t.Errorf("got %q, %v; want the error of spend", got.value, got.err)
	}
	receive(t, same).want(t, "next")
	receive(t, other).want(t, "next")
	spender.want(t, 1)
}

// oauth2-proxy#3456: a lock of 2 s, outlived by a slow redeem.
func TestSlowSpendKeepsItsLease(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: 400 * time.Millisecond}
	spender := spender{after: 1600 * time.Millisecond} // longer than a command may take, too
	var waiting []<-chan answer
	for range 3 {
		waiting = append(waiting, do(s.process(o), id(1), spender.spend("slow")))
	}
	for _, got := range waiting {
		receive(t, got).want(t, "slow")
	}
	spender.want(t, 1)
}

func TestHolderDies(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: 600 * time.Millisecond}
	var network network
	h := hold(t, s.process(o, network.use), id(1))
	var spender spender
	began := time.Now()
	got := do(s.process(o), id(1), spender.spend("successor"))
	s.subscribers(1)
	network.set(true)
	receive(t, got).want(t, "successor")
	if took := time.Since(began); took < 200*time.Millisecond || took > 3*time.Second {
		t.Errorf("taken over after %v; want about the lease of %v", took, o.Lease)
	}
	spender.want(t, 1)
	h.end <- answer{err: errors.New("dead")}
	receive(t, h.got)
}

func TestWakeUp(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Minute}
	h := hold(t, s.process(o), id(1))
	var spender spender
	waiting := []<-chan answer{
		do(s.process(o), id(1), spender.spend("mine")),
		do(s.process(o), id(1), spender.spend("mine")),
	}
	s.subscribers(2)
	began := time.Now()
	h.end <- answer{value: "theirs"}
	for _, got := range waiting {
		receive(t, got).want(t, "theirs")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("woken after %v; want at once", took)
	}
	spender.want(t, 0)
	s.subscribers(0)
}

// No wake-up is lost between the look at the lease and the subscription.
func TestWakeUpWhileSubscribing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Minute}
	a, b := s.process(o), s.process(o)
	var spender spender
	for n := range 200 {
		h := hold(t, a, id(n))
		got := do(b, id(n), spender.spend("mine"))
		time.Sleep(time.Duration(n) * 10 * time.Microsecond)
		h.end <- answer{value: "theirs"}
		receive(t, h.got).want(t, "theirs")
		receive(t, got).want(t, "theirs")
	}
	spender.want(t, 0)
}

func TestSubscriptionIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Minute}
	h := hold(t, s.process(o), id(1))
	got := do(s.process(o), id(1), spend("mine"))
	s.subscribers(1)
	if err := s.client().ClientKillByFilter(context.Background(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	h.end <- answer{value: "theirs"}
	receive(t, got).want(t, "theirs")
}

func TestPollWithoutWakeUps(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if err := s.client().Do(context.Background(),
		"ACL", "SETUSER", "mute", "on", ">secret", "~authpi:refresh:*", "+@all", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	mute := func(o *redis.Options) { o.Username, o.Password = "mute", "secret" }
	var log logged
	o := authpiredis.Options{Lease: time.Second, Logger: log.logger()}
	h := hold(t, s.process(o, mute), id(1))
	var spender spender
	got := do(s.process(o, mute), id(1), spender.spend("mine"))
	time.Sleep(100 * time.Millisecond)
	h.end <- answer{value: "theirs"}
	receive(t, got).want(t, "theirs")
	receive(t, h.got).want(t, "theirs")
	spender.want(t, 0)
	log.want(t, "WARN", 0)
}

// The permissions that README.md names are enough, wake-ups included.
func TestLeastPermissions(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if err := s.client().Do(context.Background(), "ACL", "SETUSER", "least", "on", ">secret", "resetchannels",
		"~authpi:refresh:*", "&authpi:refresh:done", "-@all",
		"+evalsha", "+eval", "+get", "+set", "+del", "+pttl", "+publish", "+subscribe").Err(); err != nil {
		t.Fatal(err)
	}
	least := func(o *redis.Options) { o.Username, o.Password = "least", "secret" }
	o := authpiredis.Options{Lease: time.Minute}
	h := hold(t, s.process(o, least), id(1))
	got := do(s.process(o, least), id(1), spend("mine"))
	s.subscribers(1)
	h.end <- answer{value: "theirs"}
	receive(t, got).want(t, "theirs")
}

func TestRingPolls(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": s.addr}})
	t.Cleanup(func() { _ = ring.Close() })
	h := hold(t, s.process(authpiredis.Options{}), id(1))
	got := do(authpiredis.NewCoordinator(ring, nil), id(1), spend("mine"))
	time.Sleep(100 * time.Millisecond)
	h.end <- answer{value: "theirs"}
	receive(t, got).want(t, "theirs")
}

func TestPanicFreesTheLease(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Minute}
	a := s.process(o)
	func() {
		defer func() {
			if got := recover(); got != "boom" {
				t.Errorf("recovered: got %v; want boom", got)
			}
		}()
		_, _ = a.Do(context.Background(), id(1), func(context.Context) ([]byte, error) { panic("boom") })
	}()
	s.empty()
	receive(t, do(a, id(1), spend("after"))).want(t, "after")
	receive(t, do(s.process(o), id(1), spend("later"))).want(t, "after")
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Minute}
	a, b := s.process(o), s.process(o)
	h := hold(t, a, id(1))
	var spender spender
	for name, c := range map[string]*authpiredis.Coordinator{"same process": a, "another process": b} {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		began := time.Now()
		_, err := c.Do(ctx, id(1), spender.spend("mine"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, authpiredis.ErrUnavailable) {
			t.Errorf("%s: got %v; want context.DeadlineExceeded", name, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: took %v; want 100 ms", name, took)
		}
	}
	h.end <- answer{value: "theirs"}
	receive(t, h.got).want(t, "theirs")

	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Do(ended, id(2), spender.spend("mine")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want context.Canceled", err)
	}
	spender.want(t, 0)
	receive(t, do(b, id(2), spender.spend("free"))).want(t, "free") // no lease is left
}

// What was spent is published, though the caller's time is over.
func TestPublishedAfterTheDeadline(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	value, err := s.process(authpiredis.Options{}).Do(ctx, id(1), func(context.Context) ([]byte, error) {
		cancel()
		return []byte("late"), nil
	})
	answer{string(value), err}.want(t, "late")
	receive(t, do(s.process(authpiredis.Options{}), id(1), spend("mine"))).want(t, "late")
}

func TestSpendGetsTheContext(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	type key struct{}
	_, err := s.process(authpiredis.Options{}).Do(context.WithValue(context.Background(), key{}, "value"), id(1),
		func(ctx context.Context) ([]byte, error) {
			if got := ctx.Value(key{}); got != "value" {
				t.Errorf("value: got %v; want value", got)
			}
			return nil, nil
		})
	if err != nil {
		t.Error(err)
	}
}

// Not parallel: it counts goroutines.
func TestNothingIsLeftBehind(t *testing.T) {
	s := startServer(t)
	o := authpiredis.Options{Lease: 100 * time.Millisecond}
	a, b := s.process(o), s.process(o)
	receive(t, do(a, id(0), spend("warm")))
	receive(t, do(b, id(0), spend("warm")))
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for n := range 100 {
		spender := spender{after: 100 * time.Millisecond}
		for _, c := range []*authpiredis.Coordinator{a, b} {
			wg.Go(func() { _, _ = c.Do(context.Background(), id(n%50), spender.spend("x")) })
		}
	}
	wg.Wait()
	if left := goroutines(2 * time.Second); left != "" {
		t.Errorf("left at the end of Do:\n%s", left)
	}
	eventually(t, "goroutines as before", func() bool { return runtime.NumGoroutine() <= before })
	s.subscribers(0)
}

func TestLogShowsNoResult(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var log logged
	var network network
	o := authpiredis.Options{Lease: 100 * time.Millisecond, Logger: log.logger()}
	h := hold(t, s.process(o, network.use), id(1))
	network.set(true)
	receive(t, do(s.process(o), id(1), spend("first-result"))).want(t, "first-result")
	network.set(false)
	time.Sleep(100 * time.Millisecond)
	h.end <- answer{value: "second-result"}
	receive(t, h.got).want(t, "second-result")
	got := log.String()
	if !strings.Contains(got, id(1)[:12]) {
		t.Errorf("no line names the id:\n%s", got)
	}
	if strings.Contains(got, id(1)[:13]) || strings.Contains(got, "-result") {
		t.Errorf("too much is logged:\n%s", got)
	}
}
