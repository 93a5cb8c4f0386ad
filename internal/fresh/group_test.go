package fresh_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestGroupShares(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.set(time.Second, nil)
		g := fresh.NewGroup[string, int](time.Minute)
		leaving, leave := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() { // begins the fetch, and leaves
			if _, err := g.Do(leaving, "a", s.fetch); !errors.Is(err, context.Canceled) {
				t.Errorf("who left: got %v; want its own cancellation", err)
			}
		})
		synctest.Wait()
		for range 20 {
			callers.Go(func() {
				if got, err := g.Do(t.Context(), "a", s.fetch); got != 1 || err != nil {
					t.Errorf("got %d, %v; want 1", got, err)
				}
			})
		}
		synctest.Wait()
		leave()
		callers.Wait()
		for n, key := range []string{"a", "b"} { // nothing is kept, and keys are apart
			if got, err := g.Do(t.Context(), key, s.fetch); got != 2+n || err != nil {
				t.Errorf("%s: got %d, %v; want %d", key, got, err, 2+n)
			}
		}
		if _, err := g.Do(leaving, "a", s.fetch); !errors.Is(err, context.Canceled) || s.fetches() != 3 {
			t.Errorf("after leaving: got %v, %d fetches; want its own cancellation, and none more", err, s.fetches())
		}
	})
}

func TestGroupFailures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fetch func(context.Context) (int, error)
		after time.Duration
		want  string
	}{
		"failure": {func(context.Context) (int, error) { return 7, errAway }, 0, "away"},
		"panic":   {func(context.Context) (int, error) { panic("secret") }, 0, "the fetch panicked with a string"},
		"hang":    {func(ctx context.Context) (int, error) { <-ctx.Done(); return 7, ctx.Err() }, time.Minute, "context deadline exceeded"},
		"deaf": {func(context.Context) (int, error) { time.Sleep(time.Hour); return 7, nil }, time.Minute + time.Second,
			"the fetch did not stop at its deadline: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := fresh.NewGroup[string, int](time.Minute)
				for range 2 {
					testkit.WantTook(t, tc.after, func() {
						if got, err := g.Do(t.Context(), "a", tc.fetch); got != 0 || fmt.Sprint(err) != tc.want {
							t.Errorf("got %d, %v; want %s", got, err, tc.want)
						}
					})
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}
