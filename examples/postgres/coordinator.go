// Package postgres lets several processes share sessions and refreshes in a
// PostgreSQL database. Copy what suits you.
//
// [Coordinator] lets only one process spend a refresh token: an advisory lock
// for each token, and the sealed result in a table for those who come later.
//
// [Store] keeps bytes under keys, and writes only over what was read. [Sessions]
// keeps token sets in it, for an app without package authpihttp.
package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Schema creates the tables of this package.
const Schema = `
CREATE TABLE IF NOT EXISTS authpi_refresh (
	id         text PRIMARY KEY,
	holder     text NOT NULL,
	result     bytea, -- null: the holder is at work
	expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS authpi_refresh_expiry ON authpi_refresh (expires_at);
CREATE TABLE IF NOT EXISTS authpi_store (
	key        text PRIMARY KEY,
	data       bytea NOT NULL,
	expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS authpi_store_expiry ON authpi_store (expires_at);`

// Coordinator is an authpi.RefreshCoordinator over PostgreSQL. Each refresh under
// way, and each that waits for another process, keeps one connection, whose session
// holds the lock. While the issuer is slow these are many: give it a DB of its own, with
// SetMaxOpenConns, or nothing is left for the rest of the app. A pooler that shares
// sessions between clients, such as PgBouncer by transaction, cannot carry it.
//
// A free lock does not prove that nobody is refreshing: its holder may have lost the
// connection. So the holder inserts a row before it spends the token. A process that
// finds the lock free and the row without a result fails for now, until the result
// is there or Limit is over.
type Coordinator struct {
	DB     *sql.DB
	Memory time.Duration // how long a result is kept; zero: a minute
	Limit  time.Duration // longer than any refresh takes; zero: 40 s, for a RefreshTimeout of 30 s
}

// ErrInterrupted is returned while it is not known what became of a refresh whose
// process died or lost its connection.
var ErrInterrupted = errors.New("postgres: a refresh was interrupted, its result may still come")

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

	holder := rand.Text()
	result, found, err := c.claim(ctx, conn, id, holder)
	switch {
	case err != nil:
		return nil, fmt.Errorf("postgres: %w", err)
	case found && result == nil:
		return nil, ErrInterrupted
	case found:
		return result, nil // another process was first
	}
	return c.spend(ctx, conn, id, holder, spend)
}

// claim inserts the row, or returns the one that is there.
func (c *Coordinator) claim(ctx context.Context, conn *sql.Conn, id, holder string) (result []byte, found bool, err error) {
	done, err := conn.ExecContext(ctx, `
		INSERT INTO authpi_refresh AS old (id, holder, expires_at) VALUES ($1, $2, now() + $3 * interval '1 millisecond')
		ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, result = NULL, expires_at = excluded.expires_at
		WHERE old.expires_at <= now()`, id, holder, orDefault(c.Limit, 40*time.Second).Milliseconds())
	if err != nil {
		return nil, false, err
	}
	if rows, err := done.RowsAffected(); err != nil || rows == 1 {
		return nil, false, err
	}
	err = conn.QueryRowContext(ctx, `SELECT result FROM authpi_refresh WHERE id = $1`, id).Scan(&result)
	return result, true, err
}

// spend does the work and stores its result, or removes the row so that another may
// try. Both do without the connection if it was lost, and go on when this refresh's
// own time is over: others depend on them.
func (c *Coordinator) spend(ctx context.Context, conn *sql.Conn, id, holder string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
	settle := func(statement string, args ...any) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, err := conn.ExecContext(ctx, statement, args...)
		if err != nil {
			_, err = c.DB.ExecContext(ctx, statement, args...)
		}
		return err
	}
	stop := keepAlive(ctx, conn)
	spent := false
	defer func() {
		stop()
		if !spent { // an error, or a panic on its way
			_ = settle(`DELETE FROM authpi_refresh WHERE id = $1 AND holder = $2`, id, holder)
		}
	}()
	result, err := spend(ctx)
	if err != nil {
		return nil, err
	}
	spent = true
	stop()
	// If Limit was too short, another process may have spent the token too: the result
	// that was stored first stays. If storing fails, this process has its result all
	// the same, and the others wait for Limit.
	_ = settle(`
		INSERT INTO authpi_refresh AS old (id, holder, result, expires_at) VALUES ($1, $2, $3, now() + $4 * interval '1 millisecond')
		ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, result = excluded.result, expires_at = excluded.expires_at
		WHERE old.result IS NULL OR old.expires_at <= now()`,
		id, holder, append([]byte{}, result...), orDefault(c.Memory, time.Minute).Milliseconds())
	return result, nil
}

// keepAlive uses the connection now and then, so that neither the server nor anything
// between closes it for being idle.
func keepAlive(ctx context.Context, conn *sql.Conn) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			// Not to be cancelled by the end of the refresh, which would cost the connection.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			_ = conn.PingContext(ctx) // if it is lost, the row still keeps the others away
			cancel()
		}
	}()
	return sync.OnceFunc(func() {
		close(quit)
		<-ended
	})
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

// unlock frees the lock even if the refresh's own context has ended. If that fails,
// the connection is broken, and the lock gone with it.
func unlock(conn *sql.Conn, key int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, key); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // out of the pool
	}
}

func orDefault(d, standard time.Duration) time.Duration {
	if d <= 0 {
		return standard
	}
	return d
}
