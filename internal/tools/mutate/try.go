package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// test is a test, an example or the seeds of a fuzz target.
type test struct {
	binary  *binary
	name    string
	took    time.Duration
	reaches map[int]bool
}

// memory bounds a mutant that allocates for ever, in KiB.
const memory = 4 << 20

var testName = regexp.MustCompile(`^(Test|Example|Fuzz)`)

// prepare runs each test once without any mutant, to see what it reaches. A test
// that fails then is left out, and named.
func prepare(ctx context.Context, o options, binaries []*binary) ([]*test, error) {
	var tests []*test
	for _, b := range binaries {
		out, err := command(ctx, b.dir, b.path, "-test.list", ".*")
		if err != nil {
			return nil, err
		}
		for _, name := range lines(out) {
			if testName.MatchString(name) {
				tests = append(tests, &test{binary: b, name: name})
			}
		}
	}
	err := parallel(ctx, o.jobs, tests, func(t *test) error {
		log := t.binary.path + "." + t.name
		began := time.Now()
		result := t.binary.execute(ctx, 0, []*test{t}, 2*time.Minute, "MUTANTS_REACHED="+log)
		if t.took = time.Since(began); result.failed {
			fmt.Printf("left out, since it fails without a mutant: %s %s\n%s\n", t.binary.dir, t.name, result.output)
			return nil
		}
		data, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		t.reaches = map[int]bool{}
		for _, line := range lines(data) {
			if id, err := strconv.Atoi(line); err == nil {
				t.reaches[id] = true
			}
		}
		return nil
	})
	slices.SortStableFunc(tests, func(a, b *test) int { return cmp.Compare(a.took, b.took) })
	return tests, err
}

// tryAll tries each mutant with the tests that reach it, and reports each.
func tryAll(ctx context.Context, o options, mutants []*mutant, tests []*test, tell func(*mutant)) error {
	return parallel(ctx, o.jobs, mutants, func(m *mutant) error {
		var reaching []*test
		for _, t := range tests {
			if t.reaches[m.id] {
				reaching = append(reaching, t)
			}
		}
		all := len(reaching)
		// Most mutants die at once, so the first tries are small.
		for size := 2; len(reaching) > 0 && !m.killed; size *= 4 {
			n := min(size, len(reaching))
			m.try(ctx, reaching[:n])
			reaching = reaching[n:]
		}
		if !m.killed && all > 0 {
			m.by = fmt.Sprintf("%d tests reach it and pass", all)
		}
		if ctx.Err() == nil {
			tell(m)
		}
		return ctx.Err()
	})
}

// try runs tests, those of each binary together, up to the first that fails.
func (m *mutant) try(ctx context.Context, tests []*test) {
	for len(tests) > 0 && !m.killed {
		b := tests[0].binary
		var now, later []*test
		limit := 5 * time.Second
		for _, t := range tests {
			if t.binary != b {
				later = append(later, t)
				continue
			}
			now = append(now, t)
			limit += 8 * t.took
		}
		tests = later
		if r := b.execute(ctx, m.id, now, limit); r.failed {
			m.killed, m.timeout, m.by = true, r.timeout, r.test
		}
	}
}

type result struct {
	failed, timeout bool
	test            string // the first that failed, if it said so
	output          string
}

var (
	failure = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)
	running = regexp.MustCompile(`(?m)^\s+(\S+) \([0-9.]+m?s\)$`)
)

// execute runs tests with one mutant on; 0 is none.
func (b *binary) execute(ctx context.Context, id int, tests []*test, limit time.Duration, env ...string) result {
	names := make([]string, len(tests))
	for i, t := range tests {
		names[i] = t.name
	}
	// A panic of the timeout tells what hangs; the context is for what ignores it.
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, memory), b.path,
		"-test.run", "^("+strings.Join(names, "|")+")$", "-test.failfast", "-test.short", "-test.timeout", limit.String())
	cmd.Dir = b.dir
	cmd.Env = append(append(os.Environ(), "MUTANT="+strconv.Itoa(id)), env...)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if cmd.Run() == nil {
		return result{}
	}
	text := out.String()
	r := result{failed: true, output: text, test: "a crash"}
	r.timeout = ctx.Err() != nil || strings.Contains(text, "panic: test timed out") || strings.Contains(text, "deadlock")
	if found := failure.FindStringSubmatch(text); found != nil {
		r.test = found[1]
	} else if found := running.FindStringSubmatch(text); r.timeout && found != nil {
		r.test = found[1]
	}
	return r
}

// parallel runs a function for each of many, some at a time, up to the first error.
func parallel[T any](ctx context.Context, jobs int, all []T, do func(T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan T)
	var group sync.WaitGroup
	for range jobs {
		group.Go(func() {
			for one := range queue {
				if err := do(one); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, one := range all {
		select {
		case queue <- one:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	group.Wait()
	return context.Cause(ctx)
}
