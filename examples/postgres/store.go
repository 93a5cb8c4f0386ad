package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Store keeps bytes under keys until they expire. It can be the store of package
// authpihttp, which writes by CommitIf: no process can undo what another one has
// written, or bring back what was deleted.
type Store struct{ DB *sql.DB }

// FindCtx returns what is stored under key, and whether there is anything.
func (s *Store) FindCtx(ctx context.Context, key string) (data []byte, found bool, err error) {
	err = s.DB.QueryRowContext(ctx, `SELECT data FROM authpi_store WHERE key = $1 AND expires_at > now()`, key).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// CommitCtx stores data under key, whatever was there.
func (s *Store) CommitCtx(ctx context.Context, key string, data []byte, expiry time.Time) error {
	_, err := s.DB.ExecContext(ctx, `
		INSERT INTO authpi_store (key, data, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (key) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at`, key, data, expiry)
	return err
}

// CommitIf stores data under key only if old is what is stored there; a nil old means
// that nothing is. It reports whether it has stored it.
func (s *Store) CommitIf(ctx context.Context, key string, old, data []byte, expiry time.Time) (written bool, err error) {
	statement, args := `
		UPDATE authpi_store SET data = $2, expires_at = $3
		WHERE key = $1 AND data = $4 AND expires_at > now()`, []any{key, data, expiry, old}
	if old == nil {
		statement, args = `
			INSERT INTO authpi_store AS old (key, data, expires_at) VALUES ($1, $2, $3)
			ON CONFLICT (key) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at
			WHERE old.expires_at <= now()`, args[:3]
	}
	done, err := s.DB.ExecContext(ctx, statement, args...)
	if err != nil {
		return false, err
	}
	rows, err := done.RowsAffected()
	return rows == 1, err
}

// DeleteCtx removes what is stored under key.
func (s *Store) DeleteCtx(ctx context.Context, key string) error {
	_, err := s.DB.ExecContext(ctx, `DELETE FROM authpi_store WHERE key = $1`, key)
	return err
}

// Find is FindCtx.
func (s *Store) Find(key string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), key)
}

// Commit is CommitCtx.
func (s *Store) Commit(key string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, data, expiry)
}

// Delete is DeleteCtx.
func (s *Store) Delete(key string) error {
	return s.DeleteCtx(context.Background(), key)
}

// Sweep deletes what has expired. Call it now and then, for example every minute.
func (s *Store) Sweep(ctx context.Context) error {
	_, err := s.DB.ExecContext(ctx, `DELETE FROM authpi_store WHERE expires_at <= now()`)
	return err
}
