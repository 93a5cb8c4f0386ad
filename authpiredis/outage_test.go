package authpiredis_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpiredis"
)

func TestDownAtTheStart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var log logged
	c := s.process(authpiredis.Options{Logger: log.logger()})
	s.stop()
	var spender spender
	for range 3 {
		_, err := c.Do(context.Background(), id(1), spender.spend("never"))
		if !errors.Is(err, authpiredis.ErrUnavailable) || !errors.Is(err, syscall.ECONNREFUSED) ||
			!strings.HasPrefix(err.Error(), "authpiredis: redis is unavailable: dial tcp "+s.addr) {
			t.Errorf("got %v; want ErrUnavailable and its cause", err)
		}
	}
	spender.want(t, 0)
	log.want(t, "WARN", 1)
	s.restart()
	eventually(t, "the client connects again", func() bool { // its pool tries once a second
		a := receive(t, do(c, id(1), spender.spend("now")))
		return a.err == nil && a.value == "now"
	})
	spender.want(t, 1)
	log.want(t, "INFO", 1)
}

// A Redis that restarts is waited for.
func TestBrieflyDownAtTheStart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.process(authpiredis.Options{}, noRetries)
	s.stop()
	got := do(c, id(1), spend("value"))
	time.Sleep(300 * time.Millisecond)
	s.restart()
	receive(t, got).want(t, "value")
}

func TestAllowWithoutRedis(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var log logged
	a := s.process(authpiredis.Options{AllowWithoutRedis: true, Logger: log.logger()}, noRetries)
	b := s.process(authpiredis.Options{})
	s.stop()
	spender := spender{after: 50 * time.Millisecond}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			value, err := a.Do(context.Background(), id(1), spender.spend("alone"))
			answer{string(value), err}.want(t, "alone")
		})
	}
	for n := range 20 {
		wg.Go(func() { _, _ = a.Do(context.Background(), id(100+n), spend("x")) })
	}
	wg.Wait()
	spender.want(t, 1)
	log.want(t, "WARN", 1)
	log.want(t, "INFO", 0)

	s.restart() // what was spent alone is published, without another call
	client := s.client()
	eventually(t, "21 results", func() bool { return client.DBSize(context.Background()).Val() == 21 })
	receive(t, do(b, id(1), spender.spend("again"))).want(t, "alone")
	spender.want(t, 1)
	log.want(t, "WARN", 1)
	log.want(t, "INFO", 1)

	s.stop() // another outage
	receive(t, do(a, id(2), spender.spend("alone again"))).want(t, "alone again")
	log.want(t, "WARN", 2)
}

// An error of spend ends a turn without Redis, too: the next call finds out.
func TestErrorAlone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.process(authpiredis.Options{AllowWithoutRedis: true}, noRetries)
	s.stop()
	failure := errors.New("503")
	if _, err := c.Do(context.Background(), id(1), func(context.Context) ([]byte, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("got %v; want the error of spend", err)
	}
	receive(t, do(c, id(1), spend("next"))).want(t, "next")
}

func TestUnusableIsNotBusy(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string][]any{
		"readonly": {"REPLICAOF", "127.0.0.1", "1"},
		"noperm":   {"ACL", "SETUSER", "default", "-evalsha", "-eval"},
		"oom":      {"CONFIG", "SET", "maxmemory", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			if err := s.client().Do(context.Background(), setup...).Err(); err != nil {
				t.Fatal(err)
			}
			var spender spender
			_, err := s.process(authpiredis.Options{}, noRetries).Do(context.Background(), id(1), spender.spend("never"))
			if !errors.Is(err, authpiredis.ErrUnavailable) {
				t.Errorf("got %v; want ErrUnavailable", err)
			}
			spender.want(t, 0)
			alone := s.process(authpiredis.Options{AllowWithoutRedis: true}, noRetries)
			receive(t, do(alone, id(1), spender.spend("alone"))).want(t, "alone")
		})
	}
}

func TestDownWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, allowed := range map[string]bool{"allowed without": true, "required": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			var log logged
			o := authpiredis.Options{Lease: 3 * time.Second, Logger: log.logger(), AllowWithoutRedis: allowed}
			h := hold(t, s.process(authpiredis.Options{}, noRetries), id(1))
			var spender spender
			got := do(s.process(o, noRetries), id(1), spender.spend("alone"))
			s.subscribers(1)
			s.stop()
			began := time.Now()
			a := receive(t, got)
			if allowed {
				// It looked at the lease a tenth of it ago, or less.
				if took := time.Since(began); took < o.Lease/2 {
					t.Errorf("went on alone after %v; want it to wait for the lease of %v", took, o.Lease)
				}
				a.want(t, "alone")
				spender.want(t, 1)
			} else {
				if !errors.Is(a.err, authpiredis.ErrUnavailable) {
					t.Errorf("got %v; want ErrUnavailable", a.err)
				}
				spender.want(t, 0)
			}
			log.want(t, "WARN", 1)
			h.end <- answer{value: "theirs"}
			receive(t, h.got).want(t, "theirs")
		})
	}
}

// A waiter that is cut off for less than two seconds sees the result afterwards.
func TestBrieflyAwayWhileWaiting(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := hold(t, s.process(authpiredis.Options{}), id(1))
	var network network
	var spender spender
	got := do(s.process(authpiredis.Options{}, network.use), id(1), spender.spend("mine"))
	s.subscribers(1)
	network.set(true)
	h.end <- answer{value: "theirs"}
	receive(t, h.got).want(t, "theirs")
	time.Sleep(200 * time.Millisecond)
	network.set(false)
	receive(t, got).want(t, "theirs")
	spender.want(t, 0)
}

// The caller gets its result soon, and Redis gets it when it is back.
func TestDownBeforePublishing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var log logged
	var network network
	// A lease so long that no renewal fails first.
	a := s.process(authpiredis.Options{Lease: 5 * time.Second, Logger: log.logger()}, network.use, noRetries)
	b := s.process(authpiredis.Options{})
	h := hold(t, a, id(1))
	network.set(true)
	h.end <- answer{value: "spent"}
	began := time.Now()
	receive(t, h.got).want(t, "spent")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v; want about 2 s at most", took)
	}
	log.want(t, "WARN", 1)
	var spender spender
	receive(t, do(a, id(1), spender.spend("mine"))).want(t, "spent") // known in this process
	other := do(b, id(1), spender.spend("mine"))
	network.set(false)
	receive(t, other).want(t, "spent")
	spender.want(t, 0)
	log.want(t, "INFO", 1)
}

// After a restart without its data Redis knows neither scripts nor leases. The
// holder, still at work, takes its lease again.
func TestRestartWithoutData(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	o := authpiredis.Options{Lease: time.Second}
	h := hold(t, s.process(o), id(1))
	s.stop()
	s.restart()
	client := s.client()
	eventually(t, "the lease is back", func() bool { return client.DBSize(context.Background()).Val() == 1 })
	var spender spender
	got := do(s.process(o), id(1), spender.spend("mine"))
	s.subscribers(1)
	time.Sleep(2 * o.Lease)
	h.end <- answer{value: "theirs"}
	receive(t, h.got).want(t, "theirs")
	receive(t, got).want(t, "theirs")
	spender.want(t, 0)
}

// A process that loses Redis for longer than its lease, in the middle of a spend.
// Whoever publishes first is heard; each gives its own caller its own result.
func TestFrozenHolder(t *testing.T) {
	t.Parallel()
	for name, successorFirst := range map[string]bool{"successor has published": true, "successor still spends": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			var log logged
			o := authpiredis.Options{Lease: 200 * time.Millisecond, Logger: log.logger()}
			var network network
			frozen := hold(t, s.process(o, network.use), id(1))
			network.set(true)
			successor := hold(t, s.process(authpiredis.Options{Lease: time.Second}), id(1))

			first, second, winner := frozen, successor, "frozen"
			if successorFirst {
				first, second, winner = successor, frozen, "successor"
			}
			names := map[*held]string{frozen: "frozen", successor: "successor"}
			for _, h := range []*held{first, second} {
				if h == frozen {
					network.set(false)
				}
				h.end <- answer{value: names[h]}
				receive(t, h.got).want(t, names[h])
			}
			receive(t, do(s.process(authpiredis.Options{}), id(1), spend("third"))).want(t, winner)
			keys, err := s.client().Keys(context.Background(), "*lease").Result()
			if err != nil || len(keys) > 0 {
				t.Errorf("leases left: %v, %v", keys, err)
			}
			if successorFirst && !strings.Contains(log.String(), "published a result of the same refresh first") {
				t.Errorf("the frozen holder's log does not say what happened:\n%s", log.String())
			}
		})
	}
}

// The frozen holder fails after all: it must not free its successor's lease.
func TestFrozenHolderFails(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var network network
	frozen := hold(t, s.process(authpiredis.Options{Lease: 200 * time.Millisecond}, network.use), id(1))
	network.set(true)
	successor := hold(t, s.process(authpiredis.Options{Lease: time.Second}), id(1))
	network.set(false)
	frozen.end <- answer{err: errors.New("timeout")}
	receive(t, frozen.got)
	var spender spender
	got := do(s.process(authpiredis.Options{}), id(1), spender.spend("third"))
	s.subscribers(1)
	successor.end <- answer{value: "successor"}
	receive(t, successor.got).want(t, "successor")
	receive(t, got).want(t, "successor")
	spender.want(t, 0)
}
