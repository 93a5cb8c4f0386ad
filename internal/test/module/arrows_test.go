package module_test

import (
	"bytes"
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
	"testing"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// Arrows run down: of two files at the top, one uses the other's unexported names
// and methods, or none does. What each offers to everybody, and fields, do not
// count.
func TestNoTwoFilesUseEachOther(t *testing.T) {
	t.Parallel()
	uses := unexportedUses(t)
	for from := range uses {
		for to, names := range uses[from] {
			back := uses[to][from]
			if from < to && len(back) > 0 {
				t.Errorf("%s uses %q of %s, which uses %q of it", from, names, to, back)
			}
		}
	}
}

// unexportedUses are the unexported names that a file at the top uses of another.
func unexportedUses(t *testing.T) map[string]map[string][]string {
	t.Helper()
	fset, info, pkg := checkedPackage(t)
	file := func(pos token.Pos) string { return filepath.Base(fset.Position(pos).Filename) }
	uses := map[string]map[string][]string{}
	for ident, object := range info.Uses {
		if object.Pkg() != pkg || object.Exported() || !isNameOrMethod(object) {
			continue
		}
		from, to := file(ident.Pos()), file(object.Pos())
		if from == to || slices.Contains(uses[from][to], object.Name()) {
			continue
		}
		if uses[from] == nil {
			uses[from] = map[string][]string{}
		}
		uses[from][to] = append(uses[from][to], object.Name())
	}
	if len(uses) == 0 {
		t.Fatal("found no file that uses another")
	}
	return uses
}

func isNameOrMethod(object types.Object) bool {
	if f, ok := object.(*types.Func); ok && f.Signature().Recv() != nil {
		return true
	}
	return object.Parent() == object.Pkg().Scope()
}

// checkedPackage is the package at the top with its types.
func checkedPackage(t *testing.T) (*token.FileSet, *types.Info, *types.Package) {
	t.Helper()
	fset, files := token.NewFileSet(), []*ast.File(nil)
	for path := range testkit.Sources(t, ".") {
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	exports := compiled(t)
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	pkg, err := config.Check(modulePath, fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	return fset, info, pkg
}

// compiled are the files with the types of what the package imports, by path.
func compiled(t *testing.T) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	cmd.Dir = testkit.Root(t)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, said.String())
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	return exports
}

// Whoever opens the repository sees what it was made for: twelve files of the
// package, and the tests that stand beside them.
func TestTop(t *testing.T) {
	t.Parallel()
	tree := []string{
		"client.go", "pkce.go", "callback.go", "tokens.go", "agent.go", "authz.go",
		"refresh.go", "source.go", "verify.go", "userinfo.go", "config.go", "errors.go",
	}
	paths, err := filepath.Glob(filepath.Join(testkit.Root(t), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	tests := 0
	for _, path := range paths {
		name := filepath.Base(path)
		beside, isTest := strings.CutSuffix(name, "_test.go")
		switch {
		case isTest && beside != "example" && !slices.Contains(tree, beside+".go"):
			t.Errorf("%s stands beside no file: suites are in internal/test", name)
		case isTest:
			tests++
		case !slices.Contains(tree, name):
			t.Errorf("%s is none of the files at the top: %v", name, tree)
		}
	}
	if tests == 0 || tests > 10 {
		t.Errorf("got %d files of tests at the top; want at most 10", tests)
	}
}
