//go:build unix

package sessions

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/examples/internal/servers"
	"github.com/authpi/authpi-idp-go/examples/postgres"
)

func newPostgres(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", servers.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newSQLite(t *testing.T) *sql.DB {
	t.Helper()
	db, err := openSQLite(filepath.Join(t.TempDir(), "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func own(db *sql.DB) (authpihttp.Store, error) {
	_, err := db.Exec(ownSchema)
	return ownStore{db}, err
}

// Each store of the page is what package authpihttp asks of one.
func TestStores(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		open   func(*testing.T) (authpihttp.Store, error)
		shared bool // among processes
	}{
		{"scs, Redis", func(t *testing.T) (authpihttp.Store, error) {
			opts, err := redis.ParseURL(servers.Redis(t))
			if err != nil {
				return nil, err
			}
			return scsRedis(redis.NewClient(opts)), nil
		}, false},
		{"scs, PostgreSQL", func(t *testing.T) (authpihttp.Store, error) { return scsPostgres(newPostgres(t)) }, false},
		{"examples/postgres", func(t *testing.T) (authpihttp.Store, error) {
			db := newPostgres(t)
			_, err := db.Exec(postgres.Schema)
			return &postgres.Store{DB: db}, err
		}, true},
		{"scs, SQLite", func(t *testing.T) (authpihttp.Store, error) { return scsSQLite(newSQLite(t)) }, false},
		{"own, SQLite", func(t *testing.T) (authpihttp.Store, error) { return own(newSQLite(t)) }, true},
		{"own, PostgreSQL", func(t *testing.T) (authpihttp.Store, error) { return own(newPostgres(t)) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			store, err := tc.open(t)
			if err != nil {
				t.Fatal(err)
			}
			keeps(t, store)
			shared, ok := store.(authpihttp.ConditionalStore)
			if ok != tc.shared {
				t.Fatalf("it has CommitIf: %t; want %t", ok, tc.shared)
			}
			if ok {
				writesOnlyOver(t, store, shared)
				oneWrites(t, store, shared)
			}
			serves(t, store, tc.shared)
		})
	}
}

// contextual is asked through its methods with a context, as authpihttp does.
type contextual interface {
	FindCtx(ctx context.Context, token string) ([]byte, bool, error)
	CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, token string) error
}

func find(t *testing.T, store authpihttp.Store, key string) string {
	t.Helper()
	read := store.Find
	if c, ok := store.(contextual); ok {
		read = func(key string) ([]byte, bool, error) { return c.FindCtx(t.Context(), key) }
	}
	data, found, err := read(key)
	if err != nil || found != (data != nil) {
		t.Fatalf("%s: got %q, %t, %v", key, data, found, err)
	}
	return string(data)
}

func keeps(t *testing.T, store authpihttp.Store) {
	t.Helper()
	commit, remove := store.Commit, store.Delete
	if c, ok := store.(contextual); ok {
		commit = func(key string, b []byte, expiry time.Time) error { return c.CommitCtx(t.Context(), key, b, expiry) }
		remove = func(key string) error { return c.DeleteCtx(t.Context(), key) }
	}
	soon, binary := time.Now().Add(time.Hour), "\x00\xff'\n"
	for _, data := range []string{"first", binary} {
		if err := commit("kept", []byte(data), soon); err != nil {
			t.Fatal(err)
		}
		if got := find(t, store, "kept"); got != data {
			t.Errorf("got %q; want %q", got, data)
		}
	}
	for _, key := range []string{"kept", "never there"} {
		if err := remove(key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if got := find(t, store, key); got != "" {
			t.Errorf("%s: got %q; want nothing", key, got)
		}
	}
}

func writesOnlyOver(t *testing.T, store authpihttp.Store, shared authpihttp.ConditionalStore) {
	t.Helper()
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for _, step := range []struct {
		name     string
		old, new string
		expiry   time.Time
		want     bool
		then     string
	}{
		{"over something that is not there", "x", "a", soon, false, ""},
		{"where there is nothing", "", "a", soon, true, "a"},
		{"where there is something", "", "b", soon, false, "a"},
		{"over something else", "x", "b", soon, false, "a"},
		{"over what is there", "a", "b", soon, true, "b"},
		{"so that it has expired", "b", "c", past, true, ""},
		{"over what has expired", "c", "d", soon, false, ""},
		{"where what was has expired", "", "e", soon, true, "e"},
	} {
		var old []byte
		if step.old != "" {
			old = []byte(step.old)
		}
		written, err := shared.CommitIf(t.Context(), "shared", old, []byte(step.new), step.expiry)
		if err != nil || written != step.want {
			t.Errorf("%s: got %t, %v; want %t", step.name, written, err, step.want)
		}
		if got := find(t, store, "shared"); got != step.then {
			t.Errorf("%s: then %q; want %q", step.name, got, step.then)
		}
	}
}

// oneWrites lets many write at once, over nothing and over something.
func oneWrites(t *testing.T, store authpihttp.Store, shared authpihttp.ConditionalStore) {
	t.Helper()
	soon := time.Now().Add(time.Hour)
	for _, old := range [][]byte{nil, []byte("first")} {
		var writers sync.WaitGroup
		var wrote atomic.Int64
		for range 16 {
			writers.Go(func() {
				written, err := shared.CommitIf(t.Context(), "raced", old, []byte("raced"), soon)
				if err != nil {
					t.Error(err)
				}
				if written {
					wrote.Add(1)
				}
			})
		}
		writers.Wait()
		if got := wrote.Load(); got != 1 {
			t.Errorf("over %q: %d have written; want 1", old, got)
		}
		if err := store.Commit("raced", []byte("first"), soon); err != nil {
			t.Fatal(err)
		}
	}
}

// serves signs in, refreshes and signs out, here and elsewhere. A shared store serves
// two processes.
func serves(t *testing.T, store authpihttp.Store, shared bool) {
	t.Helper()
	issuer := newIssuer(t)
	one := start(t, issuer, store, nil, nil)
	other := one
	if shared {
		other = start(t, issuer, store, nil, nil)
	}
	b := newBrowser(t, issuer)
	b.signIn(one)
	for n := range 3 {
		if got := b.get(other + "/"); got != "usr_ada" {
			t.Errorf("request %d: got %q", n, got)
		}
		issuer.Advance(31 * time.Minute)
		if got := b.get(one + "/"); got != "usr_ada" {
			t.Errorf("after refresh %d: got %q", n, got)
		}
	}
	if got := issuer.Redemptions("refresh_token"); got != 3 {
		t.Errorf("%d refreshes; want 3", got)
	}
	b.endElsewhere(other)
	if got := b.get(one + "/"); got != "" {
		t.Errorf("signed out elsewhere: got %q", got)
	}
	b.signIn(other)
	b.signOut(one)
	if got := b.get(other + "/"); got != "" {
		t.Errorf("signed out: got %q", got)
	}
}
