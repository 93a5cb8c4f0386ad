package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// pkg is a package with its mutants.
type pkg struct {
	path, dir, name string
	files           []string // of the package, as the build would take them
	wanted          []string // those of them to mutate; base names
	mutants         []*mutant
	rewritten       map[string]string // by path
}

// binary is a package's tests, compiled.
type binary struct {
	dir, path string
}

// load finds the packages of the arguments, in the order of these, and makes
// their mutants.
func load(ctx context.Context, root string, args []string) ([]*pkg, error) {
	var packages []*pkg
	for _, arg := range args {
		dir, file := filepath.Join(root, arg), ""
		if strings.HasSuffix(arg, ".go") {
			dir, file = filepath.Split(dir)
			dir = filepath.Clean(dir)
		}
		i := slices.IndexFunc(packages, func(p *pkg) bool { return p.dir == dir })
		if i < 0 {
			i = len(packages)
			packages = append(packages, &pkg{dir: dir})
		}
		if p := packages[i]; file != "" {
			p.wanted = append(p.wanted, file)
		}
	}
	used := 0 // numbers
	for _, p := range packages {
		exports, err := p.list(ctx)
		if err != nil {
			return nil, err
		}
		if err := p.rewrite(root, exports, used); err != nil {
			return nil, err
		}
		used += len(p.mutants)
	}
	return packages, nil
}

// list asks the go command for the package's files and for the compiled form of
// what it imports.
func (p *pkg) list(ctx context.Context) (exports map[string]string, err error) {
	out, err := command(ctx, p.dir, "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Name,GoFiles,Export", ".")
	if err != nil {
		return nil, err
	}
	exports = map[string]string{}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var found struct {
			ImportPath, Dir, Name, Export string
			GoFiles                       []string
		}
		if err := decoder.Decode(&found); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[found.ImportPath] = found.Export
		if sameFolder(found.Dir, p.dir) {
			p.path, p.name, p.files = found.ImportPath, found.Name, found.GoFiles
		}
	}
	if p.wanted == nil {
		p.wanted = p.files
	}
	for _, file := range p.wanted {
		if !slices.Contains(p.files, file) {
			return nil, fmt.Errorf("%s is no file of the package in %s", file, p.dir)
		}
	}
	return exports, nil
}

func sameFolder(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// rewrite finds the mutants of the wanted files, and numbers them after those
// in use. Types are needed to tell a condition from another value.
func (p *pkg) rewrite(root string, exports map[string]string, used int) error {
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range p.files {
		file, err := parser.ParseFile(fset, filepath.Join(p.dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		parsed = append(parsed, file)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	if _, err := config.Check(p.path, fset, parsed, info); err != nil {
		return err
	}
	p.rewritten = map[string]string{}
	for i, name := range p.files {
		if !slices.Contains(p.wanted, name) {
			continue
		}
		path := filepath.Join(p.dir, name)
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := &finder{
			file: filepath.ToSlash(relative), fset: fset, info: info, source: source,
			seen: map[ast.Expr]bool{}, count: map[string]int{}, next: used + len(p.mutants), edits: newEdits(),
		}
		f.find(parsed[i])
		p.mutants = append(p.mutants, f.mutants...)
		p.rewritten[path] = f.edits.apply(source)
	}
	p.rewritten[filepath.Join(p.dir, "mutants_support.go")] = fmt.Sprintf(support, p.name, used+len(p.mutants)+1)
	return nil
}

// compile makes the test binaries of the packages and the suites, from an overlay:
// the module stays as it is.
func compile(ctx context.Context, o options, packages []*pkg, folder string) ([]*binary, error) {
	overlay, patterns, err := writeOverlay(packages, folder)
	if err != nil {
		return nil, err
	}
	if o.suites != "" {
		patterns = append(patterns, o.suites)
	}
	const tested = "{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}"
	out, err := command(ctx, o.root, "go", append([]string{"list", "-f", tested}, patterns...)...)
	if err != nil {
		return nil, err
	}
	var binaries []*binary
	for i, dir := range lines(out) {
		b := &binary{dir: dir, path: filepath.Join(folder, fmt.Sprintf("%d.test", i))}
		if _, err := command(ctx, dir, "go", "test", "-c", "-overlay", overlay, "-o", b.path, "."); err != nil {
			return nil, err
		}
		binaries = append(binaries, b)
	}
	return binaries, nil
}

// writeOverlay puts the rewritten files into the folder, and says which they
// replace.
func writeOverlay(packages []*pkg, folder string) (path string, dirs []string, err error) {
	replaced := map[string]string{}
	for i, p := range packages {
		dirs = append(dirs, p.dir)
		copies := filepath.Join(folder, fmt.Sprint(i))
		if err := os.MkdirAll(copies, 0o700); err != nil {
			return "", nil, err
		}
		for original, text := range p.rewritten {
			copied := filepath.Join(copies, filepath.Base(original))
			if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
				return "", nil, err
			}
			replaced[original] = copied
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(folder, "overlay.json")
	return path, dirs, os.WriteFile(path, data, 0o600)
}

// command runs a program of the toolchain, in the module alone.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, said.String())
	}
	return out.Bytes(), nil
}

// lines are those of a program's output.
func lines(out []byte) (all []string) {
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		all = append(all, s.Text())
	}
	return all
}
