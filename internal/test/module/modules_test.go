package module_test

import (
	"crypto/sha256"
	"encoding/base64"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/testkit"
)

const modulePath = "github.com/authpi/authpi-idp-go"

// The promise to everybody who requires the module: three dependencies, their own
// included. Heavier things live in nested modules.
func TestCoreRequiresThreeModules(t *testing.T) {
	t.Parallel()
	want := []string{"github.com/coreos/go-oidc/v3", "github.com/go-jose/go-jose/v4", "golang.org/x/oauth2"}
	if got := slices.Sorted(maps.Keys(required(t))); !slices.Equal(got, want) {
		t.Errorf("go.mod requires %v; want %v", got, want)
	}
}

// What is built is what was reviewed: go.sum has the digests of each dependency in
// the one version that go.mod names, and of nothing else.
func TestDependenciesArePinned(t *testing.T) {
	t.Parallel()
	var want []string
	for path, version := range required(t) {
		want = append(want, path+" "+version, path+" "+version+"/go.mod")
	}
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) != 3 {
			t.Fatalf("go.sum has the line %q; want a path, a version and a digest", line)
		}
		got = append(got, words[0]+" "+words[1])
		digest, ok := strings.CutPrefix(words[2], "h1:")
		if sum, err := base64.StdEncoding.DecodeString(digest); !ok || err != nil || len(sum) != sha256.Size {
			t.Errorf("go.sum has %q for %s; want a SHA-256 digest", words[2], words[0])
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("go.sum pins\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// required reads go.mod: versions by path. Whatever else than a requirement stands
// there is an error, since it changes what is built here and for no dependent.
func required(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	versions, block := map[string]string{}, ""
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "//")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case words[0] == ")":
			block = ""
			continue
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case block != "":
			words = append([]string{block}, words...)
		}
		switch words[0] {
		case "module", "go", "retract":
		case "require":
			versions[strings.Trim(words[1], `"`)] = words[2]
		default:
			t.Errorf("go.mod has a %s line, which no dependent sees", words[0])
		}
	}
	if len(versions) == 0 {
		t.Fatal("found no require line in go.mod")
	}
	return versions
}

// What comes along with the core stays as small as the core.
func TestPackagesKeepToTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for folder, extra := range map[string][]string{
		"authpihttp":        {modulePath},
		"authpitest":        {"github.com/go-jose/go-jose/v4"},
		"authpitest/issuer": {modulePath},
	} {
		for path, file := range testkit.Sources(t, folder) {
			for _, spec := range file.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				first, _, _ := strings.Cut(imported, "/")
				if strings.Contains(first, ".") && !slices.ContainsFunc(extra, func(allowed string) bool {
					return imported == allowed || strings.HasPrefix(imported, allowed+"/")
				}) {
					t.Errorf("%s imports %s; want the standard library and %v", path, imported, extra)
				}
			}
		}
	}
}

// No state hides in a package: a variable is an error, a compiled pattern or
// encoding, an array or the check that a type satisfies an interface, or is named
// here.
func TestNoPackageState(t *testing.T) {
	t.Parallel()
	limits := []string{"memoryLimits"} // read, never written
	makers := []string{
		"errors.New", "fmt.Errorf", "regexp.MustCompile", "template.Must",
		"base64.RawURLEncoding.Strict",
	}
	for _, folder := range append(internalPackages(t), ".") {
		for path, file := range testkit.Sources(t, folder) {
			for _, decl := range file.Decls {
				group, ok := decl.(*ast.GenDecl)
				if !ok || group.Tok != token.VAR {
					continue
				}
				for _, spec := range group.Specs {
					spec := spec.(*ast.ValueSpec)
					for i, name := range spec.Names {
						if name.Name == "_" || slices.Contains(limits, name.Name) {
							continue
						}
						if i >= len(spec.Values) || !isFixed(spec.Values[i], makers) {
							t.Errorf("%s: var %s is package state", path, name.Name)
						}
					}
				}
			}
		}
	}
}

// internalPackages are the folders below internal/ that apps are built from: a
// nested module has a go.mod of its own, and testkit and test are for tests.
func internalPackages(t *testing.T) []string {
	t.Helper()
	root := testkit.Root(t)
	entries, err := os.ReadDir(filepath.Join(root, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, entry := range entries {
		folder := filepath.Join("internal", entry.Name())
		_, err := os.Stat(filepath.Join(root, folder, "go.mod"))
		if entry.IsDir() && err != nil && !strings.HasPrefix(entry.Name(), "test") {
			folders = append(folders, folder)
		}
	}
	if len(folders) < 10 {
		t.Fatalf("got %v; want the internal packages", folders)
	}
	return folders
}

// isFixed reports whether nobody can change what an expression makes.
func isFixed(value ast.Expr, makers []string) bool {
	switch value := value.(type) {
	case *ast.CallExpr:
		return slices.Contains(makers, dotted(value.Fun))
	case *ast.CompositeLit:
		array, ok := value.Type.(*ast.ArrayType)
		return ok && array.Len != nil
	}
	return false
}

// dotted is a name such as base64.RawURLEncoding.Strict.
func dotted(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return dotted(e.X) + "." + e.Sel.Name
	}
	return ""
}

// Verifiers, states, nonces and seals are guessed by nobody, and what they are
// compared with is not told by how long that takes.
func TestSecretsComeFromCryptoRand(t *testing.T) {
	t.Parallel()
	for _, folder := range append(internalPackages(t), ".", "authpihttp", "authpitest", "authpiredis") {
		for path, file := range testkit.Sources(t, folder) {
			for _, spec := range file.Imports {
				if strings.HasPrefix(spec.Path.Value, `"math/rand`) {
					t.Errorf("%s imports %s; want crypto/rand", path, spec.Path.Value)
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				comparison, ok := n.(*ast.BinaryExpr)
				if ok && (comparison.Op == token.EQL || comparison.Op == token.NEQ) &&
					isSecretField(comparison.X) && isSecretField(comparison.Y) {
					t.Errorf("%s compares %s and %s byte by byte", path, dotted(comparison.X), dotted(comparison.Y))
				}
				return true
			})
		}
	}
}

// isSecretField reports whether the name of an expression is that of a secret which
// somebody could guess at.
func isSecretField(e ast.Expr) bool {
	name := strings.ToLower(dotted(e))
	name = name[strings.LastIndex(name, ".")+1:]
	for _, secret := range []string{"state", "nonce", "verifier", "athash", "clientsecret"} {
		if strings.HasSuffix(name, secret) {
			return true
		}
	}
	return false
}
