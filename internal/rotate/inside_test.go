package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/rotate"
)

// A call out of a callback about the same session is answered at once; one about
// another is made, and so is one that comes when the callback has returned.
func TestNestedCalls(t *testing.T) {
	for _, tc := range []struct {
		name  string
		token string // of the nested call
		err   error  // in Load and Redeem, where the set is not there yet; nil: it is answered
		saved error  // in Save
	}{
		{"the same tokens", "a.1", rotate.ErrInside, nil},
		{"the tokens before", "a.0", rotate.ErrInside, nil},
		{"another session's", "b.0", nil, nil},
		{"the new tokens", "a.2", nil, rotate.ErrInside},
		{"no tokens", "", rotate.ErrNoToken, rotate.ErrNoToken},
	} {
		for _, where := range []string{"Load", "Redeem", "Save"} {
			t.Run(tc.name+"/in "+where, func(t *testing.T) {
				in(t, func(t *testing.T, w *world) {
					w.answers["a.0"] = func(rotate.Tokens, string) (rotate.Answer, error) {
						return rotate.Answer{Next: expired("a.1")}, nil
					}
					w.chain("a", 1)
					want := tc.err
					if where == "Save" {
						want = tc.saved
					}
					var kept context.Context
					calls := 0
					nested := func(ctx context.Context) {
						if calls++; calls > 1 {
							return // the nested call's own
						}
						kept = ctx
						err := w.ask(ctx, &caller{}, rotate.Tokens{AccessToken: "at-old", RefreshToken: tc.token}, nil)
						if where != "Save" && tc.token == "a.2" {
							return // nobody can have these yet
						}
						if !errors.Is(err, want) || (err == nil) != (want == nil) {
							t.Errorf("nested: got %v; want %v", err, want)
						}
					}
					c := &caller{}
					switch where {
					case "Load":
						c.load = func(ctx context.Context) (rotate.Tokens, error) { nested(ctx); return set("a.1"), nil }
					case "Save":
						c.save = func(ctx context.Context, _ rotate.Tokens) error { nested(ctx); return nil }
					case "Redeem":
						redeem := w.Redeem
						w.Redeem = func(ctx context.Context, have rotate.Tokens, grant string, owner any) (*rotate.Answer, error) {
							nested(ctx)
							return redeem(ctx, have, grant, owner)
						}
					}
					w.took("all of it", 0, func() {
						if err := w.ask(t.Context(), c, expired("a.1"), nil); err != nil || calls == 0 {
							t.Errorf("got %v after %d nested calls; want the set", err, calls)
						}
					})
					w.wantSent("a.1", 1)
					if err := w.ask(context.WithoutCancel(kept), &caller{}, expired("a.1"), nil); err != nil {
						t.Errorf("after the callback: got %v; want the set", err)
					}
				})
			})
		}
	}
}

// Callbacks within callbacks: the outermost counts, too.
func TestDeeplyNestedCall(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var deepest error
		inner := &caller{load: func(ctx context.Context) (rotate.Tokens, error) {
			deepest = w.ask(ctx, &caller{}, expired("a.0"), nil)
			return set("b.0"), nil
		}}
		outer := &caller{load: func(ctx context.Context) (rotate.Tokens, error) {
			return set("a.0"), w.ask(ctx, inner, expired("b.0"), nil)
		}}
		w.took("all of it", 0, func() {
			if err := w.ask(t.Context(), outer, expired("a.0"), nil); err != nil || !errors.Is(deepest, rotate.ErrInside) {
				t.Errorf("got %v, and %v inside; want the set, and ErrInside", err, deepest)
			}
		})
	})
}

// What cannot be recognised ends with the limit.
func TestNestedCallWithAForeignContext(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		nested := make(chan error, 1)
		c := &caller{load: func(context.Context) (rotate.Tokens, error) {
			nested <- w.ask(context.Background(), &caller{}, expired("a.0"), nil)
			return set("a.0"), nil
		}}
		w.took("the outer call", timeout, func() {
			if err := w.ask(t.Context(), c, expired("a.0"), nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v; want a deadline", err)
			}
		})
		if err := <-nested; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nested: got %v; want a deadline", err)
		}
		w.want("a.0", "a.1")
		w.wantSent("a.0", 1)
	})
}

// A call out of a callback of a session that was signed out is told so.
func TestNestedCallOfARevokedSession(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		c := &caller{load: func(ctx context.Context) (rotate.Tokens, error) {
			w.Revoke("a.0")
			return set("a.0"), w.ask(ctx, &caller{}, expired("a.0"), nil)
		}}
		if err := w.ask(t.Context(), c, expired("a.0"), nil); !errors.Is(err, rotate.ErrRevoked) {
			t.Errorf("got %v; want ErrRevoked", err)
		}
	})
}

// At an issuer that does not rotate a nested call is answered with a set that is newer
// than its own, and with no other.
func TestNestedCallWithATokenThatStays(t *testing.T) {
	for compare, want := range map[int]error{-1: rotate.ErrInside, 0: rotate.ErrInside, 1: nil} {
		t.Run(fmt.Sprintf("compares %d", compare), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
					next := set("a.0")
					next.AccessToken = "at-new"
					return rotate.Answer{Next: next, Grant: grant}, nil
				}
				var nested error
				c := &caller{save: func(ctx context.Context, _ rotate.Tokens) error {
					w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return compare }
					nested = w.ask(ctx, &caller{}, expired("a.0"), nil)
					return nil
				}}
				if err := w.ask(t.Context(), c, expired("a.0"), nil); err != nil || !errors.Is(nested, want) {
					t.Errorf("got %v, and %v inside; want the set, and %v", err, nested, want)
				}
			})
		})
	}
}
