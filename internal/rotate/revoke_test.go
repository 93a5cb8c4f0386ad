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

// A revocation reaches the whole chain, whichever of its tokens it names, and no
// other.
func TestRevocationReachesTheChain(t *testing.T) {
	for revoked := range 5 {
		t.Run(fmt.Sprintf("token %d of 5", revoked), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.chain("a", 4)
				w.chain("b", 4)
				w.Revoke(fmt.Sprint("a.", revoked))
				w.Revoke(fmt.Sprint("a.", revoked)) // once more
				for n := range 5 {
					if name := fmt.Sprint("a.", n); !w.Revoked(name) {
						t.Errorf("%s: not revoked; want it revoked", name)
					}
					if name := fmt.Sprint("b.", n); w.Revoked(name) {
						t.Errorf("%s: revoked; want it left alone", name)
					}
				}
				w.wantErr("a.0", rotate.ErrRevoked)
				w.want("b.0", "b.4")
				if w.Revoked("") || w.Revoked("unknown.0") {
					t.Error("a token that nobody has revoked is revoked")
				}
			})
		})
	}
}

// Where two tokens became one, as where another process was first, both are reached.
func TestRevocationReachesEveryBranch(t *testing.T) {
	for _, revoked := range []string{"a.0", "b.0", "a.5", "a.6"} {
		t.Run(revoked, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				stored := func(context.Context) (rotate.Tokens, error) { return set("a.5"), nil }
				for _, name := range []string{"a.0", "b.0"} {
					if err := w.ask(t.Context(), &caller{load: stored}, expired(name), nil); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.ask(t.Context(), &caller{}, set("a.5"), named); err != nil {
					t.Fatal(err)
				}
				w.Revoke(revoked)
				for _, name := range []string{"a.0", "b.0", "a.5", "a.6"} {
					if !w.Revoked(name) {
						t.Errorf("%s: not revoked; want it revoked", name)
					}
				}
			})
		})
	}
}

// A flight that lands on a revoked token brings nobody anything, and gives back what
// it got, be it that somebody asks for another grant, or leaves.
func TestRevocationDuringAFlight(t *testing.T) {
	for name, by := range map[string]string{"its token": "a.2", "one before": "a.0"} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.chain("a", 2)
				w.slow(5 * time.Second)
				ctx, leave := context.WithCancel(t.Context())
				var dones []chan struct{}
				for _, grant := range []string{"", "", "more"} {
					dones = append(dones, testkit.After(func() {
						err := w.ask(context.Background(), &caller{save: unsaved}, expired("a.2"), forGrant(grant))
						if !errors.Is(err, rotate.ErrRevoked) {
							t.Errorf("grant %q: got %v; want ErrRevoked", grant, err)
						}
					}))
				}
				dones = append(dones, testkit.After(func() {
					if err := w.ask(ctx, &caller{}, expired("a.2"), nil); !errors.Is(err, context.Canceled) {
						t.Errorf("who leaves: got %v; want its own leaving", err)
					}
				}))
				leave()
				w.Revoke(by)
				for _, done := range dones {
					<-done
				}
				if got := w.givenBack(); !slices.Equal(got, []string{"a.3"}) {
					t.Errorf("given back: got %q; want a.3", got)
				}
				for _, name := range []string{"a.0", "a.1", "a.2", "a.3"} {
					if !w.Revoked(name) {
						t.Errorf("%s: not revoked; want it revoked", name)
					}
				}
				w.wantSent("a.2", 1)
			})
		})
	}
}

// Nothing revives a revoked token: no failure, no cooldown, no set out of a store.
func TestRevocationIsFinal(t *testing.T) {
	for name, failure := range map[string]error{
		"a passing failure": errPassing,
		"a cooldown":        &rotate.Failure{State: rotate.Cooling, Err: errPassing, Wait: time.Minute, Blocks: rotate.Named},
		"a dead token":      &rotate.Failure{State: rotate.Dead, Err: errUnusable},
		"a refused set":     &rotate.Failure{State: rotate.Refused, Err: errUnusable},
		"a refused grant":   &rotate.Failure{Err: errUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.slow(time.Second)
				w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) { return rotate.Answer{}, failure }
				flight := testkit.After(func() { w.wantErr("a.0", rotate.ErrRevoked) })
				w.Revoke("a.0")
				<-flight
				w.wantErr("a.0", rotate.ErrRevoked)
				w.wantSent("a.0", 1)
			})
		})
	}
	t.Run("a new sign-in in the store", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			w.Revoke("a.0")
			c := &caller{load: func(context.Context) (rotate.Tokens, error) { return set("b.0"), nil }}
			if err := w.ask(t.Context(), c, expired("a.0"), nil); err != nil || c.got.RefreshToken != "b.0" {
				t.Errorf("got %q, %v; want b.0", c.got.RefreshToken, err)
			}
			if !w.Revoked("a.0") || w.Revoked("b.0") {
				t.Error("want a.0 revoked, and b.0 left alone")
			}
			w.wantErr("a.0", rotate.ErrRevoked) // without that store
		})
	})
}

// The user signs out while a caller reads its store, which has a new sign-in: that is
// the caller's.
func TestNewSignInFoundDuringARevocation(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		c := &caller{load: func(context.Context) (rotate.Tokens, error) { w.Revoke("a.0"); return set("b.0"), nil }}
		if err := w.ask(t.Context(), c, expired("a.0"), nil); err != nil || c.got.RefreshToken != "b.0" {
			t.Errorf("got %q, %v; want b.0", c.got.RefreshToken, err)
		}
		if got := w.givenBack(); len(got) != 0 || w.Revoked("b.0") {
			t.Errorf("given back: %q; want b.0 left alone", got)
		}
	})
}

// The user signs out while a caller's store fails: whoever may try again is told.
func TestRevocationWhileTheStoreFails(t *testing.T) {
	for failure, want := range map[error]error{errPassing: rotate.ErrRevoked, errUnusable: errUnusable} {
		in(t, func(t *testing.T, w *world) {
			c := &caller{load: func(context.Context) (rotate.Tokens, error) { w.Revoke("a.0"); return rotate.Tokens{}, failure }}
			if err := w.ask(t.Context(), c, expired("a.0"), nil); !errors.Is(err, want) {
				t.Errorf("%v: got %v; want %v", failure, err, want)
			}
		})
	}
}

// The user signs out with the set of a caller's store while the caller accepts it,
// where the set before had no refresh token.
func TestRevocationOfAnAcceptedSet(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
			return rotate.Answer{Next: rotate.Tokens{AccessToken: "at-last", ExpiresAt: time.Now().Add(life)}}, nil
		}
		w.want("a.0", "")
		c := storing(set("b.0"))
		c.accept = func(*rotate.Fate) error { w.Revoke("b.0"); return nil }
		w.Compare = func(set, _ *rotate.Tokens) int { return len(set.RefreshToken) }
		if err := w.ask(t.Context(), c, expired("a.0"), nil); !errors.Is(err, rotate.ErrRevoked) {
			t.Errorf("got %q, %v; want ErrRevoked", c.got.RefreshToken, err)
		}
	})
}

// A revocation lasts as long as any, whatever became of the token before.
func TestRevocationOfARefusedToken(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		failing(rotate.Failure{State: rotate.Refused, Err: errUnusable})(w, "a.0")
		w.Revoke("a.0")
		time.Sleep(6 * 24 * time.Hour)
		if !w.Revoked("a.0") {
			t.Error("a.0: not revoked; want it revoked")
		}
	})
}

// Two followers of one token went different ways. A sign-out reaches both.
func TestSignOutReachesAllFollowers(t *testing.T) {
	for range 20 { // which of them is asked first is chance
		in(t, func(t *testing.T, w *world) {
			w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 1 }
			first := w.Follow(set("a.0"))
			defer w.Unfollow(first)
			w.chain("a", 1)
			w.slow(5 * time.Second)
			leads := testkit.After(func() { _ = w.ask(context.Background(), &caller{}, set("a.1"), named) })
			w.mustAsk(storing(set("b.0")), "a.0", "")
			<-leads
			second := w.Follow(set("a.0"))
			defer w.Unfollow(second)
			w.Revoke("a.0")
			if !first.Revoked() || !second.Revoked() {
				t.Errorf("the followers know of the sign-out: %t and %t; want both", first.Revoked(), second.Revoked())
			}
		})
	}
}

// The user signs out while a set is stored, and the store fails: its error is told, too.
func TestSignOutDuringASaveThatFails(t *testing.T) {
	for _, failed := range []error{errUnusable, errPassing} {
		t.Run(failed.Error(), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				c := &caller{save: func(context.Context, rotate.Tokens) error {
					w.Revoke("a.1")
					return failed
				}}
				err := w.ask(context.Background(), c, expired("a.0"), nil)
				if !errors.Is(err, rotate.ErrRevoked) || !errors.Is(err, failed) {
					t.Errorf("got %v; want both %v and %v", err, rotate.ErrRevoked, failed)
				}
			})
		})
	}
}
