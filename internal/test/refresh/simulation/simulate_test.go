package simulation_test

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	usualHistories  = 2000
	racingHistories = 400 // with the race detector
)

// TestSimulate plays histories in virtual time and judges all that happens in them. Each
// is made from a seed: SEED=n plays that one alone, and prints it; SIMULATE=n plays so many
// from FIRST on; UNTIL=names ends with the first that breaks one of these invariants.
func TestSimulate(t *testing.T) {
	t.Parallel()
	usual := usualHistories
	if raceDetector {
		usual = racingHistories
	}
	first, count := setting(t, "FIRST", 1), setting(t, "SIMULATE", usual)
	seed := setting(t, "SEED", 0)
	if seed > 0 {
		first, count = seed, 1
	}
	total := &totals{ended: map[string]int{}, found: map[string]int{}}
	if names := os.Getenv("UNTIL"); names != "" {
		total.until = strings.Split(names, ";")
	}
	began := time.Now()
	var next atomic.Int64
	t.Run("histories", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(worker+1), func(t *testing.T) {
				t.Parallel()
				for {
					n := int(next.Add(1)) - 1
					if n >= count || total.enough() {
						return
					}
					h := generate(uint64(first + n))
					r := play(t, h)
					total.add(r)
					switch {
					case len(r.broken) > 0 && total.first(r):
						report(t, h, r)
					case seed > 0:
						t.Log("\n" + table(h, r))
					}
				}
			})
		}
	})
	t.Log(total.summary(first, time.Since(began)))
}

func setting(t *testing.T, name string, usual int) int {
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s: got %q; want a number", name, text)
	}
	return n
}

// result is what came of one history.
type result struct {
	seed                uint64
	broken              []violation
	rows                []row
	requests, rotations int
	calls               int
	ended               map[string]int
}

func (r *result) breaks(invariant string) bool {
	return slices.ContainsFunc(r.broken, func(v violation) bool { return v.invariant == invariant })
}

// mostReal is how long a history may take. They take milliseconds.
const mostReal = 3 * time.Minute

// play runs one history in a bubble of its own. A bubble whose goroutines do not end
// panics, which is an invariant like the others.
func play(t *testing.T, h *history) (r *result) {
	var w *world
	defer func() {
		fault := recover()
		if w == nil {
			panic(fault)
		}
		if fault != nil {
			w.broken = append(w.broken, violation{invariant: nothingRuns, detail: fmt.Sprint(fault)})
		}
		r = &result{h.seed, w.broken, w.rows, w.requests, w.rotations, len(w.calls), w.excuses}
	}()
	// A call that goes round in circles takes no virtual time.
	late := time.AfterFunc(mostReal, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("seed %d has not ended after %v", h.seed, mostReal))
	})
	defer late.Stop()
	synctest.Test(t, func(*testing.T) {
		w = newWorld(h)
		w.play()
	})
	return nil
}

// totals are the figures of all histories.
type totals struct {
	mu                                   sync.Mutex // guards all below
	histories, calls, requests, rotation int
	failed                               int
	until                                []string // invariants whose first break is enough
	ended, found                         map[string]int
	seeds                                []uint64 // of those that failed
}

func (a *totals) add(r *result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.histories++
	a.calls += r.calls
	a.requests += r.requests
	a.rotation += r.rotations
	for why, n := range r.ended {
		a.ended[why] += n
	}
	if len(r.broken) > 0 {
		a.failed++
		a.seeds = append(a.seeds, r.seed)
	}
}

// first reports whether a result shows an invariant broken that no other has shown yet.
func (a *totals) first(r *result) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := false
	for _, v := range r.broken {
		fresh = fresh || a.found[v.invariant] == 0
		a.found[v.invariant]++
	}
	return fresh
}

// manyFailures are as many as are of any use.
const manyFailures = 500

// enough reports whether there is no use in more histories.
func (a *totals) enough() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, invariant := range a.until {
		if a.found[invariant] > 0 {
			return true
		}
	}
	return a.failed >= manyFailures
}

func (a *totals) summary(first int, took time.Duration) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d histories, seeds %d to %d: %d calls, %d requests, %d rotations in %v; %d histories failed\n",
		a.histories, first, first+a.histories-1, a.calls, a.requests, a.rotation, took.Round(time.Millisecond), a.failed)
	list(&b, "sessions ended", a.ended)
	list(&b, "invariants broken", a.found)
	if len(a.seeds) > 0 {
		fmt.Fprintf(&b, "  failed: seeds %d\n", a.seeds)
	}
	return b.String()
}

func list(to io.Writer, title string, counts map[string]int) {
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(to, "  %s: %7d  %s\n", title, counts[name], name)
	}
}

// report prints a failing history, cut down to what it needs to fail.
func report(t *testing.T, h *history, r *result) {
	for _, v := range r.broken {
		small, again := shrink(t, h, v.invariant)
		t.Errorf("seed %d: %s\n%s\n%s", h.seed, v.invariant, v.detail, table(small, again))
	}
}

// shrinkTime bounds how long one history is cut down.
const shrinkTime = 3 * time.Second

// shrink drops steps for as long as the history still breaks the invariant.
func shrink(t *testing.T, h *history, invariant string) (*history, *result) {
	best, shown := h, play(t, h)
	deadline := time.Now().Add(shrinkTime)
	fails := func(candidate *history) bool {
		for range 2 {
			if r := play(t, candidate); r.breaks(invariant) {
				best, shown = candidate, r
				return true
			}
		}
		return false
	}
	for size := len(best.steps) / 2; size > 0 && time.Now().Before(deadline); {
		smaller := false
		for from := 0; from < len(best.steps) && time.Now().Before(deadline); {
			candidate := *best
			candidate.steps = slices.Delete(slices.Clone(best.steps), from, min(from+size, len(best.steps)))
			if fails(&candidate) {
				smaller = true
				continue
			}
			from += size
		}
		if !smaller || size > 1 {
			size /= 2
		}
	}
	return best, shown
}

// table is a history in a form that can be read.
func table(h *history, r *result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n%d steps:\n", h.setup, len(h.steps))
	for _, s := range h.steps {
		fmt.Fprintf(&b, "  %12v  P%d  %v\n", s.at.Round(time.Microsecond), s.process+1, s)
	}
	fmt.Fprintf(&b, "%12s  %-4s %-4s what\n", "time", "proc", "call")
	for _, line := range r.rows {
		who, whose := "", ""
		if line.p != nil {
			who = line.p.name
		}
		if line.c != nil {
			whose = fmt.Sprintf("c%d", line.c.id)
		}
		fmt.Fprintf(&b, "%12v  %-4s %-4s %s\n", line.at.Round(time.Microsecond), who, whose, fmt.Sprintf(line.format, line.args...))
	}
	return b.String()
}
