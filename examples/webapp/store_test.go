//go:build unix

package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestUnknownStores(t *testing.T) {
	t.Parallel()
	for _, wrong := range [][2]string{{"", ""}, {"disk", ""}, {"redis", "http://x"}, {"redis", "redis://127.0.0.1:1"}, {"postgres", "postgres://nobody@127.0.0.1:1/none"}} {
		if _, err := openStore(t.Context(), wrong[0], wrong[1]); err == nil {
			t.Errorf("-store %q -store-url %q: want an error", wrong[0], wrong[1])
		}
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	storeURL := "redis://" + addr + "/0"
	serve(t, nil, t.TempDir(), storeURL, "redis", findProgram(t, "redis-server"), "--bind", "127.0.0.1", "--port", port, "--save", "")
	signOutEverywhere(t, newWorldOn(t, "redis", storeURL))
	rotates(t, newWorldOn(t, "redis", storeURL))
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	initdb, program := findProgram(t, "initdb"), findProgram(t, "postgres")
	account, uid, gid := (*syscall.Credential)(nil), -1, -1
	if os.Geteuid() == 0 { // as root PostgreSQL refuses to run
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ = strconv.Atoi(nobody.Uid)
		gid, _ = strconv.Atoi(nobody.Gid)
		account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	dir, err := os.MkdirTemp("", "authpi-webapp-") // t.TempDir is closed to others
	if err == nil {
		err = os.Chown(dir, uid, gid)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	create := exec.Command(initdb, "-D", filepath.Join(dir, "data"), "-U", "authpi", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	create.Dir, create.SysProcAttr = dir, &syscall.SysProcAttr{Credential: account}
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	storeURL := "postgres://authpi@" + addr + "/postgres?sslmode=disable"
	serve(t, account, dir, storeURL, "postgres", program, "-D", filepath.Join(dir, "data"), "-h", "127.0.0.1", "-p", port, "-k", "", "-c", "fsync=off")
	signOutEverywhere(t, newWorldOn(t, "postgres", storeURL))
	rotates(t, newWorldOn(t, "postgres", storeURL))
}

// rotates lets a token expire, with a store between the requests.
func rotates(t *testing.T, w *world) {
	t.Helper()
	b := w.browser()
	want(t, b.signIn("user", "usr_ada"), 200, "Ada Lovelace", "None yet")
	for n := 1; n <= 2; n++ {
		w.later(3 * time.Minute)
		if page := b.get(w.app.URL); rotations(page) != n {
			t.Errorf("%d rotations shown; want %d", rotations(page), n)
		}
	}
	want(t, b.act("/auth/logout", nil), 200, "Who may do what")
}

// serve runs a server until the end of the test, and waits until it can be used.
func serve(t *testing.T, account *syscall.Credential, dir, storeURL, kind, program string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		_, err := openStore(ctx, kind, storeURL)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s does not answer: %v", kind, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// findProgram gives the path of a program, which may be where Debian keeps
// PostgreSQL's. Where it is missing the test is skipped; under CI it fails.
func findProgram(t *testing.T, name string) string {
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
