// Package servers starts the databases that tests of the examples need, each for one
// test. Where a program is missing the test is skipped; under CI it fails.
package servers

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis starts a redis-server that keeps nothing on the disk, and gives its URL.
func Redis(t testing.TB) string {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(find(t, "redis-server"), "--bind", "127.0.0.1", "--port", port, "--save", "")
	cmd.Dir = t.TempDir()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }()
	serve(t, cmd, func(ctx context.Context) error { return client.Ping(ctx).Err() })
	return "redis://" + addr + "/0"
}

// serve runs a server until the end of the test, and waits until it can be used.
func serve(t testing.TB, cmd *exec.Cmd, ping func(context.Context) error) {
	t.Helper()
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := ping(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s does not answer: %v", cmd.Path, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// find gives the path of a program, which may be where Debian keeps PostgreSQL's.
func find(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return slices.Max(found)
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, so nothing may be skipped: the program %s is not installed here", name)
	}
	t.Skipf("skipped: the program %s is not installed here", name)
	return ""
}
