package faults_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

const (
	soakUsual    = 10 * time.Second
	soakWorkers  = 8
	soakSessions = 32
	soakLife     = 3 * time.Second // of access tokens
)

// Many goroutines share many sessions while one request in eight meets a fault, over
// real connections and in real time. Every failure is typed, no session ends but by
// an answer that was lost, and neither goroutines nor memory grow.
//
// SOAK sets how long, 10 s without it; make soak takes 10 minutes. Memory is
// everybody's, so it is looked at only then, when nothing else runs.
func TestSoak(t *testing.T) {
	t.Parallel()
	long := soakUsual
	if testing.Short() { // as make mutate runs it, for each mutant
		long = time.Second
	}
	set := os.Getenv("SOAK")
	if set != "" {
		var err error
		if long, err = time.ParseDuration(set); err != nil {
			t.Fatalf("SOAK: %v", err)
		}
	}
	// What is started from here on can be told from other tests' goroutines.
	pprof.Do(t.Context(), pprof.Labels("soak", "yes"), func(ctx context.Context) {
		s := newSoak(t)
		s.run(ctx, long/2) // the caches are full, or will not be
		before, heap := soakGoroutines(), soakHeap()
		s.run(ctx, long/2)
		after, heapAfter := soakGoroutines(), soakHeap()
		limit := before + 4*soakWorkers
		testkit.Eventually(t, "no more goroutines than half-way", func() bool { return soakGoroutines() <= limit })
		if limit := heap + 16<<20; set != "" && heapAfter > limit {
			t.Errorf("heap of %d MiB, %d MiB half-way; want it flat", heapAfter>>20, heap>>20)
		}
		s.close(t)
		t.Logf("soak: %s, %d calls, %d requests, %d of them faulty, %d refreshes, %d typed failures, %d sessions lost, all by lost answers, heap %d to %d MiB, goroutines %d to %d",
			long, s.calls.Load(), s.requests.Load(), s.faulty.Load(), s.issuer.Redemptions("refresh_token"),
			s.failures.Load(), s.lost.Load(), heap>>20, heapAfter>>20, before, after)
	})
}

// soak is an issuer, its clients' sessions, and the wire between them.
type soak struct {
	t        *testing.T
	issuer   *authpitest.Server
	client   *authpi.IdpClient
	real     *http.Transport
	faults   []fault
	sessions []*soakSession

	calls, requests, faulty, failures, lost atomic.Int64

	mu     sync.Mutex                         // guards all below
	owners map[[sha256.Size]byte]*soakSession // by the digest of a refresh token: whole ones would look like a leak
}

// soakSession is one session in a store.
type soakSession struct {
	mu     sync.Mutex // guards all below
	tokens authpi.TokenSet
	login  int  // which one
	harmed bool // an answer with a new refresh token was lost
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, owners: map[[sha256.Size]byte]*soakSession{}}
	s.issuer = authpitest.NewServer(&authpitest.Options{ClientSecret: testkit.ClientSecret, AccessTokenLifetime: soakLife})
	testkit.AddAda(s.issuer)
	s.real = s.issuer.Client().Transport.(*http.Transport).Clone()
	s.client = testkit.NewClient(t, s.issuer, func(cfg *authpi.Config) {
		cfg.HTTPClient = &http.Client{Transport: s}
		cfg.RefreshBuffer = time.Second
	})
	for _, f := range allFaults() {
		// What the issuer itself says is no fault: it does end sessions.
		if f.deadline == 0 && f.says != "invalid_grant" && f.says != "user_blocked" {
			s.faults = append(s.faults, f)
		}
	}
	for range soakSessions {
		session := &soakSession{}
		s.sessions = append(s.sessions, session)
		s.signIn(session)
	}
	return s
}

// signIn puts new tokens into a session. It goes on trying, since logins meet
// faults, too.
func (s *soak) signIn(session *soakSession) {
	for {
		callback, auth := testkit.StartLogin(s.t, s.client, s.issuer, nil)
		agent, err := s.client.ExchangeCallback(context.Background(), callback, auth)
		s.judge("ExchangeCallback", err)
		if err != nil {
			continue
		}
		session.tokens, session.harmed = agent.Tokens, false
		session.login++
		s.own(agent.Tokens.RefreshToken, session)
		return
	}
}

func (s *soak) own(token string, session *soakSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[sha256.Sum256([]byte(token))] = session
}

func (s *soak) ownerOf(token string) *soakSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owners[sha256.Sum256([]byte(token))]
}

// judge counts a call, and wants its failure typed and without secrets.
func (s *soak) judge(name string, err error) {
	s.calls.Add(1)
	if err == nil {
		return
	}
	s.failures.Add(1)
	if !typed(err) {
		s.t.Errorf("%s: got %T %v; want an error of the package's own", name, err, err)
	}
	testkit.WantSilent(s.t, err, testkit.ClientSecret)
}

// RoundTrip has one request in eight meet a fault.
func (s *soak) RoundTrip(r *http.Request) (*http.Response, error) {
	s.requests.Add(1)
	token := testkit.Form(r).Get("refresh_token")
	if rand.IntN(8) > 0 {
		return s.toIssuer(r, token)
	}
	s.faulty.Add(1)
	f := &s.faults[rand.IntN(len(s.faults))]
	session := s.ownerOf(token)
	if session != nil && f.processed {
		session.harm()
	}
	// Patience is short here, or the workers would only wait.
	ctx, cancel := context.WithCancel(r.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	issuer := testkit.TransportFunc(func(r *http.Request) (*http.Response, error) { return s.toIssuer(r, token) })
	v := &victim{w: &faultWire{base: issuer}, r: r.WithContext(ctx), sent: testkit.SentBy(r)}
	resp, err := f.answer(v)
	if session != nil && err != nil && !f.undialled {
		session.harm() // the fault took longer than that: the issuer may have answered
	}
	return resp, err
}

// toIssuer has the request answered, and notes whose the new refresh token is.
func (s *soak) toIssuer(r *http.Request, token string) (*http.Response, error) {
	resp, err := s.real.RoundTrip(r)
	session := s.ownerOf(token)
	if session == nil {
		return resp, err
	}
	if err != nil {
		session.harm()
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		session.harm()
		return nil, err
	}
	if next := soakToken.FindSubmatch(body); next != nil {
		s.own(string(next[1]), session)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (session *soakSession) harm() {
	session.mu.Lock()
	defer session.mu.Unlock()
	session.harmed = true
}

var soakToken = regexp.MustCompile(`"refresh_token": *"([^"]+)"`)

// run has the workers work.
func (s *soak) run(ctx context.Context, long time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	var wg sync.WaitGroup
	for range soakWorkers {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.step(ctx)
				time.Sleep(time.Duration(5+rand.IntN(20)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

// step is one request to an app.
func (s *soak) step(ctx context.Context) {
	if rand.IntN(20) == 0 { // a user who leaves
		short, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(30))*time.Millisecond)
		defer cancel()
		ctx = short
	}
	session := s.sessions[rand.IntN(len(s.sessions))]
	agent := s.visit(ctx, session)
	if agent == nil {
		return
	}
	var err error
	name := []string{"nothing", "UserInfo", "Introspect", "VerifyAccessToken", "ClientCredentials", "RevokeToken"}[rand.IntN(6)]
	switch name {
	case "UserInfo":
		_, err = s.client.UserInfo(ctx, agent)
	case "Introspect":
		_, err = s.client.Introspect(ctx, agent.Tokens.AccessToken, "")
	case "VerifyAccessToken":
		_, err = s.client.VerifyAccessToken(ctx, agent.Tokens.AccessToken, "")
	case "ClientCredentials":
		_, err = s.client.ClientCredentials(ctx, nil)
	case "RevokeToken":
		var machine *authpi.Agent
		if machine, err = s.client.ClientCredentials(ctx, nil); err == nil {
			err = s.client.RevokeToken(ctx, machine.Tokens.AccessToken, "access_token")
		}
	}
	s.judge(name, err)
}

// visit is CreateAgent as an app calls it; where the session has ended, its user
// signs in again. It returns nil where there is no agent.
func (s *soak) visit(ctx context.Context, session *soakSession) *authpi.Agent {
	session.mu.Lock()
	loaded, login := session.tokens, session.login
	session.mu.Unlock()
	opts := &authpi.AgentOptions{OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
		return session.save(loaded, login, tokens)
	}}
	if rand.IntN(2) == 0 {
		opts.Reload = func(context.Context) (authpi.TokenSet, error) {
			session.mu.Lock()
			defer session.mu.Unlock()
			return session.tokens, nil
		}
	}
	agent, err := s.client.CreateAgent(ctx, loaded, opts)
	s.judge("CreateAgent", err)
	if !authpi.SessionEnded(err) {
		return agent
	}
	session.mu.Lock()
	again, harmed := session.login == login, session.harmed
	if again {
		session.login++ // nobody else shall
	}
	session.mu.Unlock()
	if again && !harmed {
		s.t.Errorf("a session ended though no answer was lost: %v", err)
	}
	if again {
		s.lost.Add(1)
		s.replace(session)
	}
	return nil
}

// replace signs a session's user in again, into the same session of the store.
func (s *soak) replace(session *soakSession) {
	fresh := &soakSession{}
	s.signIn(fresh)
	session.mu.Lock()
	defer session.mu.Unlock()
	session.tokens, session.harmed = fresh.tokens, fresh.harmed
	session.login++
	s.own(fresh.tokens.RefreshToken, session)
}

// save stores tokens as docs/review/refresh.md says, and now and then fails to.
func (session *soakSession) save(loaded authpi.TokenSet, login int, tokens authpi.TokenSet) error {
	if rand.IntN(50) == 0 {
		return errors.New("the store is away")
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	newer := !session.tokens.ExpiresAt.After(tokens.ExpiresAt) || session.tokens.RefreshToken == loaded.RefreshToken
	if session.login == login && newer {
		session.tokens = tokens
	}
	return nil
}

// close ends what is left, and wants nothing of it left.
func (s *soak) close(t *testing.T) {
	t.Helper()
	s.real.CloseIdleConnections()
	s.issuer.Close()
	testkit.Eventually(t, "requests that nobody waits for end by themselves", func() bool {
		s.real.CloseIdleConnections()
		return soakGoroutines() <= 1
	})
}

var soakLabelled = regexp.MustCompile(`(?m)^(\d+) @.*\n# labels:.*"soak":"yes"`)

// soakGoroutines counts the goroutines that the soak has started, itself included.
func soakGoroutines() int {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	sum := 0
	for _, found := range soakLabelled.FindAllSubmatch(b.Bytes(), -1) {
		n, _ := strconv.Atoi(string(found[1]))
		sum += n
	}
	return sum
}

// soakHeap is what is in use when the garbage is gone.
func soakHeap() uint64 {
	var sizes []uint64
	for range 3 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		sizes = append(sizes, m.HeapAlloc)
	}
	return slices.Min(sizes)
}
