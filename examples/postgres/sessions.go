package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/authpi/authpi-idp-go"
)

// Sessions keeps token sets in a table.
type Sessions struct{ DB *sql.DB }

// Save stores a session's tokens, unless newer ones are there: a process that was
// slow must not store its set over its successor.
func (s *Sessions) Save(ctx context.Context, id string, tokens authpi.TokenSet) error {
	text, err := json.Marshal(tokens)
	if err != nil {
		return err
	}
	_, err = s.DB.ExecContext(ctx, `
		INSERT INTO authpi_sessions (id, tokens, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET tokens = excluded.tokens, expires_at = excluded.expires_at
		WHERE authpi_sessions.expires_at <= excluded.expires_at`,
		id, text, tokens.ExpiresAt.Unix())
	return err
}

// Load gives a session's tokens, and a zero set for a session that has ended.
func (s *Sessions) Load(ctx context.Context, id string) (authpi.TokenSet, error) {
	var text []byte
	err := s.DB.QueryRowContext(ctx, `SELECT tokens FROM authpi_sessions WHERE id = $1`, id).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return authpi.TokenSet{}, nil
	}
	if err != nil {
		return authpi.TokenSet{}, err
	}
	return authpi.ParseTokenSet(text)
}

// Delete ends a session.
func (s *Sessions) Delete(ctx context.Context, id string) error {
	_, err := s.DB.ExecContext(ctx, `DELETE FROM authpi_sessions WHERE id = $1`, id)
	return err
}

// Options are what CreateAgent needs to keep session id whole.
func (s *Sessions) Options(id string) *authpi.AgentOptions {
	return &authpi.AgentOptions{
		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error { return s.Save(ctx, id, tokens) },
		Reload:    func(ctx context.Context) (authpi.TokenSet, error) { return s.Load(ctx, id) },
	}
}
