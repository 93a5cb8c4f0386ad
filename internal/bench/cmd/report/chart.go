package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"github.com/authpi/authpi-idp-go/internal/bench"
)

// A chart has organizations across and time upwards, both logarithmic.
const (
	width, height            = 760, 440
	left, right, top, bottom = 70, 150, 56, 52
)

// style has a colour for each contender that can be told apart on white and on
// near-black; ours is drawn thicker too, so that colour is not all there is.
const style = `text{font:13px system-ui,sans-serif;fill:var(--text)}.t{font-size:16px;font-weight:600}.s{fill:var(--soft)}` +
	`.g{stroke:var(--grid);stroke-width:1}.l{fill:none;stroke-width:2}.o{stroke-width:4}` +
	`svg{--text:#1b1f24;--soft:#57606a;--grid:#d8dee4;--bg:#ffffff;` +
	`--c0:#0b5cad;--c1:#57606a;--c2:#b35900;--c3:#1a7f37;--c4:#8250df;--c5:#bf3989;--c6:#9a6700;--c7:#cf222e;--c8:#0e7490}` +
	`@media (prefers-color-scheme:dark){svg{--text:#e8ebef;--soft:#a5afba;--grid:#30363d;--bg:#0f1318;` +
	`--c0:#7ab8ff;--c1:#a5afba;--c2:#ffa657;--c3:#56d364;--c4:#d2a8ff;--c5:#ff9bce;--c6:#e3b341;--c7:#ff7b72;--c8:#67e8f9}}`

var colours = []string{bench.Ours, bench.Signature, bench.Floor, bench.GoOIDC, bench.Zitadel, bench.JWX, bench.GolangJWT, python, bench.GoJOSE}
var checkColours = []string{bench.Ours, "", bench.Casbin, bench.OPA, bench.OPAInput, "", bench.PlainLoop, python}

func (r *results) charts() map[string]string {
	drawings := map[string]string{
		"stored.svg": r.lines("Stored", "Stored set to agent, time by organizations", colours),
		"verify.svg": r.lines("Verify", "Token verified and decoded (ES256), time by organizations", colours),
		"access.svg": r.lines("Access", "One scope check, time by organizations", checkColours),
	}
	drawings["single.svg"] = r.bars()
	return drawings
}

type line struct {
	name   string
	colour int
	values []float64 // one for each size
	label  float64   // where its name stands
}

func (r *results) lines(row, title string, colours []string) string {
	var lines []line
	low, high := math.Inf(1), 0.0
	for i, name := range colours {
		l := line{name: name, colour: i}
		for _, n := range bench.Sizes {
			f, ok := r.of(fmt.Sprintf("%s/orgs=%d", row, n), name, metric(cpuTime))
			if !ok {
				break
			}
			l.values = append(l.values, f.median)
			low, high = min(low, f.median), max(high, f.median)
		}
		if len(l.values) == len(bench.Sizes) {
			lines = append(lines, l)
		}
	}
	bottomDecade, topDecade := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	x := func(i int) float64 { return left + float64(i)*(width-left-right)/float64(len(bench.Sizes)-1) }
	y := func(ns float64) float64 {
		return height - bottom - (math.Log10(ns)-bottomDecade)/(topDecade-bottomDecade)*(height-top-bottom)
	}
	b := begin(title, "Processor time; both axes are logarithmic. Medians; see the table for the figures.", height)
	for decade := bottomDecade; decade <= topDecade; decade++ {
		ns := math.Pow(10, decade)
		fmt.Fprintf(b, `<path class="g" d="M%d %.1fH%d"/><text class="s" text-anchor="end" x="%d" y="%.1f">%s</text>`,
			left, y(ns), width-right, left-8, y(ns)+4, power(ns))
	}
	for i, n := range bench.Sizes {
		fmt.Fprintf(b, `<text class="s" text-anchor="middle" x="%.1f" y="%d">%s</text>`, x(i), height-bottom+20, thousands(n))
	}
	fmt.Fprintf(b, `<text class="s" text-anchor="middle" x="%d" y="%d">organizations</text>`, (left+width-right)/2, height-12)
	for i := range lines {
		lines[i].label = y(lines[i].values[len(lines[i].values)-1])
	}
	spreadLabels(lines)
	for i := len(lines) - 1; i >= 0; i-- { // ours on top
		l := lines[i]
		class := "l"
		if l.name == bench.Ours {
			class = "l o"
		}
		var points []string
		for at, ns := range l.values {
			points = append(points, fmt.Sprintf("%.1f %.1f", x(at), y(ns)))
		}
		end := len(l.values) - 1
		fmt.Fprintf(b, `<path class="%s" style="stroke:var(--c%d)" d="M%s"/>`, class, l.colour, strings.Join(points, "L"))
		fmt.Fprintf(b, `<path style="stroke:var(--c%d)" d="M%.1f %.1fL%.1f %.1f"/>`, l.colour, x(end), y(l.values[end]), x(end)+10, l.label)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" style="fill:var(--c%d)">%s</text>`, x(end)+14, l.label+4, l.colour, html.EscapeString(l.name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// spreadLabels moves names apart that would stand on each other.
func spreadLabels(lines []line) {
	const apart = 16
	order := make([]int, len(lines))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(1000 * (lines[a].label - lines[b].label)) })
	for i := 1; i < len(order); i++ {
		above := lines[order[i-1]].label
		lines[order[i]].label = max(lines[order[i]].label, above+apart)
	}
	limit := float64(height - bottom + 8)
	for i := len(order) - 1; i >= 0; i-- {
		if lines[order[i]].label > limit {
			lines[order[i]].label = limit
		}
		limit = lines[order[i]].label - apart
	}
}

// bars draws the rows without organizations, each contender's time as a length.
func (r *results) bars() string {
	type bar struct {
		name string
		ns   float64
	}
	groups := []struct{ row, title string }{
		{"AuthorizationURL", "Authorization URL"}, {"TokenSource", "Valid token, contended"}, {"Exchange", "Code exchange over loopback"},
	}
	const step, name = 24, 150
	var body strings.Builder
	at, low, high := float64(top+8), 10.0, 1e6
	scale := func(ns float64) float64 {
		return math.Log10(ns/low) / math.Log10(high/low) * (width - name - 100)
	}
	for _, g := range groups {
		fmt.Fprintf(&body, `<text x="16" y="%.0f" style="font-weight:600">%s</text>`, at+12, g.title)
		at += step
		var list []bar
		for _, c := range r.contenders([]string{g.row}) {
			if f, ok := r.of(g.row, c, took(g.row)); ok {
				list = append(list, bar{c, f.median})
			}
		}
		for _, one := range list {
			colour := "--c1"
			if one.name == bench.Ours {
				colour = "--c0"
			}
			length := max(scale(one.ns), 2)
			fmt.Fprintf(&body, `<text class="s" text-anchor="end" x="%d" y="%.0f">%s</text><rect x="%d" y="%.0f" width="%.1f" height="16" rx="2" style="fill:var(%s)"/><text x="%.1f" y="%.0f">%s</text>`,
				name-6, at+12, html.EscapeString(one.name), name, at, length, colour, name+length+6, at+12, duration(one.ns))
			at += step
		}
		at += step / 2
	}
	b := begin("Rows without organizations", "Processor time, contended by the clock. Lengths are logarithmic, from 10 ns to 1 ms. Medians.", int(at))
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	return b.String()
}

func begin(title, note string, height int) *strings.Builder {
	b := &strings.Builder{}
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d">`, width, height, width, height)
	fmt.Fprintf(b, `<title id="t">%s</title><desc id="d">%s</desc><style>%s</style>`, html.EscapeString(title), html.EscapeString(note), style)
	fmt.Fprintf(b, `<rect width="%d" height="%d" style="fill:var(--bg)"/>`, width, height)
	fmt.Fprintf(b, `<text class="t" x="16" y="24">%s</text><text class="s" x="16" y="44">%s</text>`, html.EscapeString(title), html.EscapeString(note))
	return b
}

func power(ns float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}} {
		if ns >= unit.size {
			return fmt.Sprintf("%.0f %s", ns/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f ns", ns)
}
