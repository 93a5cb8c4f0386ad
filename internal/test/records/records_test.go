package records_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// entry is what these tests read of a record.
type entry struct {
	Op, Outcome, Key, Source, Level string
	Shared                          bool
	Duration, Waited                time.Duration
}

// entriesOf are the records of one operation, in order.
func entriesOf(t *testing.T, e *testkit.Env, op string) (found []entry) {
	t.Helper()
	for _, line := range e.Log.With(`"op":"` + op + `"`) {
		var one entry
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		found = append(found, one)
	}
	return found
}

// A hundred callers share a refresh: one record of the request, and one of each
// caller, by the same key.
func TestOneRecordForEachOperation(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Fault(authpitest.Fault{DelayAnswer: 2 * time.Second})
		var wg sync.WaitGroup
		wg.Go(func() { e.MustCreate(tokens, nil) })
		synctest.Wait()
		time.Sleep(time.Second)
		for range 99 {
			wg.Go(func() { e.MustCreate(tokens, nil) })
		}
		wg.Wait()
		e.MustCreate(tokens, nil) // late

		spent := entriesOf(t, e, "spend")
		if len(spent) != 1 || spent[0].Level != "INFO" || spent[0].Duration != 2*time.Second {
			t.Fatalf("spend: got %+v; want one, of 2 s", spent)
		}
		want := map[entry]int{
			{Source: "issuer", Duration: 2 * time.Second}:           1,
			{Source: "issuer", Duration: time.Second, Shared: true}: 99,
			{Source: "memory"}: 1,
		}
		got := map[entry]int{}
		for _, one := range entriesOf(t, e, "refresh") {
			if one.Key != spent[0].Key || one.Outcome != "ok" || one.Level != "DEBUG" {
				t.Errorf("got %+v; want the key %s", one, spent[0].Key)
			}
			got[entry{Source: one.Source, Duration: one.Duration, Shared: one.Shared}]++
		}
		for one, n := range want {
			if got[one] != n {
				t.Errorf("refresh %+v: got %d; want %d (%v)", one, got[one], n, got)
			}
		}
		for op, n := range map[string]int{"exchange": 1, "keys": 1, "discovery": 1, "verify": 2, "coordinate": 0} {
			if got := len(entriesOf(t, e, op)); got != n {
				t.Errorf("%s: got %d records; want %d", op, got, n)
			}
		}
	})
}

// A record says where a set came from: another process, and how long that took, or
// the session store.
func TestSourcesOfARefresh(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.Expired()
		e.Fault(authpitest.Fault{DelayAnswer: 3 * time.Second})
		clients := testkit.Processes(e, testkit.NewCoordinator(), 2)
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				if _, err := e.CreateBy(t.Context(), c, tokens, nil); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			time.Sleep(time.Second)
		}
		wg.Wait()
		turns := entriesOf(t, e, "coordinate")
		if len(turns) != 2 {
			t.Fatalf("got %+v; want two", turns)
		}
		first, second := turns[0], turns[1]
		if first.Source == "process" { // which of them goes on first is open
			first, second = second, first
		}
		if first.Source != "issuer" || first.Waited != 0 || first.Duration != 3*time.Second {
			t.Errorf("the process that spent it: got %+v", first)
		}
		if second.Source != "process" || second.Waited != 2*time.Second || second.Duration != second.Waited {
			t.Errorf("the other: got %+v", second)
		}
		newer, err := e.CreateBy(t.Context(), clients[0], tokens, nil)
		if err != nil {
			t.Fatal(err)
		}
		store := &testkit.Store{Current: newer.Tokens}
		if _, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, store.Reloading()); err != nil {
			t.Fatal(err)
		}
		sources := map[string]int{}
		for _, one := range entriesOf(t, e, "refresh") {
			sources[one.Source]++
		}
		if sources["process"] != 1 || sources["store"] != 1 {
			t.Errorf("got %v; want one of each", sources)
		}
	})
}

type traceKey struct{}

// traced notes which traces its records belong to.
type traced struct {
	slog.Handler
	seen func(message string, trace any)
}

func (h traced) Enabled(context.Context, slog.Level) bool { return true }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	h.seen(r.Message, ctx.Value(traceKey{}))
	return nil
}

// The context of a record is the caller's, where that has left as well.
func TestRecordsBelongToTheTrace(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		tokens := e.InBuffer(30 * time.Second)
		var mu sync.Mutex
		traces := map[string]any{}
		c := e.NewClient(func(cfg *authpi.Config) {
			cfg.Logger = slog.New(traced{slog.DiscardHandler, func(message string, trace any) {
				mu.Lock()
				defer mu.Unlock()
				traces[message] = trace
			}})
		})
		e.Fault(authpitest.Fault{DelayAnswer: 10 * time.Second})
		ctx := context.WithValue(t.Context(), traceKey{}, "trace 1")
		if _, err := e.CreateBy(ctx, c, tokens, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		for _, message := range []string{
			"authpi: refresh failed for now; the access token is still good", "authpi: refresh token spent",
			"authpi: token verified", "authpi: issuer's keys fetched",
		} {
			if traces[message] != "trace 1" {
				t.Errorf("%s: got the trace %v", message, traces[message])
			}
		}
	})
}

// A level that is off costs a verification nothing.
func TestSilentVerificationCostsNothing(t *testing.T) {
	issuer := testkit.NewIssuer(t, nil)
	raw := issuer.AccessToken(nil)
	allocations := func(log *slog.Logger) float64 {
		c := testkit.NewClient(t, issuer, func(cfg *authpi.Config) { cfg.Logger = log })
		check := func() {
			if _, err := c.VerifyAccessToken(context.Background(), raw, ""); err != nil {
				t.Fatal(err)
			}
		}
		check()
		return testing.AllocsPerRun(100, check)
	}
	silent := allocations(nil)
	info := allocations(slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelInfo})))
	debug := allocations(slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if info != silent || debug <= silent {
		t.Errorf("allocations: %v silent, %v at Info, %v at Debug; want the first two equal", silent, info, debug)
	}
}
