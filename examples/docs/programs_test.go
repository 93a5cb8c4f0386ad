package docs

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/examples/internal/servers"
)

// A page's Go blocks run together, as they stand there. Its program in testdata/pages
// has the rest: what the blocks stand in, and a function Page that asserts what the
// page promises. The next block under a heading goes where it says
//
//	//page:block Guard it
//
// Lines below that may say more of the block:
//
//	//page:from api/main.go         it is a piece of this file under examples/
//	//page:set "localhost" => host  it has something else here, such as an address
//	//page:fault "read" => "write"  the program fails if the block is changed like this
//
// Each block has a fault, so none is there without being looked at.
type program struct {
	name   string
	around []string // what stands before, between and after the blocks
	slots  []slot
}

type slot struct {
	block
	faults []change
	next   int // line of the program after it
}

type change struct{ old, new string }

var (
	slotLines     = regexp.MustCompile(`(?m)^[ \t]*//page:block (.+)\n((?:[ \t]*//page:(?:from|set|fault) .+\n)*)`)
	slotNote      = regexp.MustCompile(`//page:(from|set|fault) (.+?)(?: =>(?: (.*))?)?\n`)
	packageClause = regexp.MustCompile(`(?m)^package \w+$`)
)

const pagesPath = "github.com/authpi/authpi-idp-go/examples/docs/testdata/pages"

// packageComments are shown by pkg.go.dev, which is a manual, too.
var packageComments = []string{"../../client.go", "../../authpihttp/app.go", "../../authpitest/server.go", "../../authpiredis/coordinator.go"}

// elsewhere is a page whose only block needs a module of its own: a program there has
// it, and a test there runs that.
var elsewhere = map[string]struct{ program, test, in string }{
	"observability": {"../otel/main.go", "TestCommand", "../otel/main_test.go"},
}

// The helpers that docs/testing.md has people copy are for these programs, too.
var _ = []any{start, signIn}

// Each program passes, and fails with each of its faults. PAGE=apis takes one of them,
// and -short leaves the faults out.
func TestPrograms(t *testing.T) {
	t.Parallel()
	programs := loadPrograms(t)
	if t.Failed() {
		return
	}
	binary := build(t, programs)
	run := runner{binary, "PAGES_REDIS=" + sharedRedis(t)}
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if text, ok := run.program(t, p.name); !ok {
				t.Errorf("the page's blocks do not do what it says:\n%s", text)
			}
		})
		for i, s := range p.slots {
			for j, fault := range s.faults {
				t.Run(fmt.Sprintf("%s, %q for %q", p.name, fault.new, fault.old), func(t *testing.T) {
					t.Parallel()
					text, ok := run.program(t, p.variant(i, j))
					t.Log(text) // how it is noticed
					if ok {
						t.Errorf("nothing notices that %s:%d has %q instead of %q", s.page, s.line, fault.new, fault.old)
					}
				})
			}
		}
	}
}

// sharedRedis returns nothing where there is no Redis: its programs are then skipped.
func sharedRedis(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "" {
		return ""
	}
	return servers.Redis(t)
}

// loadPrograms returns the program of each page that shows Go.
func loadPrograms(t *testing.T) (programs []program) {
	t.Helper()
	shown := map[string][]block{}
	for _, page := range slices.Concat(everyPage(t), packageComments) {
		name := programName(page)
		for _, b := range blocksOf(t, page) {
			if b.lang == "go" {
				shown[name] = append(shown[name], b)
			}
		}
	}
	for name, blocks := range shown {
		if e, ok := elsewhere[name]; ok {
			if len(blocks) != 1 || !strings.Contains(flat(read(t, e.program)), flat(blocks[0].text)) || !strings.Contains(read(t, e.in), "\nfunc "+e.test+"(") {
				t.Errorf("%s: want one block, in %s, which %s runs", name, e.program, e.test)
			}
			continue
		}
		if only := os.Getenv("PAGE"); only != "" && only != name {
			continue
		}
		programs = append(programs, loadProgram(t, name, blocks))
	}
	slices.SortFunc(programs, func(a, b program) int { return strings.Compare(a.name, b.name) })
	if len(programs) < 12 && os.Getenv("PAGE") == "" {
		t.Errorf("%d pages show Go", len(programs))
	}
	return programs
}

func programPath(name string) string { return filepath.Join("testdata", "pages", name, "page.go") }

// programName is the folder in testdata/pages for a page.
func programName(page string) string {
	folder, file := filepath.Base(filepath.Dir(page)), filepath.Base(page)
	switch {
	case slices.Contains(packageComments, page):
		return "packages"
	case file == "README.md" && folder == "..":
		return "readme"
	case file == "README.md":
		return folder
	}
	return strings.TrimSuffix(file, ".md")
}

// loadProgram puts each of a page's blocks where its program wants it.
func loadProgram(t *testing.T, name string, blocks []block) program {
	t.Helper()
	path := programPath(name)
	text, p, end := read(t, path), program{name: name}, 0
	for _, at := range slotLines.FindAllStringSubmatchIndex(text, -1) {
		under := text[at[2]:at[3]]
		i := slices.IndexFunc(blocks, func(b block) bool { return b.under == under })
		if i < 0 {
			t.Errorf("%s: no other Go block stands under %q", path, under)
			continue
		}
		s := slot{block: blocks[i], next: 1 + strings.Count(text[:at[1]], "\n")}
		blocks = slices.Concat(blocks[:i], blocks[i+1:])
		s.read(t, text[at[4]:at[5]])
		p.around, p.slots, end = append(p.around, text[end:at[0]]), append(p.slots, s), at[1]
	}
	for _, b := range blocks {
		t.Errorf("%s:%d: %s has no place for this block, under %q", b.page, b.line, path, b.under)
	}
	p.around = append(p.around, text[end:])
	return p
}

// read takes in the lines below a slot's first.
func (s *slot) read(t *testing.T, notes string) {
	t.Helper()
	for _, note := range slotNote.FindAllStringSubmatch(notes, -1) {
		kind, old, by := note[1], note[2], note[3]
		if kind == "from" {
			if !strings.Contains(flat(read(t, filepath.Join("..", old))), flat(s.text)) {
				t.Errorf("%s:%d: the block is not in examples/%s", s.page, s.line, old)
			}
			continue
		}
		if n := strings.Count(s.text, old); n != 1 {
			t.Errorf("%s:%d: the block has %q %d times; want it once", s.page, s.line, old, n)
		}
		if kind == "set" {
			s.text = strings.Replace(s.text, old, by, 1)
		} else {
			s.faults = append(s.faults, change{old, by})
		}
	}
	if len(s.faults) == 0 {
		t.Errorf("%s:%d: no fault shows that this block is looked at", s.page, s.line)
	}
	if testing.Short() {
		s.faults = nil
	}
}

// variant names a program with one of its blocks changed.
func (p program) variant(slot, fault int) string {
	return p.name + "-" + strconv.Itoa(slot) + "-" + strconv.Itoa(fault)
}

// files returns the program with its blocks, the given one changed. A block that is a
// whole program is a file of its own, and the imports of one go to those of the rest.
func (p program) files(t *testing.T, changed int, by change) map[string]string {
	t.Helper()
	files, imports := map[string]string{}, ""
	var all strings.Builder
	for i, s := range p.slots {
		text := s.text
		if i == changed {
			text = strings.Replace(text, by.old, by.new, 1)
		}
		if strings.HasPrefix(text, "package ") {
			files["whole.go"], text = packageClause.ReplaceAllString(text, "package page"), ""
		}
		if strings.HasPrefix(text, "import (") {
			group, rest, _ := strings.Cut(text, "\n)\n")
			imports, text = imports+group+"\n)\n", rest
		}
		fmt.Fprintf(&all, "%s//line %s:%d\n%s\n//line %s:%d\n", p.around[i], absolute(t, s.page), s.line+1, text,
			absolute(t, programPath(p.name)), s.next)
	}
	all.WriteString(p.around[len(p.slots)])
	files["page.go"] = packageClause.ReplaceAllString(all.String(), "package page\n"+imports)
	files["shared.go"] = read(t, "testdata/pages/shared.go")
	files["helpers.go"] = packageClause.ReplaceAllString(read(t, "testing_test.go"), "package page")
	return files
}

// build returns a test that has each program and each of its variants as a subtest.
// The packages are in an overlay, below this folder, whose module they need.
func build(t *testing.T, programs []program) (binary string) {
	t.Helper()
	o := overlay{t: t, dir: t.TempDir(), replace: map[string]string{}}
	var imports, runs strings.Builder
	var bases []string
	add := func(name string, files map[string]string) {
		for file, text := range files {
			o.add(filepath.Join("testdata", "pages", name, file), text)
		}
		n := strings.Count(imports.String(), "\n")
		fmt.Fprintf(&imports, "\tp%d %q\n", n, pagesPath+"/"+name)
		fmt.Fprintf(&runs, "\tt.Run(%q, p%d.Page)\n", name, n)
	}
	for _, p := range programs {
		add(p.name, p.files(t, -1, change{}))
		for i, s := range p.slots {
			for j, fault := range s.faults {
				add(p.variant(i, j), p.files(t, i, fault))
			}
		}
	}
	o.add("testdata/pages/shared.go", "package pages\n")
	o.add("testdata/pages/pages_test.go",
		"package pages\n\nimport (\n\t\"testing\"\n"+imports.String()+")\n\nfunc TestPage(t *testing.T) {\n"+runs.String()+"}\n")
	for _, p := range programs {
		bases = append(bases, "./testdata/pages/"+p.name)
	}
	binary = filepath.Join(o.dir, "pages.test")
	// Without optimizing, since most of the time goes into compiling the variants.
	o.command("test", "-c", "-vet=off", "-gcflags="+pagesPath+"/...=-N -l", "-o", binary, "./testdata/pages")
	o.command("vet", bases...)
	return binary
}

// overlay has files that the go command takes to be in this folder.
type overlay struct {
	t       *testing.T
	dir     string
	replace map[string]string
}

func (o *overlay) add(path, text string) {
	o.t.Helper()
	file := filepath.Join(o.dir, strconv.Itoa(len(o.replace))+".go")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	o.replace[absolute(o.t, path)] = file
}

// write returns the file for the go command's -overlay.
func (o *overlay) write() string {
	o.t.Helper()
	list, err := json.Marshal(map[string]any{"Replace": o.replace})
	if err != nil {
		o.t.Fatal(err)
	}
	file := filepath.Join(o.dir, "overlay.json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		o.t.Fatal(err)
	}
	return file
}

func (o *overlay) command(verb string, args ...string) {
	o.t.Helper()
	args = append([]string{verb, "-overlay", o.write()}, args...)
	if text, err := exec.CommandContext(o.t.Context(), "go", args...).CombinedOutput(); err != nil {
		o.t.Fatalf("go %s: %v\n%s", verb, err, text)
	}
}

// runner runs what build returns.
type runner struct{ binary, env string }

// program returns what it says, and whether it passes.
func (r runner) program(t *testing.T, name string) (text string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), r.binary, "-test.v", "-test.timeout=2m", "-test.run=^TestPage$/^"+name+"$")
	cmd.Env = append(os.Environ(), r.env)
	out, err := cmd.CombinedOutput()
	if text = string(out); strings.Contains(text, "--- SKIP") {
		t.Skip(text)
	}
	if !strings.Contains(text, "=== RUN   TestPage/"+name+"\n") {
		t.Errorf("it did not run: %v\n%s", err, text)
	}
	return text, err == nil
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// everyPage is every page of the repository, those for users first.
func everyPage(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			all = append(all, path)
		}
		return err
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("found %d pages, %v", len(all), err)
	}
	return all
}
