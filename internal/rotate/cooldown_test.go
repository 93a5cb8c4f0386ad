package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

var levels = map[rotate.Urgency]string{rotate.Optional: "optional", rotate.Needed: "needed", rotate.Named: "named"}

// urgent is a call of an urgency, with a set that is good where it is optional.
func (w *world) urgent(name string, urgency rotate.Urgency) error {
	have := expired(name)
	if urgency == rotate.Optional {
		have = set(name)
	}
	return w.ask(context.Background(), &caller{}, have, func(c *rotate.Call) { c.Urgency = urgency })
}

// A cooldown holds back the calls up to its level, for as long as it says, and tells
// how much of that is left.
func TestCooldownLevels(t *testing.T) {
	const wait = 20 * time.Second
	for hold, holdName := range levels {
		for urgency, name := range levels {
			t.Run(fmt.Sprintf("%s calls held, a %s one", holdName, name), func(t *testing.T) {
				in(t, func(t *testing.T, w *world) {
					failure := rotate.Failure{State: rotate.Cooling, Err: errPassing, Wait: wait, Blocks: hold}
					failing(failure)(w, "a.0")
					delete(w.answers, "a.0")
					for _, passed := range []time.Duration{0, wait - 1} {
						time.Sleep(passed)
						err := w.urgent("a.0", urgency)
						var held *rotate.HeldError
						if urgency > hold {
							if err != nil {
								t.Errorf("after %v: got %v; want a request", passed, err)
							}
							return
						}
						if !errors.As(err, &held) || time.Until(held.Until) != wait-passed || !errors.Is(err, errPassing) {
							t.Errorf("after %v: got %v; want it held back for %v more", passed, err, wait-passed)
						}
					}
					time.Sleep(time.Nanosecond)
					if err := w.urgent("a.0", urgency); err != nil {
						t.Errorf("after %v: got %v; want a request", wait, err)
					}
					w.wantSent("a.0", 2)
				})
			})
		}
	}
}

// Of two cooldowns the one that holds back more counts, and else the longer one.
func TestCooldownsMeet(t *testing.T) {
	type cooldown struct {
		hold rotate.Urgency
		wait time.Duration
	}
	for _, tc := range []struct {
		name          string
		first, second cooldown
		urgency       rotate.Urgency
		want          time.Duration // in all, from the second on
	}{
		{"a longer one", cooldown{rotate.Optional, 5 * time.Second}, cooldown{rotate.Optional, 10 * time.Second}, rotate.Optional, 10 * time.Second},
		{"a shorter one", cooldown{rotate.Optional, 10 * time.Second}, cooldown{rotate.Optional, 5 * time.Second}, rotate.Optional, 10 * time.Second},
		{"one that holds back more", cooldown{rotate.Optional, 10 * time.Second}, cooldown{rotate.Named, 5 * time.Second}, rotate.Named, 5 * time.Second},
		{"a longer one that holds back less", cooldown{rotate.Optional, 10 * time.Second}, cooldown{rotate.Named, 5 * time.Second}, rotate.Optional, 10 * time.Second},
		{"one that holds back less", cooldown{rotate.Needed, 5 * time.Second}, cooldown{rotate.Optional, 10 * time.Second}, rotate.Needed, 5 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				for _, c := range []cooldown{tc.first, tc.second} {
					w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
						return rotate.Answer{}, &rotate.Failure{State: rotate.Cooling, Err: errPassing, Wait: c.wait, Blocks: c.hold}
					}
					_ = w.urgent("a.0", rotate.Named) // which neither of the first ones holds back
				}
				delete(w.answers, "a.0")
				var held *rotate.HeldError
				for _, passes := range []time.Duration{0, tc.want - time.Second} {
					time.Sleep(passes)
					if err := w.urgent("a.0", tc.urgency); !errors.As(err, &held) || time.Until(held.Until) != tc.want-passes {
						t.Errorf("after %v: got %v, %+v; want it held back for %v", passes, err, held, tc.want-passes)
					}
				}
			})
		})
	}
}

// A call that is not urgent and fails for a passing reason holds back its like for 5
// s, from the failure on, and who is held back makes that no longer. A leaving
// caller is no failure.
func TestSoftCooldown(t *testing.T) {
	t.Run("holds back its like", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) { return rotate.Answer{}, errPassing }
			if err := w.urgent("a.0", rotate.Optional); !errors.Is(err, errPassing) {
				t.Errorf("got %v; want the failure", err)
			}
			var held *rotate.HeldError
			for range 5 {
				if err := w.urgent("a.0", rotate.Optional); !errors.As(err, &held) {
					t.Errorf("got %v; want it held back", err)
				}
				time.Sleep(time.Second)
			}
			w.wantSent("a.0", 1)
			_ = w.urgent("a.0", rotate.Optional)
			w.wantSent("a.0", 2)
			if err := w.urgent("a.0", rotate.Needed); errors.As(err, &held) {
				t.Errorf("got %v; want a request, since the token has expired", err)
			}
			w.wantSent("a.0", 3)
		})
	})
	t.Run("a caller that leaves", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			w.slow(time.Second)
			flight := testkit.After(func() { _ = w.urgent("a.0", rotate.Named) })
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_ = w.ask(ctx, &caller{}, set("a.0"), optional)
			<-flight
			if err := w.urgent("a.1", rotate.Optional); err != nil {
				t.Errorf("got %v; want a request", err)
			}
		})
	})
	t.Run("a refused grant", func(t *testing.T) {
		in(t, func(t *testing.T, w *world) {
			w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
				return rotate.Answer{}, &rotate.Failure{Err: errUnusable}
			}
			for range 2 {
				if err := w.urgent("a.0", rotate.Optional); !errors.Is(err, errUnusable) {
					t.Errorf("got %v; want the refusal", err)
				}
			}
			w.wantSent("a.0", 2)
		})
	})
}

// A cooldown ends by the client's clock or by the process's, whichever is first.
func TestCooldownAndClocks(t *testing.T) {
	for name, tc := range map[string]struct{ leap, passes time.Duration }{
		"the client's clock leaps ahead": {time.Hour, 0},
		"it is set back":                 {-time.Hour, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				ahead := time.Duration(0)
				w.Now = func() time.Time { return time.Now().Add(ahead) }
				failing(rotate.Failure{State: rotate.Cooling, Err: errPassing, Wait: 20 * time.Second, Blocks: rotate.Named})(w, "a.0")
				delete(w.answers, "a.0")
				ahead = tc.leap
				time.Sleep(tc.passes)
				if err := w.urgent("a.0", rotate.Named); err != nil {
					t.Errorf("got %v; want a request", err)
				}
			})
		})
	}
}

// A cooldown of the newest token leaves a caller what is known, but its store alone.
func TestCooldownOfTheNewestToken(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.want("a.0", "a.1")
		failing(rotate.Failure{State: rotate.Cooling, Err: errPassing})(w, "a.1")
		c := &caller{}
		if err := w.ask(t.Context(), c, set("a.0"), optional); err != nil || c.got.RefreshToken != "a.1" {
			t.Errorf("without a store: got %q, %v; want a.1", c.got.RefreshToken, err)
		}
		c = &caller{load: func(context.Context) (rotate.Tokens, error) { t.Error("the store was read"); return set("a.1"), nil }}
		var held *rotate.HeldError
		if err := w.ask(t.Context(), c, set("a.0"), optional); !errors.As(err, &held) {
			t.Errorf("with a store: got %v; want it held back", err)
		}
	})
}

// A store that fails holds back the calls that are not urgent, where one of them met
// it, and the failure may pass.
func TestCooldownOfAFailingStore(t *testing.T) {
	for _, tc := range []struct {
		name    string
		urgency rotate.Urgency
		err     error
		leaves  bool // its caller, meanwhile
		held    bool
	}{
		{"not urgent", rotate.Optional, errPassing, false, true},
		{"the token has expired", rotate.Needed, errPassing, false, false},
		{"a failure that is final", rotate.Optional, errUnusable, false, false},
		{"its caller leaves", rotate.Optional, fmt.Errorf("%w: %w", errPassing, context.Canceled), true, false},
		{"its caller leaves, and it fails", rotate.Optional, errPassing, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := &caller{load: func(context.Context) (rotate.Tokens, error) {
					if tc.leaves {
						cancel()
					}
					return rotate.Tokens{}, tc.err
				}}
				if err := w.ask(ctx, c, set("a.0"), func(c *rotate.Call) { c.Urgency = tc.urgency }); !errors.Is(err, tc.err) {
					t.Errorf("got %v; want %v", err, tc.err)
				}
				var held *rotate.HeldError
				if err := w.urgent("a.0", rotate.Optional); errors.As(err, &held) != tc.held {
					t.Errorf("the next: got %v; want it held back: %v", err, tc.held)
				}
			})
		})
	}
}

// A call whose access token is good gives up early, and goes on once that has ended:
// it waits for what it needs as long as any other, counted from its start.
func TestAccessTokenEndsMeanwhile(t *testing.T) {
	for _, tc := range []struct {
		name    string
		left    time.Duration // of the access token
		store   time.Duration // that a read of the caller's store takes; 0: it has none
		request time.Duration
		first   rotate.Urgency // of a call that comes before
		took    time.Duration
		err     error
	}{
		{"it waits for its own request", patience - 1, 0, 10 * time.Second, rotate.Optional, 10 * time.Second, nil},
		{"it waits for another's", patience - 1, 0, 10 * time.Second, rotate.Needed, 10 * time.Second, nil},
		{"its token ends with its patience", patience, 0, 10 * time.Second, rotate.Optional, 10 * time.Second, nil},
		{"its store is slow", time.Second, 4 * time.Second, time.Second, rotate.Optional, patience/2 + 5*time.Second, nil},
		{"it is good to the end", patience + time.Second, 0, 10 * time.Second, rotate.Optional, patience, context.DeadlineExceeded},
		{"no time is left", patience - 1, 0, timeout + 1, rotate.Optional, timeout, context.DeadlineExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.slow(tc.request)
				if tc.first > rotate.Optional {
					testkit.After(func() { _ = w.urgent("a.0", tc.first) })
				}
				c, have := &caller{}, set("a.0")
				have.ExpiresAt = time.Now().Add(tc.left)
				if tc.store > 0 {
					c.load = func(ctx context.Context) (rotate.Tokens, error) {
						select {
						case <-time.After(tc.store):
						case <-ctx.Done():
						}
						return have, ctx.Err()
					}
				}
				w.took(tc.name, tc.took, func() {
					err := w.ask(context.Background(), c, have, optional)
					if !errors.Is(err, tc.err) || err == nil && c.got.RefreshToken != "a.1" {
						t.Errorf("got %q, %v; want %v", c.got.RefreshToken, err, tc.err)
					}
				})
				time.Sleep(timeout) // the request ends
				w.wantSent("a.0", 1)
			})
		})
	}
}

// A call whose access token has ended while it waited is not held back any more by what
// holds back those whose tokens are good.
func TestAccessTokenEndsBeforeACooldown(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.chain("a", 1)
		w.slow(3 * time.Second)
		w.answers["a.1"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			if grant == "narrow" {
				return rotate.Answer{}, &rotate.Failure{Err: errUnusable}
			}
			return rotate.Answer{Next: set("a.2"), Grant: grant}, nil
		}
		refused := testkit.After(func() { _ = w.ask(context.Background(), &caller{}, set("a.1"), forGrant("narrow")) })
		c, have := &caller{}, set("a.0")
		have.ExpiresAt = time.Now().Add(2 * time.Second)
		waits := testkit.After(func() {
			err := w.ask(context.Background(), c, have, func(c *rotate.Call) { c.Urgency, c.Grant = rotate.Optional, "wide" })
			if err != nil || c.got.RefreshToken != "a.2" {
				t.Errorf("got %q, %v; want a.2", c.got.RefreshToken, err)
			}
		})
		down := &caller{load: func(context.Context) (rotate.Tokens, error) { return rotate.Tokens{}, errPassing }}
		if err := w.ask(context.Background(), down, set("a.0"), optional); !errors.Is(err, errPassing) {
			t.Errorf("got %v; want %v", err, errPassing)
		}
		<-refused
		<-waits
	})
}
