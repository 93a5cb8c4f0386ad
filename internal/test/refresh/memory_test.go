package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// waiting is a session that a busy client must not forget. Its issuer is scripted.
type waiting struct {
	name string
	// begin leaves something behind for tokens, and visit comes back for it.
	begin, visit func(t *testing.T, c *authpi.IdpClient, tokens authpi.TokenSet)
}

// ask is a caller without a session store.
func ask(c *authpi.IdpClient, tokens authpi.TokenSet, opts *authpi.AgentOptions) (*authpi.Agent, error) {
	return c.CreateAgent(context.Background(), tokens, opts)
}

func waitings() []waiting {
	gets := func(t *testing.T, c *authpi.IdpClient, tokens authpi.TokenSet) {
		t.Helper()
		store := &testkit.Store{}
		agent, err := ask(c, tokens, store.Opts())
		if err != nil || agent.Tokens.RefreshToken != tokens.RefreshToken+"-next" {
			t.Errorf("%s: got %v, %v; want the set that waits", tokens.RefreshToken, agent, err)
		}
		store.WantCalls(t, 1, 0)
	}
	refused := func(code string) func(t *testing.T, c *authpi.IdpClient, tokens authpi.TokenSet) {
		return func(t *testing.T, c *authpi.IdpClient, tokens authpi.TokenSet) {
			t.Helper()
			if _, err := ask(c, tokens, nil); !authpi.SessionEnded(err) || !strings.Contains(err.Error(), code) {
				t.Errorf("%s: got %v; want a session that has ended, with %s", tokens.RefreshToken, err, code)
			}
		}
	}
	return []waiting{
		{"slow", func(t *testing.T, c *authpi.IdpClient, tokens authpi.TokenSet) {
			// The caller loses its patience, and the answer comes after that.
			tokens.ExpiresAt = time.Now().Add(50 * time.Second)
			if agent, err := ask(c, tokens, nil); err != nil || agent.Tokens != tokens {
				t.Errorf("got %v, %v; want the agent as it is", agent, err)
			}
			time.Sleep(5 * time.Second)
		}, gets},
		{"unsaved", func(t *testing.T, c *authpi.IdpClient, tokens authpi.TokenSet) {
			_, err := ask(c, tokens, (&testkit.Store{SaveErr: errors.New("disk full")}).Opts())
			testkit.WantError(t, err, "refresh_error", false)
		}, gets},
		{"refused", refused("invalid_response"), refused("invalid_response")},
		{"revoked", func(t *testing.T, c *authpi.IdpClient, tokens authpi.TokenSet) {
			if err := c.RevokeToken(t.Context(), tokens.RefreshToken, "refresh_token"); err != nil {
				t.Error(err)
			}
		}, refused("session_expired")},
	}
}

// What is all that is left of a session stays for a day, however many other sessions
// refresh meanwhile.
func TestCrowdForgetsNobody(t *testing.T) {
	for _, tc := range []struct {
		name     string
		sessions int
		over     time.Duration // the sessions come
		size     int           // of their access tokens
		memory   time.Duration
	}{
		{"20,000 sessions in an hour", 20_000, time.Hour, 0, 0},
		{"20,000 sessions at once", 20_000, 0, 0, 0},
		{"large sets", 1500, 0, 64 << 10, 0},
		{"large sets in an hour, remembered for longer", 1500, time.Hour, 64 << 10, 2 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testkit.Bubble(t, nil, nil, func(t *testing.T, e *testkit.Env) {
				sent := map[string]int{}
				c := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.RefreshMemory = tc.memory }, func(r *http.Request) (*http.Response, error) {
					token := r.PostForm.Get("refresh_token")
					switch {
					case r.URL.Path != "/i_1/token":
						return testkit.Reply(r, http.StatusOK, nil, `{"sub":"`+testkit.Subject+`"}`), nil
					case token == "refused":
						sent[token]++
						return testkit.Reply(r, http.StatusOK, nil, `{}`), nil
					case token == "slow":
						sent[token]++
						time.Sleep(7 * time.Second)
					}
					return testkit.Reply(r, http.StatusOK, nil, fmt.Sprintf(`{"access_token":"at-%s-%s","refresh_token":"%[1]s-next","expires_in":172800}`,
						token, strings.Repeat("x", tc.size))), nil
				})
				expired := func(token string) authpi.TokenSet {
					return authpi.TokenSet{AccessToken: "at", RefreshToken: token, SubjectHint: testkit.Subject, ExpiresAt: time.Now().Add(-time.Second)}
				}
				for _, w := range waitings() {
					w.begin(t, c, expired(w.name))
				}
				for n := range tc.sessions {
					source := c.TokenSource(agentOf(expired(fmt.Sprint("session-", n))), nil)
					if _, err := source.Token(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(tc.over / time.Duration(tc.sessions))
				}
				time.Sleep(23*time.Hour - tc.over)
				for _, w := range waitings() {
					w.visit(t, c, expired(w.name))
				}
				for token, times := range sent {
					if times != 1 {
						t.Errorf("requests with the token %q: got %d; want 1", token, times)
					}
				}
			})
		})
	}
}

// What failures leave in the memory is small, however large the answers were.
func TestMemoryOfFailuresIsBounded(t *testing.T) {
	const sessions = 60
	junk := `"junk":"` + strings.Repeat("j", 900<<10) + `"`
	for _, tc := range []struct {
		name   string
		status int
		header http.Header
		body   string
	}{
		{"spent", 400, nil, `{"error":"invalid_grant","error_description":"the refresh token was used before",` + junk + `}`},
		{"a code of its own", 400, nil, `{"error":"session_is_over","error_description":"the user has left",` + junk + `}`},
		{"not now", 429, http.Header{"Retry-After": {"300"}}, `{"error":"slow_down","error_description":"please wait for a while",` + junk + `}`},
		{"no access token", 200, nil, `{"refresh_token":"rt-next-0123456789","scope":"openid email",` + junk + `}`},
		{"a page", 200, nil, "<html>" + junk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Now()
			c := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.Now = func() time.Time { return now } }, func(r *http.Request) (*http.Response, error) {
				return testkit.Reply(r, tc.status, tc.header, tc.body), nil
			})
			before := testkit.Heap()
			for n := range sessions {
				_, err := ask(c, authpi.TokenSet{AccessToken: "at", RefreshToken: fmt.Sprint("rt-", n), SubjectHint: testkit.Subject}, nil)
				if err == nil {
					t.Fatal("got new tokens; want an error")
				}
			}
			testkit.WantHeap(t, fmt.Sprint(sessions, " sessions"), before, 4)
			runtime.KeepAlive(c)
		})
	}
}

// Everybody signs out: that is remembered by bare digests, and no more of it than there
// is room for.
func TestMemoryOfRevocationsIsBounded(t *testing.T) {
	c := testkit.Scripted(t, nil, func(r *http.Request) (*http.Response, error) {
		return testkit.Reply(r, http.StatusOK, nil, ``), nil
	})
	before := testkit.Heap()
	for n := range 20_000 {
		token := fmt.Sprintf("rt-%d-%s", n, strings.Repeat("x", 1<<10))
		if err := c.RevokeToken(t.Context(), token, "refresh_token"); err != nil {
			t.Fatal(err)
		}
	}
	testkit.WantHeap(t, "20,000 revocations", before, 12)
	runtime.KeepAlive(c)
}

// All that one client remembers has one bound, whatever it is made of.
func TestMemoryOfEverythingIsBounded(t *testing.T) {
	const each, size = 450, 64 << 10
	long := strings.Repeat("x", size)
	now := time.Now()
	c := testkit.Scripted(t, func(cfg *authpi.Config) { cfg.Now = func() time.Time { return now } }, func(r *http.Request) (*http.Response, error) {
		token := r.PostForm.Get("refresh_token")
		switch {
		case r.URL.Path != "/i_1/token":
			return testkit.Reply(r, http.StatusOK, nil, ``), nil
		case strings.HasPrefix(token, "refused"):
			return testkit.Reply(r, http.StatusOK, nil, `{"refresh_token":"`+token+long+`"}`), nil
		case strings.HasPrefix(token, "held"):
			return testkit.Reply(r, http.StatusTooManyRequests, http.Header{"Retry-After": {"60"}}, `{"error":"slow_down"}`), nil
		}
		return testkit.Reply(r, http.StatusOK, nil, `{"access_token":"at-`+token+long+`","refresh_token":"`+token+`-next"}`), nil
	})
	unsaved := (&testkit.Store{SaveErr: errors.New("disk full")}).Opts()
	unsaved.OnRefreshError = nil
	before := testkit.Heap()
	for n := range each {
		for _, kind := range []string{"stored", "unsaved", "refused", "held", "revoked"} {
			tokens := authpi.TokenSet{AccessToken: "at", RefreshToken: fmt.Sprint(kind, n), SubjectHint: testkit.Subject}
			switch kind {
			case "revoked":
				_ = c.RevokeToken(t.Context(), tokens.RefreshToken, "refresh_token")
			case "unsaved":
				_, _ = ask(c, tokens, unsaved)
			default:
				_, _ = c.TokenSource(agentOf(tokens), nil).Token()
			}
		}
	}
	grown := testkit.WantHeap(t, "sessions of all kinds", before, 64+16)
	t.Logf("%d sessions: the heap grew by %d MiB", 5*each, grown)
	runtime.KeepAlive(c)
}
