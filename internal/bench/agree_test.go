package bench

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"

	authpi "github.com/authpi/authpi-idp-go"
)

// Nothing is timed before all contenders give the same answers.

func TestReadersAgree(t *testing.T) {
	is := issuer()
	for _, n := range Sizes {
		token, want := is.Token(n), identity(n, 5)
		for _, row := range []struct {
			name    string
			text    string
			readers []Reader
		}{
			{"stored", StoredSet(token), StoredReaders()},
			{"verified", token, Verifiers()},
			{"key caches", token, KeyCaches()},
		} {
			for _, r := range row.readers {
				answer, err := r.New(is)(row.text)
				if err != nil {
					t.Errorf("%s, %d organizations, %s: %v", row.name, n, r.Name, err)
					continue
				}
				if r.Name == Signature {
					continue // names nobody
				}
				if got, err := IdentityOf(answer); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s, %d organizations, %s: got %.200v, %v; want %.200v", row.name, n, r.Name, got, err, want)
				}
			}
		}
	}
}

// What must be refused is refused by everyone, but for the claims that the bare
// signature does not look at.
func TestVerifiersRefuse(t *testing.T) {
	is := issuer()
	good := is.Token(3)
	change := func(name string, value any) string {
		_, rest, _ := strings.Cut(good, ".")
		payload, _, _ := strings.Cut(rest, ".")
		raw, _ := base64.RawURLEncoding.DecodeString(payload)
		claims := map[string]any{}
		if err := json.Unmarshal(raw, &claims); err != nil {
			t.Fatal(err)
		}
		claims[name] = value
		return is.Sign(base64.RawURLEncoding.EncodeToString(mustJSON(claims)), accessType)
	}
	swapped := strings.Split(is.Token(2), ".")
	swapped[1] = strings.Split(good, ".")[1]
	for name, token := range map[string]string{
		"another payload":  strings.Join(swapped, "."),
		"another issuer":   change("iss", "https://evil.example"),
		"another audience": change("aud", "c_other"),
		"expired":          change("exp", time.Now().Add(-time.Hour).Unix()),
		"unknown key":      is.Forged(1)[0],
	} {
		for _, v := range append(Verifiers(), KeyCaches()...) {
			if v.Name == Signature && name != "another payload" {
				continue
			}
			if _, err := v.New(is)(token); err == nil {
				t.Errorf("%s: %s lets it in", name, v.Name)
			}
		}
	}
}

// Each page is shown to somebody who is signed in and may write there.
func TestPagesAgree(t *testing.T) {
	for _, n := range Sizes[:2] {
		for _, p := range Pages() {
			if err := p.New(n)(); err != nil {
				t.Errorf("%s, %d organizations: %v", p.Name, n, err)
			}
		}
		for _, c := range APICalls() {
			call := c.New(issuer())
			if _, err := call(issuer().Token(n)); err != nil {
				t.Errorf("%s, %d organizations: %v", c.Name, n, err)
			}
			if _, err := call(issuer().Token(n) + "x"); err == nil {
				t.Errorf("%s let a spoilt token in", c.Name)
			}
		}
	}
}

func TestLoginMakersAgree(t *testing.T) {
	is := issuer()
	for _, m := range LoginMakers() {
		l, err := m.New(is)()
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(l.URL)
		if err != nil {
			t.Fatal(err)
		}
		got := u.Query()
		for _, secret := range []string{l.Verifier, l.State, l.Nonce} {
			if len(secret) != 43 {
				t.Errorf("%s: a secret of %d characters; want 43", m.Name, len(secret))
			}
		}
		challenge := got.Get("code_challenge")
		got.Del("code_challenge")
		want := url.Values{
			"client_id": {ClientID}, "redirect_uri": {RedirectURI}, "response_type": {"code"},
			"scope": {"openid email profile"}, "state": {l.State}, "nonce": {l.Nonce}, "code_challenge_method": {"S256"},
		}
		if !reflect.DeepEqual(got, want) || challenge != challengeOf(l.Verifier) {
			t.Errorf("%s: got %v; want %v", m.Name, got, want)
		}
	}
}

func TestCheckersAgree(t *testing.T) {
	orgs := Memberships(12, 20)
	orgs[1].Scopes = []string{"*:read", "projects:**"}
	orgs[2].Scopes = []string{"*:**"}
	orgs[3].Scopes = []string{"owner", "projects.tasks:*"}
	for _, c := range Checkers() {
		allowed := c.New(orgs)
		for _, q := range []struct {
			org, action, resource string
			want                  bool
		}{
			{OrgID(11), "write", "projects", true},
			{OrgID(11), "read", "projects", false},
			{OrgID(11), "delete", "reports", true},
			{OrgID(11), "read", "reports.weekly", false},
			{OrgID(1), "read", "files", true},
			{OrgID(1), "read", "files.old", false},
			{OrgID(1), "write", "projects.tasks", true},
			{OrgID(1), "write", "projectsx", false},
			{OrgID(2), "anything", "a.b.c", true},
			{OrgID(3), "read", "projects.tasks", true},
			{OrgID(3), "read", "projects", false},
			{OrgID(12), "read", "projects", false},
		} {
			if got, err := allowed(q.org, q.action, q.resource); err != nil || got != q.want {
				t.Errorf("%s: %s %s in %s: got %v, %v; want %v", c.Name, q.action, q.resource, q.org, got, err, q.want)
			}
		}
	}
}

func TestSourcesAgree(t *testing.T) {
	for _, m := range SourceMakers() {
		token, err := m.New(issuer()).Token()
		if err != nil || token.AccessToken != accessToken {
			t.Errorf("%s: got %v, %v", m.Name, token, err)
		}
	}
}

func TestExchangersAgree(t *testing.T) {
	is := issuer()
	is.SetAnswer(is.IDToken(10))
	for _, e := range append(Exchangers(), Crowds()...) {
		answer, err := e.New(is)("code", "verifier")
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
			continue
		}
		if got, err := IdentityOf(answer); err != nil || !reflect.DeepEqual(got, identity(10, 5)) {
			t.Errorf("%s: got %v, %v", e.Name, got, err)
		}
	}
}

// BENCH_PYTHON names the folder where run.sh has cmd/fixtures write what the Python
// package reads, and python/bench.py what it makes of it.
func TestPythonAgrees(t *testing.T) {
	dir := os.Getenv("BENCH_PYTHON")
	if dir == "" {
		t.Skip("BENCH_PYTHON is not set: internal/bench/run.sh sets it")
	}
	data, err := os.ReadFile(filepath.Join(dir, "answers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var answers struct {
		Identities map[string]Identity
		Access     map[string]bool
		Login      string
	}
	if err := json.Unmarshal(data, &answers); err != nil {
		t.Fatal(err)
	}
	client := NewClient(issuer())
	for _, n := range Sizes {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("stored-%d.json", n)))
		if err != nil {
			t.Fatal(err)
		}
		ours := identityOfAgent(agentOf(client, string(text)))
		if got := answers.Identities[fmt.Sprint(n)]; !reflect.DeepEqual(got, ours) {
			t.Errorf("%d organizations: Python says %.200v; we say %.200v", n, got, ours)
		}
		if !answers.Access[fmt.Sprint(n)] {
			t.Errorf("%d organizations: Python refuses access", n)
		}
	}
	u, err := url.Parse(answers.Login)
	if err != nil || u.Query().Get("code_challenge_method") != "S256" || len(u.Query().Get("nonce")) != 43 {
		t.Errorf("Python's authorization URL is %q, %v", answers.Login, err)
	}
}

// Counts and allocations do not depend on the machine, so they are goals that a
// test can hold us to.

func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	is := issuer()
	within := func(name string, limit float64, work func()) {
		t.Helper()
		got := testing.AllocsPerRun(20, work)
		t.Logf("%s: %v allocations", name, got)
		if got > limit {
			t.Errorf("%s: %v allocations; want %v at most", name, got, limit)
		}
	}
	login := LoginMakers()[0].New(is)
	within("CreateAuthorizationURL", 3, func() { _, _ = login() })
	read := StoredReaders()[0].New(is)
	for _, n := range Sizes {
		token, last := is.Token(n), OrgID(n-1)
		text := StoredSet(token)
		within(fmt.Sprintf("stored, %d organizations", n), 10, func() { _, _ = read(text) })

		tokens, next := is.Pool(n, 24), 0
		verify := verifier(Ours)(is)
		if _, err := verify(token); err != nil {
			t.Fatal(err)
		}
		within(fmt.Sprintf("verify, %d organizations", n), 25, func() {
			_, _ = verify(tokens[next])
			next++
		})
		agent := agentOf(NewClient(is), text)
		within(fmt.Sprintf("HasAccessIn, %d organizations", n), 0, func() {
			if !agent.HasAccessIn(last, "write", "projects") {
				t.Error("no access")
			}
		})
	}
}

func TestFloodFetchesKeysTwiceAtMost(t *testing.T) {
	is := issuer()
	verify := verifier(Ours)(is)
	if _, err := verify(is.Token(1)); err != nil {
		t.Fatal(err)
	}
	letIn, fetches := Flood(is, verify, forged(), floodWorkers)
	if letIn != 0 || fetches > 2 {
		t.Errorf("let in %d, fetched keys %d times; want none and 2 times at most", letIn, fetches)
	}
}

func TestRotationAfterForgedTokenIsPickedUpAtOnce(t *testing.T) {
	srv := authpitest.NewServer(nil)
	defer srv.Close()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: srv.URL, ClientID: srv.ClientID()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.VerifyAccessToken(t.Context(), srv.AccessToken(nil), ""); err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"iss": srv.URL}
	if _, err := client.VerifyAccessToken(t.Context(), srv.Sign(claims, map[string]any{"kid": "forged", "typ": "at+jwt"}), ""); err == nil {
		t.Error("a forged token was let in")
	}
	srv.RotateKeys()
	if _, err := client.VerifyAccessToken(t.Context(), srv.AccessToken(nil), ""); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	if got := srv.Requests("jwks"); got > 3 {
		t.Errorf("%d key fetches; want 3 at most", got)
	}
}

func TestBurstIsOneRequest(t *testing.T) {
	is := newRemote(t, time.Millisecond)
	burst := Refreshers()[0].New(is.URL, is.IDToken)
	if err := burst(-1, crowd); err != nil {
		t.Error(err)
	}
	if got := is.tokenRequests(t); got != 1 {
		t.Errorf("%d token requests; want 1", got)
	}
}

// Every benchmark runs once, so that none rots.
func TestBenchmarksRun(t *testing.T) {
	if err := flag.Set("test.benchtime", "1x"); err != nil {
		t.Fatal(err)
	}
	poolLimit = 3
	for name, run := range map[string]func(*testing.B){
		"AuthorizationURL": BenchmarkAuthorizationURL, "Stored": BenchmarkStored, "Verify": BenchmarkVerify,
		"SeenAgain": BenchmarkSeenAgain, "Access": BenchmarkAccess, "TokenSource": BenchmarkTokenSource,
		"Forged": BenchmarkForged, "Exchange": BenchmarkExchange, "Sockets": BenchmarkSockets, "Burst": BenchmarkBurst,
	} {
		if result := testing.Benchmark(run); result.N == 0 {
			t.Errorf("Benchmark%s failed", name)
		}
	}
}
