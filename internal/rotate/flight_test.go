package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// A caller whose own tokens cannot be decoded has nothing spent.
func TestUnreadableTokensAreNotSent(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		if err := w.ask(t.Context(), &caller{owner: errUnusable}, expired("a.0"), nil); !errors.Is(err, errUnusable) {
			t.Errorf("got %v; want %v", err, errUnusable)
		}
		w.wantSent("a.0", 0)
	})
}

// A request that panics is a failure like any other, for all who wait.
func TestPanicOfARequest(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow(time.Second)
		w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) { panic("broken") }
		leads := testkit.After(func() { w.wantErr("a.0", errPassing) })
		w.wantErr("a.0", errPassing)
		<-leads
		w.wantSent("a.0", 1)
	})
}

// A call ends with its time, however many requests it takes: only the first one has
// all of it.
func TestCallOfManyRequestsEnds(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow(20 * time.Second)
		for i := range 10 {
			w.answers[fmt.Sprint("a.", i)] = func(have rotate.Tokens, _ string) (rotate.Answer, error) {
				return rotate.Answer{Next: set(next(have.RefreshToken, 1)), Grant: "another", Shared: true}, nil
			}
		}
		w.took("the call", timeout, func() { w.wantErr("a.0", context.DeadlineExceeded) })
		w.wantSent("a.1", 1)
		time.Sleep(time.Minute)
	})
}

// A process was stopped with a request on its way. Who comes afterwards does not
// share its failure.
func TestFailureOfAnOverdueRequest(t *testing.T) {
	for came, want := range map[time.Duration]error{timeout - time.Second: errPassing, timeout: nil, timeout + time.Second: nil} {
		t.Run(fmt.Sprint("after ", came), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				first, redeem := true, w.Redeem
				w.Redeem = func(ctx context.Context, have rotate.Tokens, grant string, owner any) (*rotate.Answer, error) {
					if first {
						first = false
						time.Sleep(timeout + 10*time.Second)
						return nil, errPassing
					}
					return redeem(ctx, have, grant, owner)
				}
				leads := testkit.After(func() { _, _ = w.get("a.0") })
				time.Sleep(came)
				_, err := w.get("a.0")
				if !errors.Is(err, want) {
					t.Errorf("got %v; want %v", err, want)
				}
				<-leads
			})
		})
	}
}

// Who waits for a leader that finds an expired set in its store refreshes that.
func TestExpiredSetOfTheLeadersStore(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		stored := expired("a.5")
		leads := testkit.After(func() {
			_ = w.ask(context.Background(), &caller{load: func(context.Context) (rotate.Tokens, error) {
				time.Sleep(time.Second)
				return stored, nil
			}}, expired("a.0"), nil)
		})
		w.want("a.0", "a.6")
		<-leads
	})
}

// A caller's own store is read, unless the leader has read one since the caller came:
// the user may have signed out.
func TestStoreIsReadAfterTheCallerCame(t *testing.T) {
	for name, tc := range map[string]struct {
		leader bool          // it has a store
		comes  time.Duration // after the leader, who begins to read at once
		loads  int           // of the caller's
	}{
		"the leader's is read from then on": {true, 0, 0},
		"the leader's was read before":      {true, time.Second, 1},
		"the leader has none":               {false, time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.slow(5 * time.Second)
				leader, stored := &caller{}, expired("a.0")
				if tc.leader {
					leader.load = func(context.Context) (rotate.Tokens, error) { time.Sleep(2 * time.Second); return stored, nil }
				}
				leads := testkit.After(func() { _ = w.ask(context.Background(), leader, stored, nil) })
				time.Sleep(tc.comes)
				loads := 0
				c := &caller{load: func(context.Context) (rotate.Tokens, error) { loads++; return stored, nil }}
				if err := w.ask(context.Background(), c, stored, nil); err != nil || loads != tc.loads {
					t.Errorf("got %v, store read %d times; want %d", err, loads, tc.loads)
				}
				<-leads
			})
		})
	}
}

// What is refreshed at an issuer that does not rotate is the newest set there is: the
// caller's own, where the one that is known here is no newer.
func TestNewestSetOfATokenThatStays(t *testing.T) {
	for compare, want := range map[int]string{-1: "at-own", 0: "at-own", 1: "at-known"} {
		for _, by := range []string{"the table", "a follower", "a follower of its own"} {
			t.Run(fmt.Sprintf("%s knows, compares %d", by, compare), func(t *testing.T) {
				in(t, func(t *testing.T, w *world) {
					sent := ""
					w.answers["a.0"] = func(have rotate.Tokens, grant string) (rotate.Answer, error) {
						sent = have.AccessToken
						return rotate.Answer{Next: rotate.Tokens{AccessToken: "at-known", RefreshToken: "a.0"}, Grant: grant}, nil
					}
					var f *rotate.Follower
					if by != "the table" {
						f = w.Follow(set("a.0"))
						defer w.Unfollow(f)
					}
					_, _ = w.get("a.0") // it has expired already
					if f != nil {
						time.Sleep(48 * time.Hour) // the table has forgotten
					}
					w.Compare = func(set, another *rotate.Tokens) int {
						if set.AccessToken == another.AccessToken {
							return 0
						}
						return compare
					}
					own := expired("a.0")
					own.AccessToken = "at-own"
					_ = w.ask(t.Context(), &caller{}, own, func(call *rotate.Call) {
						if by == "a follower of its own" {
							call.Follower = f
						}
					})
					if sent != want {
						t.Errorf("refreshed %s; want %s", sent, want)
					}
				})
			})
		}
	}
}

// At an issuer that does not rotate a request is slow, and who comes meanwhile has a newer
// set by another process: what the request brings is of no use for it, unless that is newer
// still.
func TestNewerSetThanAFlightBegan(t *testing.T) {
	for _, tc := range []struct {
		name    string
		counted time.Duration // after the request left, the life of its answer begins
		want    string
	}{
		{"it brings an older one", 0, "at-2"},
		{"it brings a newer one", 4 * time.Second, "at-1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				sent := 0
				w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
					sent++
					next := set("a.0")
					next.AccessToken = fmt.Sprint("at-", sent)
					next.ExpiresAt = next.ExpiresAt.Add(tc.counted - 5*time.Second)
					return rotate.Answer{Next: next, Grant: grant}, nil
				}
				w.slow(5 * time.Second)
				slow := testkit.After(func() { w.want("a.0", "a.0") })
				time.Sleep(2 * time.Second)
				newer := set("a.0")
				newer.AccessToken = "at-own"
				c := &caller{}
				if err := w.ask(t.Context(), c, newer, named); err != nil || c.got.AccessToken != tc.want {
					t.Errorf("got %s, %v; want %s", c.got.AccessToken, err, tc.want)
				}
				<-slow
			})
		})
	}
}

// The client's clock was set back by more than a token's life: each answer of an issuer that
// does not rotate looks older than what it came for. It is taken all the same.
func TestTokenThatStaysAfterAClockWasSetBack(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		came := set("a.0")
		sent := 0
		w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			sent++
			next := set("a.0")
			next.AccessToken = fmt.Sprint("at-", sent)
			return rotate.Answer{Next: next, Grant: grant}, nil
		}
		came.ExpiresAt = came.ExpiresAt.Add(time.Hour)
		w.slow(time.Second)
		var all []<-chan struct{}
		for _, grant := range []string{"", "A", "A", "A"} {
			all = append(all, testkit.After(func() {
				c := &caller{}
				if err := w.ask(context.Background(), c, came, func(call *rotate.Call) { call.Urgency, call.Grant = rotate.Named, grant }); err != nil {
					t.Errorf("grant %q: %v", grant, err)
				}
			}))
		}
		for _, done := range all {
			<-done
		}
		if sent != 2 {
			t.Errorf("%d requests; want one for each grant", sent)
		}
	})
}

// A refusal of one grant leaves nothing behind that would keep another process's
// successor from being looked up.
func TestRefusedGrantHidesNoSuccessor(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		failing(rotate.Failure{Err: errUnusable})(w, "a.1")
		elsewhere(w)
		w.want("a.0", "a.2")
	})
}

// elsewhere has another process make a.1 of a.0, and a.2 of that.
func elsewhere(w *world) (peeked *int) {
	w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
		return rotate.Answer{Next: set("a.1"), Grant: grant, Shared: true}, nil
	}
	peeked = new(int)
	w.Peek = func(_ context.Context, have rotate.Tokens) (*rotate.Answer, bool) {
		*peeked++
		time.Sleep(time.Second)
		return &rotate.Answer{Next: set("a.2"), Shared: true}, have.RefreshToken == "a.1"
	}
	return peeked
}

// What is known here of another process's set is not asked for elsewhere.
func TestKnownSuccessorIsNotLookedUp(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		peeked := elsewhere(w)
		w.want("a.1", "a.2")
		w.want("a.0", "a.2")
		if *peeked != 0 {
			t.Errorf("looked up %d times; want 0", *peeked)
		}
		time.Sleep(2 * memory) // that it is spent is no answer
		w.want("a.0", "a.2")
		if *peeked == 0 {
			t.Error("not looked up; want it, once it is forgotten")
		}
	})
}

// The user signs out with another process's set while its successor is looked up: that
// is given back.
func TestSignOutWhileTheSuccessorIsLookedUp(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		elsewhere(w)
		done := testkit.After(func() { w.wantErr("a.0", rotate.ErrRevoked) })
		w.Revoke("a.1")
		<-done
		if got := w.givenBack(); len(got) != 1 || got[0] != "a.2" {
			t.Errorf("given back: %q; want a.2", got)
		}
	})
}

// An issuer hands out a refresh token once more. What became of it before is
// forgotten, but for its revocation.
func TestTokenThatIsHandedOutAgain(t *testing.T) {
	t.Run("a dead one", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			failing(rotate.Failure{State: rotate.Dead, Err: errUnusable})(w, "a.1")
			delete(w.answers, "a.1")
			w.want("a.0", "a.1")
			w.want("a.1", "a.2")
		})
	})
	t.Run("one that must not be sent again", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			f := w.Follow(set("a.1"))
			defer w.Unfollow(f)
			failing(rotate.Failure{State: rotate.Refused, Err: errUnusable})(w, "a.1")
			delete(w.answers, "a.1")
			w.want("a.0", "a.1")
			w.want("a.1", "a.2")
		})
	})
	t.Run("a revoked one", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			w.Revoke("a.1")
			w.wantErr("a.0", rotate.ErrRevoked)
		})
	})
}

// A caller that has waited for too long to have a token spent does not read its store
// either.
func TestNoStoreIsReadWithoutTimeToSpend(t *testing.T) {
	for waits, loads := range map[time.Duration]int{patience/2 - time.Second: 1, patience/2 + time.Second: 0} {
		t.Run(fmt.Sprint("after ", waits), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				leaves := testkit.After(func() {
					_ = w.ask(context.Background(), &caller{load: func(context.Context) (rotate.Tokens, error) {
						time.Sleep(waits)
						return rotate.Tokens{}, errUnusable
					}}, set("a.0"), named)
				})
				stored, got := set("a.0"), 0
				c := &caller{load: func(context.Context) (rotate.Tokens, error) { got++; return stored, nil }}
				err := w.ask(t.Context(), c, stored, optional)
				synctest.Wait()
				if (err == nil) != (loads > 0) || got != loads {
					t.Errorf("got %v, store read %d times; want %d", err, got, loads)
				}
				<-leaves
			})
		})
	}
}

// Who leads stays when its own context ends: it has the set to store.
func TestLeaderStays(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := &caller{save: func(context.Context, rotate.Tokens) error { return nil }}
		if err := w.ask(ctx, c, expired("a.0"), nil); err != nil || len(c.saved) != 1 {
			t.Errorf("got %v, stored %d sets; want one", err, len(c.saved))
		}
	})
}

// What another process's set became there is followed to its end.
func TestSuccessorsElsewhereAreFollowed(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		elsewhere(w)
		w.Peek = func(_ context.Context, have rotate.Tokens) (*rotate.Answer, bool) {
			return &rotate.Answer{Next: set(next(have.RefreshToken, 1)), Shared: true}, have.RefreshToken != "a.3"
		}
		w.want("a.0", "a.3")
	})
}

// What a request brings is remembered by the client's clock, and by the process's own
// where that fails.
func TestClocksOfALanding(t *testing.T) {
	for name, clock := range map[string]func(sent bool) time.Time{
		"two days ahead": func(bool) time.Time { return time.Now().Add(48 * time.Hour) },
		"fails": func(sent bool) time.Time {
			if sent {
				panic("broken")
			}
			return time.Now()
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				sent := false
				w.Now = func() time.Time {
					now := sent
					sent = false
					return clock(now)
				}
				w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
					sent = true
					return rotate.Answer{Next: rotate.Tokens{AccessToken: "at", RefreshToken: "a.1", ExpiresAt: time.Now().Add(72 * time.Hour)}}, nil
				}
				_ = w.ask(t.Context(), &caller{save: unsaved}, expired("a.0"), nil)
				w.want("a.0", "a.1")
				w.wantSent("a.0", 1)
			})
		})
	}
}

// A caller whose access token is good waits for its patience at most, whatever takes so
// long.
func TestPatience(t *testing.T) {
	const almost = patience/2 - 100*time.Millisecond
	dead := func(w *world) {
		w.slow(almost)
		w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
			return rotate.Answer{}, &rotate.Failure{State: rotate.Dead, Err: errUnusable}
		}
	}
	for _, tc := range []struct {
		name  string
		act   func(w *world)
		store time.Duration // that each read of it takes
		has   []string      // what it has, each time
	}{
		{"others, who are asked in doubt", func(w *world) {
			w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
			w.want("a.0", "a.1")
			w.Peek = func(ctx context.Context, _ rotate.Tokens) (*rotate.Answer, bool) {
				<-ctx.Done()
				return nil, false
			}
		}, patience - 100*time.Millisecond, []string{"b.0"}},
		{"a set that is given back", func(w *world) {
			w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
			w.Discard = func(context.Context, rotate.Tokens) { time.Sleep(2 * patience) }
			w.want("a.0", "a.1")
			w.Peek = func(context.Context, rotate.Tokens) (*rotate.Answer, bool) {
				w.Revoke("b.0")
				return &rotate.Answer{Next: set("b.1"), Shared: true}, true
			}
		}, 0, []string{"b.0"}},
		{"the store, after a refusal", dead, almost, []string{"a.0", "a.0"}},
		{"a store that has another token then", func(w *world) {
			dead(w)
			w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 1 }
		}, almost, []string{"a.0", "b.0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tc.act(w)
				c := &caller{}
				c.load = func(context.Context) (rotate.Tokens, error) {
					time.Sleep(tc.store)
					stored := expired(tc.has[0])
					tc.has = tc.has[min(1, len(tc.has)-1):]
					return stored, nil
				}
				began := time.Now()
				_ = w.ask(context.Background(), c, set("a.0"), optional)
				if took := time.Since(began); took > patience {
					t.Errorf("took %v; want %v at most", took, patience)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// However short the timeout is, a token is refreshed before it expires.
func TestShortTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second} {
		t.Run(timeout.String(), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.Timeout = timeout
				if err := w.ask(context.Background(), &caller{}, set("a.0"), optional); err != nil {
					t.Error(err)
				}
				w.wantSent("a.0", 1)
			})
		})
	}
}
