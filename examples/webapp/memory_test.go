//go:build !stores

package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// The stores are behind a tag, and so are their tests.
func TestStores(t *testing.T) {
	t.Parallel()
	text, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-tags=stores", "-v", "-run=^TestStores", ".").CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, text)
	case bytes.Contains(text, []byte("--- SKIP")):
		t.Skipf("%s", text)
	case bytes.Count(text, []byte("--- PASS")) < 3:
		t.Errorf("got %s", text)
	}
}

// Whoever starts it in memory compiles no database's driver.
func TestInMemoryIsSmall(t *testing.T) {
	t.Parallel()
	text, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, driver := range []string{"github.com/jackc/", "github.com/redis/", "database/sql"} {
		if strings.Contains(string(text), "\n"+driver) {
			t.Errorf("it compiles %s", driver)
		}
	}
	if _, err := openStore(t.Context(), "redis", ""); err == nil || !strings.Contains(err.Error(), "-tags stores") {
		t.Errorf("-store redis: got %v", err)
	}
}
