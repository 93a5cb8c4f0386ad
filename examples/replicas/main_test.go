package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/authpi/authpi-idp-go/examples/internal/servers"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("REPLICAS_TEST_MAIN") == "1" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// What is missing is told by its name.
func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	_ = listener.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-for", "1s")
	cmd.Env = append(os.Environ(), "REPLICAS_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0", "REPLICAS_ISSUER=",
		"REDIS_URL=redis://:sesame@"+nobody)
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("replicas: the sign-in failed: is Redis running? REDIS_URL names it: 503 Service Unavailable")) {
		t.Errorf("got %v\n%s\nwant an error that names Redis", err, out)
	}
	if bytes.Contains(out, []byte("sesame")) {
		t.Error("the output shows the password")
	}
}

func TestProgram(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	redisURL := os.Getenv("REDIS_URL")
	if redisURL == "" {
		redisURL = servers.Redis(t)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-for", "5s")
	cmd.Env = append(os.Environ(), "REPLICAS_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0", "REPLICAS_ISSUER=",
		"REDIS_URL="+redisURL)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	got := map[string]int{}
	for _, line := range regexp.MustCompile(`(?m)^(\w+) +(\d+)$`).FindAllStringSubmatch(string(out), -1) {
		got[line[1]], _ = strconv.Atoi(line[2])
	}
	if got["processes"] != 3 || got["requests"] < 100 || got["rotations"] < 1 || got["rotations"] > 5 || got["failures"] != 0 {
		t.Errorf("got %v\n%s", got, out)
	}
	if regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.`).Match(append(out, stderr.Bytes()...)) {
		t.Error("the output shows a token")
	}
}
