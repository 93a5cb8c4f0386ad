// Command report makes of the rounds that run.sh measured a table of the goals on
// standard output, the tables of docs/review/performance.md and its charts.
//
//	report ROUNDS-FOLDER DOCS-FOLDER
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/authpi/authpi-idp-go/internal/bench"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: report ROUNDS-FOLDER DOCS-FOLDER")
	}
	r, docs := read(os.Args[1]), os.Args[2]
	r.print()
	page := filepath.Join(docs, "review", "performance.md")
	data, err := os.ReadFile(page)
	if err != nil {
		log.Fatal(err)
	}
	text := string(data)
	for name, table := range map[string]string{
		"goals": r.goalTable(), "times": r.timeTables(), "run": r.runTable(),
		"counts": r.countTable(), "size": r.sizeTable(),
	} {
		text = replace(text, name, table)
	}
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
	for name, drawing := range r.charts() {
		if err := os.WriteFile(filepath.Join(docs, "img", name), []byte(drawing), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// replace puts a table between its two marks in the page.
func replace(text, name, table string) string {
	open, shut := "<!-- bench:"+name+" -->\n", "<!-- /bench:"+name+" -->"
	before, rest, found := strings.Cut(text, open)
	_, after, closed := strings.Cut(rest, shut)
	if !found || !closed {
		log.Fatalf("performance.md has no marks for %s", name)
	}
	return before + open + table + shut + after
}

func (r *results) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "work\tgoal\tmeasured\tspread\tby the clock\t")
	missed := 0
	goals := r.goals()
	for _, g := range goals {
		if g.known && !g.met() {
			missed++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", g.work, g.wanted, g.measured(), g.spread(), g.clock(), strings.Trim(g.verdict(), "*"))
	}
	_ = w.Flush()
	fmt.Printf("%d goals, %d missed\n", len(goals), missed)
}

func (r *results) goalTable() string {
	var b strings.Builder
	b.WriteString("| work | goal | measured | rounds' spread | by the clock | |\n|---|---|---:|---|---:|---|\n")
	for _, g := range r.goals() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", g.work, g.wanted, g.measured(), g.spread(), g.clock(), g.verdict())
	}
	return b.String()
}

// titles are the rows that are timed, in the order of the page.
var titles = []struct{ row, title string }{
	{"AuthorizationURL", "Authorization URL"},
	{"Stored", "Stored set to agent"},
	{"GuardedPage", "Guarded page of somebody who is signed in"},
	{"GuardedAPI", "Guarded API, a token not seen before (ES256)"},
	{"Verify", "Token verified and decoded (ES256)"},
	{"SeenAgain", "The same token again"},
	{"Access", "One scope check, last organization, 20 scopes each"},
	{"TokenSource", "Valid token from a source, 64 goroutines"},
	{"Exchange", "Code exchange over loopback, 10 organizations"},
}

func (r *results) timeTables() string {
	var b strings.Builder
	for _, t := range titles {
		rows := []string{t.row}
		head := []string{"time"}
		if r.rows[t.row] == nil {
			rows, head = nil, nil
			for _, n := range bench.Sizes {
				rows = append(rows, fmt.Sprintf("%s/orgs=%d", t.row, n))
				head = append(head, thousands(n)+" org.")
			}
		}
		fmt.Fprintf(&b, "### %s\n\n| | %s |\n|---|%s\n", t.title, strings.Join(head, " | "), strings.Repeat("---:|", len(head)))
		for _, contender := range r.contenders(rows) {
			fmt.Fprintf(&b, "| %s |", contender)
			for _, row := range rows {
				b.WriteString(" " + r.cell(row, contender) + " |")
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// cell is time, spread and allocations.
func (r *results) cell(row, contender string) string {
	f, ok := r.of(row, contender, took(row))
	if !ok {
		return "-"
	}
	text := fmt.Sprintf("%s ± %.0f %%", duration(f.median), 50*(f.high-f.low)/f.median)
	if contender != python {
		a, _ := r.of(row, contender, allocations)
		text += fmt.Sprintf(", %s", strings.TrimSuffix(fmt.Sprintf("%.0f", a.median), ".0"))
	}
	return text
}

// took is the time that the page shows: the processor's, but for the row that is
// about waiting.
func took(row string) func(sample) float64 {
	if row == "TokenSource" {
		return nanoseconds
	}
	return metric(cpuTime)
}

// contenders lists those of the rows, ours first.
func (r *results) contenders(rows []string) []string {
	names := []string{bench.Ours}
	for _, known := range []string{bench.Signature, bench.PlainLoop, bench.ByHand, "net-url", bench.Floor, bench.OAuth2, bench.GolangJWT,
		bench.GoOIDC, bench.Zitadel, bench.GoJOSE, bench.JWX, bench.Casbin, bench.OPA, bench.OPAInput, python} {
		for _, row := range rows {
			if r.rows[row][known] != nil {
				names = append(names, known)
				break
			}
		}
	}
	return names
}

func (r *results) countTable() string {
	var b strings.Builder
	b.WriteString("| 10,000 forged tokens, unknown kids, 64 workers | key fetches | processor for each refusal | allocations for each |\n|---|---:|---:|---:|\n")
	for _, c := range []string{bench.Ours, bench.GoOIDC, bench.Zitadel, "keyfunc", "jwx-cache"} {
		fetches, _ := r.of("Forged", c, metric("fetches"))
		refusal, ok := r.of("Forged", c, metric("cpu-ns/refusal"))
		allocs, _ := r.of("Forged", c, allocations)
		if ok {
			fmt.Fprintf(&b, "| %s | %.0f | %s | %.0f |\n", c, fetches.median, duration(refusal.median), allocs.median/10000)
		}
	}
	b.WriteString("\n| 1,000 goroutines, one expired session, issuer takes 20 ms | token requests | time | one caller alone |\n|---|---:|---:|---:|\n")
	for _, c := range []string{bench.Ours, bench.OAuth2} {
		requests, _ := r.of("Burst/callers=1000", c, metric("requests/op"))
		burst, ok := r.of("Burst/callers=1000", c, nanoseconds)
		one, _ := r.of("Burst/callers=1", c, nanoseconds)
		if ok {
			fmt.Fprintf(&b, "| %s | %.0f | %s | %s |\n", c, requests.median, duration(burst.median), duration(one.median))
		}
	}
	b.WriteString("\n| 1,000 code exchanges at a time, HTTP/1.1, issuer takes 20 ms | sockets, first wave | sockets, each later wave | time of a wave |\n|---|---:|---:|---:|\n")
	for _, c := range []string{bench.Ours, bench.GoOIDC} {
		first, _ := r.of("Sockets", c, metric("sockets-first"))
		later, ok := r.of("Sockets", c, metric("sockets-later"))
		wave, _ := r.of("Sockets", c, nanoseconds)
		if ok {
			fmt.Fprintf(&b, "| %s | %.0f | %.0f | %s |\n", c, first.median, later.median, duration(wave.median))
		}
	}
	return b.String()
}

func (r *results) sizeTable() string {
	var b strings.Builder
	b.WriteString("| program | bytes | without symbols | packages | outside the standard library | modules | init, ms | init, allocations |\n|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, p := range []struct{ key, name string }{
		{"ours", "authpi"}, {"peers", "go-oidc + x/oauth2"}, {"empty", "`func main() {}`"},
	} {
		w := r.size[p.key]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %.2f | %d |\n",
			p.name, w.Bytes, w.Stripped, w.Packages, w.Foreign, w.Modules, w.InitMS, w.InitAllocs)
	}
	if own := r.size["ours"].OwnInit; len(own) > 0 {
		b.WriteString("\nOf it, authpi's own packages: " + strings.Join(own, "; ") + ".\n")
	} else {
		b.WriteString("\nNone of this init work is in authpi's own packages.\n")
	}
	return b.String()
}

func (r *results) runTable() string {
	var b strings.Builder
	rounds := len(r.rows["AuthorizationURL"][bench.Ours])
	fmt.Fprintf(&b, "- **Machine**: %s, %d shared %s cores. **Go** %s.\n", r.cpu, runtime.NumCPU(), strings.Replace(runtime.GOARCH, "amd64", "x86-64", 1), strings.TrimPrefix(runtime.Version(), "go"))
	fmt.Fprintf(&b, "- **Rounds**: %d. Load average (one minute) before each and after the last: %s.\n", rounds, strings.Join(r.load, ", "))
	var versions []string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			for _, name := range []string{"coreos/go-oidc", "golang.org/x/oauth2", "zitadel/oidc", "golang-jwt/jwt", "MicahParks/keyfunc",
				"lestrrat-go/jwx", "go-jose/go-jose", "casbin/casbin", "open-policy-agent/opa"} {
				if strings.Contains(module.Path, name) {
					versions = append(versions, strings.TrimPrefix(module.Path, "github.com/")+" "+module.Version)
				}
			}
		}
	}
	for _, name := range []string{"authpi-idp", "pydantic", "httpx"} {
		if r.python != nil {
			versions = append(versions, name+" "+r.python[name])
		}
	}
	if r.python != nil {
		versions = append(versions, "CPython "+r.python["python"])
	}
	fmt.Fprintf(&b, "- **Versions**: %s.\n", strings.Join(versions, ", "))
	return b.String()
}
