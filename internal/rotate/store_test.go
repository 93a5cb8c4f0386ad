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

// A caller whose set is known here reads its own store before it takes that: once, and
// what is there counts where it is newer.
func TestKnownSetAndTheCallersStore(t *testing.T) {
	for _, tc := range []struct {
		name    string
		stored  string
		err     error
		compare int // of the store's date and the known one's
		before  func(w *world)
		want    string
	}{
		{"nothing newer", "a.0", nil, 0, nil, "a.1"},
		{"a newer set", "b.0", nil, 1, nil, "b.0"},
		{"an older set", "b.0", nil, -1, nil, "a.1"},
		{"a set that has a successor here", "b.0", nil, 0, func(w *world) { w.want("b.0", "b.1") }, "b.1"},
		{"a set that led to the known one", "a.1", nil, 0, func(w *world) { w.want("a.1", "a.2") }, "a.2"},
		{"a set whose session has no refresh token any more", "b.0", nil, 1, func(w *world) {
			w.answers["b.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
				return rotate.Answer{Next: rotate.Tokens{AccessToken: "at-last", ExpiresAt: time.Now().Add(life)}}, nil
			}
			w.want("b.0", "")
		}, "a.1"},
		{"a failure", "", errUnusable, 0, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.want("a.0", "a.1")
				if tc.before != nil {
					tc.before(w)
				}
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return tc.compare }
				loads := 0
				c := &caller{save: func(context.Context, rotate.Tokens) error { return nil }}
				c.load = func(context.Context) (rotate.Tokens, error) { loads++; return set(tc.stored), tc.err }
				err := w.ask(t.Context(), c, expired("a.0"), nil)
				if !errors.Is(err, tc.err) || c.got.RefreshToken != tc.want || loads != 1 {
					t.Errorf("got %q, %v, store read %d times; want %q, %v, once", c.got.RefreshToken, err, loads, tc.want, tc.err)
				}
				if tc.want != "" {
					_ = w.urgent(tc.want, rotate.Named)
					w.wantSent(tc.want, 1) // nothing leads back
				}
				if own := tc.want == tc.stored; (len(c.saved) == 0) != (own || tc.err != nil) {
					t.Errorf("stored %v; want it: %v", c.saved, !own)
				}
			})
		})
	}
}

// What one caller's store has is no news of another's: that is read, too.
func TestSetOfAnotherCallersStore(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		leads := testkit.After(func() {
			_ = w.ask(context.Background(), &caller{load: func(context.Context) (rotate.Tokens, error) {
				time.Sleep(time.Second)
				return set("a.5"), nil
			}}, expired("a.0"), nil)
		})
		c := &caller{load: func(context.Context) (rotate.Tokens, error) { return rotate.Tokens{}, errUnusable }}
		if err := w.ask(context.Background(), c, expired("a.0"), nil); !errors.Is(err, errUnusable) {
			t.Errorf("got %q, %v; want its own store's word", c.got.RefreshToken, err)
		}
		<-leads
	})
}

// How often a caller reads its store whose token is refused, or held back.
func TestHowOftenARefusedCallerReadsItsStore(t *testing.T) {
	dead := rotate.Failure{State: rotate.Dead, Err: errUnusable}
	refused := func(w *world, names ...string) {
		for _, name := range names {
			w.answers[name] = func(rotate.Tokens, string) (rotate.Answer, error) { return rotate.Answer{}, &dead }
		}
	}
	for _, tc := range []struct {
		name   string
		arm    func(w *world)
		stored []string // what each reading brings
		want   string   // empty: refused
		loads  int
	}{
		{"known to be dead", func(w *world) { refused(w, "a.0"); w.wantErr("a.0", errUnusable) }, []string{"a.0"}, "", 1},
		{"refused by the issuer", func(w *world) { refused(w, "a.0") }, []string{"a.0"}, "", 2},
		{"refused, and replaced meanwhile", func(w *world) { refused(w, "a.0") }, []string{"a.0", "b.0"}, "b.0", 2},
		{"refused, and replaced by one that is, too", func(w *world) { refused(w, "a.0", "b.0") }, []string{"a.0", "b.0 expired"}, "", 3},
		{"failed for now", func(w *world) {
			w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
				return rotate.Answer{}, &rotate.Failure{State: rotate.Cooling, Err: errUnusable}
			}
		}, []string{"a.0"}, "", 1},
		{"held back", func(w *world) {
			failing(rotate.Failure{State: rotate.Cooling, Err: errUnusable, Wait: time.Minute, Blocks: rotate.Named})(w, "a.0")
		}, []string{"b.0 expired"}, "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tc.arm(w)
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
				loads := 0
				c := &caller{load: func(context.Context) (rotate.Tokens, error) {
					name := tc.stored[min(loads, len(tc.stored)-1)]
					loads++
					if name == "b.0 expired" {
						return expired("b.0"), nil
					}
					return set(name), nil
				}}
				have := set("a.0")
				err := w.ask(t.Context(), c, have, nil)
				if (err == nil) != (tc.want != "") || err != nil && !errors.Is(err, errUnusable) || c.got.RefreshToken != tc.want {
					t.Errorf("got %q, %v; want %q", c.got.RefreshToken, err, tc.want)
				}
				if loads != tc.loads {
					t.Errorf("store read %d times; want %d", loads, tc.loads)
				}
			})
		})
	}
}

// A set without a refresh token cannot be refreshed: no store is read for it, and
// nothing that became of another one like it counts.
func TestCallWithoutARefreshToken(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
			return rotate.Answer{Next: rotate.Tokens{AccessToken: "at-last", ExpiresAt: time.Now().Add(life)}}, nil
		}
		w.want("a.0", "")
		w.Compare = func(set, _ *rotate.Tokens) int { return len(set.RefreshToken) }
		if err := w.ask(t.Context(), storing(set("b.0")), expired("a.0"), nil); err != nil {
			t.Fatal(err)
		}
		loads := 0
		c := &caller{load: func(context.Context) (rotate.Tokens, error) { loads++; return set("c.0"), nil }}
		if err := w.ask(t.Context(), c, rotate.Tokens{AccessToken: "at-other"}, nil); !errors.Is(err, rotate.ErrNoToken) || loads != 0 {
			t.Errorf("got %q, %v, store read %d times; want ErrNoToken", c.got.RefreshToken, err, loads)
		}
	})
}

// A token is refreshed while a caller reads its store, which has something else. That
// is the caller's alone: for all others the token became what it became.
func TestStoreIsReadDuringARefresh(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.want("a.0", "a.1")
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 1 }
		c := &caller{load: func(context.Context) (rotate.Tokens, error) { time.Sleep(time.Second); return set("b.0"), nil }}
		slow := testkit.After(func() { _ = w.ask(context.Background(), c, expired("a.0"), nil) })
		w.want("a.1", "a.2")
		<-slow
		if c.got.RefreshToken != "b.0" {
			t.Errorf("got %q; want b.0", c.got.RefreshToken)
		}
		w.want("a.1", "a.2")
	})
}

// At an issuer that does not rotate, what one caller's store has is not given to whoever
// has a newer set.
func TestFoundSetOfATokenThatStays(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		stored := set("a.0")
		stored.AccessToken = "at-stored"
		if err := w.ask(t.Context(), storing(stored), expired("a.0"), nil); err != nil {
			t.Fatal(err)
		}
		own := set("a.0")
		own.ExpiresAt = own.ExpiresAt.Add(time.Minute)
		_ = w.ask(t.Context(), &caller{}, own, named)
		w.wantSent("a.0", 1)
	})
}

// A store has a newer set of a token that stays, which is about to expire: the token is
// simply used again.
func TestFoundSetOfATokenThatStaysIsDue(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			next := set("a.0")
			next.AccessToken = "at-new"
			return rotate.Answer{Next: next, Grant: grant}, nil
		}
		stored := set("a.0")
		stored.AccessToken = "at-stored"
		stored.ExpiresAt = time.Now().Add(30 * time.Second) // within the buffer
		c := storing(stored)
		if w.mustAsk(c, "a.0", ""); c.got.AccessToken != "at-new" {
			t.Errorf("got %s; want at-new", c.got.AccessToken)
		}
	})
}

// A caller that is slower than a later refresh is given the newest set, where the
// issuer does not rotate.
func TestSlowCallerOfATokenThatStays(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		n := 0
		w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			n++
			answer := set("a.0")
			answer.AccessToken = fmt.Sprint("at-", n)
			return rotate.Answer{Next: answer, Grant: grant}, nil
		}
		_, _ = w.get("a.0")
		slow := &caller{load: func(context.Context) (rotate.Tokens, error) { time.Sleep(5 * time.Second); return expired("a.0"), nil }}
		waits := testkit.After(func() { _ = w.ask(context.Background(), slow, expired("a.0"), nil) })
		time.Sleep(time.Second)
		have := set("a.0")
		have.AccessToken = "at-1"
		if err := w.ask(context.Background(), &caller{}, have, named); err != nil {
			t.Error(err)
		}
		<-waits
		if slow.got.AccessToken != "at-2" {
			t.Errorf("got %s; want at-2", slow.got.AccessToken)
		}
	})
}

// What is revoked while its caller accepts it is not stored.
func TestNothingRevokedIsStored(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		c := &caller{
			accept: func(*rotate.Fate) error { w.Revoke("a.0"); return nil },
			save:   func(context.Context, rotate.Tokens) error { return nil },
		}
		if err := w.ask(t.Context(), c, expired("a.0"), nil); !errors.Is(err, rotate.ErrRevoked) || len(c.saved) > 0 {
			t.Errorf("got %v, stored %d sets; want ErrRevoked, and none", err, len(c.saved))
		}
	})
}

// A set waits for the Save of one two generations before it, also where nobody stores
// the one in between.
func TestOrderOverAGap(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		s := &saves{}
		first := testkit.After(func() { _ = w.ask(context.Background(), s.caller(10*time.Second, nil), expired("a.0"), nil) })
		if err := w.ask(context.Background(), &caller{}, set("a.1"), named); err != nil {
			t.Error(err)
		}
		if err := w.ask(context.Background(), s.caller(0, nil), set("a.2"), named); err != nil {
			t.Error(err)
		}
		<-first
		if want := []string{"begin a.1", "end a.1", "begin a.3", "end a.3"}; !slices.Equal(s.log, want) {
			t.Errorf("got %q; want %q", s.log, want)
		}
	})
}

// Other processes say that two tokens became each other: whoever stores one of them
// comes to an end.
func TestTokensThatBecameEachOther(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		for from, to := range map[string]string{"a.0": "b.0", "b.0": "a.0"} {
			w.answers[from] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
				return rotate.Answer{Next: set(to), Grant: grant, Shared: true}, nil
			}
		}
		for _, name := range []string{"a.0", "b.0", "a.0", "b.0"} {
			c := &caller{save: func(context.Context, rotate.Tokens) error { return nil }}
			w.took(name, 0, func() {
				if err := w.ask(t.Context(), c, expired(name), nil); err != nil || len(c.saved) != 1 {
					t.Errorf("%s: got %v, stored %d sets; want one", name, err, len(c.saved))
				}
			})
		}
		time.Sleep(2 * memory)
		w.Unfollow(w.Follow(set("a.0"))) // which forgets them, but not that they are spent
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		c := storing(set("a.0"))
		if err := w.ask(t.Context(), c, expired("x.0"), forGrant("more")); err != nil || c.got.RefreshToken != "x.1" {
			t.Errorf("got %q, %v; want x.1", c.got.RefreshToken, err)
		}
	})
}

// A token is refused, and the caller's store fails: that is what the caller is told.
func TestStoreFailsAfterARefusal(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		failing(rotate.Failure{State: rotate.Dead, Err: errUnusable})(w, "a.0")
		c := &caller{load: func(context.Context) (rotate.Tokens, error) { return rotate.Tokens{}, errPassing }}
		if err := w.ask(t.Context(), c, expired("a.0"), nil); !errors.Is(err, errPassing) {
			t.Errorf("got %v; want %v", err, errPassing)
		}
	})
}

// A caller is slower than a later refresh for another grant. Where another process has
// got one of the two sets, it does not wait for this caller: the older one is left out.
func TestSlowCallerAndASetFromElsewhere(t *testing.T) {
	for name, shared := range map[string]string{"the older one": "a.0", "the later one": "a.1"} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				redeem := w.Redeem
				w.Redeem = func(ctx context.Context, have rotate.Tokens, grant string, owner any) (*rotate.Answer, error) {
					answer, err := redeem(ctx, have, grant, owner)
					answer.Shared = have.RefreshToken == shared
					return answer, err
				}
				w.want("a.0", "a.1")
				s := &saves{}
				slow := s.caller(0, nil)
				slow.load = func(context.Context) (rotate.Tokens, error) { time.Sleep(5 * time.Second); return set("a.0"), nil }
				waits := testkit.After(func() { _ = w.ask(context.Background(), slow, expired("a.0"), nil) })
				w.mustAsk(&caller{}, "a.1", "more")
				<-waits
				if want := []string{"begin a.3", "end a.3"}; !slices.Equal(s.log, want) {
					t.Errorf("got %q; want %q", s.log, want)
				}
			})
		})
	}
}

// A set that has expired when it comes is its caller's all the same: nobody goes on and
// on.
func TestExpiredSetFromElsewhere(t *testing.T) {
	for _, token := range []string{"a.1", ""} {
		in(t, func(t *testing.T, w *world) {
			w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
				answer := rotate.Answer{Next: expired("a.1"), Grant: grant, Shared: true}
				answer.Next.RefreshToken = token
				return answer, nil
			}
			w.want("a.0", token)
			w.wantSent("a.1", 0)
		})
	}
}

// slowOwner decodes its tokens for a second.
type slowOwner struct{ *caller }

func (c slowOwner) Owner() (any, error) { time.Sleep(time.Second); return c, nil }

// A leader's store has not answered before its caller left. Who came before that was
// read has its own store read, though somebody without a store leads next.
func TestFailedReadIsNobodyElses(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		ctx, leave := context.WithCancel(t.Context())
		deaf := slowOwner{&caller{load: func(ctx context.Context) (rotate.Tokens, error) { <-ctx.Done(); return rotate.Tokens{}, ctx.Err() }}}
		leads := testkit.After(func() {
			_, _ = w.Renew(ctx, rotate.Call{Have: new(expired("a.0")), Urgency: rotate.Needed, Caller: deaf, Loads: true})
		})
		time.Sleep(500 * time.Millisecond)
		out := &caller{
			load: func(context.Context) (rotate.Tokens, error) { return rotate.Tokens{}, errUnusable },
			save: func(context.Context, rotate.Tokens) error { return nil },
		}
		var err error
		all := []chan struct{}{testkit.After(func() { err = w.ask(context.Background(), out, expired("a.0"), nil) })}
		for range 20 { // any of them may lead
			all = append(all, testkit.After(func() { _, _ = w.get("a.0") }))
		}
		time.Sleep(2 * time.Second)
		leave()
		<-leads
		for _, d := range all {
			<-d
		}
		if err != errUnusable || len(out.saved) > 0 {
			t.Errorf("got %v, stored %v; want %v", err, out.saved, errUnusable)
		}
	})
}

// In doubt a store is ahead, and with a token that is no good any more it says that the
// session has ended.
func TestStoreWithATokenOfNoUse(t *testing.T) {
	for name, tc := range map[string]struct {
		arm  func(w *world)
		want error
	}{
		"refused": {func(w *world) { failing(rotate.Failure{State: rotate.Refused, Err: errUnusable})(w, "s.0") }, errUnusable},
		"dead":    {func(w *world) { failing(rotate.Failure{State: rotate.Dead, Err: errUnusable})(w, "s.0") }, errUnusable},
		"revoked": {func(w *world) { w.Revoke("s.0") }, rotate.ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
				tc.arm(w)
				if err := w.ask(context.Background(), storing(set("s.0")), expired("a.0"), nil); !errors.Is(err, tc.want) {
					t.Errorf("got %v; want %v", err, tc.want)
				}
				w.wantSent("a.0", 0)
			})
		})
	}
}

// The store has answered, and the other processes are asked about that, when the user
// signs out.
func TestSignOutWhileInDoubt(t *testing.T) {
	for _, revoked := range []string{"a.0", "a.1"} {
		t.Run(revoked, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
				w.want("a.0", "a.1")
				w.Peek = func(context.Context, rotate.Tokens) (*rotate.Answer, bool) {
					w.Revoke(revoked)
					return nil, false
				}
				if err := w.ask(context.Background(), storing(set("b.0")), expired("a.0"), nil); !errors.Is(err, rotate.ErrRevoked) {
					t.Errorf("got %v; want %v", err, rotate.ErrRevoked)
				}
			})
		})
	}
}

// A request took nearly all of the time, and ends with a refusal: the store gets its own
// time for what it has instead.
func TestStoreAfterALateRefusal(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.slow(timeout - time.Second)
		w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
			return rotate.Answer{}, &rotate.Failure{State: rotate.Dead, Err: errUnusable}
		}
		var reads int
		have := expired("a.0")
		c := &caller{load: func(context.Context) (rotate.Tokens, error) {
			time.Sleep(2 * time.Second)
			if reads++; reads == 1 {
				return have, nil
			}
			return set("b.0"), nil
		}}
		if err := w.ask(context.Background(), c, have, nil); err != nil || c.got.RefreshToken != "b.0" {
			t.Errorf("got %q, %v; want b.0", c.got.RefreshToken, err)
		}
	})
}

// A set was found in somebody else's store: a caller that has not read its own does so,
// though a leader has read one since it came.
func TestFoundSetIsNotEverybodys(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.chain("a", 1)
		w.slow(2 * time.Second)
		w.answers["a.1"] = func(rotate.Tokens, string) (rotate.Answer, error) {
			return rotate.Answer{}, &rotate.Failure{Err: errUnusable} // of its grant alone
		}
		leader := slowOwner{storing(expired("a.1"))}
		leads := testkit.After(func() {
			_, _ = w.Renew(context.Background(), rotate.Call{Have: new(expired("a.1")), Grant: "narrow", Urgency: rotate.Needed, Caller: leader, Loads: true})
		})
		time.Sleep(500 * time.Millisecond)
		out := &caller{load: func(context.Context) (rotate.Tokens, error) { return rotate.Tokens{}, errPassing }}
		var err error
		waits := testkit.After(func() { err = w.ask(context.Background(), out, expired("a.1"), forGrant("wide")) })
		time.Sleep(time.Second)
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 1 }
		w.mustAsk(storing(set("b.0")), "a.0", "") // a.1 has become b.0
		<-leads
		<-waits
		if !errors.Is(err, errPassing) {
			t.Errorf("got %q, %v; want its own store's error", out.got.RefreshToken, err)
		}
	})
}

// The user signs out and in again while the store is read: what it then has is the new
// sign-in, though the other processes are asked about that.
func TestNewSignInWhileInDoubt(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
		w.Peek = func(context.Context, rotate.Tokens) (*rotate.Answer, bool) { return nil, false }
		c := &caller{load: func(context.Context) (rotate.Tokens, error) {
			w.Revoke("a.0")
			return set("b.0"), nil
		}}
		if w.mustAsk(c, "a.0", ""); c.got.RefreshToken != "b.0" {
			t.Errorf("got %q; want b.0", c.got.RefreshToken)
		}
	})
}
