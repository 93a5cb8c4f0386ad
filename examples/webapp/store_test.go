//go:build unix && stores

package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/examples/internal/servers"
)

func TestStoresUnknown(t *testing.T) {
	t.Parallel()
	for _, wrong := range [][2]string{{"", ""}, {"disk", ""}, {"redis", "http://x"}, {"redis", "redis://127.0.0.1:1"}, {"postgres", "postgres://nobody@127.0.0.1:1/none"}} {
		if _, err := openStore(t.Context(), wrong[0], wrong[1]); err == nil {
			t.Errorf("-store %q -store-url %q: want an error", wrong[0], wrong[1])
		}
	}
}

func TestStoresRedis(t *testing.T) {
	t.Parallel()
	storeURL := servers.Redis(t)
	signOutEverywhere(t, newWorldOn(t, "redis", storeURL))
	rotates(t, newWorldOn(t, "redis", storeURL))
}

func TestStoresPostgres(t *testing.T) {
	t.Parallel()
	storeURL := servers.Postgres(t)
	signOutEverywhere(t, newWorldOn(t, "postgres", storeURL))
	rotates(t, newWorldOn(t, "postgres", storeURL))
	outlivesSlowRefreshes(t, storeURL)
}

// outlivesSlowRefreshes lets more refreshes hang than the database has connections.
// Sign-ins are found all the same.
func outlivesSlowRefreshes(t *testing.T, storeURL string) {
	t.Helper()
	st, err := openStore(t.Context(), "postgres", storeURL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	slow := make(chan struct{}, 200)
	for n := range cap(slow) {
		all.Go(func() {
			_, _ = st.refresh.Do(ctx, fmt.Sprintf("%016x%048d", n, 0), func(ctx context.Context) ([]byte, error) {
				slow <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			})
		})
	}
	for n := range 100 {
		if n < 10 {
			<-slow
		}
		if _, _, err := st.signIns.Find("unknown"); err != nil {
			t.Fatalf("with slow refreshes: %v", err)
		}
	}
}

// rotates lets a token expire, with a store between the requests.
func rotates(t *testing.T, w *world) {
	t.Helper()
	b := w.browser()
	want(t, b.signIn("user", "usr_ada"), 200, "Ada Lovelace", "None yet")
	for n := 1; n <= 2; n++ {
		w.later(3 * time.Minute)
		if page := b.get(w.app.URL); rotations(page) != n {
			t.Errorf("%d rotations shown; want %d", rotations(page), n)
		}
	}
	want(t, b.act("/auth/logout", nil), 200, "Who may do what")
}
