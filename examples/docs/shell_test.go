//go:build unix

package docs

import (
	"database/sql"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"github.com/authpi/authpi-idp-go/examples/internal/servers"
)

// Commands of a clone, as a page shows them but for what would take long, or write
// outside of a temporary folder.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		page, under, lang string
		set               []change
		want              string
	}{
		{"README.md", "How it is checked", "sh", []change{{"make test", "# this test is part of it"}}, "Every step held."},
		{"docs/review/security.md", "Refused inputs", "", nil, " rows refused, "},
		{"examples/README.md", "From a clone to the first page", "sh",
			[]change{{"GOMODCACHE=$(mktemp -d) GOCACHE=$(mktemp -d) ", ""}, {"/tmp/webapp", `"$TMPDIR/webapp"`}}, "real"},
	} {
		t.Run(tc.page, func(t *testing.T) {
			t.Parallel()
			out, err := shell(t, "../..", changed(t, blockUnder(t, tc.page, tc.under, tc.lang, 0), tc.set...)).CombinedOutput()
			if err != nil || !strings.Contains(string(out), tc.want) {
				t.Errorf("got %v\n%s\nwant %q", err, out, tc.want)
			}
		})
	}
}

// The processes of docs/replicas.md keep a session, and without the coordinator they
// lose it, sooner or later: two of them have to refresh at the same moment.
func TestReplicas(t *testing.T) {
	t.Parallel()
	need(t, "redis-server")
	block := changed(t, blockUnder(t, "docs/replicas.md", "Watch it work", "sh", 0), change{"-for 10s", "-for 3s"})
	for _, coordinated := range []bool{true, false, false, false, false} {
		host, port := servers.Addr(t)
		cmd := shell(t, "../..", changed(t, block, change{"--save ''", "--save '' --bind " + host + " --port " + port + " >&2"}))
		cmd.Env = append(cmd.Env, "REDIS_URL=redis://"+net.JoinHostPort(host, port))
		if !coordinated {
			o := overlay{t: t, dir: t.TempDir(), replace: map[string]string{}}
			web := filepath.Join("..", "replicas", "web.go")
			o.add(web, changed(t, read(t, web), change{"cfg.Coordinator = ", "_ = "}))
			cmd.Env = append(cmd.Env, "GOFLAGS="+os.Getenv("GOFLAGS")+" -overlay="+o.write())
		}
		out, err := cmd.Output()
		kept := err == nil && strings.Contains(string(out), "failures  0\n")
		if coordinated && !kept || !strings.Contains(string(out), "processes 3\n") {
			t.Errorf("with a coordinator: %t; got %v\n%s", coordinated, err, out)
		}
		if !kept {
			return
		}
	}
	t.Error("the session was kept without the coordinator, four times")
}

// What docs/replicas.md has Save do writes only over what was read.
func TestUpdate(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("pgx", servers.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("CREATE TABLE sessions (id text PRIMARY KEY, data bytea); INSERT INTO sessions VALUES ('1', 'read')"); err != nil {
		t.Fatal(err)
	}
	update := blockUnder(t, "docs/replicas.md", "Without authpihttp", "sql", 0)
	for _, tc := range []struct {
		name, id, read, write string
		want                  int64
	}{
		{"another process has written", "1", "earlier", "new", 0},
		{"the user has signed out", "2", "read", "new", 0},
		{"as it was read", "1", "read", "new", 1},
		{"once more", "1", "read", "newer", 0},
	} {
		done, err := db.Exec(update, tc.id, []byte(tc.write), []byte(tc.read))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := done.RowsAffected(); err != nil || got != tc.want {
			t.Errorf("%s: wrote %d, %v; want %d", tc.name, got, err, tc.want)
		}
	}
}

// shell is a terminal in a folder, whose programs end with the test.
func shell(t *testing.T, dir, block string) *exec.Cmd {
	t.Helper()
	need(t, "bash")
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"+block)
	clean := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AUTHPI_") })
	cmd.Dir, cmd.Env = dir, append(clean, "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = cmd.Cancel() // what runs in the background
		}
	})
	return cmd
}

// changed has something else in a block. What is replaced must be there.
func changed(t *testing.T, block string, changes ...change) string {
	t.Helper()
	for _, c := range changes {
		if !strings.Contains(block, c.old) {
			t.Fatalf("there is no %q in\n%s", c.old, block)
		}
		block = strings.ReplaceAll(block, c.old, c.new)
	}
	return block
}

// need skips the test where a program is missing; under CI it fails.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI is set, so nothing may be skipped: %v", err)
		}
		t.Skipf("skipped: %v", err)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
