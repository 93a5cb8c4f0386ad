//go:build unix

package awake_test

import (
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
)

// stopEnv makes this test binary a process that is stopped while it waits.
const stopEnv = "AUTHPI_TEST_STOPPED"

// Whatever part of a tick a stop ends in, it costs no more than one tick.
func TestStopCostsOneTick(t *testing.T) {
	t.Parallel()
	const limit, tick = 500 * time.Millisecond, 250 * time.Millisecond
	if os.Getenv(stopEnv) != "" {
		l := new(awake.Clock).Limit(limit)
		time.Sleep(tick / 10) // the clock ticks by now
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		_ = l.Wait(t.Context(), nil)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStopCostsOneTick$")
	cmd.Env = append(os.Environ(), stopEnv+"=1")
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	started := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("got status %#x, %v; want a stopped process", status, err)
	}
	ran := time.Since(started)  // at most
	time.Sleep(4*tick - tick/5) // it wakes just before the beat of a ticker
	woken := time.Now()
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if ran += time.Since(woken); ran < limit-tick {
		t.Errorf("a limit of %v was over when the process had run for %v", limit, ran)
	}
}
