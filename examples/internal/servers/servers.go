// Package servers starts the databases that tests of the examples need, each for one
// test. Where a program is missing the test is skipped; under CI it fails.
package servers

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis starts a redis-server that keeps nothing on the disk, and gives its URL.
func Redis(t testing.TB) string {
	t.Helper()
	host, port := Addr(t)
	addr := net.JoinHostPort(host, port)
	cmd := exec.Command(find(t, "redis-server"), "--bind", host, "--port", port, "--save", "")
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

// Addr returns an address to listen on later. Where all of 127/8 is loopback nothing
// else takes it in between, not even a connection of another test.
func Addr(t testing.TB) (host, port string) {
	t.Helper()
	host = "127.0.0.1"
	if runtime.GOOS == "linux" {
		var b [3]byte
		_, _ = rand.Read(b[:])
		host = fmt.Sprintf("127.%d.%d.%d", 1+b[0]%250, b[1], 1+b[2]%250)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
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
