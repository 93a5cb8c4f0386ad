//go:build unix

package refresh

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

var four = [...]string{"p1", "p2", "p3", "p4"}

// slowly makes the issuer answer refreshes late.
func slowly(idp *issuer, before, after time.Duration) {
	idp.ClearFaults()
	idp.Inject(authpitest.Fault{Endpoint: "token", Grant: grantRefresh, Times: -1, Delay: before, DelayAnswer: after})
}

// wantOneRequest fails unless a session was refreshed by one request and lives.
func wantOneRequest(t testing.TB, idp *issuer, refreshToken string) {
	t.Helper()
	if uses := idp.uses(label(refreshToken)); len(uses) != 1 {
		t.Errorf("token requests: got %+v; want one", uses)
	}
	if !idp.SessionAlive(refreshToken) {
		t.Error("the session has ended")
	}
}

func TestProcessesShareRedis(t *testing.T) {
	idp, server := newIssuer(t, authpitest.Options{}), startRedis(t)
	all := startWorkers(t, setup{Issuer: idp.URL, ClientID: idp.ClientID(), Redis: server.addr}, four[:]...)
	defer stop(all)
	for _, spread := range []time.Duration{0, 60 * time.Millisecond} {
		t.Run(fmt.Sprintf("callers spread over %v", spread), func(t *testing.T) {
			tokens := idp.signIn()
			idp.ResetCounters()
			slowly(idp, 0, 50*time.Millisecond)
			const callers = 250
			said := create(all, order{Tokens: expired(tokens), Callers: callers, Spread: spread})
			if got := idp.Grants(grantRefresh); got != 1 {
				t.Errorf("token requests: got %d; want 1", got)
			}
			if got := idp.Redemptions(grantRefresh); got != 1 {
				t.Errorf("redemptions: got %d; want 1", got)
			}
			wantOneRequest(t, idp, tokens.RefreshToken)
			wantOneSet(t, said, callers, idp.uses(label(tokens.RefreshToken))[0].next)
			var took []time.Duration
			for _, r := range said {
				took = append(took, r.Took.Round(time.Millisecond))
			}
			t.Logf("%d processes x %d callers: %v each", len(all), callers, took)

			if said[0].Tokens != nil {
				text, values := server.dump()
				if values == 0 {
					t.Error("Redis holds no result; the dump shows nothing")
				}
				wantNoToken(t, "the dump of Redis", text, tokens, *said[0].Tokens)
			}
		})
	}
}

// All sessions of four processes expire at once, with default options, and Redis on
// the same cores.
func TestBurst(t *testing.T) {
	idp, server := newIssuer(t, authpitest.Options{}), startRedis(t)
	all := startWorkers(t, setup{Issuer: idp.URL, ClientID: idp.ClientID(), Redis: server.addr}, four[:]...)
	defer stop(all)
	sessions := 10_000
	if raceDetector {
		sessions = 1_000 // it makes everything ten times slower
	}
	var sets []authpi.TokenSet
	for range times(t, "AUTHPI_BURST", sessions) {
		sets = append(sets, expired(idp.signIn()))
	}
	for _, p := range all {
		p.send(order{Op: opLoad, All: sets})
		p.await(evReady)
	}
	for _, p := range all {
		p.send(order{Op: opBurst})
	}
	failed, ended := make(map[string]int), 0
	var took []time.Duration
	for _, p := range all {
		r := p.await(evCreated)
		took = append(took, r.Took.Round(time.Millisecond))
		for _, f := range r.Failures {
			failed[f.String()]++
			if f.Ended {
				ended++
			}
		}
	}
	spent, between, inside := idp.doubles()
	t.Logf("%d processes x %d sessions: %v each; %d tokens spent, %d by two processes, %d twice by one; failures: %v",
		len(all), len(sets), took, spent, between, inside, failed)
	if between > 0 || inside > 0 {
		t.Errorf("%d tokens were spent by two processes, %d twice by one; want none", between, inside)
	}
	if ended > 0 {
		t.Errorf("%d callers were told that their session has ended; want none", ended)
	}
	if spent != len(sets) && len(failed) == 0 { // on a busy machine RefreshTimeout ends before they all have had their turn
		t.Errorf("%d of %d sessions refreshed", spent, len(sets))
	}
}

// The lease is renewed while the issuer thinks.
func TestLeaseShorterThanTheAnswer(t *testing.T) {
	t.Parallel()
	idp, server := newIssuer(t, authpitest.Options{}), startRedis(t)
	const lease, answer = time.Second, 3500 * time.Millisecond
	all := startWorkers(t, setup{
		Issuer: idp.URL, ClientID: idp.ClientID(), Redis: server.addr, Lease: lease,
	}, four[:]...)
	defer stop(all)
	tokens := idp.signIn()
	slowly(idp, 0, answer)
	const callers = 10
	said := create(all, order{Tokens: expired(tokens), Callers: callers})
	wantOneRequest(t, idp, tokens.RefreshToken)
	wantOneSet(t, said, callers, idp.uses(label(tokens.RefreshToken))[0].next)
}

// docs/review/refresh.md, "What cannot be": a holder that is frozen for longer than its
// lease is taken for dead, and the next process spends the token too. What the
// issuer then says is final and shared; the holder gives its own callers what it
// received itself.
func TestFrozenHolder(t *testing.T) {
	t.Parallel()
	idp, server := newIssuer(t, authpitest.Options{}), startRedis(t)
	const lease, callers = time.Second, 10
	all := startWorkers(t, setup{
		Issuer: idp.URL, ClientID: idp.ClientID(), Redis: server.addr, Lease: lease,
	}, "holder", "next", "late")
	defer stop(all)
	holder, next, late := all[0], all[1], all[2]
	tokens := idp.signIn()
	spent := label(tokens.RefreshToken)
	slowly(idp, 0, lease/3) // so that the holder freezes before it has the answer
	ask := order{Op: opCreate, Tokens: expired(tokens), Callers: callers}

	holder.send(ask)
	eventually(t, "the holder's request", func() bool { return len(idp.uses(spent)) == 1 })
	holder.signal(syscall.SIGSTOP)
	frozen := time.Now()
	eventually(t, "the issuer's answer", idp.idle)

	next.send(ask)
	taken := next.await(evCreated)
	if waited := time.Since(frozen); waited < lease/2 {
		t.Errorf("the next process took over after %v; want it to wait for the lease of %v", waited, lease)
	}
	wantRefused(t, "next", taken, callers)
	if got := idp.spenders(spent); !slices.Equal(got, []string{"holder", "next"}) {
		t.Errorf("the token was spent by %v; want the holder, then the next process", got)
	}
	if idp.SessionAlive(tokens.RefreshToken) {
		t.Error("the session lives on; want it ended by the issuer")
	}

	late.send(ask)
	wantRefused(t, "late", late.await(evCreated), callers)

	holder.signal(syscall.SIGCONT)
	woken := holder.await(evCreated)
	wantOneSet(t, []report{woken}, callers, idp.uses(spent)[0].next)
	if uses := idp.uses(spent); len(uses) != 2 {
		t.Errorf("the token was spent by %v; want nobody after the refusal", uses)
	}

	// Its set is no better than the session: the next refresh says so.
	if woken.Tokens != nil {
		holder.send(order{Op: opCreate, Tokens: expired(*woken.Tokens), Callers: callers})
		wantRefused(t, "holder, later", holder.await(evCreated), callers)
	}
}

// wantRefused fails unless every caller was told that the session has ended.
func wantRefused(t testing.TB, who string, r report, callers int) {
	t.Helper()
	if r.Calls != callers || len(r.Failures) != callers || r.Stored != 0 {
		t.Errorf("%s: %d calls, %d failures, %d OnRefresh; want %d, all of them, 0", who, r.Calls, len(r.Failures), r.Stored, callers)
	}
	for _, f := range r.Failures {
		if !f.Typed || !f.Ended || f.Code != "invalid_grant" {
			t.Errorf("%s: %v; want invalid_grant, typed, the session ended", who, f)
		}
	}
}

// A holder that was stopped for longer than its lease, with its answer in the socket,
// renews the lease when it goes on, although another process has come by then.
func TestHolderGoesOn(t *testing.T) {
	t.Parallel()
	idp, server := newIssuer(t, authpitest.Options{}), startRedis(t)
	const lease, callers = 2 * time.Second, 10
	all := startWorkers(t, setup{Issuer: idp.URL, ClientID: idp.ClientID(), Redis: server.addr, Lease: lease}, "holder", "next")
	defer stop(all)
	holder, next := all[0], all[1]
	tokens := idp.signIn()
	spent := label(tokens.RefreshToken)
	slowly(idp, 0, lease/4) // so that the holder is stopped before it has the answer
	ask := order{Op: opCreate, Tokens: expired(tokens), Callers: callers}

	holder.send(ask)
	eventually(t, "the holder's request", func() bool { return len(idp.uses(spent)) == 1 })
	holder.signal(syscall.SIGSTOP)
	time.Sleep(2 * lease)
	before := server.scripts()
	next.send(ask)
	eventually(t, "the next process's claim", func() bool { return server.scripts() > before })
	holder.signal(syscall.SIGCONT)

	said := []report{holder.await(evCreated), next.await(evCreated)}
	wantOneRequest(t, idp, tokens.RefreshToken)
	wantOneSet(t, said, callers, idp.uses(spent)[0].next)
}

// A holder that is frozen for less than its lease loses nothing.
func TestHolderFrozenBriefly(t *testing.T) {
	t.Parallel()
	idp, server := newIssuer(t, authpitest.Options{}), startRedis(t)
	const lease, callers = 20 * time.Second, 10
	all := startWorkers(t, setup{Issuer: idp.URL, ClientID: idp.ClientID(), Redis: server.addr, Lease: lease}, "holder", "next")
	defer stop(all)
	wantFrozenHolderWaitedFor(t, idp, all[0], all[1], callers)
}

// wantFrozenHolderWaitedFor freezes a process in the middle of a refresh, and wants
// the other to wait for it.
func wantFrozenHolderWaitedFor(t *testing.T, idp *issuer, holder, next *process, callers int) {
	t.Helper()
	tokens := idp.signIn()
	spent := label(tokens.RefreshToken)
	slowly(idp, 0, 500*time.Millisecond)
	ask := order{Op: opCreate, Tokens: expired(tokens), Callers: callers}
	holder.send(ask)
	eventually(t, "the holder's request", func() bool { return len(idp.uses(spent)) == 1 })
	holder.signal(syscall.SIGSTOP)
	next.send(ask)
	select {
	case r := <-next.reports:
		t.Errorf("the other process did not wait: %+v", r)
	case <-time.After(2 * time.Second): // that it waits can only be seen by waiting
	}
	holder.signal(syscall.SIGCONT)
	said := []report{holder.await(evCreated), next.await(evCreated)}
	wantOneRequest(t, idp, tokens.RefreshToken)
	wantOneSet(t, said, callers, idp.uses(spent)[0].next)
}

// Redis goes and comes back in the middle of a refresh.
func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	idp, server := newIssuer(t, authpitest.Options{}), startRedis(t)
	rounds, moments := times(t, "AUTHPI_OUTAGES", 20), moments(t)
	slowly(idp, 0, 50*time.Millisecond)
	const (
		callers = 250
		spread  = 100 * time.Millisecond
		lease   = time.Second
	)
	for _, kind := range []struct {
		name     string
		required bool
		rounds   int
	}{
		{"AllowWithoutRedis", false, rounds - rounds/2},
		{"default", true, rounds / 2},
	} {
		t.Run(kind.name, func(t *testing.T) {
			all := startWorkers(t, setup{
				Issuer: idp.URL, ClientID: idp.ClientID(),
				Redis: server.addr, Lease: lease, WithoutRedis: !kind.required,
			}, four[:]...)
			defer stop(all)
			spentBy := map[bool]map[int]int{true: {}, false: {}} // rounds by whether Redis forgot all, and by the number that spent
			failed, slowest := make(map[string]int), time.Duration(0)
			for round := range kind.rounds {
				tokens := idp.signIn()
				for _, p := range all {
					p.send(order{Op: opCreate, Tokens: expired(tokens), Callers: callers, Spread: spread})
				}
				signal, forget := syscall.SIGTERM, round%3 == 0
				if round%2 == 0 {
					signal = syscall.SIGKILL
				}
				time.Sleep(within(moments, spread))
				server.stop(signal)
				time.Sleep(within(moments, 3*spread))
				server.restart(forget)

				failures := 0
				for n, p := range all {
					r := p.await(evCreated)
					slowest = max(slowest, r.Took)
					if r.Calls != callers {
						t.Errorf("round %d: process %d finished %d calls; want %d", round, n, r.Calls, callers)
					}
					failures += len(r.Failures)
					for _, f := range r.Failures {
						failed[f.Code]++
						if !f.Typed {
							t.Errorf("round %d: an error that is no *OAuthError: %v", round, f)
						}
						if !f.Ended && !kind.required {
							t.Errorf("round %d: a passing failure for want of Redis: %v", round, f)
						}
					}
				}
				spenders := idp.spenders(label(tokens.RefreshToken))
				spentBy[forget][len(spenders)]++
				switch alive := idp.SessionAlive(tokens.RefreshToken); {
				case len(spenders) <= 1 && !alive:
					t.Errorf("round %d: %v spent, and the session has ended", round, spenders)
				case len(spenders) > 1 && alive:
					t.Errorf("round %d: %v spent, and the issuer let it pass", round, spenders)
				case len(spenders) == 1 && failures > 0 && !kind.required:
					t.Errorf("round %d: %v spent, and there were %d failures", round, spenders, failures)
				}
			}
			_, _, inside := idp.doubles()
			if inside > 0 {
				t.Errorf("%d times one process spent a token twice", inside)
			}
			t.Logf("%d restarts; rounds by the number of processes that spent: %v where Redis kept its data, %v where it lost it; failures by code: %v; slowest process %v",
				kind.rounds, spentBy[false], spentBy[true], failed, slowest.Round(time.Millisecond))
		})
	}
}
