package rotate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// A set is kept for a day until somebody has it, and for Memory from then on.
func TestOrphansArePickedUp(t *testing.T) {
	kept := func(context.Context, rotate.Tokens) error { return nil }
	another := func(*rotate.Fate) error { return errors.New("another subject") }
	for _, tc := range []struct {
		name string
		act  func(w *world)
		day  bool // kept for a day
	}{
		{"a caller without a store", func(w *world) { w.want("a.0", "a.1") }, false},
		{"a caller that stores it", func(w *world) {
			if err := w.ask(context.Background(), &caller{save: kept}, expired("a.0"), nil); err != nil {
				w.t.Error(err)
			}
		}, false},
		{"a store that fails", func(w *world) { _ = w.ask(context.Background(), &caller{save: unsaved}, expired("a.0"), nil) }, true},
		{"a store that is too slow", func(w *world) {
			_ = w.ask(context.Background(), &caller{save: func(context.Context, rotate.Tokens) error {
				time.Sleep(time.Minute)
				return nil
			}}, expired("a.0"), nil)
			time.Sleep(time.Minute)
		}, true},
		{"another user's tokens", func(w *world) { _ = w.ask(context.Background(), &caller{accept: another}, expired("a.0"), nil) }, true},
		{"one of two fails", func(w *world) {
			w.slow(time.Second)
			first := testkit.After(func() { _ = w.ask(context.Background(), &caller{save: unsaved}, expired("a.0"), nil) })
			w.want("a.0", "a.1")
			<-first
		}, true},
		{"a store that fails, and one that works later", func(w *world) {
			_ = w.ask(context.Background(), &caller{save: unsaved}, expired("a.0"), nil)
			time.Sleep(23 * time.Hour)
			c := &caller{save: kept}
			_ = w.ask(context.Background(), c, expired("a.0"), optional)
		}, false},
		{"a caller that is not patient enough", func(w *world) {
			w.slow(patience + time.Second)
			_ = w.ask(context.Background(), &caller{}, set("a.0"), optional)
			time.Sleep(time.Minute)
		}, true},
		{"callers that leave", func(w *world) {
			w.slow(10 * time.Second)
			leader := testkit.After(func() {
				_ = w.ask(context.Background(), &caller{}, set("a.0"), optional)
			})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = w.ask(ctx, &caller{}, expired("a.0"), nil)
			<-leader
			time.Sleep(time.Minute)
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tc.act(w)
				w.slow(0)
				time.Sleep(10 * time.Minute)
				// A set lives for half an hour, a refresh token for longer.
				got, err := w.get("a.0")
				if err != nil || w.sentTimes("a.0") == 1 != tc.day {
					t.Errorf("got %q, %v, a.0 sent %d times; want it remembered: %v", got, err, w.sentTimes("a.0"), tc.day)
				}
			})
		})
	}
}

// A set that has expired while it waited leads on to its own refresh token.
func TestOrphanThatHasExpired(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_ = w.ask(t.Context(), &caller{save: unsaved}, expired("a.0"), nil)
		time.Sleep(20 * time.Hour)
		w.want("a.0", "a.2")
		w.wantSent("a.0", 1)
		w.wantSent("a.1", 1)
	})
}

// A set is remembered from the first caller on that has it: late ones make that no
// longer.
func TestLateCallersProlongNothing(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.want("a.0", "a.1")
		time.Sleep(memory - time.Second)
		w.want("a.0", "a.1")
		time.Sleep(time.Second)
		w.want("a.0", "a.1")
		w.wantSent("a.0", 2) // it was forgotten
	})
}

// Who stores a set has not picked up the one after it.
func TestOrphanAfterAStoredSet(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		s := &saves{}
		first := testkit.After(func() { _ = w.ask(context.Background(), s.caller(5*time.Second, nil), expired("a.0"), nil) })
		_ = w.ask(t.Context(), &caller{save: unsaved}, set("a.1"), named)
		<-first
		time.Sleep(10 * time.Minute)
		w.want("a.1", "a.2")
		w.wantSent("a.1", 1)
	})
}

// A set for which nobody waits any more is forgotten after a day, like any other.
func TestOrphanOfWhoHasLeft(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow(patience + time.Second)
		_ = w.ask(t.Context(), &caller{}, set("a.0"), optional)
		time.Sleep(25 * time.Hour)
		w.want("a.0", "a.1")
		w.wantSent("a.0", 2)
	})
}

// A Save has failed. Its caller comes again with the old tokens, and finds its set,
// whoever else had that too.
func TestFailedSaveIsTriedAgain(t *testing.T) {
	kept := func(context.Context, rotate.Tokens) error { return nil }
	for name, other := range map[string]func(context.Context, rotate.Tokens) error{"without a store": nil, "with another store": kept} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.slow(time.Second)
				first := testkit.After(func() { _ = w.ask(context.Background(), &caller{save: unsaved}, expired("a.0"), nil) })
				w.mustAsk(&caller{save: other}, "a.0", "")
				<-first
				time.Sleep(10 * time.Minute)
				c := &caller{save: kept}
				w.mustAsk(c, "a.0", "")
				if len(c.saved) != 1 || c.saved[0].RefreshToken != "a.1" {
					t.Errorf("stored %v; want a.1", c.saved)
				}
				w.wantSent("a.0", 1)
			})
		})
	}
}

// A set that nobody has stored outlasts what a store had in its place.
func TestOrphanBesideAFoundSet(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_ = w.ask(context.Background(), &caller{save: unsaved}, expired("a.0"), nil)
		w.mustAsk(storing(set("b.0")), "a.0", "")
		time.Sleep(2 * memory)
		w.Unfollow(w.Follow(set("a.0"))) // it is looked up
		w.want("a.0", "a.1")
		w.wantSent("a.0", 1)
	})
}

// A set came when everybody had left. Who stores the one before it late has not picked it
// up.
func TestOrphanBesideALateSave(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		late := &caller{save: func(context.Context, rotate.Tokens) error { time.Sleep(8 * time.Second); return nil }}
		stores := testkit.After(func() { w.mustAsk(late, "a.0", "other") })
		w.slow(patience + time.Second)
		if err := w.ask(context.Background(), &caller{}, set("a.1"), optional); err == nil {
			t.Fatal("it came in time")
		}
		<-stores
		time.Sleep(10 * time.Minute)
		w.slow(0)
		w.want("a.1", "a.2")
		w.wantSent("a.1", 1)
	})
}
