package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// world is one history at work, inside a bubble of testing/synctest. Whatever a process
// does outside its own memory goes through it, and is judged there.
type world struct {
	h     *history
	began time.Time

	mu            sync.Mutex // guards all below; never held while anything waits
	rows          []row
	broken        []violation
	issuer        *issuer
	coordinator   *coordinator // nil: none
	processes     []*process   // the living ones, by slot
	all           []*process
	sessions      []*session
	calls         []*call
	sends         map[*set][]*send
	troubledUntil time.Duration // of everybody
	jumped        bool          // some clock has
	lifted        bool          // no more faults
	excuses       map[string]int
	requests      int
	rotations     int
}

// row is one line of the table that a failing history prints.
type row struct {
	at     time.Duration
	p      *process
	c      *call
	format string
	args   []any
}

// violation is an invariant that did not hold.
type violation struct {
	invariant, detail string
	at                time.Duration
}

func newWorld(h *history) *world {
	w := &world{h: h, began: time.Now(), sends: map[*set][]*send{}, excuses: map[string]int{}}
	w.issuer = &issuer{w: w, byRefresh: map[string]*set{}, byAccess: map[string]*set{}, key: "k1", named: map[string]int{}}
	if h.setup.coordinated {
		w.coordinator = &coordinator{w: w, entries: map[string]*entry{}}
	}
	for slot := range h.setup.processes {
		w.processes = append(w.processes, nil)
		w.start(slot)
	}
	for n, homes := range h.setup.sessions {
		w.signIn(n, homes)
	}
	return w
}

func (w *world) now() time.Duration { return time.Since(w.began) }

// note notes one line of the table. Arguments that are sets, processes and the like print
// by their names, so that no token is ever in it. w.mu is held.
func (w *world) note(p *process, c *call, format string, args ...any) {
	w.rows = append(w.rows, row{w.now(), p, c, format, args})
}

// violate notes that an invariant does not hold, once for each. w.mu is held.
func (w *world) violate(invariant string, p *process, c *call, format string, args ...any) {
	w.note(p, c, "!!! "+invariant+": "+format, args...)
	for _, v := range w.broken {
		if v.invariant == invariant {
			return
		}
	}
	w.broken = append(w.broken, violation{invariant, fmt.Sprintf(format, args...), w.now()})
}

// trouble notes that calls about a session, or about all of them where it is nil, may
// fail until then and a moment longer. w.mu is held.
func (w *world) trouble(s *session, until time.Duration) {
	until += 500 * time.Millisecond
	if s == nil {
		w.troubledUntil = max(w.troubledUntil, until)
		return
	}
	s.troubledUntil = max(s.troubledUntil, until)
}

// process is one program that uses the package. It is killed by cutting it off from
// everything: what its goroutines still do reaches nobody.
type process struct {
	w      *world
	slot   int
	name   string
	client *authpi.IdpClient
	ahead  atomic.Int64 // of its clock
	dead   chan struct{}

	// Guarded by w.mu:
	killed    bool
	jumpedAt  time.Duration // when its clock was last set; negative: never
	resumed   chan struct{} // closed when it goes on; nil: it runs
	stopUntil time.Duration
	sources   map[sourceKey]*http.Client
	notes     map[*set]time.Duration // refresh tokens that its app has revoked
	heard     map[*set]time.Duration // sets whose successor a store gave to it, and when
	told      map[*set]bool          // sets that the coordinator gave to it
	asked     map[*set]bool          // access tokens whose user info it has got
	handed    map[*session]*set      // the newest set that an OnRefresh here has begun with
	handing   map[*refreshing]bool   // OnRefresh calls that run
}

type sourceKey struct {
	h        *home
	grant, n int
}

func (p *process) String() string { return p.name }

var errKilled = errors.New("sim: the process is dead")

// start makes a process in a slot. w.mu need not be held before anything runs.
func (w *world) start(slot int) {
	p := &process{
		w: w, slot: slot, dead: make(chan struct{}), jumpedAt: -1,
		sources: map[sourceKey]*http.Client{}, notes: map[*set]time.Duration{}, heard: map[*set]time.Duration{},
		told: map[*set]bool{}, asked: map[*set]bool{}, handed: map[*session]*set{}, handing: map[*refreshing]bool{},
	}
	incarnation := 0
	for _, other := range w.all {
		if other.slot == slot {
			incarnation++
		}
	}
	p.name = fmt.Sprintf("P%d%s", slot+1, "''''''''''"[:min(incarnation, 10)])
	s := &w.h.setup
	cfg := authpi.Config{
		IssuerURL: issuerURL, ClientID: clientID,
		RefreshBuffer: s.buffer, RefreshTimeout: s.timeout, RefreshMemory: s.memory,
		HTTPClient: &http.Client{Transport: p},
		Now:        func() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) },
		Endpoints: authpi.Endpoints{
			Token: issuerURL + "/token", UserInfo: issuerURL + "/userinfo", JWKS: issuerURL + "/jwks",
		},
	}
	if s.revocation {
		cfg.Endpoints.Revocation = issuerURL + "/revoke"
	}
	if w.coordinator != nil {
		cfg.Coordinator = &seat{w.coordinator, p}
	}
	var err error
	if p.client, err = authpi.NewIdpClient(cfg); err != nil {
		panic(err)
	}
	w.processes[slot] = p
	w.all = append(w.all, p)
}

// wait lets time pass for something that the process waits for. It ends early with the
// context, unless it is deaf, and not before the process runs.
func (p *process) wait(ctx context.Context, d time.Duration, isDeaf bool) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	leave := ctx.Done()
	if isDeaf {
		leave = nil
	}
	select {
	case <-timer.C:
	case <-leave:
		return ctx.Err()
	case <-p.dead:
		return errKilled
	}
	return p.run(ctx, isDeaf)
}

// run waits until a stopped process goes on.
func (p *process) run(ctx context.Context, isDeaf bool) error {
	leave := ctx.Done()
	if isDeaf {
		leave = nil
	}
	for {
		p.w.mu.Lock()
		resumed := p.resumed
		p.w.mu.Unlock()
		if resumed == nil {
			return nil
		}
		select {
		case <-resumed:
		case <-leave:
			return ctx.Err()
		case <-p.dead:
			return errKilled
		}
	}
}

func (p *process) clock() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }

// timeout is RefreshTimeout.
func (w *world) timeout() time.Duration {
	if w.h.setup.timeout == 0 {
		return 30 * time.Second
	}
	return w.h.setup.timeout
}

// buffer is RefreshBuffer.
func (w *world) buffer() time.Duration {
	if w.h.setup.buffer == 0 {
		return time.Minute
	}
	return max(w.h.setup.buffer, 0)
}

// memory is RefreshMemory.
func (w *world) memory() time.Duration {
	if w.h.setup.memory == 0 {
		return time.Minute
	}
	return max(w.h.setup.memory, 0)
}

// draw makes up a duration that is the same whenever this history runs: it depends on
// who asks for how many times, not on the order of goroutines. w.mu is held.
func (w *world) draw(c *call, low, high time.Duration) time.Duration {
	var who, times uint64
	if c != nil {
		c.ops++
		who, times = uint64(c.id)+1, c.ops
	}
	chance := rand.New(rand.NewPCG(w.h.seed, who<<32|times))
	return low + time.Duration(chance.Int64N(int64(high-low)+1))
}

// Durations of faults.
const (
	deafLow, deafHigh = 40 * time.Second, 90 * time.Second
	slowLow, slowHigh = time.Second, 7 * time.Second
)

// play runs the whole history: its steps, a time without faults, and a last visit to
// every place that keeps tokens.
func (w *world) play() {
	for _, s := range w.h.steps {
		if rest := s.at - w.now(); rest > 0 {
			time.Sleep(rest)
		}
		w.do(s)
		if !s.racing {
			synctest.Wait()
		}
	}
	w.lift()
	time.Sleep(4 * time.Minute)
	w.checkReturned()
	time.Sleep(3 * time.Minute)
	w.probe()
	w.lastVisits()
	w.checkEnd()
	w.mu.Lock()
	for _, p := range w.processes {
		w.kill(p)
	}
	for _, p := range w.all {
		p.sources = nil // they hold the client, which holds this process: nobody would free them
	}
	w.mu.Unlock()
	time.Sleep(3 * time.Minute)
}

// do does one step.
func (w *world) do(s step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.processes[s.process]
	switch s.deed {
	case arrive:
		w.arrive(p, s)
		return
	case signOut, revoke:
		w.note(p, nil, "%v", s)
		w.leave(p, s)
		return
	case answerNext, storeFails, coordinatorFails, userInfoFails, keysFail, keysLag:
		w.note(nil, nil, "%v", s)
		w.fail(s, w.now()+s.lasts)
		return
	}
	w.note(p, nil, "%v", s)
	switch s.deed {
	case kill:
		w.kill(p)
		w.start(s.process)
		w.trouble(nil, w.now()+w.h.setup.lease+5*time.Second)
	case stop:
		w.stop(p, s.lasts)
	case jump:
		p.ahead.Add(int64(s.lasts))
		p.jumpedAt, w.jumped = w.now(), true
	}
}

// fail has something fail for a while. w.mu is held.
func (w *world) fail(s step, until time.Duration) {
	switch s.deed {
	case answerNext:
		w.issuer.plan = append(w.issuer.plan, planned{answer: &answers[s.answer], count: s.count, only: s.only, until: until})
	case storeFails:
		h := w.sessions[s.session].homes[s.home]
		h.fails, h.failsUntil, h.behindBy = s.fails, until, s.count
	case coordinatorFails:
		if w.coordinator != nil {
			w.coordinator.fails, w.coordinator.failsUntil = s.fails, until
		}
	case userInfoFails:
		w.issuer.userInfo, w.issuer.userInfoUntil = s.fails, until
	case keysFail:
		w.issuer.keys, w.issuer.keysUntil = s.fails, until
	case keysLag:
		w.issuer.key, w.issuer.publishes = "k2", until
	}
}

// kill cuts a process off. w.mu is held.
func (w *world) kill(p *process) {
	p.killed = true
	close(p.dead)
	for _, s := range w.sessions {
		for _, h := range s.homes {
			if h.setup.kind == worker && p.slot == 0 && h.current().set != nil {
				h.write(version{}) // what only its memory held is gone
			}
		}
	}
}

// stop has everything that a process waits for come when it runs again. Its timers go on
// in virtual time, so this is a stop that is shorter than they are: longer ones are for a
// test with real processes. w.mu is held.
func (w *world) stop(p *process, d time.Duration) {
	until := w.now() + d
	w.trouble(nil, until+5*time.Second)
	if p.resumed != nil {
		p.stopUntil = max(p.stopUntil, until)
		return
	}
	p.resumed, p.stopUntil = make(chan struct{}), until
	go func() {
		for {
			w.mu.Lock()
			rest := p.stopUntil - w.now()
			if rest <= 0 {
				close(p.resumed)
				p.resumed = nil
				w.note(p, nil, "goes on")
			}
			w.mu.Unlock()
			if rest <= 0 {
				return
			}
			time.Sleep(rest)
		}
	}()
}

// lift ends all faults.
func (w *world) lift() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lifted = true
	w.issuer.plan = nil
	w.issuer.userInfo, w.issuer.keys = works, works
	if w.coordinator != nil {
		w.coordinator.fails = works
	}
	for _, s := range w.sessions {
		for _, h := range s.homes {
			h.fails = works
		}
	}
	w.note(nil, nil, "no more faults from here on")
}
