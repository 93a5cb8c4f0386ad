package rotate_test

import (
	"context"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// A call learns how it came by its set: whose flight brought it, and from where.
func TestWayOfACall(t *testing.T) {
	shared := func(w *world) {
		w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			return rotate.Answer{Next: set("a.1"), Grant: grant, Shared: true}, nil
		}
	}
	stored := func() *caller {
		return &caller{load: func(context.Context) (rotate.Tokens, error) { time.Sleep(time.Second); return set("a.5"), nil }}
	}
	refused := func(w *world) {
		w.answers["a.0"] = func(_ rotate.Tokens, grant string) (rotate.Answer, error) {
			if grant != "" {
				return rotate.Answer{}, &rotate.Failure{Err: errUnusable}
			}
			return rotate.Answer{Next: set("a.1")}, nil
		}
	}
	for _, tc := range []struct {
		name   string
		arm    func(w *world)
		grant  string  // of the one before
		before *caller // leads; nil: nobody
		over   bool    // its flight has landed
		caller *caller
		want   rotate.Way
	}{
		{"the issuer's answer", nil, "", nil, false, &caller{}, rotate.Way{Source: record.Issuer, Led: true}},
		{"another call's", nil, "", &caller{}, false, &caller{}, rotate.Way{Source: record.Issuer, Joined: true}},
		{"what is remembered", nil, "", &caller{}, true, &caller{}, rotate.Way{Source: record.Memory}},
		{"its own store's", nil, "", nil, false, stored(), rotate.Way{Source: record.Store}},
		{"its own store's, after another call's", nil, "", &caller{}, false, stored(), rotate.Way{Source: record.Store, Joined: true}},
		{"another call's store's", nil, "", stored(), false, &caller{}, rotate.Way{Source: record.Store, Joined: true}},
		{"another call's store's, remembered", nil, "", stored(), true, &caller{}, rotate.Way{Source: record.Memory}},
		{"another process's", shared, "", nil, false, &caller{}, rotate.Way{Source: record.Process, Led: true}},
		{"another process's, by another call", shared, "", &caller{}, false, &caller{}, rotate.Way{Source: record.Process, Joined: true}},
		{"its own, after another call's refusal", refused, "more", &caller{}, false, &caller{}, rotate.Way{Source: record.Issuer, Led: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.slow(time.Second)
				if tc.arm != nil {
					tc.arm(w)
				}
				if tc.before != nil {
					before := testkit.After(func() {
						_ = w.ask(context.Background(), tc.before, expired("a.0"), forGrant(tc.grant))
					})
					if tc.over {
						<-before
					}
				}
				way, err := w.Renew(t.Context(), rotate.Call{
					Have: new(expired("a.0")), Urgency: rotate.Needed, Caller: tc.caller, Loads: tc.caller.load != nil,
				})
				if err != nil || way != tc.want {
					t.Errorf("got %+v, %v; want %+v", way, err, tc.want)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
