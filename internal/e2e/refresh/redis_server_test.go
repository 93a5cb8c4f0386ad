//go:build unix

package refresh

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of a test's own. It writes down everything that is
// ever stored, so that it can come back with it, or without.
type redisServer struct {
	t    testing.TB
	addr string
	dir  string
	run  *program
	log  bytes.Buffer // only to be read while it does not run
}

func startRedis(t testing.TB) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		lacking(t, "the program redis-server is not installed here")
	}
	s := &redisServer{t: t, dir: t.TempDir()}
	t.Cleanup(func() { s.stop(syscall.SIGKILL) })
	for range 5 { // somebody else may take the port
		s.addr = freeAddr(t)
		if s.start() {
			return s
		}
	}
	t.Fatalf("redis-server does not start: %s", s.log.String())
	return nil
}

func (s *redisServer) start() bool {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "no") // what is written outlives the process, and a slow disk holds up nobody
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	var err error
	if s.run, err = startProgram(cmd); err != nil {
		s.t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	for end := time.Now().Add(patience); time.Now().Before(end) && !s.run.gone(); time.Sleep(2 * time.Millisecond) {
		info, err := client.Info(context.Background(), "server").Result()
		if err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r", cmd.Process.Pid)) {
			return true
		}
		if err == nil {
			break // not ours
		}
	}
	s.stop(syscall.SIGKILL)
	return false
}

// stop ends the server by a signal.
func (s *redisServer) stop(signal syscall.Signal) {
	if s.run != nil {
		s.run.stop(signal)
		s.run = nil
	}
}

// restart brings the server back on its port, with what it held or without.
func (s *redisServer) restart(forget bool) {
	s.t.Helper()
	if forget {
		if err := os.RemoveAll(filepath.Join(s.dir, "appendonlydir")); err != nil {
			s.t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(s.dir, "appendonly.aof")) // before Redis 7
	}
	if !s.start() {
		s.t.Fatalf("redis-server does not start again: %s", s.log.String())
	}
}

// scripts is how many scripts the server has run.
func (s *redisServer) scripts() int {
	s.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.addr})
	defer func() { _ = client.Close() }()
	stats := client.InfoMap(context.Background(), "commandstats").Val()["Commandstats"]
	calls := 0
	for _, name := range []string{"cmdstat_evalsha", "cmdstat_eval"} {
		var n int
		_, _ = fmt.Sscanf(stats[name], "calls=%d", &n)
		calls += n
	}
	return calls
}

// dump is every key with its value, and the file of all that was ever written.
func (s *redisServer) dump() (text string, values int) {
	s.t.Helper()
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: s.addr})
	defer func() { _ = client.Close() }()
	var all strings.Builder
	keys := client.Scan(ctx, 0, "*", 0).Iterator()
	for keys.Next(ctx) {
		value, err := client.Get(ctx, keys.Val()).Result() // all are strings
		if err != nil {
			s.t.Fatalf("%s: %v", keys.Val(), err)
		}
		values++
		fmt.Fprintf(&all, "%s\n%s\n", keys.Val(), value)
	}
	if err := keys.Err(); err != nil {
		s.t.Fatal(err)
	}
	written := 0
	err := filepath.WalkDir(s.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		written += len(data)
		return err
	})
	if err != nil || written == 0 {
		s.t.Fatalf("Redis wrote %d bytes to its files: %v", written, err)
	}
	return all.String(), values
}
