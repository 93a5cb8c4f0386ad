package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sample is one line of one round.
type sample struct {
	ns, bytes, allocs float64
	more              map[string]float64 // ReportMetric's
}

// results holds what the rounds measured: row, contender, round.
type results struct {
	rows   map[string]map[string][]sample
	order  map[string][]string // contenders of a row, as they first came
	load   []string            // /proc/loadavg before each round and after the last
	size   map[string]weight
	python map[string]string // versions
	cpu    string
}

// weight is what cmd/size prints for a program.
type weight struct {
	Bytes, Stripped            int64
	Packages, Foreign, Modules int
	InitMS                     float64
	InitAllocs                 int64
	OwnInit                    []string
}

const python = "authpi-idp (Python)"

var benchLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

func read(dir string) *results {
	r := &results{rows: map[string]map[string][]sample{}, order: map[string][]string{}}
	files, err := filepath.Glob(filepath.Join(dir, "round-*.txt"))
	if err != nil || len(files) == 0 {
		log.Fatalf("no rounds in %s", dir)
	}
	for round, path := range files {
		r.readRound(path)
		r.readPython(strings.TrimSuffix(strings.Replace(path, "round-", "python-", 1), ".txt")+".json", round)
	}
	r.readJSON(filepath.Join(dir, "size.json"), &r.size)
	if data, err := os.ReadFile(filepath.Join(dir, "load.txt")); err == nil {
		r.load = strings.Fields(string(data))
	}
	return r
}

func (r *results) readRound(path string) {
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if cpu, ok := strings.CutPrefix(lines.Text(), "cpu: "); ok {
			r.cpu = cpu
		}
		found := benchLine.FindStringSubmatch(lines.Text())
		if found == nil {
			continue
		}
		at := strings.LastIndexByte(found[1], '/')
		r.add(found[1][:at], found[1][at+1:], parse(found[2]))
	}
}

// parse reads "123 ns/op  45 B/op  6 allocs/op  2 fetches".
func parse(values string) sample {
	s := sample{more: map[string]float64{}}
	words := strings.Fields(values)
	for i := 0; i+1 < len(words); i += 2 {
		value, err := strconv.ParseFloat(words[i], 64)
		if err != nil {
			log.Fatalf("%q: %v", values, err)
		}
		switch words[i+1] {
		case "ns/op":
			s.ns = value
		case "B/op":
			s.bytes = value
		case "allocs/op":
			s.allocs = value
		default:
			s.more[words[i+1]] = value
		}
	}
	return s
}

func (r *results) readPython(path string, round int) {
	var answer struct {
		Rows     map[string]struct{ Wall, CPU float64 }
		Versions map[string]string
	}
	if !r.readJSON(path, &answer) {
		return
	}
	r.python = answer.Versions
	for row, took := range answer.Rows {
		if have := len(r.rows[row][python]); have != round {
			log.Fatalf("%s: %d rounds before it; want %d", path, have, round)
		}
		r.add(row, python, sample{ns: took.Wall, more: map[string]float64{cpuTime: took.CPU}})
	}
}

func (r *results) readJSON(path string, into any) bool {
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		return false
	}
	if err := json.Unmarshal(data, into); err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	return true
}

func (r *results) add(row, contender string, s sample) {
	if r.rows[row] == nil {
		r.rows[row] = map[string][]sample{}
	}
	if !slices.Contains(r.order[row], contender) {
		r.order[row] = append(r.order[row], contender)
	}
	r.rows[row][contender] = append(r.rows[row][contender], s)
}

// figure is the median of the rounds with the smallest and largest.
type figure struct{ median, low, high float64 }

func figureOf(values []float64) (figure, bool) {
	if len(values) == 0 {
		return figure{}, false
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	median := values[n/2]
	if n%2 == 0 {
		median = (values[n/2-1] + values[n/2]) / 2
	}
	return figure{median, values[0], values[n-1]}, true
}

// cpuTime is the metric that cpu_test.go reports.
const cpuTime = "cpu-ns/op"

func nanoseconds(s sample) float64 { return s.ns }
func allocations(s sample) float64 { return s.allocs }
func metric(name string) func(sample) float64 {
	return func(s sample) float64 { return s.more[name] }
}

func (r *results) of(row, contender string, value func(sample) float64) (figure, bool) {
	var values []float64
	for _, s := range r.rows[row][contender] {
		values = append(values, value(s))
	}
	return figureOf(values)
}

// ratio divides within each round, so that what slows a whole round down does not
// count, and takes the median of the rounds.
func (r *results) ratio(row, contender, otherRow, other string, value func(sample) float64) (figure, bool) {
	a, b := r.rows[row][contender], r.rows[otherRow][other]
	var values []float64
	for i := range min(len(a), len(b)) {
		if value(a[i]) == 0 || value(b[i]) == 0 {
			return figure{}, false
		}
		values = append(values, value(a[i])/value(b[i]))
	}
	return figureOf(values)
}

// duration prints nanoseconds with three digits.
func duration(ns float64) string {
	switch {
	case ns < 1000:
		return digits(ns) + " ns"
	case ns < 1e6:
		return digits(ns/1e3) + " µs"
	default:
		return digits(ns/1e6) + " ms"
	}
}

func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
