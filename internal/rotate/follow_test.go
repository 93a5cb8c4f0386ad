package rotate_test

import (
	"context"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/rotate"
)

// newest is the refresh token that a follower knows, empty for none.
func newest(f *rotate.Follower) string {
	if fate := f.Newest(); fate != nil {
		return fate.Next.RefreshToken
	}
	return ""
}

// rotateEvery refreshes a session by name n times, so long after each other.
func (w *world) rotateEvery(d time.Duration, first string, n int) {
	w.t.Helper()
	for i := range n {
		time.Sleep(d)
		if err := w.ask(context.Background(), &caller{}, set(next(first, i)), named); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A follower knows what its tokens became however long ago, and whoever comes with
// the token that it began with learns it, too; when nobody follows any more it is
// forgotten.
func TestFollower(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := w.Follow(set("a.0"))
		if got := newest(f); got != "" || f.Revoked() {
			t.Errorf("at first: got %q; want nothing", got)
		}
		w.rotateEvery(time.Hour, "a.0", 5)
		if got := newest(f); got != "a.5" {
			t.Errorf("after hours: got %q; want a.5", got)
		}
		time.Sleep(10 * time.Minute)
		other := w.Follow(set("a.0"))
		if got := newest(other); got != "a.5" {
			t.Errorf("one that begins later: got %q; want a.5", got)
		}
		w.want("a.0", "a.5")
		w.Unfollow(f)
		w.want("a.0", "a.5")
		w.rotateEvery(time.Hour, "a.5", 1)
		if newest(other) != "a.6" || newest(f) != "a.5" {
			t.Errorf("got %q, and %q after its end; want a.6 and a.5", newest(other), newest(f))
		}
		w.Unfollow(other)
		w.Unfollow(other) // twice is once
		time.Sleep(memory)
		w.want("a.0", "a.1")
		w.wantSent("a.0", 2)
	})
}

// Followers learn of a revocation, by whichever token, and those that begin
// afterwards.
func TestFollowerOfARevokedSession(t *testing.T) {
	for _, revoked := range []string{"a.0", "a.3", "a.5"} {
		t.Run(revoked, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				begins, between := w.Follow(set("a.0")), (*rotate.Follower)(nil)
				w.rotateEvery(time.Hour, "a.0", 3)
				between = w.Follow(set("a.3"))
				w.rotateEvery(time.Hour, "a.3", 2)
				time.Sleep(time.Hour)
				w.Revoke(revoked)
				later := w.Follow(set("a.5"))
				for name, f := range map[string]*rotate.Follower{"the first": begins, "one in between": between, "a later one": later} {
					if !f.Revoked() {
						t.Errorf("%s: not revoked; want it revoked", name)
					}
				}
				for _, name := range []string{"a.0", "a.3", "a.5"} {
					w.wantErr(name, rotate.ErrRevoked)
				}
			})
		})
	}
}

// A follower of what stays the same, of what has no refresh token, and of nothing.
func TestFollowerOfOddTokens(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.answers["stays.0"] = func(have rotate.Tokens, grant string) (rotate.Answer, error) {
			answer := set("stays.0")
			answer.AccessToken = "at-new"
			return rotate.Answer{Next: answer, Grant: grant}, nil
		}
		w.answers["ends.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
			return rotate.Answer{Next: rotate.Tokens{AccessToken: "at-last", ExpiresAt: time.Now().Add(life)}}, nil
		}
		stays, ends, none := w.Follow(set("stays.0")), w.Follow(set("ends.0")), w.Follow(rotate.Tokens{AccessToken: "at"})
		w.want("stays.0", "stays.0")
		w.want("ends.0", "")
		time.Sleep(time.Hour)
		for name, f := range map[string]*rotate.Follower{"at-new": stays, "at-last": ends} {
			if f.Newest() == nil || f.Newest().Next.AccessToken != name {
				t.Errorf("got %v; want %s", f.Newest(), name)
			}
		}
		if none.Newest() != nil || none.Revoked() {
			t.Error("a follower of nothing knows something")
		}
		later := w.Follow(set("ends.0"))
		if later.Newest() == nil || later.Newest().Next.AccessToken != "at-last" {
			t.Errorf("one that begins later: got %v; want at-last", later.Newest())
		}
		for _, f := range []*rotate.Follower{stays, ends, none, later} {
			w.Unfollow(f)
		}
	})
}

// Followed tokens are outside the bounds, so that a crowd pushes none of them out.
func TestFollowedTokensStay(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := w.Follow(set("a.0"))
		w.rotateEvery(time.Second, "a.0", 3)
		w.crowd("orphan", maxEntries+10, 0)
		if got := newest(f); got != "a.3" {
			t.Errorf("got %q; want a.3", got)
		}
		w.want("a.0", "a.3")
		w.wantSent("a.0", 1)
	})
}

// Who has a follower needs no luck with the memory, with whichever token it comes.
func TestCallOfAFollowerWithALaterToken(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := w.Follow(set("a.0"))
		defer w.Unfollow(f)
		w.rotateEvery(time.Hour, "a.0", 5)
		time.Sleep(2 * memory)
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 1 } // by a clock that was set back
		for _, c := range []*caller{{}, storing(expired("a.2"))} {
			err := w.ask(t.Context(), c, expired("a.2"), func(call *rotate.Call) { call.Follower = f })
			if err != nil || c.got.RefreshToken != "a.5" {
				t.Errorf("got %q, %v; want a.5", c.got.RefreshToken, err)
			}
		}
		w.wantSent("a.2", 1)
	})
}

// The same where the last set has no refresh token, and nothing is remembered of it.
func TestCallOfAFollowerOfTheLastSet(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.answers["a.1"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			return rotate.Answer{Next: rotate.Tokens{AccessToken: "at-last", ExpiresAt: time.Now().Add(life)}, Grant: grant}, nil
		}
		f := w.Follow(set("a.0"))
		defer w.Unfollow(f)
		w.chain("a", 2)
		time.Sleep(2 * memory)
		c := &caller{save: func(context.Context, rotate.Tokens) error { return nil }}
		err := w.ask(t.Context(), c, expired("a.1"), func(call *rotate.Call) { call.Follower = f })
		if err != nil || c.got.AccessToken != "at-last" {
			t.Errorf("got %q, %v; want at-last", c.got.AccessToken, err)
		}
		w.wantSent("a.1", 1)
	})
}

// Several followers of one token: each keeps it, whichever ends first.
func TestFollowersOfOneToken(t *testing.T) {
	for _, first := range []int{0, 1} {
		in(t, func(t *testing.T, w *world) {
			all := []*rotate.Follower{w.Follow(set("a.0")), w.Follow(set("a.0"))}
			w.rotateEvery(time.Hour, "a.0", 2)
			time.Sleep(2 * memory)
			w.Unfollow(all[first])
			w.want("a.0", "a.2")
			w.Unfollow(all[1-first])
			w.wantSent("a.0", 1)
		})
	}
}

// What a token became is forgotten, but somebody follows it. Whoever begins to follow the
// token later learns of what comes next, too.
func TestSecondFollower(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		first := w.Follow(set("a.0"))
		defer w.Unfollow(first)
		w.chain("a", 2)
		time.Sleep(2 * memory)
		second := w.Follow(set("a.0"))
		defer w.Unfollow(second)
		if err := w.ask(context.Background(), &caller{}, set("a.2"), named); err != nil {
			t.Fatal(err)
		}
		if got := second.Newest(); got == nil || got.Next.RefreshToken != "a.3" {
			t.Errorf("got %v; want a.3", got)
		}
	})
}

// A source's store lags behind by several sets, so that it gets one whose token this
// process has spent. It goes on from what the store has later.
func TestFollowerOfASpentSet(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := w.Follow(set("a.2"))
		defer w.Unfollow(f)
		following := func(call *rotate.Call) { call.Follower = f }
		gets := func(have, stored string) {
			t.Helper()
			c := storing(set(stored))
			if err := w.ask(t.Context(), c, expired(have), following); err != nil || c.got.RefreshToken != stored {
				t.Errorf("got %q, %v; want %s", c.got.RefreshToken, err, stored)
			}
			time.Sleep(2 * memory)
		}
		w.want("a.3", "a.4")
		time.Sleep(2 * memory)
		gets("a.2", "a.3")
		gets("a.3", "a.6")
		c := storing(expired("a.6"))
		if err := w.ask(t.Context(), c, expired("a.6"), following); err != nil || c.got.RefreshToken != "a.7" {
			t.Errorf("got %q, %v; want a.7", c.got.RefreshToken, err)
		}
		w.wantSent("a.3", 1)
	})
}

// What a token became is replaced by what a store has. Who follows the token learns that,
// though it stands where the traces lead.
func TestFollowerBeyondAReplacedSet(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := w.Follow(set("a.3"))
		defer w.Unfollow(f)
		w.want("a.4", "a.5")
		time.Sleep(2 * memory)
		w.mustAsk(storing(set("a.4")), "a.3", "") // spent: the follower stands at a.5
		time.Sleep(2 * memory)
		w.mustAsk(storing(set("a.8")), "a.3", "")
		if got := newest(f); got != "a.8" {
			t.Errorf("got %q; want a.8", got)
		}
		w.want("a.8", "a.9")
		if got := newest(f); got != "a.9" {
			t.Errorf("got %q; want a.9", got)
		}
	})
}

// Dates do not tell that another caller's store is behind. A source, and whoever comes with
// its token, does not go back to a set that is spent.
func TestFollowerDoesNotGoBack(t *testing.T) {
	for _, follows := range []bool{true, false} {
		in(t, func(t *testing.T, w *world) {
			w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
			knower, f := w.Follow(set("a.4")), w.Follow(set("a.7"))
			defer w.Unfollow(f)
			w.want("a.4", "a.5")
			w.want("a.5", "a.6")
			time.Sleep(2 * memory)
			w.want("b.0", "b.1")                      // what is too old goes
			w.mustAsk(storing(set("a.4")), "a.7", "") // gets a.6
			w.Unfollow(knower)
			time.Sleep(2 * memory)
			c := storing(expired("a.7"))
			err := w.ask(t.Context(), c, expired("a.7"), func(call *rotate.Call) {
				if follows {
					call.Follower = f
				}
			})
			if err != nil || c.got.RefreshToken != "a.8" {
				t.Errorf("a source's own call %t: got %q, %v; want a.8", follows, c.got.RefreshToken, err)
			}
			w.wantSent("a.4", 1)
		})
	}
}

// What led to the token that a follower began with is replaced. That is not its own.
func TestFollowerStaysWithItsToken(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.want("a.3", "a.4")
		f := w.Follow(set("a.4"))
		defer w.Unfollow(f)
		time.Sleep(2 * memory)
		w.mustAsk(storing(set("a.7")), "a.3", "")
		if got := newest(f); got != "" {
			t.Errorf("got %q; want nothing", got)
		}
		w.want("a.4", "a.5")
		if got := newest(f); got != "a.5" {
			t.Errorf("got %q; want a.5", got)
		}
	})
}

// What a source has was not the follower's first set, nor is it known to be spent: the
// follower alone knows that another caller's store had a newer one.
func TestFollowerKnowsMoreThanTraces(t *testing.T) {
	for name, ended := range map[string]bool{"it goes on": false, "it has ended": true} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				f := w.Follow(set("a.0"))
				defer w.Unfollow(f)
				w.want("a.0", "a.1")
				w.mustAsk(storing(set("a.4")), "a.1", "")
				time.Sleep(2 * memory)
				want := "a.4"
				if ended {
					w.Unfollow(f)
					want = "a.2"
				}
				c := &caller{}
				err := w.ask(t.Context(), c, expired("a.1"), func(call *rotate.Call) { call.Follower = f })
				if err != nil || c.got.RefreshToken != want {
					t.Errorf("got %q, %v; want %s", c.got.RefreshToken, err, want)
				}
			})
		})
	}
}

// What led to a follower's newest set is forgotten, and replaced by what another caller's
// store has, which is older: the follower stays.
func TestFollowerStaysWithItsSet(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		f := w.Follow(set("a.0"))
		defer w.Unfollow(f)
		older := set("a.3")
		w.want("a.0", "a.1")
		w.mustAsk(storing(set("a.4")), "a.1", "")
		time.Sleep(2 * memory)
		w.mustAsk(storing(older), "a.1", "")
		if got := newest(f); got != "a.4" {
			t.Errorf("got %q; want a.4", got)
		}
	})
}

// A session is followed for longer than traces are, by a store that nobody writes to: that
// is behind all the same.
func TestStoreBehindALongChain(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		const n = 1030
		f := w.Follow(set("a.0"))
		defer w.Unfollow(f)
		w.rotateEvery(time.Second, "a.0", n)
		time.Sleep(2 * memory)
		old := set("a.0")
		old.ExpiresAt = time.Now().Add(-time.Hour)
		c := storing(old)
		last := next("a.0", n)
		if w.mustAsk(c, last, ""); c.got.RefreshToken != next(last, 1) {
			t.Errorf("got %s; want %s", c.got.RefreshToken, next(last, 1))
		}
		w.wantSent("a.0", 1)
	})
}
