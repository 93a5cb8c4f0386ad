package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// The bounds of a table.
const (
	maxEntries = 16384
	maxBytes   = 64 << 20
	maxNotes   = maxEntries / 2
)

// remains is something that a table remembers of a token.
type remains struct {
	name  string
	leave func(w *world, token string)
	lasts time.Duration
	// stays: it outlasts a crowd of each kind.
	stays map[string]bool
}

// everything is all that is remembered.
func everything() []remains {
	return []remains{
		{"a set that its caller has", func(w *world, token string) { w.want(token, next(token, 1)) }, memory, map[string]bool{"revoked": true}},
		{"a set out of a store", func(w *world, token string) {
			load := func(context.Context) (rotate.Tokens, error) { return set(next(token, 5)), nil }
			if err := w.ask(context.Background(), &caller{load: load}, expired(token), nil); err != nil {
				w.t.Error(err)
			}
		}, memory, map[string]bool{"revoked": true}},
		{"a token that is dead", failing(rotate.Failure{State: rotate.Dead, Err: errUnusable}), memory, map[string]bool{"revoked": true}},
		{"a cooldown", failing(rotate.Failure{State: rotate.Cooling, Err: errPassing, Wait: 50 * time.Second, Blocks: rotate.Named}),
			50 * time.Second, map[string]bool{"revoked": true}},
		{"a set that nobody has picked up", func(w *world, token string) {
			_ = w.ask(context.Background(), &caller{save: unsaved}, expired(token), nil)
		}, 24 * time.Hour, map[string]bool{"revoked": true, "brief": true}},
		{"a token that must not be sent again", failing(rotate.Failure{State: rotate.Refused, Err: errUnusable}),
			24 * time.Hour, map[string]bool{"revoked": true, "brief": true}},
		{"a revocation", func(w *world, token string) { w.Revoke(token) }, 7 * 24 * time.Hour, map[string]bool{"brief": true, "orphan": true}},
	}
}

// knows reports whether the table remembers a token: a call with it sends nothing.
func (w *world) knows(token string) bool {
	before := w.sentTimes(token)
	_, _ = w.get(token)
	return w.sentTimes(token) == before
}

// Each kind of knowledge lasts as long as it should, to the nanosecond.
func TestHowLongItIsRemembered(t *testing.T) {
	for _, r := range everything() {
		for _, early := range []time.Duration{1, 0} {
			t.Run(fmt.Sprintf("%s/%v before its end", r.name, early), func(t *testing.T) {
				in(t, func(t *testing.T, w *world) {
					r.leave(w, "x.0")
					time.Sleep(r.lasts - early)
					if got := w.knows("x.0"); got != (early > 0) {
						t.Errorf("remembered after %v: got %v; want %v", r.lasts-early, got, early > 0)
					}
				})
			})
		}
	}
}

// crowd fills a table with so many of a kind, each of another session and a moment
// later.
func (w *world) crowd(kind string, n, size int) {
	w.t.Helper()
	if size > 0 {
		w.padding = strings.Repeat("p", size)
		defer func() { w.padding = "" }()
	}
	for i := range n {
		time.Sleep(time.Nanosecond)
		name := fmt.Sprintf("%s%d.0", kind, i)
		c := &caller{}
		switch kind {
		case "revoked":
			w.Revoke(name)
			continue
		case "orphan":
			c.save = unsaved
		}
		if err := w.ask(context.Background(), c, expired(name), nil); (err != nil) != (kind == "orphan") {
			w.t.Fatalf("%s: %v", name, err)
		}
	}
}

// What leaves where the room is short: what is remembered for late callers first,
// then what is all that is left of a session, and revocations last of all.
func TestWhatLeavesFirst(t *testing.T) {
	for _, tc := range []struct {
		kind       string
		some, size int
	}{
		{"brief", maxEntries + 10, 0}, {"brief", 70, 1 << 20},
		{"orphan", maxEntries + 10, 0}, {"orphan", 70, 1 << 20},
		{"revoked", 2 * maxEntries, 0},
	} {
		t.Run(fmt.Sprintf("%d of %s, %d bytes", tc.some, tc.kind, tc.size), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				for i, r := range everything() {
					r.leave(w, fmt.Sprintf("x%d.0", i))
				}
				w.crowd(tc.kind, tc.some, tc.size)
				for _, want := range []bool{true, false} { // who is not known is sent, and takes room
					for i, r := range everything() {
						if r.stays[tc.kind] == want && w.knows(fmt.Sprintf("x%d.0", i)) != want {
							t.Errorf("%s: remembered %v; want %v", r.name, !want, want)
						}
					}
				}
			})
		})
	}
}

// The bounds themselves: the newest of a crowd are there, the oldest are not, and
// what has expired takes nobody's room.
func TestBoundsOfTheTable(t *testing.T) {
	for _, tc := range []struct {
		name           string
		fill           func(w *world)
		known, unknown []string
	}{
		{"entries", func(w *world) { w.crowd("brief", maxEntries+100, 0) },
			[]string{"brief100.0", "brief16483.0"}, []string{"brief99.0", "brief0.0"}},
		{"bytes", func(w *world) { w.crowd("brief", 80, maxBytes/64-1024) },
			[]string{"brief16.0", "brief79.0"}, []string{"brief15.0", "brief0.0"}},
		{"orphans among the others", func(w *world) { w.crowd("orphan", 100, 0); w.crowd("brief", maxEntries, 0) },
			[]string{"orphan0.0", "brief100.0"}, []string{"brief99.0", "brief0.0"}},
		{"room after an expiry", func(w *world) {
			w.crowd("early", maxEntries, 0)
			time.Sleep(memory)
			w.crowd("brief", maxEntries, 0)
		}, []string{"brief0.0", "brief16383.0"}, []string{"early16383.0"}},
		{"room after an expiry of what leaves later", func(w *world) {
			w.crowd("orphan", maxEntries, 0)
			time.Sleep(24 * time.Hour)
			w.crowd("brief", maxEntries, 0)
		}, []string{"brief0.0", "brief16383.0"}, []string{"orphan16383.0"}},
		{"a half for revocations", func(w *world) { w.crowd("orphan", maxNotes, 0); w.crowd("revoked", maxEntries, 0) },
			[]string{"orphan0.0", "orphan8191.0", "revoked8192.0", "revoked16383.0"}, []string{"revoked8191.0", "revoked0.0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tc.fill(w)
				for _, name := range tc.known {
					if !w.knows(name) {
						t.Errorf("%s: not known; want it remembered", name)
					}
				}
				for _, name := range tc.unknown {
					if w.knows(name) {
						t.Errorf("%s: known; want it forgotten", name)
					}
				}
			})
		})
	}
}

// A set whose own token's fate is forgotten is forgotten, too: it is spent.
func TestForgottenWithItsSuccessor(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		// x.1 waits for its caller for a day; another grant goes on from it.
		_ = w.ask(t.Context(), &caller{save: unsaved}, expired("x.0"), nil)
		c := &caller{save: func(context.Context, rotate.Tokens) error { return nil }}
		if err := w.ask(t.Context(), c, expired("x.0"), forGrant("more")); err != nil || c.got.RefreshToken != "x.2" {
			t.Fatalf("got %q, %v; want x.2", c.got.RefreshToken, err)
		}
		time.Sleep(memory)
		w.Unfollow(w.Follow(set("x.1"))) // which looks at it
		_, _ = w.get("x.0")
		w.wantSent("x.0", 2) // the issuer has the last word
	})
}

// What is forgotten is not reached by a revocation of what it became, and leaves the
// revocation of another token alone.
func TestForgottenTokensAndRevocations(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		if err := w.ask(t.Context(), storing(set("b.0")), expired("a.0"), nil); err != nil {
			t.Fatal(err)
		}
		w.Revoke("c.0")
		time.Sleep(2 * memory)
		w.Unfollow(w.Follow(set("a.0"))) // which looks at it
		if !w.Revoked("c.0") {
			t.Error("c.0: not revoked; want it revoked")
		}
		w.Revoke("b.0")
		for name, want := range map[string]bool{"a.0": false, "b.0": true} {
			if got := w.Revoked(name); got != want {
				t.Errorf("%s: revoked %v; want %v", name, got, want)
			}
		}
	})
}

// A cooldown outlasts what is known of its token, and of the token before.
func TestCooldownOutlastsTheMemory(t *testing.T) {
	busy := rotate.Failure{State: rotate.Cooling, Err: errPassing, Wait: 5 * time.Minute, Blocks: rotate.Named}
	for name, leave := range map[string]func(w *world){
		"of a token that stays": func(w *world) {
			w.answers["a.1"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
				return rotate.Answer{Next: set("a.1"), Grant: grant}, nil
			}
			w.want("a.1", "a.1")
		},
		"of one whose set it became": func(w *world) { w.want("a.0", "a.1") },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				leave(w)
				w.answers["a.1"] = func(rotate.Tokens, string) (rotate.Answer, error) { return rotate.Answer{}, &busy }
				if err := w.urgent("a.1", rotate.Named); !errors.Is(err, errPassing) {
					t.Fatalf("got %v; want the failure", err)
				}
				time.Sleep(2 * memory)
				w.Unfollow(w.Follow(set("a.0"))) // which looks at it
				var held *rotate.HeldError
				if err := w.urgent("a.1", rotate.Named); !errors.As(err, &held) {
					t.Errorf("got %v; want it held back", err)
				}
			})
		})
	}
}

// What a token became is not forgotten while somebody stores its set, however short the
// memory is.
func TestNothingIsForgottenWhileItIsStored(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Memory = time.Second
		s := &saves{}
		first := testkit.After(func() { _ = w.ask(context.Background(), s.caller(10*time.Second, nil), expired("a.0"), nil) })
		if err := w.ask(context.Background(), &caller{}, set("a.1"), named); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.want("a.1", "a.2")
		w.wantSent("a.1", 1)
		<-first
	})
}

// Nothing of a session stays for ever.
func TestTableIsEmptyInTheEnd(t *testing.T) {
	const sessions = 10_000
	in(t, func(t *testing.T, w *world) {
		w.want("x.0", "x.1")
		w.Patience = time.Millisecond
		w.slow(2 * time.Millisecond)
		before := testkit.Heap()
		for i := range sessions {
			name := fmt.Sprint("s", i, ".0")
			w.Unfollow(w.Follow(set(name)))
			_ = w.ask(context.Background(), &caller{}, set(fmt.Sprint("left", name)), optional)
			_ = w.ask(context.Background(), &caller{}, expired(name), nil)
			_ = w.urgent(next(name, 1), rotate.Named)
		}
		w.sent = map[string]int{}
		for _, name := range []string{"y.0", "z.0"} {
			time.Sleep(2 * 24 * time.Hour)
			w.want(name, next(name, 1)) // makes room, first of what became of tokens, then of traces
		}
		testkit.WantHeap(t, "after all", before, 4)
		w.want("z.0", "z.1") // so that it is there until now
	})
}

// A revocation that a flight has to heed does not leave before that has landed,
// whoever else signs out meanwhile.
func TestRevocationWaitsForItsFlight(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow(10 * time.Second)
		flight := testkit.After(func() { w.wantErr("x.0", rotate.ErrRevoked) })
		w.Revoke("x.0")
		w.crowd("revoked", maxEntries+1, 0)
		<-flight
		if got := w.givenBack(); !slices.Equal(got, []string{"x.1"}) {
			t.Errorf("given back: got %q; want x.1", got)
		}
	})
}

// A token goes on while a caller still stores its set. When that caller is done, it is
// remembered as any other: a crowd drives it out.
func TestTokenThatWentOnInUseIsForgotten(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		slow := &caller{save: func(context.Context, rotate.Tokens) error { time.Sleep(time.Second); return nil }}
		stores := testkit.After(func() { w.mustAsk(slow, "a.0", "another") })
		w.want("a.1", "a.2")
		<-stores
		w.want("a.1", "a.2")
		w.wantSent("a.1", 1)
		for n := range maxEntries {
			w.chain(fmt.Sprint("crowd", n), 1)
		}
		w.want("a.1", "a.2")
		w.wantSent("a.1", 2)
	})
}
