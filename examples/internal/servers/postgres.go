//go:build unix

package servers

import (
	"context"
	"database/sql"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

// Postgres starts a PostgreSQL with an empty database, and gives its URL.
func Postgres(t testing.TB) string {
	t.Helper()
	initdb, postgres := find(t, "initdb"), find(t, "postgres")
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
	dir, err := os.MkdirTemp("", "authpi-postgres-") // t.TempDir is closed to others
	if err == nil {
		err = os.Chown(dir, uid, gid)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	run := func(program string, args ...string) *exec.Cmd {
		cmd := exec.Command(program, append([]string{"-D", filepath.Join(dir, "data")}, args...)...)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: account}
		return cmd
	}
	create := run(initdb, "-U", "authpi", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	host, port := Addr(t)
	url := "postgres://authpi@" + net.JoinHostPort(host, port) + "/postgres?sslmode=disable"
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	serve(t, run(postgres, "-h", host, "-p", port, "-k", "", "-c", "fsync=off"), func(ctx context.Context) error { return db.PingContext(ctx) })
	return url
}
