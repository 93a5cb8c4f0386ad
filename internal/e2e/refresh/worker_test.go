//go:build unix

package refresh

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/examples/postgres"
)

// workerEnv makes this binary a worker, configured by its value.
const workerEnv = "AUTHPI_TEST_WORKER"

// setup is a worker's configuration.
type setup struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`

	Redis        string        `json:"redis,omitempty"` // address of the server to coordinate over
	Lease        time.Duration `json:"lease,omitempty"`
	WithoutRedis bool          `json:"without_redis,omitempty"` // AllowWithoutRedis

	Postgres string `json:"postgres,omitempty"` // where the sessions table is
	Advisory bool   `json:"advisory,omitempty"` // coordinate over Postgres too

	Folder string `json:"folder,omitempty"` // in place of the sessions table

	Site  bool `json:"site,omitempty"`   // serve a site, over Redis or PostgreSQL
	DieAt int  `json:"die_at,omitempty"` // at which moment of a callback; 0: never
}

// order is what a worker is told to do, one JSON object to a line.
type order struct {
	Op      string            `json:"op"`
	Tokens  authpi.TokenSet   `json:"tokens"`
	All     []authpi.TokenSet `json:"all,omitempty"`
	Callers int               `json:"callers,omitempty"`
	Spread  time.Duration     `json:"spread,omitempty"` // the callers arrive over so long

	Sessions []string      `json:"sessions,omitempty"`
	For      time.Duration `json:"for,omitempty"`
	Pause    time.Duration `json:"pause,omitempty"` // the longest between two calls
}

const (
	opCreate = "create" // CreateAgent by so many callers, all with Tokens
	opLoad   = "load"   // get All ready
	opBurst  = "burst"  // CreateAgent once for each of them, at the same time
	opHammer = "hammer" // CreateAgent again and again, with what the store has
	opSpin   = "spin"   // Refresh without end, with what the store has for Sessions[0]
)

// report is what a worker says, one JSON object to a line.
type report struct {
	Event    string            `json:"event"`
	Took     time.Duration     `json:"took,omitempty"`
	Calls    int               `json:"calls,omitempty"`
	Stored   int               `json:"stored,omitempty"` // calls of OnRefresh
	Failures []failure         `json:"failures,omitempty"`
	Sets     map[string]int    `json:"sets,omitempty"` // callers by the label of the refresh token that they got
	Tokens   *authpi.TokenSet  `json:"tokens,omitempty"`
	Session  string            `json:"session,omitempty"`
	Token    string            `json:"token,omitempty"` // a label
	Addr     string            `json:"addr,omitempty"`  // of a site
	Ended    map[string]string `json:"ended,omitempty"` // sessions, and why
}

const (
	evReady    = "ready"
	evCreated  = "created"
	evHammered = "hammered"
	evStored   = "stored"  // OnRefresh has persisted Token
	evRenewed  = "renewed" // Refresh returned with Token
	evEnded    = "ended"   // Session has ended, says the answer to Token
	evFailed   = "failed"  // a passing failure
	evWrote    = "wrote"   // an entry under Token is in the store
	evBroken   = "broken"  // the worker itself cannot go on
)

// worker is one process of several.
type worker struct {
	setup
	client *authpi.IdpClient
	store  store
	loaded []authpi.TokenSet
	addr   string // of the site

	mu  sync.Mutex // guards out
	out *json.Encoder
}

// store is where OnRefresh persists.
type store interface {
	create(ctx context.Context, id string, tokens authpi.TokenSet) error
	load(ctx context.Context, id string) (authpi.TokenSet, *authpi.AgentOptions, error)
}

// table is the sessions of examples/postgres.
type table struct{ *postgres.Sessions }

func (t table) create(ctx context.Context, id string, tokens authpi.TokenSet) error {
	return t.Create(ctx, id, tokens)
}

func (t table) load(ctx context.Context, id string) (authpi.TokenSet, *authpi.AgentOptions, error) {
	session, err := t.Load(ctx, id)
	if err != nil {
		return authpi.TokenSet{}, nil, err
	}
	return session.Tokens, session.Options(), nil
}

// work is the life of a worker: it ends with its standard input.
func work(config string) int {
	w := &worker{out: json.NewEncoder(os.Stdout)}
	if err := w.begin(config); err != nil {
		w.tell(report{Event: evBroken, Failures: []failure{{Text: err.Error()}}})
		return 1
	}
	w.tell(report{Event: evReady, Addr: w.addr})
	in := json.NewDecoder(os.Stdin)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return 0
			}
			w.tell(report{Event: evBroken, Failures: []failure{{Text: err.Error()}}})
			return 1
		}
		switch o.Op {
		case opCreate:
			go func() { w.tell(w.create(o)) }()
		case opLoad:
			w.loaded = o.All
			w.tell(report{Event: evReady})
		case opBurst:
			go func() { w.tell(w.burst()) }()
		case opHammer:
			go func() { w.tell(w.hammer(o)) }()
		case opSpin:
			go w.spin(o.Sessions[0])
		}
	}
}

func (w *worker) begin(config string) error {
	if err := json.Unmarshal([]byte(config), &w.setup); err != nil {
		return err
	}
	if w.Site {
		return w.serveSite()
	}
	cfg := authpi.Config{
		IssuerURL: w.Issuer, ClientID: w.ClientID, RefreshBuffer: -1,
		HTTPClient: &http.Client{Transport: named(w.Name), Timeout: 30 * time.Second},
	}
	var db *sql.DB
	if w.Postgres != "" {
		var err error
		if db, err = sql.Open("pgx", w.Postgres); err != nil {
			return err
		}
		db.SetMaxOpenConns(10)
		db.SetMaxIdleConns(10)
		if w.Advisory {
			cfg.Coordinator = &postgres.Coordinator{DB: db, Limit: w.Lease}
		}
	}
	if w.Folder != "" {
		w.store = folder(w.Folder)
	}
	if w.Redis != "" {
		cfg.Coordinator = authpiredis.NewCoordinator(
			redis.NewClient(&redis.Options{Addr: w.Redis}),
			&authpiredis.Options{
				Lease: w.Lease, AllowWithoutRedis: w.WithoutRedis,
				Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
			},
		)
	}
	client, err := authpi.NewIdpClient(cfg)
	w.client = client
	if db != nil {
		w.store = table{&postgres.Sessions{Store: &postgres.Store{DB: db}, Client: client}}
	}
	return err
}

// named is a transport that says which process is asking.
type named string

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(workerHeader, string(n))
	return http.DefaultTransport.RoundTrip(r)
}

func (w *worker) tell(r report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.out.Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

// create is the requests of one user that reach this process at about one moment.
func (w *worker) create(o order) report {
	var mu sync.Mutex // guards said
	said := report{Event: evCreated, Sets: make(map[string]int)}
	opts := &authpi.AgentOptions{OnRefresh: func(context.Context, authpi.TokenSet) error {
		mu.Lock()
		defer mu.Unlock()
		said.Stored++
		return nil
	}}
	began := time.Now()
	var callers sync.WaitGroup
	for n := range o.Callers {
		callers.Go(func() {
			time.Sleep(o.Spread * time.Duration(n) / time.Duration(o.Callers))
			agent, err := w.client.CreateAgent(context.Background(), o.Tokens, opts)
			mu.Lock()
			defer mu.Unlock()
			said.Calls++
			if err != nil {
				said.Failures = append(said.Failures, failureOf(err))
				return
			}
			said.Sets[label(agent.Tokens.RefreshToken)]++
			said.Tokens = &agent.Tokens
		})
	}
	callers.Wait()
	said.Took = time.Since(began)
	return said
}

// burst is many users at once, each with one request.
func (w *worker) burst() report {
	var mu sync.Mutex // guards said
	said := report{Event: evCreated}
	began := time.Now()
	var callers sync.WaitGroup
	for _, tokens := range w.loaded {
		callers.Go(func() {
			_, err := w.client.CreateAgent(context.Background(), tokens, &authpi.AgentOptions{
				OnRefresh: func(context.Context, authpi.TokenSet) error { return nil },
			})
			mu.Lock()
			defer mu.Unlock()
			said.Calls++
			if err != nil {
				said.Failures = append(said.Failures, failureOf(err))
			}
		})
	}
	callers.Wait()
	said.Took = time.Since(began)
	return said
}

// hammer is an app that loads its session for each request and passes it on.
func (w *worker) hammer(o order) report {
	var mu sync.Mutex // guards said
	said := report{Event: evHammered, Ended: make(map[string]string)}
	end := time.Now().Add(o.For)
	var callers sync.WaitGroup
	for _, id := range o.Sessions {
		for range o.Callers {
			callers.Go(func() {
				for time.Now().Before(end) {
					ctx := context.Background()
					tokens, opts, err := w.store.load(ctx, id)
					if err == nil {
						_, err = w.client.CreateAgent(ctx, tokens, opts)
					}
					mu.Lock()
					said.Calls++
					switch {
					case err != nil && authpi.SessionEnded(err):
						said.Ended[id] = err.Error()
					case err != nil:
						said.Failures = append(said.Failures, failureOf(err))
					}
					_, over := said.Ended[id]
					mu.Unlock()
					if over {
						break
					}
					time.Sleep(rand.N(o.Pause))
				}
			})
		}
	}
	callers.Wait()
	return said
}

// spin refreshes one session again and again, until it has ended or somebody kills
// the process.
func (w *worker) spin(session string) {
	ctx := context.Background()
	for {
		tokens, stored, err := w.store.load(ctx, session)
		if err != nil {
			w.tell(report{Event: evBroken, Failures: []failure{{Text: err.Error()}}})
			return
		}
		opts := &authpi.RefreshOptions{Reload: stored.Reload, OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error {
			if err := stored.OnRefresh(ctx, tokens); err != nil {
				return err
			}
			w.tell(report{Event: evStored, Session: session, Token: label(tokens.RefreshToken)})
			return nil
		}}
		agent, err := w.client.CreateAgent(ctx, tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
		if err == nil {
			agent, err = w.client.Refresh(ctx, agent, opts)
		}
		if err == nil {
			w.tell(report{Event: evRenewed, Session: session, Token: label(agent.Tokens.RefreshToken)})
			continue
		}
		said := report{Event: evFailed, Session: session, Token: label(tokens.RefreshToken), Failures: []failure{failureOf(err)}}
		if authpi.SessionEnded(err) {
			said.Event = evEnded
			w.tell(said)
			return
		}
		w.tell(said)
		time.Sleep(20 * time.Millisecond)
	}
}

// folder keeps each session in a file of its own, whole whatever happens.
type folder string

func (f folder) load(_ context.Context, id string) (authpi.TokenSet, *authpi.AgentOptions, error) {
	opts := &authpi.AgentOptions{
		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error { return f.create(ctx, id, tokens) },
	}
	data, err := os.ReadFile(filepath.Join(string(f), id))
	if err != nil {
		return authpi.TokenSet{}, opts, err
	}
	tokens, err := authpi.ParseTokenSet(data)
	return tokens, opts, err
}

func (f folder) create(_ context.Context, id string, tokens authpi.TokenSet) error {
	data, err := json.Marshal(tokens)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(string(f), "new-")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), filepath.Join(string(f), id))
}
