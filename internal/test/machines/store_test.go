// Package machines_test shows processes that share a machine's token.
package machines_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// store is a MachineTokenStore in memory, with faults.
type store struct {
	mu      sync.Mutex // guards all below
	entries map[string]entry
	calls   int
	faults
}

// faults are set while nobody uses the store.
type faults struct {
	Delay, SaveDelay time.Duration
	Err              error
	Deaf, Panics     bool
	Keeps            bool // it heeds no expiry
}

type entry struct {
	value  []byte
	expiry time.Time
}

func newStore() *store { return &store{entries: map[string]entry{}} }

// trouble is what each call meets first.
func (s *store) trouble(ctx context.Context, saves bool) error {
	s.mu.Lock()
	f := s.faults
	s.calls++
	s.mu.Unlock()
	if f.Panics {
		panic("the store is broken")
	}
	if f.Deaf {
		time.Sleep(time.Minute)
	}
	if saves {
		f.Delay += f.SaveDelay
	}
	if err := testkit.Wait(ctx, f.Delay); err != nil {
		return err
	}
	return f.Err
}

// heal ends all faults, and loses what is stored.
func (s *store) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.entries = faults{}, map[string]entry{}
}

// called is how often the store was called.
func (s *store) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *store) Load(ctx context.Context, id string) ([]byte, error) {
	if err := s.trouble(ctx, false); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[id]
	if !ok || !s.Keeps && !time.Now().Before(e.expiry) {
		return nil, nil
	}
	return slices.Clone(e.value), nil
}

func (s *store) Save(ctx context.Context, id string, sealed []byte, expiry time.Time) error {
	if err := s.trouble(ctx, true); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[id] = entry{slices.Clone(sealed), expiry}
	return nil
}

// ids are the keys of all that is stored.
func (s *store) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.entries))
}

// change alters what is stored under each key.
func (s *store) change(change func(id string, value []byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, e := range s.entries {
		e.value = change(id, e.value)
		s.entries[id] = e
	}
}

// sources are those of n processes that share a store.
func sources(e *testkit.Env, shared authpi.MachineTokenStore, n int) []oauth2.TokenSource {
	list := make([]oauth2.TokenSource, n)
	for i := range list {
		list[i] = source(e, shared, nil)
	}
	return list
}

// source is that of another process.
func source(e *testkit.Env, shared authpi.MachineTokenStore, edit func(*authpi.Config)) oauth2.TokenSource {
	return e.NewClient(func(cfg *authpi.Config) {
		cfg.MachineTokens = shared
		if edit != nil {
			edit(cfg)
		}
	}).ClientCredentialsSource([]string{"jobs:run"}, "https://api.example/")
}

// must returns the access token of a source that has to have one that is good.
func must(t *testing.T, s oauth2.TokenSource) string {
	t.Helper()
	token, err := s.Token()
	if err != nil {
		t.Errorf("got %v; want a token", err)
		return ""
	}
	exp := time.Unix(int64(testkit.PayloadOf(t, token.AccessToken)["exp"].(float64)), 0)
	if !time.Now().Before(exp) {
		t.Errorf("got a token that has expired %s ago", time.Since(exp))
	}
	return token.AccessToken
}

// all asks every source at once, and returns the different tokens that they get.
func all(t *testing.T, list []oauth2.TokenSource) []string {
	t.Helper()
	var wg sync.WaitGroup
	got := make([]string, len(list))
	for i, s := range list {
		wg.Go(func() { got[i] = must(t, s) })
	}
	wg.Wait()
	slices.Sort(got)
	return slices.Compact(got)
}

// asked is how many requests for machines' tokens have reached the issuer.
func asked(e *testkit.Env) int { return e.Issuer.Grants("client_credentials") }

func wantAsked(t *testing.T, e *testkit.Env, least, most int) {
	t.Helper()
	if got := asked(e); got < least || got > most {
		t.Errorf("requests: got %d; want %d to %d", got, least, most)
	}
}

func wantTook(t *testing.T, began time.Time, most time.Duration) {
	t.Helper()
	if took := time.Since(began); took > most {
		t.Errorf("took %s; want at most %s", took, most)
	}
}

var errDown = errors.New("connection refused")
