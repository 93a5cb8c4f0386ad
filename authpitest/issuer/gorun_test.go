//go:build unix

package main

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// As a user starts it: with the two flags of the README, and a Ctrl-C in the end.
func TestGoRun(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	cmd := exec.CommandContext(t.Context(), "go", "run", "-buildvcs=false", "./authpitest/issuer",
		"-addr", steadyAddr(), "-redirect", defaultRedirect)
	cmd.Dir, cmd.Env = root, environment("GOWORK=off", "XDG_CACHE_HOME="+t.TempDir(), "GOCACHE="+goCache(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as in a terminal, Ctrl-C goes to both
	interrupt := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.Cancel, cmd.WaitDelay = interrupt, 10*time.Second
	r := startCommand(t, cmd)
	r.signIn(r.client(), "usr_ada")
	if err := interrupt(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // go run itself fails when it is interrupted
	if resp, err := browser.Get(r.base); err == nil {
		_ = resp.Body.Close()
		t.Error("the issuer outlives go run")
	}
}

// goCache is where builds are kept, which moves with XDG_CACHE_HOME otherwise.
func goCache(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out[:len(out)-1])
}
