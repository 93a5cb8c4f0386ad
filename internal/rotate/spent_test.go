package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// A session is refreshed twice within one second, for callers of two grants with a
// store each. When the memory of that is over a follower of the first token reads its
// own store, which is behind by the second refresh: dates do not tell, but this
// process has spent what is in it.
func TestStoreBehindAFollower(t *testing.T) {
	for _, tc := range []struct {
		name   string
		comes  string // with which somebody else comes first
		stored string // what the follower's store has
		want   string
	}{
		{"by one set", "", "a.1", "a.2"},
		{"by one set, which is looked up just before", "a.1", "a.1", "a.2"},
		{"by all of them", "", "a.0", "a.2"},
		{"ahead, by another process", "", "b.0", "b.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
				f := w.Follow(set("a.0"))
				defer w.Unfollow(f)
				w.chain("a", 2)
				stored := set(tc.stored)
				time.Sleep(2 * memory)
				if tc.comes != "" {
					w.Follow(set(tc.comes))
				}
				c := storing(stored)
				c.save = func(context.Context, rotate.Tokens) error { return nil }
				if err := w.ask(context.Background(), c, expired("a.0"), func(call *rotate.Call) { call.Follower = f }); err != nil {
					t.Fatal(err)
				}
				if c.got.RefreshToken != tc.want {
					t.Errorf("got %s; want %s", c.got.RefreshToken, tc.want)
				}
				w.want(tc.want, next(tc.want, 1)) // and nothing leads back to the old one
				w.wantSent("a.1", 1)
			})
		})
	}
}

// Only a follower knows that what a store has led to the current set, which is spent
// itself by now: the store is behind. It was taken for newer, and led back to the
// current set, and so on without an end.
func TestStoreHasWhatAFollowerStillLeadsOn(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.chain("a", 1)
		first, second := w.Follow(set("a.0")), w.Follow(set("a.1"))
		defer w.Unfollow(first)
		defer w.Unfollow(second)
		_, _ = w.get("a.2")
		time.Sleep(2 * memory)
		w.mustAsk(storing(set("a.2")), "a.1", "")
		time.Sleep(2 * memory)
		looks := 0
		w.Now = func() time.Time {
			if looks++; looks > 1000 {
				t.Fatal("it goes round in circles")
			}
			return time.Now()
		}
		c := storing(expired("a.1"))
		err := w.ask(context.Background(), c, expired("a.0"), func(call *rotate.Call) { call.Follower = first })
		if err != nil || c.got.RefreshToken != "a.2" {
			t.Errorf("got %q, %v; want a.2", c.got.RefreshToken, err)
		}
	})
}

// What a token became is forgotten. A follower of an earlier token still knows, and stands
// where the traces lead.
func TestFollowerKnowsForLaterTokens(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		defer w.Unfollow(w.Follow(set("a.0")))
		w.chain("a", 3)
		time.Sleep(2 * memory)
		for _, name := range []string{"a.0", "a.1", "a.2"} {
			w.want(name, "a.3")
			w.wantSent(name, 1)
		}
	})
}

// A follower stands where traces lead, but its newest set is of an earlier token than the
// caller's: it knows nothing better.
func TestFollowerKnowsNothingOlder(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		defer w.Unfollow(w.Follow(set("a.1")))
		w.want("a.2", "a.3")
		w.want("a.3", "a.4")
		time.Sleep(2 * memory)
		w.want("b.0", "b.1") // what is too old goes
		w.mustAsk(storing(set("a.2")), "a.1", "")
		time.Sleep(2 * memory)
		w.want("a.3", "a.4")
	})
}

// What the current token became is forgotten. That its store's token led to it is known by
// traces alone, and what that became by a follower: the store is behind, the follower is
// not. The store was taken for newer, so the two tokens led to each other, and nothing led
// from them to the newest one.
func TestStoreBehindLeadsFurther(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := w.Follow(set("a.1"))
		w.chain("a", 4)
		time.Sleep(2 * memory)
		c := storing(set("a.1"))
		if err := w.ask(context.Background(), c, expired("a.2"), nil); err != nil || c.got.RefreshToken != "a.4" {
			t.Errorf("got %q, %v; want a.4", c.got.RefreshToken, err)
		}
		w.wantSent("a.2", 1)
		w.Unfollow(f)
		w.Revoke("a.1")
		w.wantErr("a.4", rotate.ErrRevoked)
	})
}

// The current token is spent, and what it became is forgotten. What its store has came of
// it, and was refreshed again: it is newer, whatever the dates say.
func TestStoreAheadWasRefreshedAgain(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.chain("a", 1)
		time.Sleep(2 * memory)
		w.want("a.1", "a.2")
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return -1 }
		c := storing(expired("a.1"))
		if err := w.ask(context.Background(), c, expired("a.0"), nil); err != nil || c.got.RefreshToken != "a.2" {
			t.Errorf("got %q, %v; want a.2", c.got.RefreshToken, err)
		}
		w.wantSent("a.0", 1)
	})
}

// A token is spent, and what it became is forgotten. A set that came of it is newer,
// whatever the dates say: a clock may have been set. Of others the later date is newer;
// where dates do not tell it is the one that is not spent.
func TestStoreBesideASpentToken(t *testing.T) {
	for _, tc := range []struct {
		name               string
		compare            int
		have, stored, want string
	}{
		{"the caller has it, its store another", -1, "a.0", "b.0", "b.0"},
		{"the caller has it, its store what came of it", -1, "a.0", "a.2", "a.2"},
		{"its store has it, the caller another", 0, "b.0", "a.0", "b.1"},
		{"its store has it, of an older date", -1, "b.0", "a.0", "b.1"},
		{"its store has it, the caller what came of it", 1, "a.2", "a.0", "a.3"},
		{"its store has it, of a later date", 1, "b.0", "a.1", "a.2"},
		{"both have spent ones", 1, "a.0", "a.1", "a.2"},
		{"both have spent ones, the store the first", 1, "a.1", "a.0", "a.2"},
		{"both have spent ones, the store a later one of an older date", -1, "a.0", "a.1", "a.2"},
		{"both have spent ones that have nothing in common", -1, "a.0", "c.0", "a.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.chain("a", 2)
				w.chain("c", 1)
				time.Sleep(2 * memory)
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return tc.compare }
				c := storing(expiredUnless(tc.want, tc.stored))
				if err := w.ask(context.Background(), c, expired(tc.have), nil); err != nil || c.got.RefreshToken != tc.want {
					t.Errorf("got %q, %v; want %s", c.got.RefreshToken, err, tc.want)
				}
			})
		})
	}
}

// expiredUnless is what a store has: fresh where the caller wants that very set.
func expiredUnless(wanted, name string) rotate.Tokens {
	if wanted == name {
		return set(name)
	}
	return expired(name)
}

// A token is held back. What led to it is forgotten, and the wait goes on.
func TestWaitOutlastsWhatLedThere(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		if err := w.ask(context.Background(), storing(set("b.0")), expired("a.0"), nil); err != nil {
			t.Fatal(err)
		}
		failing(rotate.Failure{State: rotate.Cooling, Err: errPassing, Wait: 5 * time.Minute, Blocks: rotate.Named})(w, "b.0")
		time.Sleep(2 * memory)
		w.Unfollow(w.Follow(set("a.0"))) // it is looked up
		w.wantErr("b.0", errPassing)
		w.wantSent("b.0", 1)
	})
}

// Two callers come with the same tokens at once, nothing is remembered, and dates do
// not tell. What the first one's store has is for both, though the second one's store
// still has what both came with.
func TestStoreStillHasWhatItsCallerHas(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Memory = -1
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		ahead := &caller{load: func(context.Context) (rotate.Tokens, error) {
			time.Sleep(time.Second)
			return set("b.0"), nil
		}}
		behind := storing(set("a.0"))
		first := testkit.After(func() { w.mustAsk(ahead, "a.0", "") })
		w.mustAsk(behind, "a.0", "")
		<-first
		if ahead.got.RefreshToken != "b.0" || behind.got.RefreshToken != "b.0" {
			t.Errorf("got %q and %q; want b.0 for both", ahead.got.RefreshToken, behind.got.RefreshToken)
		}
		w.wantSent("a.0", 0)
	})
}

// A caller finds another set in its store in place of a spent token. That the token is
// spent stays known when this is forgotten; one that was refused is not sent for a day
// all the same.
func TestFoundSetHidesNoSpentToken(t *testing.T) {
	t.Run("rotated", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
			w.chain("a", 1)
			time.Sleep(2 * memory)
			if err := w.ask(context.Background(), storing(set("b.0")), expired("a.0"), nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * memory)
			c := storing(set("a.0"))
			if err := w.ask(context.Background(), c, expired("b.0"), nil); err != nil || c.got.RefreshToken != "b.1" {
				t.Errorf("got %q, %v; want b.1", c.got.RefreshToken, err)
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			failing(rotate.Failure{State: rotate.Refused, Err: errUnusable})(w, "a.0")
			if err := w.ask(context.Background(), storing(set("b.0")), expired("a.0"), nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			w.want("a.0", "b.0")
			w.wantSent("a.0", 1)
		})
	})
	t.Run("refused, and the found set went on and is forgotten", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			failing(rotate.Failure{State: rotate.Refused, Err: errUnusable})(w, "a.0")
			w.mustAsk(storing(set("b.0")), "a.0", "")
			w.want("b.0", "b.1")
			time.Sleep(2 * memory)
			w.wantErr("a.0", errUnusable)
			w.wantSent("a.0", 1)
			time.Sleep(24 * time.Hour)
			w.wantErr("a.0", errUnusable)
			w.wantSent("a.0", 2)
		})
	})
}

// What led to a token is forgotten while a call waits for a flight of it. The call
// then begins a flight of its own, which others find.
func TestFlightIsFoundWhenWhatLedThereIsForgotten(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.chain("a", 1) // a.0 became a.1
		w.slow(2 * time.Second)
		narrow := forGrant("narrow")
		w.answers["a.1"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			if grant == "narrow" {
				return rotate.Answer{}, &rotate.Failure{Err: errUnusable}
			}
			return rotate.Answer{Next: set("a.2"), Grant: grant}, nil
		}
		time.Sleep(memory - time.Second)
		refused := testkit.After(func() { _ = w.ask(context.Background(), &caller{}, expired("a.1"), narrow) })
		wide := &caller{}
		waits := testkit.After(func() {
			_ = w.ask(context.Background(), wide, expired("a.0"), forGrant("wide"))
		})
		<-refused
		time.Sleep(time.Second) // its own flight is on its way
		late := &caller{}
		if err := w.ask(context.Background(), late, expired("a.1"), forGrant("wide")); err != nil {
			t.Error(err)
		}
		<-waits
		if late.got.RefreshToken != "a.2" || wide.got.RefreshToken != "a.2" {
			t.Errorf("got %q and %q; want a.2 for both", wide.got.RefreshToken, late.got.RefreshToken)
		}
		w.wantSent("a.1", 2) // the narrow one, and one of the others
	})
}

// The last set of a session has no refresh token. It is stored after the sets before
// it, and not once the session was signed out.
func TestSetWithoutRefreshToken(t *testing.T) {
	last := func(w *world) {
		w.answers["a.1"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			return rotate.Answer{Next: rotate.Tokens{AccessToken: "at-last", ExpiresAt: time.Now().Add(life)}, Grant: grant}, nil
		}
	}
	t.Run("is stored in order", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			last(w)
			var s saves
			first := testkit.After(func() { _ = w.ask(context.Background(), s.caller(5*time.Second, nil), expired("a.0"), nil) })
			w.mustAsk(s.caller(0, nil), "a.0", "other")
			<-first
			if want := []string{"begin a.1", "end a.1", "begin ", "end "}; !slices.Equal(s.log, want) {
				t.Errorf("got %q; want %q", s.log, want)
			}
		})
	})
	for _, busy := range []string{"its store is read", "it is stored"} {
		t.Run("is signed out while "+busy, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				last(w)
				w.chain("a", 1)
				w.want("a.1", "")
				slowly := func() { time.Sleep(time.Second) }
				c := &caller{save: func(context.Context, rotate.Tokens) error { slowly(); return nil }}
				if busy == "its store is read" {
					c.save = nil
					c.load = func(context.Context) (rotate.Tokens, error) { slowly(); return expired("a.1"), nil }
				}
				var err error
				late := testkit.After(func() { err = w.ask(context.Background(), c, expired("a.1"), nil) })
				w.Revoke("a.0")
				<-late
				if !errors.Is(err, rotate.ErrRevoked) {
					t.Errorf("got %v; want %v", err, rotate.ErrRevoked)
				}
			})
		})
	}
}

// A token is revoked whose successors are forgotten, but still in use. They end with it.
func TestRevocationReachesWhatIsForgotten(t *testing.T) {
	for _, revoked := range []string{"a.0", "a.1", "a.2", "a.3"} {
		t.Run(revoked, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				f := w.Follow(set("a.0"))
				defer w.Unfollow(f)
				w.chain("a", 3)
				time.Sleep(2 * memory)
				for n := range 3 {
					_ = w.Revoked(fmt.Sprint("a.", n)) // nothing yet; it looks each up
				}
				w.Revoke("unknown.0") // or nobody would look
				for n := range 3 {
					_ = w.Revoked(fmt.Sprint("a.", n))
				}
				w.Revoke(revoked)
				if !f.Revoked() {
					t.Error("the follower knows nothing of it")
				}
				w.wantErr("a.0", rotate.ErrRevoked)
				w.wantErr("a.3", rotate.ErrRevoked)
			})
		})
	}
}

// A note of a revocation that is too old to count is renewed by the next one.
func TestRevocationIsRenewed(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Revoke("a.0")
		time.Sleep(7*24*time.Hour + time.Second)
		w.Revoke("a.0")
		if !w.Revoked("a.0") {
			t.Error("a.0: not revoked; want it revoked")
		}
	})
}

// The user signs out while another process's set is on its way here, and that has gone
// on from it: its newest set is given back.
func TestNewestSetIsGivenBack(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		redeem := w.Redeem
		w.Redeem = func(ctx context.Context, have rotate.Tokens, grant string, owner any) (*rotate.Answer, error) {
			answer, err := redeem(ctx, have, grant, owner)
			answer.Shared = true
			return answer, err
		}
		w.Peek = func(_ context.Context, have rotate.Tokens) (*rotate.Answer, bool) {
			return &rotate.Answer{Next: set(next(have.RefreshToken, 1)), Shared: true}, have.RefreshToken == "a.1"
		}
		w.slow(time.Second)
		done := testkit.After(func() { w.wantErr("a.0", rotate.ErrRevoked) })
		w.Revoke("a.0")
		<-done
		if got := w.givenBack(); !slices.Equal(got, []string{"a.2"}) {
			t.Errorf("given back: %q; want a.2", got)
		}
	})
}

// A store has another set than its caller, and nothing here tells which is newer: the
// other processes are asked what became of the store's. Where nobody knows, the store
// is ahead.
func TestOthersKnowWhichIsNewer(t *testing.T) {
	for _, tc := range []struct {
		name               string
		compare            int
		elsewhere          string // the session that other processes refresh, from its second set on
		have, stored, want string
	}{
		{"the store is behind", 0, "b", "b.2", "b.1", "b.3"},
		{"the store is ahead", 0, "b", "b.1", "b.2", "b.2"},
		{"nobody knows", 0, "c", "b.2", "b.1", "b.1"},
		{"the store is behind what was refreshed here", 0, "a", "a.2", "a.0", "a.3"},
		{"the store is ahead with what was spent here long ago", 0, "s", "b.0", "s.1", "s.3"},
		{"dates tell that it is", -1, "", "a.2", "a.0", "a.3"},
		{"dates tell that it is not", 1, "", "x.0", "a.0", "a.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.chain("s", 2)
				time.Sleep(2 * memory)
				w.chain("a", 1)
				w.Compare = func(set, _ *rotate.Tokens) int {
					if set.RefreshToken == "s.2" {
						return 1
					}
					return tc.compare
				}
				w.Peek = func(_ context.Context, have rotate.Tokens) (*rotate.Answer, bool) {
					first := tc.elsewhere + ".1"
					return &rotate.Answer{Next: expired(next(first, 1)), Shared: true}, have.RefreshToken == first
				}
				c := storing(expiredUnless(tc.want, tc.stored))
				if err := w.ask(context.Background(), c, expired(tc.have), nil); err != nil || c.got.RefreshToken != tc.want {
					t.Errorf("got %q, %v; want %s", c.got.RefreshToken, err, tc.want)
				}
				w.wantSent("b.1", 0)
				w.wantSent("a.1", 0)
			})
		})
	}
}

// A store is ahead, in doubt. While it waits for what becomes of the store's token this
// process has spent that, and forgets it at once: the store is not behind for that.
func TestStoreIsSpentWhileInDoubt(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Memory = -1
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.Peek = func(context.Context, rotate.Tokens) (*rotate.Answer, bool) { return nil, false }
		w.slow(time.Second)
		spends := testkit.After(func() { w.want("b.0", "b.1") })
		c := storing(set("b.0"))
		w.mustAsk(c, "a.0", "")
		<-spends
		if got := c.got.RefreshToken; got != "b.0" && got != "b.1" { // what came of it is known for a moment
			t.Errorf("got %s; want b.0 or b.1", got)
		}
		w.wantSent("a.0", 0)
	})
}

// The current token is spent, and what it became is forgotten. Its store is ahead of it by
// that, and asks the others, who are further: a follower learns that, too. The store was
// taken to be behind, and the spent token was sent again.
func TestStoreAheadWhoseSetWentOnElsewhere(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.Peek = func(_ context.Context, have rotate.Tokens) (*rotate.Answer, bool) {
			return &rotate.Answer{Next: set("a.2"), Shared: true}, have.RefreshToken == "a.1"
		}
		w.want("a.0", "a.1")
		defer w.Unfollow(w.Follow(set("a.1")))
		time.Sleep(2 * memory)
		c := storing(expired("a.1"))
		if w.mustAsk(c, "a.0", ""); c.got.RefreshToken != "a.2" {
			t.Errorf("got %s; want a.2", c.got.RefreshToken)
		}
		w.wantSent("a.0", 1)
	})
}

// What the store's token became is known here up to a token that another process has spent,
// for what the caller has. The others are asked about that one, too.
func TestStoreBehindByWhatSeveralProcessesDid(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.Peek = func(_ context.Context, have rotate.Tokens) (*rotate.Answer, bool) {
			name := have.RefreshToken
			return &rotate.Answer{Next: set(next(name, 1)), Shared: true}, name == "a.0" || name == "a.2"
		}
		w.want("a.1", "a.2")
		c := storing(set("a.0"))
		if w.mustAsk(c, "a.3", ""); c.got.RefreshToken != "a.4" {
			t.Errorf("got %s; want a.4", c.got.RefreshToken)
		}
	})
}

// A caller leaves while the others are asked which of two sets is newer: that stays in doubt.
func TestWhoLeavesInDoubtSaysNothing(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.Peek = func(ctx context.Context, _ rotate.Tokens) (*rotate.Answer, bool) {
			_ = testkit.Wait(ctx, time.Second)
			return nil, false
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := w.ask(ctx, storing(set("a.0")), expired("a.1"), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want the error of its context", err)
		}
		w.want("a.1", "a.2")
	})
}

// A token that was spent long ago is sent again, and refused. What it once became is newer
// all the same.
func TestDeadTokenStaysBehind(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.chain("a", 2)
		time.Sleep(2 * memory)
		failing(rotate.Failure{State: rotate.Dead, Err: errUnusable})(w, "a.0")
		time.Sleep(2 * memory)
		w.Compare = func(set, _ *rotate.Tokens) int { // by a clock that was set
			if set.RefreshToken == "a.0" {
				return 1
			}
			return -1
		}
		c := storing(set("a.0"))
		w.mustAsk(c, "a.2", "")
		if got := c.got.RefreshToken; got != "a.3" {
			t.Errorf("got %s; want a.3", got)
		}
	})
}

// One caller gets a.2 from another process, and asks what that became. Another one has a.2,
// and a store that may be ahead of it: it asks the same of a.1. They do not wait for each
// other until nobody knows any more.
func TestTwoInDoubtOfEachOther(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.chain("a", 1)
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.Peek = func(context.Context, rotate.Tokens) (*rotate.Answer, bool) { return nil, false }
		w.answers["a.1"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			return rotate.Answer{Next: expired("a.2"), Grant: grant, Shared: true}, nil
		}
		w.slow(100 * time.Millisecond)
		stored := set("a.0")
		c := &caller{load: func(context.Context) (rotate.Tokens, error) { time.Sleep(time.Second); return stored, nil }}
		other := testkit.After(func() { w.want("a.1", "a.3") })
		w.took("both", 1100*time.Millisecond, func() {
			w.mustAsk(c, "a.2", "")
			<-other
		})
		if got := c.got.RefreshToken; got != "a.3" {
			t.Errorf("got %s; want a.3", got)
		}
		w.wantSent("a.2", 1)
	})
}

// A flight has heard of another process's set, and asks what that became. Whoever is in
// doubt of it does not let others take the older set meanwhile.
func TestHeardSetIsNotHandedOutEarly(t *testing.T) {
	for name, doubt := range map[string]bool{"nobody is in doubt": false, "somebody is": true} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
				w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
					return rotate.Answer{Next: set("a.1"), Grant: grant, Shared: true}, nil
				}
				w.Peek = func(_ context.Context, have rotate.Tokens) (*rotate.Answer, bool) {
					time.Sleep(time.Second)
					return &rotate.Answer{Next: set("a.2"), Shared: true}, have.RefreshToken == "a.1"
				}
				first := testkit.After(func() { w.want("a.0", "a.2") })
				if doubt {
					testkit.After(func() { _ = w.ask(context.Background(), storing(expired("a.0")), expired("b.0"), nil) })
				}
				late := &caller{save: func(context.Context, rotate.Tokens) error { return nil }}
				if w.mustAsk(late, "a.0", ""); late.got.RefreshToken != "a.2" || len(late.saved) != 1 {
					t.Errorf("got %s, %d saved; want a.2 alone", late.got.RefreshToken, len(late.saved))
				}
				<-first
				time.Sleep(timeout)
			})
		})
	}
}

// What a set became was forgotten as of no use, while what led to it is kept for a day,
// since nobody could store it: the spent token is not sent again.
func TestSuccessorIsForgottenFirst(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_ = w.ask(t.Context(), &caller{save: unsaved}, expired("a.0"), nil)
		failing(rotate.Failure{State: rotate.Dead, Err: errUnusable})(w, "a.1")
		time.Sleep(2 * memory)
		_, _ = w.get("a.0")
		w.wantSent("a.0", 1)
	})
}

// What the others are asked about is on its way here, and that fails: the doubt stays, and
// the store counts as newer.
func TestFlightFailsWhileInDoubt(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.Peek = func(context.Context, rotate.Tokens) (*rotate.Answer, bool) { return nil, false }
		w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) { return rotate.Answer{}, errPassing }
		w.slow(time.Second)
		other := testkit.After(func() { w.wantErr("a.0", errPassing) })
		c := storing(set("a.0"))
		if w.mustAsk(c, "a.1", ""); c.got.RefreshToken != "a.0" {
			t.Errorf("got %s; want a.0", c.got.RefreshToken)
		}
		<-other
		w.wantSent("a.1", 0)
	})
}

// A caller reads its store before it spends a token. Meanwhile another one has found in
// its own store what that token became, and what came next: it is not spent.
func TestTokenMovesWhileStoreIsRead(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.chain("a", 1)
		reads := &caller{load: func(context.Context) (rotate.Tokens, error) {
			time.Sleep(time.Second)
			return set("b.0"), nil
		}}
		leads := testkit.After(func() {
			if err := w.ask(context.Background(), reads, set("a.1"), named); err != nil {
				t.Error(err)
			}
		})
		w.mustAsk(storing(set("b.0")), "a.0", "") // a.1 became b.0
		w.chain("b", 1)                           // and that b.1
		<-leads
		if reads.got.RefreshToken != "b.1" {
			t.Errorf("got %s; want b.1", reads.got.RefreshToken)
		}
		w.wantSent("a.1", 0)
	})
}

// Whoever gave up on its store goes on once its access token has ended: the store is
// heeded then, and the set that it was about to take holds back no later one.
func TestStoreThatWasSlowIsAskedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		says error // of the store in the end
		want int   // sets stored
	}{
		"the user has signed out": {errUnusable, 0},
		"it has nothing newer":    {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.slow(time.Second)
				have := set("a.0")
				have.ExpiresAt = time.Now().Add(3 * time.Second)
				slow := &caller{save: func(context.Context, rotate.Tokens) error { return nil }}
				var reads int
				slow.load = func(ctx context.Context) (rotate.Tokens, error) {
					if reads++; reads == 1 {
						<-ctx.Done()
						return rotate.Tokens{}, ctx.Err()
					}
					return have, tc.says
				}
				leads := testkit.After(func() { w.mustAsk(&caller{}, "a.0", "") })
				goesOn := testkit.After(func() {
					err := w.ask(context.Background(), slow, have, optional)
					if err != tc.says || len(slow.saved) != tc.want {
						t.Errorf("got %v, and %d sets stored; want %v and %d", err, len(slow.saved), tc.says, tc.want)
					}
				})
				<-leads
				w.mustAsk(&caller{}, "a.1", "another") // the set goes on meanwhile
				w.took("the rest", patience-2*time.Second+time.Second*time.Duration(tc.want), func() { <-goesOn })
			})
		})
	}
}

// Which tokens are known to be spent when all else of them is forgotten: one that was
// refused, but none that the issuer lets be used again.
func TestWhatIsSpent(t *testing.T) {
	for _, tc := range []struct {
		name string
		act  func(w *world)
		past time.Duration
		want string
	}{
		{"refused", failingToken("s.0", rotate.Failure{State: rotate.Refused, Err: errUnusable}), 25 * time.Hour, "b.1"},
		{"used again", func(w *world) {
			w.answers["s.0"] = func(have rotate.Tokens, grant string) (rotate.Answer, error) {
				next := set("s.0")
				next.AccessToken += "'"
				return rotate.Answer{Next: next, Grant: grant}, nil
			}
			w.want("s.0", "s.0")
		}, 2 * memory, "s.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tc.act(w)
				time.Sleep(tc.past)
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
				c := storing(set("s.0"))
				if w.mustAsk(c, "b.0", ""); c.got.RefreshToken != tc.want {
					t.Errorf("got %s; want %s", c.got.RefreshToken, tc.want)
				}
			})
		})
	}
}

func failingToken(token string, failure rotate.Failure) func(*world) {
	return func(w *world) { failing(failure)(w, token) }
}

// What led to a token is forgotten with it, but a sign-out still reaches that.
func TestTraceOfWhatLedThere(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_ = w.ask(context.Background(), &caller{save: unsaved}, expired("a.0"), nil) // kept for 24 hours
		w.want("a.1", "a.2")
		time.Sleep(2 * memory)
		w.Revoke("a.2")
		if !w.Revoked("a.0") {
			t.Error("a.0 is not revoked")
		}
	})
}

// A store has an older set than its caller; but that has become a newer one here.
func TestStoreWhoseSetWentOn(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.want("a.0", "a.1")
		have := set("x.0")
		have.ExpiresAt = time.Now().Add(life / 2)
		c := storing(expired("a.0"))
		if err := w.ask(context.Background(), c, have, named); err != nil || c.got.RefreshToken != "a.1" {
			t.Errorf("got %q, %v; want a.1", c.got.RefreshToken, err)
		}
		w.wantSent("x.0", 0)
	})
}

// Nobody is asked about a store's set where it is known here which one is newer.
func TestNobodyIsAskedAboutAKnownSet(t *testing.T) {
	for _, tc := range []struct {
		name         string
		compare      int
		past         time.Duration // since what is known was done
		have, stored string
	}{
		{"the store is behind", 0, 0, "a.1", "a.0"},
		{"the store is behind, as traces tell", 0, 2 * memory, "a.1", "a.0"},
		{"dates tell", 1, 0, "a.1", "b.0"},
		{"dates tell otherwise", -1, 0, "a.1", "b.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.chain("a", 1)
				time.Sleep(tc.past)
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return tc.compare }
				w.Peek = func(_ context.Context, have rotate.Tokens) (*rotate.Answer, bool) {
					t.Errorf("asked about %s", have.RefreshToken)
					return nil, false
				}
				w.mustAsk(storing(set(tc.stored)), tc.have, "")
			})
		})
	}
}

// A store was taken for newer, by its date. Then another process says that the store's
// token led to the current one: that is certain, and the guess goes.
func TestGuessYieldsToAnAnswer(t *testing.T) {
	for name, between := range map[string]bool{"a guess": false, "a guess, and one that is forgotten": true} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				for n := range 2 {
					w.answers[fmt.Sprint("a.", n+1)] = func(rotate.Tokens, string) (rotate.Answer, error) {
						return rotate.Answer{Next: set(fmt.Sprint("a.", n+2)), Shared: true}, nil
					}
				}
				stored := "a.1"
				if between {
					stored = "b.0"
					w.mustAsk(storing(set("a.1")), "b.0", "")
					defer w.Unfollow(w.Follow(set("a.1")))
					defer w.Unfollow(w.Follow(set("b.0"))) // or else the link would go
					time.Sleep(2 * memory)
				}
				w.mustAsk(storing(set(stored)), "a.3", "")
				c := storing(expired("a.3"))
				if err := w.ask(context.Background(), c, expired("a.1"), forGrant("more")); err != nil || c.got.RefreshToken != "a.4" {
					t.Errorf("got %q, %v; want a.4", c.got.RefreshToken, err)
				}
				w.want("a.3", "a.5") // of the plain grant
				w.want("a.1", "a.5") // what is certain is still known
				w.wantSent("a.1", 1)
				w.wantSent("a.3", 1)
			})
		})
	}
}

// The current token is spent, and what it became forgotten. The store has that, and it
// became the last set of the session: the store is ahead.
func TestStoreAheadLedToTheLastSet(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.answers["a.1"] = func(rotate.Tokens, string) (rotate.Answer, error) {
			return rotate.Answer{Next: rotate.Tokens{AccessToken: "at-last", ExpiresAt: time.Now().Add(life)}}, nil
		}
		w.want("a.0", "a.1")
		time.Sleep(2 * memory)
		w.want("a.1", "")
		c := storing(expired("a.1"))
		if w.mustAsk(c, "a.0", ""); c.got.AccessToken != "at-last" {
			t.Errorf("got %s; want at-last", c.got.AccessToken)
		}
		w.wantSent("a.0", 1)
	})
}
