//go:build unix

package refresh

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/examples/postgres"
)

// digest is what package authpi calls a refresh token.
func digest(n int) string { return fmt.Sprintf("%064x", 0x1234567890abcdef+uint64(n)<<40) }

// outcome is what a Do returned.
type outcome struct {
	value string
	err   error
}

// holdPostgres has a coordinator spend until it is told the result.
func holdPostgres(t *testing.T, c *postgres.Coordinator, id string, spent *atomic.Int64) (end chan<- outcome, got <-chan outcome) {
	t.Helper()
	begun, ends, gets := make(chan struct{}), make(chan outcome, 1), make(chan outcome, 1)
	go func() {
		value, err := c.Do(context.Background(), id, func(context.Context) ([]byte, error) {
			spent.Add(1)
			close(begun)
			o := <-ends
			return []byte(o.value), o.err
		})
		gets <- outcome{string(value), err}
	}()
	select {
	case <-begun:
	case o := <-gets:
		t.Fatalf("got %q, %v; want it to spend", o.value, o.err)
	}
	return ends, gets
}

func spendOf(spent *atomic.Int64, value string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		spent.Add(1)
		return []byte(value), nil
	}
}

// The connection that holds the lock is lost in the middle of a refresh: nobody
// spends the token again, and the result is there when it has arrived.
func TestPostgresConnectionLost(t *testing.T) {
	t.Parallel()
	dsn, db := startPostgres(t)
	holder, other := &postgres.Coordinator{DB: openPostgres(t, dsn)}, &postgres.Coordinator{DB: openPostgres(t, dsn)}
	for n, lose := range []string{
		`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()`,
	} {
		var spent atomic.Int64
		end, got := holdPostgres(t, holder, digest(n), &spent)
		if _, err := db.ExecContext(t.Context(), lose); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		value, err := other.Do(ctx, digest(n), spendOf(&spent, "second"))
		cancel()
		if err == nil {
			t.Errorf("the other process: got %q; want a failure", value)
		}
		end <- outcome{value: "first"}
		if o := <-got; o.value != "first" || o.err != nil {
			t.Errorf("the holder: got %q, %v; want its own result", o.value, o.err)
		}
		value, err = other.Do(t.Context(), digest(n), spendOf(&spent, "third"))
		if string(value) != "first" || err != nil {
			t.Errorf("the other process, later: got %q, %v; want the holder's result", value, err)
		}
		if got := spent.Load(); got != 1 {
			t.Errorf("spent %d times; want once", got)
		}
	}
}

// A server that closes idle connections does not close the one that holds the lock.
func TestPostgresConnectionKeptAlive(t *testing.T) {
	t.Parallel()
	dsn, db := startPostgres(t)
	if _, err := db.ExecContext(t.Context(), `ALTER ROLE authpi IN DATABASE `+databaseName(t, db)+` SET idle_session_timeout = '1s'`); err != nil {
		t.Fatal(err)
	}
	holder, other := &postgres.Coordinator{DB: openPostgres(t, dsn)}, &postgres.Coordinator{DB: openPostgres(t, dsn)}
	var spent atomic.Int64
	end, got := holdPostgres(t, holder, digest(1), &spent)
	waited := make(chan outcome, 1)
	go func() {
		value, err := other.Do(context.Background(), digest(1), spendOf(&spent, "second"))
		waited <- outcome{string(value), err}
	}()
	time.Sleep(3 * time.Second)
	end <- outcome{value: "first"}
	for name, o := range map[string]outcome{"holder": <-got, "other": <-waited} {
		if o.value != "first" || o.err != nil {
			t.Errorf("%s: got %q, %v; want the first result", name, o.value, o.err)
		}
	}
	if got := spent.Load(); got != 1 {
		t.Errorf("spent %d times; want once", got)
	}
}

// An error is not kept, and the next one takes its turn at once.
func TestPostgresErrorIsNotKept(t *testing.T) {
	t.Parallel()
	dsn, _ := startPostgres(t)
	holder, other := &postgres.Coordinator{DB: openPostgres(t, dsn)}, &postgres.Coordinator{DB: openPostgres(t, dsn)}
	var spent atomic.Int64
	end, got := holdPostgres(t, holder, digest(1), &spent)
	failure := errors.New("503")
	end <- outcome{err: failure}
	if o := <-got; !errors.Is(o.err, failure) {
		t.Errorf("got %q, %v; want the error of spend", o.value, o.err)
	}
	for range 2 {
		value, err := other.Do(t.Context(), digest(1), spendOf(&spent, "second"))
		if string(value) != "second" || err != nil {
			t.Errorf("got %q, %v; want the second result", value, err)
		}
	}
	if got := spent.Load(); got != 2 {
		t.Errorf("spent %d times; want twice", got)
	}
}

func openPostgres(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func databaseName(t *testing.T, db *sql.DB) (name string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}
