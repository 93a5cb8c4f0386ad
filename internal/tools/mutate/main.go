// Command mutate checks the tests of packages: it changes one condition of their
// code at a time, and says which changes no test notices.
//
//	mutate [flags] file.go|folder...
//
// All changes are compiled at once into each test binary: those of the changed
// packages, and those of the suites. Each change is behind a number that an
// environment variable chooses, so that trying one costs a start of a binary and
// not a build. A first run of each test notes which changes it reaches; each
// change is then tried with those tests alone, the quickest first. Nothing in the
// module itself is written to.
//
// A change that no test notices is a survivor, unless the list gives a reason for
// it. The command fails for survivors, and for entries of the list that name no
// change or one that a test notices.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

type options struct {
	root   string         // of the module
	suites string         // a pattern of test packages, or nothing
	only   *regexp.Regexp // of keys; nil: all
	jobs   int
}

func main() {
	var o options
	root := flag.String("root", ".", "the module's folder, which files and the list are relative to")
	listed := flag.String("list", "testdata/mutants.txt", "the survivors that have a reason")
	flag.StringVar(&o.suites, "suites", "", "a pattern of further packages whose tests are tried, such as ./internal/test/...")
	only := flag.String("only", "", "a regular expression of the keys to try; stale entries are not looked for then")
	flag.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "how many test binaries run at a time")
	flag.Parse()
	if *only != "" {
		o.only = regexp.MustCompile(*only)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if o.root, err = filepath.Abs(*root); err == nil {
		err = run(ctx, o, filepath.Join(o.root, *listed), flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// tally is what came of all mutants.
type tally struct {
	mu                                        sync.Mutex // guards the rest
	killed, timeouts, listed, survived, stale int
}

func run(ctx context.Context, o options, listPath string, args []string) error {
	began := time.Now()
	reasons, err := readList(listPath)
	if err != nil {
		return err
	}
	packages, err := load(ctx, o.root, args)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binaries, err := compile(ctx, o, packages, folder)
	if err != nil {
		return err
	}
	tests, err := prepare(ctx, o, binaries)
	if err != nil {
		return err
	}
	fmt.Printf("== %d tests in %d binaries: %s\n", len(tests), len(binaries), time.Since(began).Round(time.Second))

	var sum tally
	total := 0
	for _, p := range packages {
		part := time.Now()
		tried := slices.DeleteFunc(slices.Clone(p.mutants), func(m *mutant) bool {
			return o.only != nil && !o.only.MatchString(m.key())
		})
		fmt.Printf("== %s: %d mutants\n", p.path, len(tried))
		if err := tryAll(ctx, o, tried, tests, func(m *mutant) { sum.count(m, reasons) }); err != nil {
			return err
		}
		total += len(tried)
		fmt.Printf("== %s: %s\n", p.path, time.Since(part).Round(time.Second))
	}
	if o.only == nil {
		for _, key := range reasons.unused() {
			fmt.Printf("stale: %s\n    no such mutant\n", key)
			sum.stale++
		}
	}
	fmt.Printf("%d of the killed ran into their timeout or deadlocked; %s in all\n", sum.timeouts, time.Since(began).Round(time.Second))
	fmt.Printf("mutants: %d, killed %d, listed %d, survived %d (score %.1f %%)\n",
		total, sum.killed, sum.listed, sum.survived, 100*float64(sum.killed)/float64(max(total, 1)))
	if sum.survived+sum.stale > 0 {
		return fmt.Errorf("%d survivors without a reason, %d stale entries", sum.survived, sum.stale)
	}
	return nil
}

// count adds one mutant, and says what is wrong with it.
func (s *tally) count(m *mutant, reasons list) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason, listed := reasons.take(m.key())
	switch {
	case m.killed && listed && !strings.HasPrefix(reason, byChance):
		fmt.Printf("stale: %s\n    %s:%d: %s notices it\n", m.key(), m.file, m.line, m.by)
		s.killed++
		s.stale++
	case m.killed:
		s.killed++
	case listed:
		s.listed++
	default:
		fmt.Printf("survived: %s\n    %s:%d: %s\n", m.key(), m.file, m.line, cmp.Or(m.by, "no test reaches it"))
		s.survived++
	}
	if m.timeout {
		s.timeouts++
	}
}
