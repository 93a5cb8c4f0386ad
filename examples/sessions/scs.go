// Package sessions holds what docs/sessions.md shows and links to: stores for sign-ins,
// and sessions of the app's own beside them.
package sessions

import (
	"context"
	"database/sql"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/postgresstore"
	"github.com/alexedwards/scs/sqlite3store"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite" // the driver, in Go alone

	"github.com/authpi/authpi-idp-go/authpihttp"
)

// The stores of scs have no CommitIf, so they serve one process. Of two that write at
// the same moment one would undo the other: a sign-in that has ended is there again, or
// the spent refresh token stands where the new one was.

// scsRedis keeps sign-ins in scs's store for Redis, under a prefix of their own. For
// several processes there is authpiredis.NewStore.
func scsRedis(rdb *redis.Client) authpihttp.Store {
	return goredisstore.NewWithPrefix(rdb, "sign-ins:")
}

// scsPostgres keeps sign-ins in scs's store for PostgreSQL, in a table of their own.
func scsPostgres(db *sql.DB) (authpihttp.Store, error) {
	_, err := db.Exec(`
		CREATE TABLE IF NOT EXISTS sign_ins (token text PRIMARY KEY, data bytea NOT NULL, expiry timestamptz NOT NULL);
		CREATE INDEX IF NOT EXISTS sign_ins_expiry ON sign_ins (expiry)`)
	return postgresstore.NewWithConfig(db, postgresstore.Config{TableName: "sign_ins", CleanUpInterval: 5 * time.Minute}), err
}

// scsSQLite keeps sign-ins in scs's store for SQLite, in a table of their own.
func scsSQLite(db *sql.DB) (authpihttp.Store, error) {
	_, err := db.Exec(`
		CREATE TABLE IF NOT EXISTS sign_ins (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
		CREATE INDEX IF NOT EXISTS sign_ins_expiry ON sign_ins (expiry)`)
	return sqlite3store.NewWithConfig(db, sqlite3store.Config{TableName: "sign_ins", CleanUpInterval: 5 * time.Minute}), err
}

// openSQLite opens a file so that requests wait for one another, and not fail.
func openSQLite(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
}

// sharedPostgres is scs's store for PostgreSQL with CommitIf, for any number of
// processes: authpihttp then writes by CommitIf alone.
type sharedPostgres struct {
	authpihttp.Store // that of scsPostgres
	db               *sql.DB
}

// CommitIf writes only over old, or where there is nothing if old is nil.
func (s sharedPostgres) CommitIf(ctx context.Context, token string, old, b []byte, expiry time.Time) (bool, error) {
	query, args := `
		UPDATE sign_ins SET data = $2, expiry = $3
		WHERE token = $1 AND data = $4 AND expiry > now()`, []any{token, b, expiry, old}
	if old == nil {
		query, args = `
			INSERT INTO sign_ins AS had (token, data, expiry) VALUES ($1, $2, $3)
			ON CONFLICT (token) DO UPDATE SET data = excluded.data, expiry = excluded.expiry
			WHERE had.expiry <= now()`, args[:3]
	}
	done, err := s.db.ExecContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}
