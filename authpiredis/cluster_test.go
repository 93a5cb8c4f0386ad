package authpiredis_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpiredis"
)

// A cluster of one node refuses scripts whose keys lie in different slots, too.
func TestCluster(t *testing.T) {
	t.Parallel()
	_, busPort, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "--cluster-enabled", "yes", "--cluster-port", busPort)
	ctx := context.Background()
	admin := s.client()
	if err := admin.ClusterAddSlotsRange(ctx, 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "cluster_state:ok", func() bool {
		return strings.Contains(admin.ClusterInfo(ctx).Val(), "cluster_state:ok")
	})
	process := func(o authpiredis.Options) *authpiredis.Coordinator {
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = client.Close() })
		return authpiredis.NewCoordinator(client, &o)
	}

	t.Run("one slot for each id", func(t *testing.T) {
		c := process(authpiredis.Options{})
		slots := map[int64]bool{}
		for n := range 20 {
			var during string
			_, err := c.Do(ctx, id(n), func(context.Context) ([]byte, error) {
				during = onlyKey(t, admin, id(n))
				return []byte("x"), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			after := onlyKey(t, admin, id(n))
			a, b := admin.ClusterKeySlot(ctx, during).Val(), admin.ClusterKeySlot(ctx, after).Val()
			if during == after || a != b {
				t.Errorf("%s in slot %d, %s in slot %d; want two keys in one slot", during, a, after, b)
			}
			slots[a] = true
		}
		if len(slots) < 2 {
			t.Error("all ids share a slot")
		}
	})

	t.Run("store", func(t *testing.T) {
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}})
		t.Cleanup(func() { _ = client.Close() })
		store := authpiredis.NewStore(client, nil)
		for n := range 5 {
			written, err := store.CommitIf(ctx, id(200+n), nil, []byte("x"), time.Now().Add(time.Hour))
			if !written || err != nil {
				t.Errorf("got %t, %v; want it written", written, err)
			}
			if b, found, err := store.Find(id(200 + n)); string(b) != "x" || !found || err != nil {
				t.Errorf("got %q, %t, %v", b, found, err)
			}
		}
	})

	t.Run("woken at once", func(t *testing.T) {
		o := authpiredis.Options{Lease: time.Minute}
		for n := range 5 {
			h := hold(t, process(o), id(100+n))
			var spender spender
			got := do(process(o), id(100+n), spender.spend("mine"))
			s.subscribers(1)
			h.end <- answer{value: fmt.Sprint(n)}
			receive(t, got).want(t, fmt.Sprint(n))
			spender.want(t, 0)
			s.subscribers(0)
		}
	})
}

func onlyKey(t *testing.T, client *redis.Client, id string) string {
	t.Helper()
	keys, err := client.Keys(context.Background(), "*"+id+"*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys: got %v, %v; want one", keys, err)
	}
	return keys[0]
}
