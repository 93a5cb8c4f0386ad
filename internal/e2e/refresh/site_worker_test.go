//go:build unix

package refresh

import (
	"context"
	"database/sql"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/examples/postgres"
)

// siteStore is what authpiredis and examples/postgres have of a store.
type siteStore interface {
	FindCtx(ctx context.Context, key string) (b []byte, found bool, err error)
	CommitCtx(ctx context.Context, key string, b []byte, expiry time.Time) error
	DeleteCtx(ctx context.Context, key string) error
	authpihttp.ConditionalStore
}

// plainStore is one without contexts, too.
type plainStore struct{ siteStore }

func (s plainStore) Find(key string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), key)
}

func (s plainStore) Commit(key string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), key, b, expiry)
}

func (s plainStore) Delete(key string) error { return s.DeleteCtx(context.Background(), key) }

// serveSite makes the worker a process of an app that signs users in.
func (w *worker) serveSite() error {
	m := &mortal{worker: w}
	var store siteStore = authpiredis.NewStore(redis.NewClient(&redis.Options{Addr: w.Redis}), nil)
	if w.Postgres != "" {
		db, err := sql.Open("pgx", w.Postgres)
		if err != nil {
			return err
		}
		store = &postgres.Store{DB: db}
	}
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: w.Issuer, ClientID: w.ClientID, ClientSecret: secret, RedirectURI: siteOfPair + "/auth/callback",
		HTTPClient: &http.Client{Transport: mortalTransport{m}, Timeout: 30 * time.Second},
	})
	if err != nil {
		return err
	}
	app := authpihttp.New(client, plainStore{mortalStore{store, m}}, nil)
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("GET /page", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		_, _ = io.WriteString(w, agent.SessionID)
	})))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.addr = l.Addr().String()
	go func() { _ = http.Serve(l, m.watch(mux)) }()
	return nil
}

// mortal dies at a moment of a callback, as by kill -9.
type mortal struct {
	*worker
	inCallback atomic.Bool
	passed     atomic.Int64
}

func (m *mortal) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.inCallback.Store(r.URL.Path == "/auth/callback")
		next.ServeHTTP(w, r)
	})
}

func (m *mortal) moment() {
	if m.inCallback.Load() && m.passed.Add(1) == int64(m.DieAt) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

type mortalTransport struct{ *mortal }

func (t mortalTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.moment()
	defer t.moment()
	return http.DefaultTransport.RoundTrip(r)
}

type mortalStore struct {
	siteStore
	*mortal
}

func (s mortalStore) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	s.moment()
	return s.siteStore.FindCtx(ctx, key) // the moment after it is the one before what follows
}

func (s mortalStore) DeleteCtx(ctx context.Context, key string) error {
	s.moment()
	defer s.moment()
	return s.siteStore.DeleteCtx(ctx, key)
}

func (s mortalStore) CommitIf(ctx context.Context, key string, old, b []byte, expiry time.Time) (bool, error) {
	s.moment()
	defer s.moment()
	written, err := s.siteStore.CommitIf(ctx, key, old, b, expiry)
	if written && s.inCallback.Load() {
		s.tell(report{Event: evWrote, Token: key})
	}
	return written, err
}
