package machine_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/machine"
	"github.com/authpi/authpi-idp-go/internal/seal"
	"github.com/authpi/authpi-idp-go/internal/tokens"
)

const secret = "the-client-secret-of-c_1"

// store is a store whose claims come from elsewhere.
type store struct {
	entries map[string][]byte
	claim   func() []byte // nil: what was saved
	claimID string
	saved   map[string]int
}

func (s *store) Load(_ context.Context, id string) ([]byte, error) {
	if id == s.claimID && s.claim != nil {
		return s.claim(), nil
	}
	return s.entries[id], nil
}

func (s *store) Save(_ context.Context, id string, sealed []byte, _ time.Time) error {
	s.entries[id] = sealed
	s.saved[id]++
	return nil
}

// world is a Share, and what the store says of it.
type world struct {
	*testing.T
	share    *machine.Share
	store    *store
	key      *seal.Key
	id       string
	failures []error
	asked    int
}

func in(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		key, err := seal.MachineKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{T: t, key: key, id: key.ID("token", "jobs")}
		w.store = &store{entries: map[string][]byte{}, saved: map[string]int{}, claimID: key.ID("claim", "jobs")}
		w.share, err = machine.New(machine.Options{
			Store: w.store, Secret: secret, For: []string{"jobs"}, Skew: 30 * time.Second,
			Now: time.Now, Clock: &awake.Clock{}, Failed: func(_ context.Context, err error) { w.failures = append(w.failures, err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		test(w)
	})
}

// want is a process without a token; err is what the issuer says.
func (w *world) want(err error) machine.Want {
	return machine.Want{
		Due: func(t machine.Token) bool { return !time.Now().Before(t.Set.ExpiresAt) },
		Ask: func(context.Context) (machine.Token, error) {
			w.asked++
			if err != nil {
				return machine.Token{}, err
			}
			return machine.Token{Set: tokens.Set{AccessToken: "asked", ExpiresAt: time.Now().Add(time.Hour)}, Issued: time.Now()}, nil
		},
	}
}

// Claims that others renew without end are waited for for four seconds in all.
func TestClaimsWithoutEnd(t *testing.T) {
	in(t, func(w *world) {
		w.store.claim = func() []byte { return w.key.Seal(w.store.claimID, []byte("asking")) }
		began := time.Now()
		got, err := w.share.Get(w.Context(), w.want(nil))
		if took := time.Since(began); err != nil || got.Set.AccessToken != "asked" || took != 4*time.Second {
			w.Errorf("got %v, %v after %s; want the token after 4 s", got, err, took)
		}
	})
}

// Who waits for another process leaves with its context, and has asked for nothing.
func TestWaitEndsWithTheContext(t *testing.T) {
	in(t, func(w *world) {
		w.store.claim = func() []byte { return w.key.Seal(w.store.claimID, []byte("asking")) }
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if _, err := w.share.Get(ctx, w.want(nil)); !errors.Is(err, context.DeadlineExceeded) || w.asked != 0 {
			w.Errorf("got %v and %d requests; want its deadline, and none", err, w.asked)
		}
	})
}

// A claim is respected for three seconds, and not for longer.
func TestClaimAges(t *testing.T) {
	in(t, func(w *world) {
		old := w.key.Seal(w.store.claimID, []byte("asking"))
		w.store.claim = func() []byte {
			if own := w.store.entries[w.store.claimID]; own != nil {
				return own
			}
			return old
		}
		began := time.Now()
		if _, err := w.share.Get(w.Context(), w.want(nil)); err != nil {
			w.Fatal(err)
		}
		if took := time.Since(began); took != 3100*time.Millisecond {
			w.Errorf("took %s; want 3 s, and 0.1 s to settle its own", took)
		}
	})
}

// What the issuer refuses is not saved, and the claim is given back.
func TestRefusalIsNotSaved(t *testing.T) {
	in(t, func(w *world) {
		refused := errors.New("invalid_client")
		if _, err := w.share.Get(w.Context(), w.want(refused)); err != refused {
			w.Errorf("got %v; want the issuer's error", err)
		}
		if w.store.saved[w.id] != 0 || w.store.saved[w.store.claimID] != 2 {
			w.Errorf("saved %v; want the claim twice, and no token", w.store.saved)
		}
		began := time.Now()
		if _, err := w.share.Get(w.Context(), w.want(nil)); err != nil || time.Since(began) != 100*time.Millisecond {
			w.Errorf("got %v after %s; want the token without a wait for others", err, time.Since(began))
		}
		if len(w.failures) != 0 {
			w.Errorf("the store did nothing wrong: %v", w.failures)
		}
	})
}

// A stored token is used as it is, and one that cannot be read, though it was sealed
// with the secret, is not.
func TestStoredForms(t *testing.T) {
	const good = `{"tokens":{"access_token":"stored","expires_at":4000000000},"issued_at":1}`
	for _, tc := range []struct {
		name, plain, token string
		failures           int
	}{
		{"good", good, "stored", 0},
		{"unknown members", `{"v":[2],` + good[1:], "stored", 0},
		{"more after it", good + " x", "asked", 2},
		{"cut", good[:len(good)-1], "asked", 2},
		{"not JSON", "stored", "asked", 2},
		{"no access token", `{"tokens":{"expires_at":4000000000},"issued_at":1}`, "asked", 2},
		{"no tokens", `{"issued_at":1}`, "asked", 0},
		{"from the future", `{"tokens":{"access_token":"stored","expires_at":4000000000},"issued_at":3999999999}`, "asked", 0},
		{"empty", "", "asked", 0},
		{"longer than 1 MiB", good + string(bytes.Repeat([]byte(" "), 1<<20)), "asked", 2},
		{"of 1 MiB", good + string(bytes.Repeat([]byte(" "), 1<<20-len(good)-28)), "stored", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in(t, func(w *world) {
				w.store.entries[w.id] = w.key.Seal(w.id, []byte(tc.plain))
				got, err := w.share.Get(w.Context(), w.want(nil))
				if err != nil || got.Set.AccessToken != tc.token {
					w.Errorf("got %v, %v; want the token %q", got, err, tc.token)
				}
				if len(w.failures) != tc.failures { // it is looked at before the claim and after
					w.Errorf("got the failures %v; want %d", w.failures, tc.failures)
				}
			})
		})
	}
}

// No more is saved than APIs need.
func TestWhatIsSaved(t *testing.T) {
	in(t, func(w *world) {
		want := w.want(nil)
		want.Ask = func(context.Context) (machine.Token, error) {
			return machine.Token{Issued: time.Unix(1, 0), Set: tokens.Set{
				AccessToken: "access", TokenType: "Bearer", ExpiresAt: time.Unix(4000000000, 0), RefreshToken: "refresh",
				IDToken: "id", SubjectHint: "hint", Scope: "jobs:run",
			}}, nil
		}
		if _, err := w.share.Get(w.Context(), want); err != nil {
			w.Fatal(err)
		}
		plain, err := w.key.Open(w.id, w.store.entries[w.id])
		const saved = `{"tokens":{"access_token":"access","token_type":"Bearer","expires_at":4000000000,"refresh_token":null,` +
			`"id_token":null,"subject_hint":null,"scope":"jobs:run"},"issued_at":1}`
		if err != nil || string(plain) != saved {
			w.Errorf("got %s, %v; want %s", plain, err, saved)
		}
	})
}
