// Package postgres shows two ways to keep sessions whole when several processes
// share a PostgreSQL database. Copy what suits you.
//
// [Coordinator] lets only one process spend a refresh token: an advisory lock
// for each token, and the sealed result in a table for those who come later.
//
// [Sessions] is the cheaper recipe: Reload and a conditional update. It needs no
// lock, and it does not prevent that two processes which read the same row at the
// same moment both spend its refresh token; see docs/refresh.md.
package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Schema creates the tables of this package.
const Schema = `
CREATE TABLE IF NOT EXISTS authpi_refresh (
	id         text PRIMARY KEY,
	result     bytea NOT NULL,
	expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS authpi_refresh_expiry ON authpi_refresh (expires_at);
CREATE TABLE IF NOT EXISTS authpi_sessions (
	id         text PRIMARY KEY,
	tokens     jsonb NOT NULL,
	expires_at bigint NOT NULL
);`

// Coordinator is an authpi.RefreshCoordinator over PostgreSQL. Each refresh under
// way, and each that waits for another process, holds one connection, whose session
// holds the lock: a process that dies blocks nobody, one that is frozen blocks the
// others until their own time is up. A pooler that shares sessions between clients,
// such as PgBouncer by transaction, cannot carry it.
type Coordinator struct {
	DB     *sql.DB
	Memory time.Duration // how long a result is kept; zero: a minute
}

// Do is [authpi.RefreshCoordinator]'s.
func (c *Coordinator) Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	key, err := lockKey(id)
	if err != nil {
		return nil, err
	}
	conn, err := c.DB.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, key); err != nil {
		return nil, fmt.Errorf("postgres: waiting for the lock: %w", err)
	}
	// Before the connection goes back to the pool, which would keep the lock.
	defer func() { unlock(conn, key) }()

	var result []byte
	err = conn.QueryRowContext(ctx, `SELECT result FROM authpi_refresh WHERE id = $1 AND expires_at > now()`, id).Scan(&result)
	if err == nil {
		return result, nil // another process was first
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if result, err = spend(ctx); err != nil {
		return nil, err
	}
	memory := c.Memory
	if memory <= 0 {
		memory = time.Minute
	}
	// The others depend on it, so it does not end with this refresh's own time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err = conn.ExecContext(ctx, `
		INSERT INTO authpi_refresh (id, result, expires_at) VALUES ($1, $2, now() + $3 * interval '1 millisecond')
		ON CONFLICT (id) DO UPDATE SET result = excluded.result, expires_at = excluded.expires_at`,
		id, result, memory.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err) // authpi keeps the result it has all the same
	}
	return result, nil
}

// Sweep deletes what has expired. Call it now and then, for example every minute.
func (c *Coordinator) Sweep(ctx context.Context) error {
	_, err := c.DB.ExecContext(ctx, `DELETE FROM authpi_refresh WHERE expires_at <= now()`)
	return err
}

// lockKey makes the number that PostgreSQL locks by out of the digest's first
// eight bytes. Two tokens with the same number would only wait for each other.
func lockKey(id string) (int64, error) {
	digest, err := hex.DecodeString(id)
	if err != nil || len(digest) < 8 {
		return 0, errors.New("postgres: the id is no digest")
	}
	return int64(binary.BigEndian.Uint64(digest)), nil
}

// unlock frees the lock even when the refresh's own context has ended. Where that
// fails the connection is broken, and the lock gone with it.
func unlock(conn *sql.Conn, key int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, key); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // out of the pool
	}
}
