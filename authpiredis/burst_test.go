package authpiredis_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpiredis"
)

// Every session of four processes expires at once: default options, the default
// client, and Redis on the same cores.
func TestBurst(t *testing.T) {
	s := startServer(t)
	const processes, result = 4, 3000
	sessions := 10_000
	if raceDetector {
		sessions = 2_000 // it makes everything ten times slower
	}
	spent := make([]atomic.Int64, sessions)
	var failed atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range processes {
		client := redis.NewClient(&redis.Options{Addr: s.addr})
		t.Cleanup(func() { _ = client.Close() })
		c := authpiredis.NewCoordinator(client, nil)
		for n := range sessions {
			wg.Go(func() {
				value, err := c.Do(t.Context(), id(n), func(context.Context) ([]byte, error) {
					spent[n].Add(1)
					time.Sleep(time.Second) // the issuer's time
					return make([]byte, result), nil
				})
				if err != nil || len(value) != result {
					failed.Add(1)
				}
			})
		}
	}
	wg.Wait()
	twice := 0
	for n := range spent {
		if spent[n].Load() != 1 {
			twice++
		}
	}
	t.Logf("%d processes x %d sessions in %v", processes, sessions, time.Since(began).Round(time.Millisecond))
	if twice > 0 || failed.Load() > 0 {
		t.Errorf("%d of %d tokens were not spent once, and %d calls failed; want none", twice, sessions, failed.Load())
	}
}
