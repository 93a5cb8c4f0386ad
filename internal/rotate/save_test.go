package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// saves is what the Save calls of one session did, in order.
type saves struct {
	mu  sync.Mutex // guards log
	log []string   // "begin a.1", "end a.1"
}

func (s *saves) note(what string, set rotate.Tokens) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what+" "+set.RefreshToken)
}

// all is what happened so far. A Save that is left behind may still go on.
func (s *saves) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// caller is one whose Save takes so long.
func (s *saves) caller(takes time.Duration, err error) *caller {
	return &caller{save: func(_ context.Context, set rotate.Tokens) error {
		s.note("begin", set)
		time.Sleep(takes)
		s.note("end", set)
		return err
	}}
}

// The Save calls of a set begin when those of the sets before have returned, over
// two and three generations, whatever each takes and however it ends.
func TestSavesAreInOrder(t *testing.T) {
	const second = time.Second
	for _, tc := range []struct {
		name  string
		takes []time.Duration // of each generation's Save
		errs  []error
		want  []string
		apart time.Duration // the callers come
		took  time.Duration
	}{
		{"two generations", []time.Duration{3 * second, 0}, nil,
			[]string{"begin a.1", "end a.1", "begin a.2", "end a.2"}, 0, 3 * second},
		{"three generations", []time.Duration{3 * second, 2 * second, 0}, nil,
			[]string{"begin a.1", "end a.1", "begin a.2", "end a.2", "begin a.3", "end a.3"}, 0, 5 * second},
		{"three generations, the last is slow", []time.Duration{0, 0, 2 * second}, nil,
			[]string{"begin a.1", "end a.1", "begin a.2", "end a.2", "begin a.3", "end a.3"}, 0, 2 * second},
		{"the first fails", []time.Duration{second, second, 0}, []error{errPassing, nil, nil},
			[]string{"begin a.1", "end a.1", "begin a.2", "end a.2", "begin a.3", "end a.3"}, 0, 2 * second},
		{"the second fails", []time.Duration{second, second, 0}, []error{nil, errPassing, nil},
			[]string{"begin a.1", "end a.1", "begin a.2", "end a.2", "begin a.3", "end a.3"}, 0, 2 * second},
		// Who is left behind goes on by itself, but its caller has returned.
		{"the first is deaf", []time.Duration{timeout + second, 0}, nil,
			[]string{"begin a.1", "begin a.2", "end a.2", "end a.1"}, second, timeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				s := &saves{}
				w.took("all of it", tc.took, func() {
					var done []chan struct{}
					for n, takes := range tc.takes {
						var want error
						if tc.errs != nil {
							want = tc.errs[n]
						}
						// Each has another grant: it goes on from the set of the one
						// before.
						done = append(done, testkit.After(func() {
							err := w.ask(context.Background(), s.caller(takes, want), expired("a.0"), forGrant(fmt.Sprint(n)))
							var unsaved *rotate.UnsavedError
							if takes > timeout && !errors.As(err, &unsaved) || takes <= timeout && !errors.Is(err, want) {
								t.Errorf("caller %d: got %v; want %v", n, err, want)
							}
						}))
						time.Sleep(tc.apart)
					}
					for _, d := range done {
						<-d
					}
				})
				time.Sleep(time.Minute)
				s.mu.Lock()
				defer s.mu.Unlock()
				if !slices.Equal(s.log, tc.want) {
					t.Errorf("got %q; want %q", s.log, tc.want)
				}
			})
		})
	}
}

// A Save that began late, since it had to wait, may go on when its caller has given
// up: the next set is stored after it all the same.
func TestSaveThatIsLeftBehind(t *testing.T) {
	for _, tc := range []struct {
		name  string
		takes time.Duration
		want  []string
	}{
		{"returns a little later", 11*time.Second + 1, []string{"begin a.1", "end a.1", "begin a.2", "end a.2", "begin a.3", "end a.3"}},
		{"is deaf", 2 * timeout, []string{"begin a.1", "end a.1", "begin a.2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				s := &saves{}
				var done []chan struct{}
				for n, takes := range []time.Duration{timeout - 10*time.Second, tc.takes, 0} {
					done = append(done, testkit.After(func() {
						err := w.ask(context.Background(), s.caller(takes, nil), expired("a.0"), forGrant(fmt.Sprint(n)))
						var unsaved *rotate.UnsavedError
						if errors.As(err, &unsaved) != (n == 1 || n == 2 && tc.takes > timeout) {
							t.Errorf("caller %d: got %v", n, err)
						}
					}))
					time.Sleep(time.Second)
				}
				for _, d := range done {
					<-d
				}
				if got := s.all(); !slices.Equal(got, tc.want) {
					t.Errorf("got %q; want %q", got, tc.want)
				}
				time.Sleep(timeout)
				w.took("a later one", 0, func() {
					if err := w.ask(context.Background(), s.caller(0, nil), set("a.3"), named); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(timeout)
			})
		})
	}
}

// A caller that is slower than a later rotation is given the newest set, not its
// own; where the later one is for another grant it is given its own, first.
func TestSlowCallerAndLaterSet(t *testing.T) {
	for name, tc := range map[string]struct {
		grant string // of the later one
		want  []string
	}{
		"the same grant":  {"", []string{"begin a.2", "end a.2", "begin a.2", "end a.2"}},
		"another's grant": {"more", []string{"begin a.1", "end a.1", "begin a.2", "end a.2"}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				s := &saves{}
				w.slow(time.Second)
				slow := s.caller(0, nil)
				slow.load = func(context.Context) (rotate.Tokens, error) { time.Sleep(5 * time.Second); return set("a.0"), nil }
				leader := testkit.After(func() { _, _ = w.get("a.0") })
				joins := testkit.After(func() {
					if err := w.ask(context.Background(), slow, expired("a.0"), nil); err != nil {
						t.Error(err)
					}
				})
				<-leader
				later := s.caller(0, nil)
				err := w.ask(context.Background(), later, set("a.1"), func(c *rotate.Call) { c.Grant, c.Urgency = tc.grant, rotate.Named })
				<-joins
				if err != nil || !slices.Equal(s.log, tc.want) {
					t.Errorf("got %q, %v; want %q", s.log, err, tc.want)
				}
			})
		})
	}
}

// A crowd shares one set: their Saves run side by side, and the next set waits for
// the last.
func TestCrowdSavesSideBySide(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		s := &saves{}
		w.slow(time.Second)
		w.took("all of it", time.Second+3*time.Second, func() {
			crowd := testkit.After(func() {
				var all sync.WaitGroup
				for n := range 20 {
					all.Go(func() {
						if err := w.ask(context.Background(), s.caller(time.Duration(n%4)*time.Second, nil), expired("a.0"), nil); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
			})
			err := w.ask(context.Background(), s.caller(0, nil), expired("a.0"), forGrant("more"))
			if err != nil {
				t.Error(err)
			}
			<-crowd
		})
		last := len(s.log) - 2
		if last != 40 || s.log[last] != "begin "+next(s.log[0][len("begin "):], 1) || slices.Contains(s.log[:last], s.log[last]) {
			t.Errorf("got %q; want the crowd's set 20 times, and then the next one", s.log)
		}
	})
}

// A caller of another grant that leaves changes nothing for who waits with it: the next
// set is stored after theirs.
func TestOrderAfterSomebodyHasLeft(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		s := &saves{}
		w.slow(5 * time.Second)
		leads := testkit.After(func() { _ = w.ask(context.Background(), s.caller(0, nil), expired("a.0"), nil) })
		joins := testkit.After(func() { _ = w.ask(context.Background(), s.caller(20*time.Second, nil), expired("a.0"), nil) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = w.ask(ctx, &caller{}, expired("a.0"), forGrant("more"))
		<-leads
		if err := w.ask(context.Background(), s.caller(0, nil), set("a.1"), named); err != nil {
			t.Error(err)
		}
		<-joins
		want := []string{"end a.1", "begin a.2", "end a.2"}
		if last := s.log[len(s.log)-3:]; !slices.Equal(last, want) {
			t.Errorf("got %q; want it to end with %q", s.log, want)
		}
	})
}

// All who wait for an older set's Save go on when that has returned.
func TestManyWaitForOneSave(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		s := &saves{}
		w.took("all of it", 10*time.Second, func() {
			first := testkit.After(func() { _ = w.ask(context.Background(), s.caller(10*time.Second, nil), expired("a.0"), nil) })
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					if err := w.ask(context.Background(), s.caller(0, nil), set("a.1"), named); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			<-first
		})
	})
}

// What led from one set to the next is forgotten while the first is still stored: the
// next one waits all the same.
func TestOrderOutlastsTheMemory(t *testing.T) {
	for _, memory := range []time.Duration{-1, 5 * time.Second} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.Memory = memory
				s := &saves{}
				slow := testkit.After(func() { w.mustAsk(s.caller(20*time.Second, nil), "a.0", "") })
				w.mustAsk(storing(set("b.0")), "a.1", "")
				if err := w.ask(context.Background(), &caller{}, set("b.0"), named); err != nil {
					t.Fatal(err)
				}
				time.Sleep(6 * time.Second)
				if err := w.ask(context.Background(), s.caller(0, nil), set("b.1"), named); err != nil {
					t.Error(err)
				}
				<-slow
				if want := []string{"begin a.1", "end a.1", "begin b.2", "end b.2"}; !slices.Equal(s.log, want) {
					t.Errorf("got %q; want %q", s.log, want)
				}
			})
		})
	}
}

// While a caller waits to store its set this process learns that a store has a newer
// one: the older is not stored over it.
func TestNewerSetIsFoundWhileACallerWaits(t *testing.T) {
	for _, comes := range []string{"a.0", "a.2"} {
		t.Run("by "+comes, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				s := &saves{}
				first := testkit.After(func() { w.mustAsk(s.caller(10*time.Second, nil), "a.0", "") })
				second := testkit.After(func() { w.mustAsk(s.caller(0, nil), "a.0", "more") })
				time.Sleep(time.Second)
				w.mustAsk(storing(set("a.3")), comes, "more")
				<-first
				<-second
				if slices.Contains(s.log, "begin a.2") {
					t.Errorf("got %q; want no a.2 after a.3 was found", s.log)
				}
			})
		})
	}
}

// A caller waits for an older set's Save, and then has to go on from a set that a store
// has, which has expired: it has what is left of its time, not all of it again.
func TestTimeRunsWhileACallerWaitsToStore(t *testing.T) {
	for _, tc := range []struct {
		name    string
		have    func(name string) rotate.Tokens
		urgency rotate.Urgency
		took    time.Duration
		sent    int // times the set that it goes on from
	}{
		{"it needs a set", expired, rotate.Needed, timeout, 2},
		{"its token is good", set, rotate.Optional, 20 * time.Second, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.Compare = func(*rotate.Tokens, *rotate.Tokens) int { return 0 }
				w.answers["a.3"] = func(rotate.Tokens, string) (rotate.Answer, error) { return rotate.Answer{}, errPassing }
				s := &saves{}
				first := testkit.After(func() { w.mustAsk(s.caller(20*time.Second, nil), "a.0", "") })
				second := testkit.After(func() {
					w.took("the second", tc.took, func() {
						_ = w.ask(context.Background(), s.caller(0, nil), tc.have("a.0"), func(c *rotate.Call) {
							c.Grant, c.Urgency = "more", tc.urgency
						})
					})
				})
				_ = w.ask(context.Background(), storing(expired("a.3")), expired("a.2"), forGrant("third"))
				w.slow(timeout)
				<-first
				<-second
				w.wantSent("a.3", tc.sent)
				time.Sleep(timeout)
			})
		})
	}
}

// The user signs out while a set waits to be stored, or is: no error carries it.
func TestUnsavedAfterASignOut(t *testing.T) {
	for _, tc := range []struct {
		name  string
		takes []time.Duration // the Saves of one set after the other
		out   time.Duration   // the sign-out
	}{
		{"it waits for the one before", []time.Duration{timeout, 0}, time.Second},
		{"it waits for one that is left behind", []time.Duration{20 * time.Second, 2 * timeout, 0}, 25 * time.Second},
		{"its Save is too slow", []time.Duration{2 * timeout}, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				s := &saves{}
				var last error
				var done []chan struct{}
				for n, takes := range tc.takes {
					done = append(done, testkit.After(func() {
						err := w.ask(context.Background(), s.caller(takes, nil), expired("a.0"), forGrant(fmt.Sprint(n)))
						if n == len(tc.takes)-1 {
							last = err
						}
					}))
				}
				time.Sleep(tc.out)
				w.Revoke("a.0")
				for _, d := range done {
					<-d
				}
				if !errors.Is(last, rotate.ErrRevoked) {
					t.Errorf("got %v (%T); want %v", last, last, rotate.ErrRevoked)
				}
				time.Sleep(2 * timeout)
			})
		})
	}
}
