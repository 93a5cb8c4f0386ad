package main

import (
	"fmt"

	"github.com/authpi/authpi-idp-go/internal/bench"
)

// goal is one promise and what became of it.
type goal struct {
	work, wanted string
	limit        float64
	least        bool    // limit is the least, else the most
	got          figure  // by the clock
	cpu          *figure // the same by processor time, which then decides
	plain        bool    // a count, which does not spread
	known        bool
}

// judged is the figure that decides.
func (g goal) judged() figure {
	if g.cpu != nil {
		return *g.cpu
	}
	return g.got
}

func (g goal) met() bool {
	if g.least {
		return g.judged().median >= g.limit
	}
	return g.judged().median <= g.limit
}

func atMost(work string, limit float64, what string, got figure, known bool) goal {
	return goal{work: work, wanted: "≤ " + number(limit) + what, limit: limit, got: got, known: known}
}

func atLeast(work string, limit float64, what string, got figure, known bool) goal {
	return goal{work: work, wanted: "≥ " + number(limit) + what, limit: limit, least: true, got: got, known: known}
}

func number(v float64) string { return fmt.Sprintf("%.4g", v) }

func count(g goal) goal {
	g.plain = true
	return g
}

// by adds the same ratio by processor time.
func (g goal) by(cpu figure, known bool) goal {
	if known {
		g.cpu = &cpu
	}
	return g
}

// goals are those of the project's plan, in its order.
func (r *results) goals() []goal {
	var all []goal
	ratio := func(work string, limit float64, row, contender, otherRow, other string) {
		got, ok := r.ratio(row, contender, otherRow, other, nanoseconds)
		all = append(all, atMost(work, limit, " × "+other, got, ok).by(r.ratio(row, contender, otherRow, other, metric(cpuTime))))
	}
	times := func(work string, limit float64, row, slow string) {
		got, ok := r.ratio(row, slow, row, bench.Ours, nanoseconds)
		all = append(all, atLeast(work, limit, " × as fast as "+slow, got, ok).by(r.ratio(row, slow, row, bench.Ours, metric(cpuTime))))
	}
	allocs := func(work string, limit float64, row string) {
		got, ok := r.of(row, bench.Ours, allocations)
		all = append(all, count(atMost(work, limit, " allocations", got, ok)))
	}
	sized := func(row string, n int) string { return fmt.Sprintf("%s/orgs=%d", row, n) }
	orgs := func(work string, n int) string { return fmt.Sprintf("%s, %s org.", work, thousands(n)) }

	ratio("CreateAuthorizationURL", 0.35, "AuthorizationURL", bench.Ours, "AuthorizationURL", bench.OAuth2)
	allocs("CreateAuthorizationURL", 3, "AuthorizationURL")
	for _, n := range bench.Sizes {
		row := sized("Stored", n)
		ratio(orgs("stored set to agent", n), 0.25, row, bench.Ours, row, bench.Floor)
		allocs(orgs("stored set to agent", n), 10, row)
		times(orgs("stored set to agent", n), 3, row, python)
	}
	page := sized("GuardedPage", 10)
	ratio(orgs("guarded page", 10), 1.5, page, bench.Ours, page, bench.CreateAgentAlone)
	ratio(orgs("guarded page", 10), 0.25, page, bench.Ours, page, bench.GoOIDCWithSCS)
	call := sized("GuardedAPI", 10)
	ratio(orgs("guarded API, fresh token", 10), 0.5, call, bench.Ours, call, bench.JWX)
	ratio(orgs("guarded API, fresh token", 10), 0.55, call, bench.Ours, call, bench.GoOIDC)
	for _, c := range []struct {
		n     int
		limit float64
		other string
	}{{1, 1.15, bench.Signature}, {10, 1.35, bench.Signature}, {100, 0.25, bench.GoOIDC}, {1000, 0.15, bench.GoOIDC}} {
		row := sized("Verify", c.n)
		ratio(orgs("token verified and decoded", c.n), c.limit, row, bench.Ours, row, c.other)
		allocs(orgs("token verified and decoded", c.n), 25, row)
	}
	for _, c := range []struct {
		n     int
		limit float64
	}{{1, 0.05}, {10, 0.05}, {1000, 0.20}} {
		again, first := sized("SeenAgain", c.n), sized("Verify", c.n)
		got, ok := r.ratio(again, bench.Ours, first, bench.Ours, nanoseconds)
		all = append(all, atMost(orgs("the same token again", c.n), c.limit, " × verifying it", got, ok).
			by(r.ratio(again, bench.Ours, first, bench.Ours, metric(cpuTime))))
	}
	for _, n := range bench.Sizes {
		row := sized("Access", n)
		ratio(orgs("HasAccessIn", n), 1.2, row, bench.Ours, row, bench.PlainLoop)
		allocs(orgs("HasAccessIn", n), 0, row)
	}
	for _, n := range bench.Sizes[1:] {
		for _, other := range []string{bench.Casbin, bench.OPA, bench.OPAInput} {
			times(orgs("HasAccessIn", n), 100, sized("Access", n), other)
		}
	}
	// Waiting for each other is what this row is about, and that is no processor
	// time.
	contended, ok := r.ratio("TokenSource", bench.Ours, "TokenSource", bench.OAuth2, nanoseconds)
	all = append(all, atMost("valid token, contended", 0.5, " × "+bench.OAuth2, contended, ok))
	fetches, ok := r.of("Forged", bench.Ours, metric("fetches"))
	all = append(all, count(atMost("10,000 forged tokens, 64 workers", 2, " key fetches", fetches, ok)))
	refusal, ok := r.of("Forged", bench.Ours, metric("cpu-ns/refusal"))
	refusal = figure{refusal.median / 1000, refusal.low / 1000, refusal.high / 1000}
	all = append(all, atMost("each of them refused", 5, " µs of processor", refusal, ok))
	ratio("ExchangeCode over loopback", 1.1, "Exchange", bench.Ours, "Exchange", bench.ByHand)
	burst, ok := r.ratio("Burst/callers=1000", bench.Ours, "Burst/callers=1", bench.Ours, nanoseconds)
	all = append(all, atMost("1,000 goroutines refresh", 1.25, " × one request", burst, ok))
	requests, ok := r.of("Burst/callers=1000", bench.Ours, metric("requests/op"))
	all = append(all, count(atMost("1,000 goroutines refresh", 1, " token requests", requests, ok)))
	return append(all, r.sizeGoals()...)
}

func (r *results) sizeGoals() []goal {
	ours, peers := r.size["ours"], r.size["peers"]
	known := peers.Bytes > 0
	if !known {
		return nil
	}
	part := func(a, b int64) figure { v := float64(a) / float64(b); return figure{v, v, v} }
	inits := float64(len(ours.OwnInit))
	return []goal{
		count(atMost("bytes of a minimal program", 1.1, " × go-oidc + x/oauth2", part(ours.Bytes, peers.Bytes), known)),
		count(atMost("packages pulled in", 1.1, " × go-oidc + x/oauth2", part(int64(ours.Packages), int64(peers.Packages)), known)),
		count(atMost("importing it", 0, " own packages with init work", figure{inits, inits, inits}, known)),
	}
}

func (g goal) verdict() string {
	switch {
	case !g.known:
		return "not measured"
	case g.met():
		return "met"
	}
	return "**missed**"
}

func (g goal) spread() string {
	if g.plain || !g.known {
		return ""
	}
	return digits(g.judged().low) + " to " + digits(g.judged().high)
}

func (g goal) measured() string {
	if !g.known {
		return "-"
	}
	got := g.judged().median
	if g.plain && got == float64(int64(got)) {
		return fmt.Sprintf("%.0f", got)
	}
	return digits(got)
}

// clock is what the clock said where processor time decides.
func (g goal) clock() string {
	if g.cpu == nil {
		return ""
	}
	return digits(g.got.median)
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
