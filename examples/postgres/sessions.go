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
// slow must not store its set over its successor. expires_at counts whole seconds:
// of two refreshes that were forced within one second either may stay, so an app that
// calls Refresh that often needs the Coordinator, which knows the successor.
func (s *Sessions) Save(ctx context.Context, id string, tokens authpi.TokenSet) error {
	return s.save(ctx, id, tokens, "")
}

// save stores also tokens that expire earlier than those of the old refresh token,
// where these are still there: the issuer may shorten the tokens' life, and what was
// refreshed is spent.
func (s *Sessions) save(ctx context.Context, id string, tokens authpi.TokenSet, old string) error {
	text, err := json.Marshal(tokens)
	if err != nil {
		return err
	}
	_, err = s.DB.ExecContext(ctx, `
		INSERT INTO authpi_sessions (id, tokens, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET tokens = excluded.tokens, expires_at = excluded.expires_at
		WHERE authpi_sessions.expires_at <= excluded.expires_at OR authpi_sessions.tokens->>'refresh_token' = $4`,
		id, text, tokens.ExpiresAt.Unix(), old)
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

// Options are what CreateAgent needs to keep session id whole; loaded is what Load
// gave to this request.
func (s *Sessions) Options(id string, loaded authpi.TokenSet) *authpi.AgentOptions {
	return &authpi.AgentOptions{
		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error {
			return s.save(ctx, id, tokens, loaded.RefreshToken)
		},
		Reload: func(ctx context.Context) (authpi.TokenSet, error) { return s.Load(ctx, id) },
	}
}
