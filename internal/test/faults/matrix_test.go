package faults_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Everything that can fail does, for every call that makes requests and at each
// endpoint behind it: an error of ours in time, nothing left open, no secret told,
// no refresh token spent twice and no new one lost. A bubble fails by itself where
// a goroutine stays behind.
//
// The pairs are thousands. One in faultStride of them runs, each fault and each call
// among them; FAULTS=all runs them all, as make trust does.
func TestFaults(t *testing.T) {
	faults, calls, stride := allFaults(), allCalls(), faultStride
	if os.Getenv("FAULTS") == "all" {
		stride = 1
	}
	var survived atomic.Int64
	t.Run("all", func(t *testing.T) {
		row := 0
		for _, c := range calls {
			for _, endpoint := range append(c.endpoints, everywhere) {
				first := row % stride
				row++
				t.Run(c.name+"/"+endpoint, func(t *testing.T) {
					t.Parallel()
					for i, f := range faults {
						if i%stride != first || endpoint == everywhere && f.kind != silent {
							continue // of other kinds only the first endpoint would be met
						}
						if t.Run(f.name, func(t *testing.T) { survive(t, c, endpoint, f) }) {
							survived.Add(1)
						}
					}
				})
			}
		}
	})
	t.Logf("faults: %d survived (%d faults x %d calls, each at the endpoints behind it)", survived.Load(), len(faults), len(calls))
}

const (
	everywhere  = "everywhere"
	faultStride = 16
)

// survive has one call meet one fault.
func survive(t *testing.T, c faultCall, endpoint string, f fault) {
	testkit.Bubble(t, &c.opts, nil, func(t *testing.T, e0 *testkit.Env) {
		store := &testkit.Store{}
		if c.refreshes {
			store.Current = e0.SignIn()
		}
		e := newFaultEnv(e0, c.edit)
		switch {
		case c.inBuffer && c.refreshes:
			time.Sleep(testkit.TokenLife - 40*time.Second)
		case c.refreshes:
			time.Sleep(testkit.TokenLife + time.Second)
		}
		call := c.prepare(e, store)
		e.Issuer.ResetCounters()
		at := endpoint
		if at == everywhere {
			at = ""
		}
		e.wire.set(at, &f)
		ctx, start := t.Context(), time.Now()
		if f.deadline > 0 {
			limited, cancel := context.WithTimeout(ctx, f.deadline)
			defer cancel()
			ctx = limited
		}
		err := call(ctx)
		took := time.Since(start)
		e.Log.Error(err)
		if !e.wire.met() {
			t.Fatal("the call never met its fault")
		}
		c.outcome(endpoint, &f).check(t, err)
		if limit := c.limit(&f); took > limit {
			t.Errorf("took %s; want at most %s", took, limit)
		}
		left := c.leaves && f.deadline > 0
		if c.refreshes && !left {
			checkKept(t, c, endpoint, &f, store, err)
		}
		time.Sleep(32 * time.Second) // what was left to itself ends, and the pause
		if endpoint == "token" {
			time.Sleep(min(f.retry, 5*time.Minute)) // and the one that the issuer asked for
		}
		for _, problem := range e.wire.problems() {
			t.Error(problem)
		}
		if c.refreshes {
			if left {
				checkKept(t, c, endpoint, &f, store, err)
			}
			checkAfter(t, e, endpoint, &f, store, err)
		}
		time.Sleep(time.Minute)
	})
}

// faultOutcome is what a call has to come to.
type faultOutcome struct {
	ok     bool
	either bool // not ok will do, too
	code   string
	known  *fault // whose status and Retry-After the error has; nil: neither
	ended  bool
}

// outcome is the rule for each class of faults.
func (c *faultCall) outcome(endpoint string, f *fault) faultOutcome {
	if endpoint == everywhere {
		endpoint = c.endpoints[0]
	}
	switch {
	case f.kind == usable, c.bodyless && f.kind == junk:
		return faultOutcome{ok: true}
	case c.inBuffer && f.deadline > 0 && !c.noContext:
		// The caller has left. It gets what there is, if it comes in time.
		return faultOutcome{ok: endpoint != "token", code: "transport_error", either: endpoint != "token"}
	case c.inBuffer && endpoint == "token" && (f.passing() || c.refreshes && (f.kind == junk || f.kind == tooLong)):
		return faultOutcome{ok: true} // an issuer that is unreachable fails nobody early
	case c.leaves && f.deadline > 0:
		return faultOutcome{code: "transport_error"}
	case c.refreshes && (endpoint == "discovery" || endpoint == "jwks"):
		return faultOutcome{ok: true} // the set is kept without its ID token
	case endpoint == "jwks", endpoint == "discovery" && c.keysFirst:
		return faultOutcome{code: "transport_error"}
	case f.kind == silent:
		return faultOutcome{code: "transport_error"}
	case f.kind == tooLong:
		return faultOutcome{code: "invalid_response"}
	case f.kind == junk:
		return faultOutcome{code: "invalid_response", known: &fault{status: 200}}
	case endpoint == "discovery":
		return faultOutcome{code: "invalid_response", known: &fault{status: f.status}}
	case endpoint == "userinfo":
		return faultOutcome{code: "userinfo_error", known: f}
	case f.says == "":
		return faultOutcome{code: c.code, known: f}
	}
	ended := f.status < 500 && (f.says == "invalid_grant" || f.says == "user_blocked")
	return faultOutcome{code: f.says, known: f, ended: ended}
}

func (want faultOutcome) check(t *testing.T, err error) {
	t.Helper()
	if want.ok && !want.either || err == nil {
		if want.ok != (err == nil) {
			t.Errorf("got error %v; want none: %t, code %s", err, want.ok, want.code)
		}
		return
	}
	var e *authpi.OAuthError
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v; want an *OAuthError", err, err)
	}
	status, retry := 0, time.Duration(0)
	if want.known != nil {
		status, retry = want.known.status, want.known.retry
	}
	if e.Code != want.code || e.StatusCode != status || e.RetryAfter != retry {
		t.Errorf("got code %s, status %d, Retry-After %s (%v); want %s, %d, %s", e.Code, e.StatusCode, e.RetryAfter, err, want.code, status, retry)
	}
	if ended := authpi.SessionEnded(err); ended != want.ended {
		t.Errorf("got session ended %t (%v); want %t", ended, err, want.ended)
	}
}

// limit is how long a call may take.
func (c *faultCall) limit(f *fault) time.Duration {
	switch {
	case c.inBuffer:
		return 5 * time.Second
	case f.deadline > 0 && !c.noContext && !c.refreshes: // whoever spends a token sees it through
		return f.deadline
	}
	return 30*time.Second + 5*time.Second // one request, and the keys' own patience
}

// checkKept: where the issuer's answer was whole, its tokens are stored, or the
// error carries them.
func checkKept(t *testing.T, c faultCall, endpoint string, f *fault, store *testkit.Store, err error) {
	t.Helper()
	whole := f.kind == usable || endpoint != "token" && endpoint != everywhere
	if !whole || c.inBuffer {
		return // in the buffer nobody waits for it: checkAfter does
	}
	store.Mu.Lock()
	defer store.Mu.Unlock()
	switch {
	case c.stores && len(store.Saved) != 1:
		t.Errorf("OnRefresh ran %d times; want once", len(store.Saved))
	case !c.stores && err != nil:
		store.Current = testkit.Carried(t, err)
	}
}

// checkAfter has the session come back when all is well again. It has ended where,
// and only where, the issuer rotated and its answer was lost.
func checkAfter(t *testing.T, e *faultEnv, endpoint string, f *fault, store *testkit.Store, err error) {
	t.Helper()
	if failed := (*authpi.RefreshError)(nil); err != nil && endpoint == "token" && !errors.As(err, &failed) {
		t.Errorf("got %T %v; want a *RefreshError", err, err)
	}
	e.wire.set("", nil)
	agent, err := e.Create(store.Current, store.Opts())
	if f.processed && (endpoint == "token" || endpoint == everywhere) {
		if !errors.Is(err, authpi.ErrInvalidGrant) || !authpi.SessionEnded(err) {
			t.Errorf("later: got %v; want invalid_grant, for the answer was lost", err)
		}
		return
	}
	if f.says == "invalid_grant" && f.status < 500 && (endpoint == "token" || endpoint == everywhere) {
		if !authpi.SessionEnded(err) {
			t.Errorf("later: got %v; want the refusal again: a dead token is not sent twice", err)
		}
		return
	}
	if err != nil {
		t.Errorf("later: got %v; want the session to live", err)
		return
	}
	e.WantAlive(agent.Tokens)
}
