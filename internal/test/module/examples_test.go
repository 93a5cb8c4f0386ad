package module_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// What somebody begins with has an example: pkg.go.dev is a manual, too.
func TestEntryPointsHaveExamples(t *testing.T) {
	t.Parallel()
	root := testkit.Root(t)
	for _, dir := range []string{".", "authpihttp", "authpitest", "authpiredis"} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			p := documented(t, filepath.Join(root, dir), dir)
			shown := withExamples(p)
			for _, name := range entryPoints(p) {
				if !slices.Contains(shown, name) {
					t.Errorf("%s has no example", name)
				}
			}
			if len(p.Doc) < 200 {
				t.Errorf("the package comment has %d bytes", len(p.Doc))
			}
		})
	}
}

// documented is a package as pkg.go.dev has it.
func documented(t *testing.T, dir, name string) *doc.Package {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	p, err := doc.NewFromFiles(set, files, "github.com/authpi/authpi-idp-go/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// withExamples are the functions and methods that have one.
func withExamples(p *doc.Package) (names []string) {
	funcs := p.Funcs
	for _, typ := range p.Types {
		funcs = slices.Concat(funcs, typ.Funcs, typ.Methods)
	}
	for _, f := range funcs {
		if len(f.Examples) > 0 {
			names = append(names, nameOf(f))
		}
	}
	return names
}

// nameOf is for example App.Agent.
func nameOf(f *doc.Func) string {
	if f.Recv == "" {
		return f.Name
	}
	return strings.TrimPrefix(f.Recv, "*") + "." + f.Name
}

// entryPoints are the functions of a package, and the methods of what they make that
// are called by an app. A handler is mounted as every other, and has none.
func entryPoints(p *doc.Package) (names []string) {
	for _, f := range p.Funcs {
		names = append(names, f.Name)
	}
	for _, typ := range p.Types {
		for _, f := range typ.Funcs {
			names = append(names, f.Name)
		}
		if !slices.Contains([]string{"IdpClient", "App", "Bearer"}, typ.Name) {
			continue
		}
		for _, m := range typ.Methods {
			if m.Level == 0 && m.Name != "Register" && !isHandler(m.Decl.Type) {
				names = append(names, nameOf(m))
			}
		}
	}
	return names
}

// isHandler reports whether a method is an http.HandlerFunc.
func isHandler(f *ast.FuncType) bool {
	if f.Results != nil || len(f.Params.List) != 2 {
		return false
	}
	written, ok := f.Params.List[0].Type.(*ast.SelectorExpr)
	return ok && written.Sel.Name == "ResponseWriter"
}
