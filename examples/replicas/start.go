package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// startReplica runs this program once more, as one of the web processes.
func startReplica(ctx context.Context, issuerURL, clientID, redisURL string) (site string, stop func(), err error) {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "REPLICAS_WEB=1", "AUTHPI_ISSUER_URL="+issuerURL, "AUTHPI_CLIENT_ID="+clientID, "REDIS_URL="+redisURL)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("a web process did not start: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

// openRedis gives REDIS_URL, or starts a server that keeps nothing on the disk.
func openRedis(ctx context.Context) (url string, stop func(), err error) {
	if url := os.Getenv("REDIS_URL"); url != "" {
		return url, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "replicas-")
	if err != nil {
		return "", nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	_ = free.Close()
	password := rand.Text()
	cmd := exec.CommandContext(ctx, "redis-server", "-")
	cmd.Stdin = strings.NewReader("bind 127.0.0.1\nport " + port + "\nrequirepass " + password +
		"\nsave \"\"\nappendonly no\ndir " + dir + "\n")
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("set REDIS_URL or install redis-server: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, Password: password})
	defer func() { _ = rdb.Close() }()
	for range 100 {
		if err = rdb.Ping(ctx).Err(); err == nil {
			return "redis://:" + password + "@127.0.0.1:" + port + "/0", stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("redis-server does not answer: %w", err)
}
