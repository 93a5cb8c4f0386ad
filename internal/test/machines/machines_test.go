package machines_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

const processes = 20

// Twenty processes that start at once ask once, and then once in a token's life.
func TestTwentyProcessesAskOnceInATokensLife(t *testing.T) {
	for _, delay := range []time.Duration{0, 10 * time.Millisecond, 40 * time.Millisecond} {
		t.Run("a store that takes "+delay.String(), func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				shared := newStore()
				shared.Delay = delay
				e.Issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 50 * time.Millisecond, Times: -1})
				list := sources(e, shared, processes)
				began := time.Now()
				if got := all(t, list); len(got) != 1 {
					t.Errorf("got %d different tokens; want 1", len(got))
				}
				wantTook(t, began, time.Second)
				wantAsked(t, e, 1, 1)

				var wg sync.WaitGroup
				for i, s := range list {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * 13 * time.Millisecond)
						for range 1200 {
							must(t, s)
							time.Sleep(time.Second)
						}
					})
				}
				wg.Wait()
				wantAsked(t, e, 5, 6) // in 20 minutes, of 5 minutes each, less the buffer of 1
			})
		})
	}
}

// A process that starts later finds the token, and asks for nothing.
func TestLateProcessFindsTheToken(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := newStore()
		first := must(t, source(e, shared, nil))
		time.Sleep(3 * time.Minute)
		began := time.Now()
		if must(t, source(e, shared, nil)) != first {
			t.Error("got another token; want the stored one")
		}
		wantTook(t, began, 0)
		wantAsked(t, e, 1, 1)
		if lines := e.Log.With(`"WARN"`); len(lines) != 0 {
			t.Errorf("got the warnings %q; want none", lines)
		}
		if lines := e.Log.With(`"authpi: machine token taken from the store","op":"machine_token","outcome":"ok"`); len(lines) != 1 {
			t.Errorf("got %q; want one record", lines)
		}
	})
}

// What two processes ask for at once costs two requests at worst, however slow the
// store is to show each what the other writes.
func TestTwoAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name string
		slow func(*store)
		most int
	}{
		{"slow writes", func(s *store) { s.SaveDelay = 300 * time.Millisecond }, 2},
		{"slow", func(s *store) { s.Delay = 300 * time.Millisecond }, 2},
		{"as slow as it may be", func(s *store) { s.Delay = 990 * time.Millisecond }, 2},
		{"too slow", func(s *store) { s.Delay = 1100 * time.Millisecond }, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				shared := newStore()
				tc.slow(shared)
				began := time.Now()
				all(t, sources(e, shared, 2))
				wantTook(t, began, 12*time.Second)
				wantAsked(t, e, 1, tc.most)
				e.Issuer.ResetCounters()
				must(t, source(e, shared, nil))
				wantAsked(t, e, 0, 1)
			})
		})
	}
}

// A store that is no help never keeps a process from its token.
func TestStoreThatIsDown(t *testing.T) {
	for _, tc := range []struct {
		name   string
		broken func(*store)
		took   time.Duration
	}{
		{"refuses", func(s *store) { s.Err = errDown }, 0},
		{"deaf", func(s *store) { s.Deaf = true }, 2 * time.Second},
		{"hangs", func(s *store) { s.Delay = time.Hour }, 3 * time.Second},
		{"panics", func(s *store) { s.Panics = true }, 0},
		{"writes nothing", func(s *store) { s.SaveDelay = time.Hour }, 4 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				shared := newStore()
				tc.broken(shared)
				list := sources(e, shared, 3)
				began := time.Now()
				all(t, list)
				wantTook(t, began, tc.took)
				wantAsked(t, e, 3, 3)
				if lines := e.Log.With(`"level":"WARN","msg":"authpi: machine token store failed"`); len(lines) == 0 {
					t.Error("no warning says so")
				}
				if got := shared.called(); tc.name == "refuses" && got != 2*len(list) {
					t.Errorf("the store was called %d times; want once to load and once to save by each", got)
				}
				began = time.Now()
				all(t, list)
				wantTook(t, began, 0)

				shared.heal()
				time.Sleep(4*time.Minute + time.Second)
				e.Issuer.ResetCounters()
				all(t, list)
				wantAsked(t, e, 1, 1) // the store is back
				time.Sleep(time.Minute)
			})
		})
	}
}

// Whatever else is in the store counts as nothing, and is written over.
func TestStoreThatHoldsSomethingElse(t *testing.T) {
	random := []byte("0123456789abcdef0123456789abcdef0123456789abcdef")
	for _, tc := range []struct {
		name   string
		change func(e *testkit.Env, shared *store)
	}{
		{"garbage", func(_ *testkit.Env, s *store) { s.change(func(string, []byte) []byte { return random }) }},
		{"one byte", func(_ *testkit.Env, s *store) { s.change(func(string, []byte) []byte { return []byte{1} }) }},
		{"2 MiB", func(_ *testkit.Env, s *store) { s.change(func(string, []byte) []byte { return make([]byte, 2<<20) }) }},
		{"cut off", func(_ *testkit.Env, s *store) { s.change(func(_ string, v []byte) []byte { return v[:len(v)-1] }) }},
		{"changed", func(_ *testkit.Env, s *store) {
			s.change(func(_ string, v []byte) []byte { v[len(v)/2] ^= 1; return v })
		}},
		{"each in place of the other", func(_ *testkit.Env, s *store) {
			ids, old := s.ids(), map[string][]byte{}
			s.change(func(id string, v []byte) []byte { old[id] = v; return v })
			s.change(func(id string, _ []byte) []byte { return old[ids[1-slices.Index(ids, id)]] })
		}},
		{"of other scopes", func(e *testkit.Env, s *store) {
			other := newStore()
			if _, err := e.NewClient(func(cfg *authpi.Config) { cfg.MachineTokens = other }).ClientCredentialsSource([]string{"admin"}).Token(); err != nil {
				e.T.Fatal(err)
			}
			ids := other.ids()
			s.change(func(string, []byte) []byte { return other.entries[ids[0]].value })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				shared := newStore()
				must(t, source(e, shared, nil))
				tc.change(e, shared)
				e.Issuer.ResetCounters()
				began := time.Now()
				second := must(t, source(e, shared, nil))
				wantTook(t, began, time.Second)
				wantAsked(t, e, 1, 1)
				if tc.name == "2 MiB" && len(e.Log.With("longer than 1 MiB")) == 0 {
					t.Error("it was opened all the same")
				}
				if must(t, source(e, shared, nil)) != second {
					t.Error("got another token; want the one that was written over it")
				}
				wantAsked(t, e, 1, 1)
			})
		})
	}
}

// An expired token in a store that keeps everything is not used, and neither is one
// of a process whose clock is ahead by more than the skew.
func TestClocksAndExpiry(t *testing.T) {
	ahead := func(d time.Duration) func(*authpi.Config) {
		return func(cfg *authpi.Config) { cfg.Now = func() time.Time { return time.Now().Add(d) } }
	}
	for _, tc := range []struct {
		name  string
		first func(*authpi.Config)
		later time.Duration // when the second process starts
		asked int
	}{
		{"good", nil, 3*time.Minute + 59*time.Second, 1},
		{"about to expire", nil, 4*time.Minute + time.Second, 2},
		{"expired", nil, time.Hour, 2},
		{"saved by a clock that is ahead", ahead(time.Hour), 0, 2},
		{"still, when it has expired", ahead(time.Hour), time.Hour, 2},
		{"saved by a clock that is behind", ahead(-time.Hour), 0, 2},
		{"ahead, within the skew", ahead(25 * time.Second), 0, 1},
		{"ahead, within the skew, about to expire", ahead(25 * time.Second), 4*time.Minute + 26*time.Second, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				shared := newStore()
				shared.Keeps = true
				must(t, source(e, shared, tc.first))
				time.Sleep(tc.later)
				must(t, source(e, shared, nil))
				wantAsked(t, e, tc.asked, tc.asked)
			})
		})
	}
}

// A token that does not say itself when it expires is used up by the skew earlier,
// even without a buffer: a process whose clock was ahead has said that it lives
// longer.
func TestOpaqueTokenIsUsedUpInTime(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Times: -1, Malform: func([]byte) []byte {
			return fmt.Appendf(nil, `{"access_token":"opaque-token-%d","expires_in":300}`, asked(e))
		}})
		shared := newStore()
		shared.Keeps = true
		exact := func(cfg *authpi.Config) { cfg.RefreshBuffer = -1 }
		began := time.Now()
		first, err := source(e, shared, func(cfg *authpi.Config) {
			exact(cfg)
			cfg.Now = func() time.Time { return time.Now().Add(29 * time.Second) }
		}).Token()
		if err != nil {
			t.Fatal(err)
		}
		second := source(e, shared, exact)
		for token := first; token.AccessToken == first.AccessToken; time.Sleep(time.Second / 2) {
			if time.Since(began) >= 300*time.Second {
				t.Fatal("got a token that has expired")
			}
			if token, err = second.Token(); err != nil {
				t.Fatal(err)
			}
		}
		if used := time.Since(began); used < 290*time.Second {
			t.Errorf("used for %s; want most of its life", used)
		}
	})
}

// A whole request may fit in between a process's look for a token and its claim.
func TestClaimThatComesLate(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := newStore()
		shared.Delay, shared.SaveDelay = 40*time.Millisecond, -40*time.Millisecond
		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 50 * time.Millisecond})
		asks := make(chan struct{}, 2)
		e.Wire.Set(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				asks <- struct{}{}
			}
			return nil, nil
		})
		var wg sync.WaitGroup
		wg.Go(func() { must(t, source(e, shared, nil)) })
		<-asks
		must(t, source(e, shared, nil))
		wg.Wait()
		wantAsked(t, e, 1, 1)
	})
}

// A process that died after its claim holds the others up for three seconds.
func TestClaimOfADeadProcess(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := newStore()
		shared.Keeps, shared.Delay = true, 5*time.Millisecond
		e.Wire.Set(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				<-r.Context().Done() // as one that is frozen
				return nil, r.Context().Err()
			}
			return nil, nil
		})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = source(e, shared, nil).Token() })
		time.Sleep(time.Second)
		synctest.Wait()
		e.Wire.Set(nil)
		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 50 * time.Millisecond, Times: -1})
		began := time.Now()
		if got := all(t, sources(e, shared, processes)); len(got) != 1 {
			t.Errorf("got %d different tokens; want 1", len(got))
		}
		wantTook(t, began, 3500*time.Millisecond)
		wantAsked(t, e, 1, 1)
		wg.Wait()
	})
}

// A slow issuer costs further requests, and fails nobody who would have waited for
// it.
func TestSlowIssuer(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 9 * time.Second, Times: -1})
		all(t, sources(e, newStore(), 5))
		wantAsked(t, e, 1, 5)
	})
}

// While one process asks for the next token, the others go on with the good one, and
// nobody waits.
func TestGoodTokenDoesNotWaitForOthers(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := newStore()
		list := sources(e, shared, processes)
		first := all(t, list)
		time.Sleep(4*time.Minute + time.Second)
		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 2 * time.Second})
		var wg sync.WaitGroup
		wg.Go(func() { must(t, list[0]) })
		time.Sleep(time.Second)
		before := shared.called()
		began := time.Now()
		for range 3 {
			if got := all(t, list[1:]); !slices.Equal(got, first) {
				t.Error("got another token; want the one that is still good")
			}
		}
		wantTook(t, began, 0)
		if got := shared.called() - before; got > 2*processes {
			t.Errorf("the store was called %d times; want twice by each process", got)
		}
		wg.Wait()
		time.Sleep(time.Second)
		if got := all(t, list); len(got) != 1 || slices.Equal(got, first) {
			t.Errorf("got %d tokens; want the next one", len(got))
		}
		wantAsked(t, e, 2, 2)
	})
}

// Who has no good token waits for the process that asks.
func TestExpiredTokenWaitsForOthers(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		list := sources(e, newStore(), 2)
		first := all(t, list)
		time.Sleep(6 * time.Minute)
		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: time.Second})
		var wg sync.WaitGroup
		wg.Go(func() { must(t, list[0]) })
		time.Sleep(500 * time.Millisecond)
		if got := all(t, list[1:]); slices.Equal(got, first) {
			t.Error("got the token that has expired; want the next one")
		}
		wg.Wait()
		wantAsked(t, e, 2, 2)
	})
}

// The issuer's own failures come through, at once, and its return is noticed.
func TestIssuerThatFails(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := newStore()
		list := sources(e, shared, 3)
		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 503, Times: 3})
		for _, s := range list {
			began := time.Now()
			_, err := s.Token()
			testkit.WantError(t, err, "token_error", false)
			wantTook(t, began, 200*time.Millisecond)
		}
		all(t, list)
		wantAsked(t, e, 4, 4)

		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 429, RetryAfter: "7"})
		other := source(e, newStore(), nil)
		_, err := other.Token()
		testkit.WantError(t, err, "token_error", false)
		_, err = other.Token()
		testkit.WantError(t, err, "token_error", false)
		wantAsked(t, e, 5, 5)

		e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Delay: time.Hour})
		began := time.Now()
		_, err = source(e, newStore(), nil).Token()
		testkit.WantError(t, err, "transport_error", false)
		wantTook(t, began, 10*time.Second+200*time.Millisecond)
	})
}

// Processes share what they ask for alike, by the same secret, and nothing else.
func TestWhatIsShared(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := newStore()
		e.Issuer.AddClient(authpitest.Client{ID: "c_other", Secret: testkit.ClientSecret})
		of := func(edit func(*authpi.Config)) *authpi.IdpClient {
			return e.NewClient(func(cfg *authpi.Config) {
				cfg.MachineTokens = shared
				if edit != nil {
					edit(cfg)
				}
			})
		}
		other := of(func(cfg *authpi.Config) { cfg.ClientID = "c_other" })
		n := 0
		for name, s := range map[string][]any{
			"scopes a b":                {[]string{"a", "b"}, []string(nil), of(nil)},
			"scopes b a":                {[]string{"b", "a"}, []string(nil), of(nil)},
			"scope a":                   {[]string{"a"}, []string(nil), of(nil)},
			"no scope":                  {[]string(nil), []string(nil), of(nil)},
			"scope, resource":           {[]string{"a"}, []string{"https://b.example"}, of(nil)},
			"two resources":             {[]string(nil), []string{"https://a.example", "https://b.example"}, of(nil)},
			"another client":            {[]string{"a"}, []string(nil), other},
			"scope, like that resource": {[]string{"a", "https://b.example"}, []string(nil), of(nil)},
		} {
			client := s[2].(*authpi.IdpClient)
			must(t, client.ClientCredentialsSource(s[0].([]string), s[1].([]string)...))
			if n++; asked(e) != n {
				t.Errorf("%s: %d requests; want %d", name, asked(e), n)
			}
			must(t, client.ClientCredentialsSource(s[0].([]string), s[1].([]string)...))
			if asked(e) != n {
				t.Errorf("%s: asked twice", name)
			}
		}
	})
}

// Who steals the store has no token, and does not learn whose they were. Another
// secret, a newer one too, finds nothing of it.
func TestStoreShowsNothing(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := newStore()
		token := must(t, source(e, shared, nil))
		var stolen strings.Builder
		for _, id := range shared.ids() {
			fmt.Fprintf(&stolen, "%s %s\n", id, shared.entries[id].value)
			if len(id) != 64 {
				t.Errorf("got the id %q; want a digest", id)
			}
		}
		for _, secret := range []string{token, strings.Split(token, ".")[1], "jobs", "api.example", e.Config.ClientID, "asking", "free", "expires_at"} {
			if strings.Contains(stolen.String(), secret) {
				t.Errorf("the store shows %q", secret)
			}
		}
		before := len(shared.ids())
		e.Issuer.AddClient(authpitest.Client{ID: e.Config.ClientID, Secret: "the-next-secret-0123456789"})
		must(t, source(e, shared, func(cfg *authpi.Config) { cfg.ClientSecret = "the-next-secret-0123456789" }))
		wantAsked(t, e, 2, 2)
		if got := len(shared.ids()); got != 2*before {
			t.Errorf("got %d entries; want %d: the old secret's and the new one's", got, 2*before)
		}
	})
}

// Without a secret there is nothing to share, and the store is left alone.
func TestPublicClientSharesNothing(t *testing.T) {
	testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
		shared := newStore()
		_, err := source(e, shared, func(cfg *authpi.Config) { cfg.ClientSecret = "" }).Token()
		testkit.WantField(t, err, "ClientSecret")
		if shared.called() != 0 {
			t.Error("the store was asked")
		}
	})
}
