package record_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/record"
)

var now = time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)

// hosts asks for many texts that nobody has asked for before, and returns how many
// pass.
func hosts(n *record.Notices, at time.Time, name string) (passed int) {
	for i := range 1000 {
		if n.First(fmt.Sprintf("%s-%d.test", name, i), at) {
			passed++
		}
	}
	return passed
}

func TestNotices(t *testing.T) {
	t.Parallel()
	var n record.Notices
	for _, tc := range []struct {
		text string
		want bool
	}{{"a.test", true}, {"a.test", false}, {"b.test", true}, {"", true}, {"a.test", false}} {
		if got := n.First(tc.text, now); got != tc.want {
			t.Errorf("%q: got %t; want %t", tc.text, got, tc.want)
		}
	}
	for _, tc := range []struct {
		name  string
		after time.Duration
		want  int
	}{
		{"the rest of the hour", time.Hour - 1, 7},
		{"the next hour", time.Hour, 10},
		{"the same hour", 2*time.Hour - 1, 0},
		{"a clock that was set back", -24 * time.Hour, 10},
		{"and goes on", -24*time.Hour + time.Minute, 0},
	} {
		if got := hosts(&n, now.Add(tc.after), tc.name); got != tc.want {
			t.Errorf("%s: %d passed; want %d", tc.name, got, tc.want)
		}
	}
	if n.First("a.test", now.Add(24*time.Hour)) {
		t.Error("a text passed a second time, a day later")
	}
}

// Whoever has days to make up texts fills neither the memory nor the log.
func TestNoticesAreBounded(t *testing.T) {
	t.Parallel()
	var n record.Notices
	passed := 0
	for hour := range 100 {
		passed += hosts(&n, now.Add(time.Duration(hour)*time.Hour), fmt.Sprint(hour))
	}
	if passed != 256 {
		t.Errorf("%d texts passed; want 256", passed)
	}
}

func TestNoticesAtOnce(t *testing.T) {
	t.Parallel()
	var n record.Notices
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if n.First("a.test", now) {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if got := passed.Load(); got != 1 {
		t.Errorf("%d passed; want 1", got)
	}
}
