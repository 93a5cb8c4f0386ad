// Command size builds three minimal programs and prints, as JSON, what each weighs:
// bytes of the program, packages pulled in, work done before main.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Weight is one program's.
type Weight struct {
	Bytes, Stripped    int64
	Packages, Foreign  int      // all, and those outside the standard library
	Modules            int      // that they come from
	InitMS             float64  // all package initialization, one start
	InitAllocs         int64    // its allocations
	OwnInit            []string // of it, authpi's own packages
	InitForeignPackage []string // and the other ones outside the standard library
}

func main() {
	dir, err := os.MkdirTemp("", "size")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	weights := map[string]Weight{}
	for _, name := range []string{"empty", "ours", "peers"} {
		weights[name] = weigh(dir, name)
	}
	if err := json.NewEncoder(os.Stdout).Encode(weights); err != nil {
		log.Fatal(err)
	}
}

func weigh(dir, name string) Weight {
	var w Weight
	pkg, program := "./size/"+name, filepath.Join(dir, name)
	run("go", "build", "-trimpath", "-o", program, pkg)
	w.Bytes = sizeOf(program)
	run("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program+"-s", pkg)
	w.Stripped = sizeOf(program + "-s")
	modules := map[string]bool{}
	listed := run("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}} {{with .Module}}{{.Path}}{{end}}", pkg)
	for line := range strings.Lines(listed) {
		words := strings.Fields(line)
		if strings.HasSuffix(words[0], "/bench/size/"+name) {
			continue
		}
		w.Packages++
		if words[1] == "false" {
			w.Foreign++
			modules[words[2]] = true
		}
	}
	w.Modules = len(modules)
	w.trace(program)
	return w
}

// GODEBUG=inittrace=1 has one line for each package that has anything to do.
var initLine = regexp.MustCompile(`^init (\S+) @\S+ ms, (\S+) ms clock, \d+ bytes, (\d+) allocs`)

func (w *Weight) trace(program string) {
	cmd := exec.Command(program)
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		log.Fatalf("%s: %v\n%s", program, err, out)
	}
	for line := range strings.Lines(string(out)) {
		found := initLine.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		ms, _ := strconv.ParseFloat(found[2], 64)
		allocs, _ := strconv.ParseInt(found[3], 10, 64)
		w.InitMS += ms
		w.InitAllocs += allocs
		said := fmt.Sprintf("%s %s ms %s allocs", found[1], found[2], found[3])
		switch {
		case strings.HasPrefix(found[1], "github.com/authpi/"):
			w.OwnInit = append(w.OwnInit, said)
		case strings.Contains(strings.Split(found[1], "/")[0], ".") && !strings.HasPrefix(found[1], "vendor/"):
			w.InitForeignPackage = append(w.InitForeignPackage, said)
		}
	}
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		log.Fatal(err)
	}
	return info.Size()
}

func run(name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		log.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}
