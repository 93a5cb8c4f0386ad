package sessions

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// ownSchema is the table of ownStore, as SQLite and PostgreSQL both understand it.
const ownSchema = `CREATE TABLE IF NOT EXISTS own_sign_ins (key text PRIMARY KEY, data bytea NOT NULL, expires bigint NOT NULL)`

// ownUpsert writes over whatever there is.
const ownUpsert = `INSERT INTO own_sign_ins VALUES ($1, $2, $3) ON CONFLICT (key) DO UPDATE SET data = excluded.data, expires = excluded.expires`

// ownStore is a whole store in thirty lines, for any number of processes. Now and then,
// delete the rows that have expired.
type ownStore struct{ db *sql.DB }

func (s ownStore) Find(key string) (data []byte, found bool, err error) {
	err = s.db.QueryRow(`SELECT data FROM own_sign_ins WHERE key = $1 AND expires > $2`, key, time.Now().Unix()).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil // signs the user out; any other error is a 503
	}
	return data, err == nil, err
}

func (s ownStore) Commit(key string, data []byte, expiry time.Time) error {
	_, err := s.db.Exec(ownUpsert, key, data, expiry.Unix())
	return err
}

func (s ownStore) Delete(key string) error {
	_, err := s.db.Exec(`DELETE FROM own_sign_ins WHERE key = $1`, key)
	return err
}

// CommitIf writes only over old, or where there is nothing if old is nil.
func (s ownStore) CommitIf(ctx context.Context, key string, old, data []byte, expiry time.Time) (bool, error) {
	query := `UPDATE own_sign_ins SET data = $2, expires = $3 WHERE key = $1 AND expires > $4 AND data = $5`
	args := []any{key, data, expiry.Unix(), time.Now().Unix(), old}
	if old == nil {
		query, args = ownUpsert+` WHERE own_sign_ins.expires <= $4`, args[:4]
	}
	done, err := s.db.ExecContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n == 1, err
}
