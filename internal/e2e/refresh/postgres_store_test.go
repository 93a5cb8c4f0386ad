//go:build unix

package refresh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/postgres"
)

var (
	_ authpihttp.Store            = (*postgres.Store)(nil)
	_ authpihttp.ConditionalStore = (*postgres.Store)(nil)
)

func TestPostgresStore(t *testing.T) {
	t.Parallel()
	_, db := startPostgres(t)
	s := &postgres.Store{DB: db}
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for n, tc := range []struct {
		name    string
		stored  string // empty: nothing
		expiry  time.Time
		old     []byte
		written bool
	}{
		{"nothing over nothing", "", later, nil, true},
		{"nothing over something", "before", later, nil, false},
		{"nothing over what has expired", "before", past, nil, true},
		{"what was read", "before", later, []byte("before"), true},
		{"something else", "before", later, []byte("other"), false},
		{"what was read, but it has expired", "before", past, []byte("before"), false},
		{"what was read, but it is gone", "", later, []byte("before"), false},
		{"empty is not nothing", "", later, []byte{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key := fmt.Sprintf("key%d", n)
			if tc.stored != "" {
				if err := s.Commit(key, []byte(tc.stored), tc.expiry); err != nil {
					t.Fatal(err)
				}
			}
			written, err := s.CommitIf(t.Context(), key, tc.old, []byte("after\x00"), later)
			if written != tc.written || err != nil {
				t.Errorf("got %t, %v; want %t", written, err, tc.written)
			}
			want := tc.stored
			if tc.written {
				want = "after\x00"
			} else if tc.expiry == past {
				want = ""
			}
			data, found, err := s.Find(key)
			if string(data) != want || found != (want != "") || err != nil {
				t.Errorf("stored: got %q, %t, %v; want %q", data, found, err, want)
			}
			if err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Delete(key); err != nil {
				t.Fatal(err)
			}
			if _, found, err := s.Find(key); found || err != nil {
				t.Errorf("deleted: got %t, %v", found, err)
			}
		})
	}
}

// Of many that have read the same, one writes.
func TestPostgresStoreAtOnce(t *testing.T) {
	t.Parallel()
	_, db := startPostgres(t)
	s := &postgres.Store{DB: db}
	for _, old := range [][]byte{nil, []byte("old")} {
		var written atomic.Int64
		var wg sync.WaitGroup
		for n := range 32 {
			wg.Go(func() {
				ok, err := s.CommitIf(t.Context(), "key", old, fmt.Append(nil, "new ", n), time.Now().Add(time.Hour))
				if err != nil {
					t.Error(err)
				}
				if ok {
					written.Add(1)
				}
			})
		}
		wg.Wait()
		if got := written.Load(); got != 1 {
			t.Errorf("over %q: %d were written; want 1", old, got)
		}
		if err := s.Commit("key", []byte("old"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

// A user who signs out while a refresh is under way stays signed out, and the
// refresh token that arrives is revoked.
func TestPostgresDeletedSessionStaysDeleted(t *testing.T) {
	t.Parallel()
	_, db := startPostgres(t)
	idp := newIssuer(t, authpitest.Options{})
	sessions := sessionsOf(db, idp)
	tokens := idp.signIn()
	if err := sessions.Create(t.Context(), "ada", expired(tokens)); err != nil {
		t.Fatal(err)
	}
	session, err := sessions.Load(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	slowly(idp, 0, 300*time.Millisecond)
	ended := make(chan error, 1)
	go func() {
		_, err := idp.client.CreateAgent(context.Background(), session.Tokens, session.Options())
		ended <- err
	}()
	eventually(t, "the token request", func() bool { return len(idp.uses(label(tokens.RefreshToken))) == 1 })
	if err := sessions.Delete(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, postgres.ErrEnded) {
		t.Errorf("got %v; want ErrEnded", err)
	}
	if again, err := sessions.Load(t.Context(), "ada"); err != nil || again.Tokens.RefreshToken != "" {
		t.Errorf("the session is back (%v)", err)
	}
	if idp.SessionAlive(tokens.RefreshToken) {
		t.Error("the new refresh token was not revoked")
	}
}

// Whichever order two requests store two rotations in, the newer one stays, whatever
// their access tokens' times are.
func TestPostgresOlderTokensAreNotStored(t *testing.T) {
	t.Parallel()
	_, db := startPostgres(t)
	idp := newIssuer(t, authpitest.Options{})
	sessions := sessionsOf(db, idp)
	set := func(n int, life time.Duration) authpi.TokenSet {
		return authpi.TokenSet{
			AccessToken: fmt.Sprintf("access%d", n), RefreshToken: fmt.Sprintf("refresh%d", n),
			ExpiresAt: time.Unix(2_000_000_000, 0).Add(life),
		}
	}
	for _, tc := range []struct {
		name string
		life time.Duration // the second rotation's, over the first's
	}{{"longer", time.Hour}, {"the same", 0}, {"shorter", -time.Hour}} {
		t.Run(tc.name, func(t *testing.T) {
			first, second, third := set(1, 0), set(2, 0), set(3, tc.life)
			for n, order := range [][]authpi.TokenSet{{second, third}, {third, second}, {second, third, second}, {second, third, third}} {
				id := fmt.Sprint(tc.name, n)
				if err := sessions.Create(t.Context(), id, first); err != nil {
					t.Fatal(err)
				}
				late := load(t, sessions, id) // by a request that stores its set at the end
				leader := load(t, sessions, id)
				storeTokens(t, leader, second)
				storeTokens(t, leader, third)
				for _, tokens := range order {
					storeTokens(t, late, tokens)
				}
				if got := load(t, sessions, id).Tokens.RefreshToken; got != third.RefreshToken {
					t.Errorf("order %d: got %s; want %s", n, got, third.RefreshToken)
				}
			}
		})
	}

	t.Run("followed further than what was stored", func(t *testing.T) {
		if err := sessions.Create(t.Context(), "ada", set(1, 0)); err != nil {
			t.Fatal(err)
		}
		follower := load(t, sessions, "ada")
		storeTokens(t, load(t, sessions, "ada"), set(2, 0))
		storeTokens(t, follower, set(3, -time.Hour)) // another process has the successor, and has not stored it yet
		if got := load(t, sessions, "ada").Tokens.RefreshToken; got != "refresh3" {
			t.Errorf("got %s; want refresh3", got)
		}
	})
}

func load(t *testing.T, sessions table, id string) *postgres.Session {
	t.Helper()
	session, err := sessions.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func storeTokens(t *testing.T, session *postgres.Session, tokens authpi.TokenSet) {
	t.Helper()
	if err := session.Options().OnRefresh(t.Context(), tokens); err != nil {
		t.Fatal(err)
	}
}

// What is stored grows no further than its bound.
func TestPostgresSessionIsBounded(t *testing.T) {
	t.Parallel()
	_, db := startPostgres(t)
	idp := newIssuer(t, authpitest.Options{})
	sessions := sessionsOf(db, idp)
	if err := sessions.Create(t.Context(), "ada", idp.signIn()); err != nil {
		t.Fatal(err)
	}
	session := load(t, sessions, "ada")
	for n := range 100 {
		storeTokens(t, session, authpi.TokenSet{AccessToken: fmt.Sprint(n), RefreshToken: fmt.Sprint(n)})
	}
	data, _, err := sessions.Store.Find("ada")
	if err != nil || len(data) > 1000 || !bytes.Contains(data, []byte(`"99"`)) || strings.Count(string(data), `","`) < 20 {
		t.Errorf("got %d bytes, %v: %s", len(data), err, data)
	}
}
