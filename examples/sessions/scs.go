// Package sessions holds what docs/sessions.md shows and links to: stores for sign-ins,
// and sessions of the app's own beside them.
package sessions

import (
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
// For several processes there is examples/postgres.
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
