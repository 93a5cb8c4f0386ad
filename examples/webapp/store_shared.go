//go:build stores

package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/examples/postgres"
)

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
		return store{authpiredis.NewStore(client, nil), authpiredis.NewCoordinator(client, nil)}, client.Ping(ctx).Err()
	case "postgres":
		db, err := sql.Open("pgx", url)
		if err != nil {
			return store{}, err
		}
		locks, err := sql.Open("pgx", url)
		if err != nil {
			return store{}, err
		}
		locks.SetMaxOpenConns(16) // while the issuer is slow they are all in use
		signIns, refresh := &postgres.Store{DB: db}, &postgres.Coordinator{DB: locks}
		go sweep(ctx, signIns.Sweep, refresh.Sweep)
		_, err = db.ExecContext(ctx, postgres.Schema)
		return store{signIns, refresh}, err
	}
	return store{}, fmt.Errorf("-store %s: want memory, redis or postgres", kind)
}

// sweep deletes what has expired, every minute until ctx ends.
func sweep(ctx context.Context, sweeps ...func(context.Context) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Minute):
		}
		for _, sweep := range sweeps {
			if err := sweep(ctx); err != nil {
				log.Print("deleting what has expired: ", err)
			}
		}
	}
}
