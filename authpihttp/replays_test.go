package authpihttp

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// The memory of used logout tokens is bounded, which would take too many of them to
// see from outside.
func TestReplayMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		use := func(id string, life time.Duration, want bool) {
			t.Helper()
			if first, err := m.Use(t.Context(), id, time.Now().Add(life)); err != nil || first != want {
				t.Errorf("%s: got %v, %v; want %v", id, first, err, want)
			}
		}
		use("a", time.Minute, true)
		use("a", time.Minute, false)
		time.Sleep(time.Minute)
		use("a", time.Minute, true)
		for i := range maxReplays + 10 {
			use(strconv.Itoa(i), time.Hour+time.Duration(i), true)
		}
		if got := len(m.until); got != maxReplays {
			t.Errorf("remembers %d; want %d", got, maxReplays)
		}
		use("a", time.Minute, true) // the soonest to expire went first
		use(strconv.Itoa(maxReplays), time.Hour, false)
		time.Sleep(2 * time.Hour)
		use("b", time.Hour, true)
		if got := len(m.until); got != 1 {
			t.Errorf("remembers %d after all expired; want 1", got)
		}
	})
}
