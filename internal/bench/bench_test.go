package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// rotated returns the contenders in an order that differs from round to round
// (ROUND, as run.sh counts them), so that none always runs first.
func rotated[T any](contenders []T) []T {
	round, _ := strconv.Atoi(os.Getenv("ROUND"))
	at := round % len(contenders)
	return append(append([]T(nil), contenders[at:]...), contenders[:at]...)
}

// each runs a benchmark for each size.
func each(b *testing.B, run func(*testing.B, int)) {
	for _, n := range Sizes {
		b.Run(fmt.Sprintf("orgs=%d", n), func(b *testing.B) { run(b, n) })
	}
}

// clean frees what the contender before has left behind. What it returns reports
// the processor time since then.
func clean(b *testing.B) (report func()) {
	runtime.GC()
	b.ReportAllocs()
	before := processorTime()
	return func() { b.ReportMetric(float64(processorTime()-before)/float64(max(b.N, 1)), "cpu-ns/op") }
}

var issuer = sync.OnceValue(NewIssuer)

func BenchmarkAuthorizationURL(b *testing.B) {
	for _, m := range rotated(LoginMakers()) {
		b.Run(m.Name, func(b *testing.B) {
			login := m.New(issuer())
			defer clean(b)()
			for b.Loop() {
				if _, err := login(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStored(b *testing.B) {
	each(b, func(b *testing.B, n int) {
		text := StoredSet(issuer().IDToken(n))
		for _, r := range rotated(StoredReaders()) {
			b.Run(r.Name, func(b *testing.B) {
				read := r.New(issuer())
				defer clean(b)()
				for b.Loop() {
					if _, err := read(text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

// poolLimit is lowered where nothing is timed, since signing takes a while.
var poolLimit = 1 << 20

// Every token is one that the contender has not seen for as long as it remembers.
func BenchmarkVerify(b *testing.B) {
	each(b, func(b *testing.B, n int) { timeVerifiers(b, n, Verifiers()) })
}

func timeVerifiers(b *testing.B, n int, contenders []Reader) {
	tokens := issuer().Pool(n, poolLimit)
	for _, r := range rotated(contenders) {
		b.Run(r.Name, func(b *testing.B) {
			verify := r.New(issuer())
			if _, err := verify(issuer().Token(n)); err != nil { // fetches the keys
				b.Fatal(err)
			}
			next := 0
			defer clean(b)()
			for b.Loop() {
				if _, err := verify(tokens[next]); err != nil {
					b.Fatal(err)
				}
				if next++; next == len(tokens) {
					next = 0
				}
			}
		})
	}
}

// One op is one request for a guarded API with a token that was not seen before.
func BenchmarkGuardedAPI(b *testing.B) {
	each(b, func(b *testing.B, n int) { timeVerifiers(b, n, APICalls()) })
}

// The same token again, which only ours remembers.
func BenchmarkSeenAgain(b *testing.B) {
	each(b, func(b *testing.B, n int) {
		b.Run(Ours, func(b *testing.B) {
			verify, token := verifier(Ours)(issuer()), issuer().Token(n)
			if _, err := verify(token); err != nil {
				b.Fatal(err)
			}
			defer clean(b)()
			for b.Loop() {
				if _, err := verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func verifier(name string) func(*Issuer) func(string) (any, error) {
	for _, v := range Verifiers() {
		if v.Name == name {
			return v.New
		}
	}
	panic(name)
}

func BenchmarkAccess(b *testing.B) {
	each(b, func(b *testing.B, n int) {
		orgs, last := Memberships(n, 20), OrgID(n-1)
		for _, c := range rotated(Checkers()) {
			b.Run(c.Name, func(b *testing.B) {
				allowed := c.New(orgs)
				defer clean(b)()
				for b.Loop() {
					if ok, err := allowed(last, "write", "projects"); err != nil || !ok {
						b.Fatal(ok, err)
					}
				}
			})
		}
	})
}

func BenchmarkTokenSource(b *testing.B) {
	for _, m := range rotated(SourceMakers()) {
		b.Run(m.Name, func(b *testing.B) {
			source := m.New(issuer())
			b.SetParallelism(32)
			defer clean(b)()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := source.Token(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

const (
	floodTokens  = 10000
	floodWorkers = 64
)

var forged = sync.OnceValue(func() []string { return issuer().Forged(floodTokens) })

// One op is all 10,000 tokens. The processor time includes the issuer's own.
func BenchmarkForged(b *testing.B) {
	for _, c := range rotated(KeyCaches()) {
		b.Run(c.Name, func(b *testing.B) {
			good, tokens := issuer().Token(1), forged()
			fetches, used, floods := int64(0), time.Duration(0), 0
			clean(b) // its processor time is reported for each refusal
			for b.Loop() {
				b.StopTimer()
				verify := c.New(issuer())
				if _, err := verify(good); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				before := processorTime()
				letIn, n := Flood(issuer(), verify, tokens, floodWorkers)
				used += processorTime() - before
				if letIn > 0 {
					b.Fatalf("%d forged tokens were let in", letIn)
				}
				fetches, floods = max(fetches, n), floods+1
			}
			b.ReportMetric(float64(fetches), "fetches")
			b.ReportMetric(float64(used)/float64(floods*len(tokens)), "cpu-ns/refusal")
		})
	}
}

func BenchmarkExchange(b *testing.B) {
	issuer().SetAnswer(issuer().IDToken(10))
	for _, e := range rotated(Exchangers()) {
		b.Run(e.Name, func(b *testing.B) {
			exchange := e.New(issuer())
			if _, err := exchange("code", "verifier"); err != nil {
				b.Fatal(err)
			}
			defer clean(b)()
			for b.Loop() {
				if _, err := exchange("code", "verifier"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

const crowd = 1000

// One op is 1,000 exchanges at a time, each of which the issuer takes 20 ms for. The
// metrics are the connections opened in the first wave and, on average, in later
// ones.
func BenchmarkSockets(b *testing.B) {
	is := issuer()
	is.SetAnswer(is.IDToken(1))
	is.Delay.Store(int64(20 * time.Millisecond))
	defer is.Delay.Store(0)
	for _, e := range rotated(Crowds()) {
		b.Run(e.Name, func(b *testing.B) {
			exchange := e.New(is)
			first, before, waves := int64(0), is.Sockets.Load(), 0
			for b.Loop() {
				if err := failures(together(crowd, func() error {
					_, err := exchange("code", "verifier")
					return err
				})); err != nil {
					b.Fatal(err)
				}
				if waves++; waves == 1 {
					first = is.Sockets.Load() - before
				}
			}
			b.ReportMetric(float64(first), "sockets-first")
			later := float64(is.Sockets.Load()-before-first) / float64(max(waves-1, 1))
			b.ReportMetric(later, "sockets-later")
		})
	}
}

// One op is one expired session in the hands of so many goroutines, each of which
// gets the new tokens for its own OnRefresh.
func BenchmarkBurst(b *testing.B) {
	is := newRemote(b, 20*time.Millisecond)
	session := 0
	for _, r := range rotated(Refreshers()) {
		for _, callers := range []int{1, crowd} {
			b.Run(fmt.Sprintf("callers=%d/%s", callers, r.Name), func(b *testing.B) {
				burst := r.New(is.URL, is.IDToken)
				if err := burst(session, 1); err != nil {
					b.Fatal(err)
				}
				session++
				before, bursts := is.tokenRequests(b), 0
				for b.Loop() {
					if err := burst(session, callers); err != nil {
						b.Fatal(err)
					}
					session++
					bursts++
				}
				b.ReportMetric(float64(is.tokenRequests(b)-before)/float64(bursts), "requests/op")
			})
		}
	}
}

// One op is one request for a guarded page of somebody who is signed in.
func BenchmarkGuardedPage(b *testing.B) {
	each(b, func(b *testing.B, n int) {
		for _, p := range rotated(Pages()) {
			b.Run(p.Name, func(b *testing.B) {
				serve := p.New(n)
				defer clean(b)()
				for b.Loop() {
					if err := serve(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
