package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/postgresstore"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/examples/postgres"
)

// store is where sign-ins are kept. Processes that share one let a single one of
// them spend a refresh token.
type store struct {
	signIns authpihttp.Store // nil: in memory
	refresh authpi.RefreshCoordinator
}

func openStore(ctx context.Context, kind, url string) (store, error) {
	switch kind {
	case "memory":
		return store{}, nil
	case "redis":
		opts, err := redis.ParseURL(url)
		if err != nil {
			return store{}, err
		}
		client := redis.NewClient(opts)
		return store{goredisstore.New(client), authpiredis.NewCoordinator(client, nil)}, client.Ping(ctx).Err()
	case "postgres":
		db, err := sql.Open("pgx", url)
		if err != nil {
			return store{}, err
		}
		_, err = db.ExecContext(ctx, postgres.Schema+`
			CREATE TABLE IF NOT EXISTS sessions (token text PRIMARY KEY, data bytea NOT NULL, expiry timestamptz NOT NULL);
			CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions (expiry);`)
		return store{postgresstore.New(db), &postgres.Coordinator{DB: db}}, err
	}
	return store{}, fmt.Errorf("-store %s: want memory, redis or postgres", kind)
}
