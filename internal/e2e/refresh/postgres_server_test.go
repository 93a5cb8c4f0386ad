//go:build unix

package refresh

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/examples/postgres"
)

// postgresServer is a PostgreSQL of this test binary's own; each test gets a
// database in it.
type postgresServer struct {
	once    sync.Once
	missing string // why there can be none here
	err     error
	dir     string
	addr    string
	run     *program
	log     bytes.Buffer // only to be read while it does not run

	mu        sync.Mutex // guards databases
	databases int
}

// database is started by the first test that needs it and stopped by TestMain.
var database postgresServer

// startPostgres gives a test a database with the tables of examples/postgres.
func startPostgres(t testing.TB) (dsn string, db *sql.DB) {
	t.Helper()
	s := &database
	s.once.Do(func() { s.err = s.start() })
	if s.missing != "" {
		lacking(t, "%s", s.missing)
	}
	if s.err != nil {
		t.Fatalf("PostgreSQL: %v\n%s", s.err, s.log.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.databases++
	name := fmt.Sprintf("test%d", s.databases)
	admin := s.open(t, "postgres")
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	db = s.open(t, name)
	if _, err := db.ExecContext(t.Context(), postgres.Schema); err != nil {
		t.Fatal(err)
	}
	return s.dsn(name), db
}

func (s *postgresServer) dsn(database string) string {
	return "postgres://authpi@" + s.addr + "/" + database + "?sslmode=disable"
}

func (s *postgresServer) open(t testing.TB, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", s.dsn(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (s *postgresServer) start() error {
	initdb, postgres := postgresProgram("initdb"), postgresProgram("postgres")
	if initdb == "" || postgres == "" {
		s.missing = "PostgreSQL's programs initdb and postgres are not installed here"
		return nil
	}
	var account *syscall.Credential
	uid, gid := -1, -1
	if os.Geteuid() == 0 { // as root PostgreSQL refuses to run
		if account = unprivileged(); account == nil {
			s.missing = "PostgreSQL does not run as root, and there is no account postgres or nobody"
			return nil
		}
		uid, gid = int(account.Uid), int(account.Gid)
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "authpi-postgres-"); err != nil {
		return err
	}
	if err := os.Chown(s.dir, uid, gid); err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	command := func(program string, args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Dir, cmd.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: account}
		cmd.Stdout, cmd.Stderr = &s.log, &s.log
		return cmd
	}
	err = command(initdb, "-D", data, "-U", "authpi", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").Run()
	if err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	for range 5 { // somebody else may take the port
		if s.addr, err = tryFreeAddr(); err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(s.addr)
		s.run, err = startProgram(command(postgres, "-D", data, "-h", "127.0.0.1", "-p", port, "-k", "", "-c", "fsync=off", "-c", "max_connections=200"))
		if err != nil {
			return err
		}
		if err = s.ready(); err == nil {
			return nil
		}
		s.run.stop(syscall.SIGINT)
		s.run = nil
	}
	return err
}

func (s *postgresServer) ready() error {
	db, err := sql.Open("pgx", s.dsn("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		var where string
		err := db.QueryRowContext(ctx, "SHOW data_directory").Scan(&where)
		cancel()
		switch {
		case err == nil && filepath.Dir(where) == s.dir:
			return nil
		case err == nil:
			return errors.New("the port belongs to another server")
		case time.Now().After(end) || s.run.gone():
			return err
		}
	}
}

func (s *postgresServer) stop() {
	if s.run != nil {
		s.run.stop(syscall.SIGINT) // the fast shutdown
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// postgresProgram finds a program of PostgreSQL, which Debian keeps out of PATH.
func postgresProgram(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return ""
	}
	return slices.Max(found)
}

// unprivileged is an account that PostgreSQL may run under where the test is root.
func unprivileged() *syscall.Credential {
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return nil
}
