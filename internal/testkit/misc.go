package testkit

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
)

// Heap is what is in use of the heap, in bytes.
func Heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// SentBy is what a round tripper could print: the form and the credentials.
func SentBy(r *http.Request) string {
	return Form(r).Encode() + " " + r.Header.Get("Authorization")
}

// Root is the module's folder, wherever below it the test runs.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
}

// Sources parses the Go files of a folder of the module, tests left out.
func Sources(t testing.TB, folder string) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(Root(t), folder, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: got %d files, %v; want some", folder, len(paths), err)
	}
	files := map[string]*ast.File{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = file
	}
	return files
}

// FormCalls are all that send a form to the issuer.
func FormCalls(ctx context.Context, client *authpi.IdpClient) map[string]func() error {
	agent := &authpi.Agent{ID: "usr_1", Tokens: authpi.TokenSet{AccessToken: "the-access-token", RefreshToken: "the-refresh-token"}}
	return map[string]func() error{
		"exchange":   func() error { _, err := client.ExchangeCode(ctx, "the-code", "the-verifier", nil); return err },
		"refresh":    func() error { _, err := client.Refresh(ctx, agent, nil); return err },
		"machine":    func() error { _, err := client.ClientCredentials(ctx, nil); return err },
		"revoke":     func() error { return client.RevokeToken(ctx, "the-token", "") },
		"introspect": func() error { _, err := client.Introspect(ctx, "the-token", ""); return err },
	}
}

// Quote is s as a JSON string.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// JSON is v as JSON text.
func JSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
