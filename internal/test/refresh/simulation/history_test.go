package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// history is what happens in one simulation: who is there, and what they do when. It is
// plain data, so that a failing one can be cut down step by step.
type history struct {
	seed  uint64
	setup setup
	steps []step // in the order of time
}

// setup is what stays the same throughout a history.
type setup struct {
	processes   int
	coordinated bool // the processes share a coordinator
	rotates     bool // the issuer's refresh tokens are single-use
	idTokens    bool // the issuer brings an ID token on refresh
	life        time.Duration
	buffer      time.Duration
	timeout     time.Duration // RefreshTimeout
	memory      time.Duration // RefreshMemory
	sessions    [][]homeSetup // for each session, where its tokens are kept
	revocation  bool          // the issuer has a revocation endpoint
	spentEnds   bool          // revoking a spent refresh token ends its session
	lease       time.Duration
	sameMoment  bool // some callers come at the very same moment, and really race
}

func (s setup) String() string {
	text := fmt.Sprintf("processes: %d, coordinated: %t, rotates: %t, ID tokens: %t, revocation endpoint: %t, revoking a spent token ends its session: %t\n",
		s.processes, s.coordinated, s.rotates, s.idTokens, s.revocation, s.spentEnds)
	text += fmt.Sprintf("life: %v, buffer: %v, timeout: %v, memory: %v\n", s.life, s.buffer, s.timeout, s.memory)
	for n, homes := range s.sessions {
		for i, h := range homes {
			text += fmt.Sprintf("home %s: %v, lag %v\n", homeName(n, i), h.kind, h.lag)
		}
	}
	return text
}

// homeSetup is one place that keeps a session's tokens.
type homeSetup struct {
	kind homeKind
	lag  time.Duration // how far its reads are behind its writes
}

// homeKind is how a place keeps tokens.
type homeKind uint8

const (
	cookie      homeKind = iota // no callbacks: what a call returns is kept
	blind                       // OnRefresh overwrites what is there, if anything is
	conditional                 // OnRefresh writes only over what comes before it in the order of rotation
	worker                      // none: two sources of the first process share one agent
)

func (k homeKind) String() string { return [...]string{"cookie", "blind", "conditional", "worker"}[k] }

// Grants are what a call asks for beside the tokens: nothing, or one of so many resources.
const (
	grants      = 16
	usualGrants = 4
)

// deed is what a step does.
type deed uint8

const (
	arrive deed = iota
	answerNext
	storeFails
	coordinatorFails
	userInfoFails
	keysFail
	keysLag
	signOut
	revoke
	kill
	stop
	jump
	deeds // how many there are
)

// callKind is which of the client's entrances a caller takes.
type callKind uint8

const (
	create  callKind = iota // CreateAgent
	refresh                 // Refresh, by name
	source                  // HTTPClient, which stays with its process
)

func (k callKind) String() string { return [...]string{"CreateAgent", "Refresh", "HTTPClient"}[k] }

// failure is how a store, the coordinator or an endpoint of the issuer fails for a while.
type failure uint8

const (
	works     failure = iota
	refuses           // an error at once
	readFails         // a store: reads only
	writeFails
	slow  // it takes seconds
	hangs // until the caller's context ends
	deaf  // it takes longer than anybody waits, whatever the context says
	mixes // a store: reads give another user's tokens
	loses // a coordinator: results are not kept
)

var failureNames = [...]string{"works", "refuses", "fails to read", "fails to write", "is slow", "hangs", "is deaf", "mixes users up", "loses results"}

func (f failure) String() string { return failureNames[f] }

// step is one thing that happens. Fields that its deed does not need are zero.
type step struct {
	at      time.Duration
	deed    deed
	process int
	session int
	home    int
	call    callKind
	grant   int           // 0: what the session has
	stale   bool          // the caller had loaded its tokens before others refreshed them
	blindly bool          // the caller has no Reload
	nested  bool          // its Reload calls CreateAgent with the same tokens
	second  bool          // a second source over the same agent
	racing  bool          // at the same moment as the step before it
	cancel  time.Duration // after which the caller leaves; zero: never
	answer  int           // of the token endpoint, an index into answers
	count   int           // how many requests get it
	only    int           // the grant whose requests alone get it; -1: all
	fails   failure
	lasts   time.Duration
}

func (s step) String() string {
	switch s.deed {
	case arrive:
		return s.arrival()
	case answerNext:
		whom := ""
		if s.only >= 0 {
			whom = ", for grant " + grantName(s.only)
		}
		return fmt.Sprintf("the next %d answers within %v: %s%s", s.count, s.lasts, answers[s.answer].name, whom)
	case storeFails:
		return fmt.Sprintf("store %s %s for %v", homeName(s.session, s.home), s.fails, s.lasts)
	case coordinatorFails:
		return fmt.Sprintf("the coordinator %s for %v", s.fails, s.lasts)
	case userInfoFails, keysFail:
		return fmt.Sprintf("the endpoint of %s %s for %v", [2]string{"user info", "keys"}[truth(s.deed == keysFail)], s.fails, s.lasts)
	case keysLag:
		return fmt.Sprintf("the issuer signs with a new key, published after %v", s.lasts)
	case signOut:
		return fmt.Sprintf("sign-out at %s; the revocation endpoint %s", homeName(s.session, s.home), s.fails)
	case revoke:
		return fmt.Sprintf("RevokeToken of what is in %s; the revocation endpoint %s", homeName(s.session, s.home), s.fails)
	case kill:
		return "killed, and started again"
	case stop:
		return fmt.Sprintf("stopped for %v", s.lasts)
	default:
		return fmt.Sprintf("its clock jumps by %v", s.lasts)
	}
}

func (s step) arrival() string {
	text := fmt.Sprintf("%s with the tokens of %s, grant %s", s.call, homeName(s.session, s.home), grantName(s.grant))
	for _, part := range []struct {
		is   bool
		text string
	}{
		{s.stale, ", loaded earlier"}, {s.blindly, ", without Reload"}, {s.nested, ", nested"},
		{s.second, ", second source"}, {s.racing, ", at the same moment"},
	} {
		if part.is {
			text += part.text
		}
	}
	if s.cancel > 0 {
		text += fmt.Sprintf(", leaves after %v", s.cancel)
	}
	return text
}

func grantName(grant int) string {
	if grant == 0 {
		return "plain"
	}
	return string(rune('A' + grant))
}

func homeName(session, home int) string { return fmt.Sprintf("s%d.%c", session+1, 'a'+home) }

// generator draws a history. Which kinds of trouble there are at all is drawn first: a
// history with a little of everything hides what one kind alone would show.
type generator struct {
	*rand.Rand
	h       *history
	enabled [deeds]bool
	answers []int // the kinds of answers in this history
	hurried bool  // many refresh by name, while stores are slow: sets overtake each other
}

func generate(seed uint64) *history {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x5eed)), h: &history{seed: seed}}
	g.setup()
	g.choose()
	g.rounds()
	slices.SortStableFunc(g.h.steps, func(a, b step) int { return int(a.at - b.at) })
	return g.h
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// between draws a duration.
func (g *generator) between(low, high time.Duration) time.Duration {
	return low + time.Duration(g.Int64N(int64(high-low)+1))
}

func (g *generator) setup() {
	s := &g.h.setup
	s.processes = pick(g, 1, 1, 2, 2, 3)
	s.coordinated = g.chance(85)
	s.rotates = g.chance(92)
	s.idTokens = g.chance(75)
	s.life = pick(g, 90*time.Second, 120*time.Second, 300*time.Second)
	s.buffer = pick(g, 0, 0, 20*time.Second, -1)
	s.timeout = pick(g, 0, 0, 10*time.Second)
	s.memory = pick(g, 0, 0, 0, 0, 0, 5*time.Minute, 5*time.Minute, -1)
	s.revocation = g.chance(90)
	s.spentEnds = g.chance(50)
	s.lease = 5 * time.Second
	s.sameMoment = g.chance(30)
	for range pick(g, 1, 1, 1, 2) {
		if g.chance(6) {
			s.sessions = append(s.sessions, []homeSetup{{kind: worker}})
			continue
		}
		homes := []homeSetup{g.home()}
		if (s.processes == 1 || s.coordinated) && g.chance(20) {
			homes = append(homes, g.home())
		}
		s.sessions = append(s.sessions, homes)
	}
}

func (g *generator) home() homeSetup {
	h := homeSetup{kind: pick(g, cookie, conditional, conditional)}
	if g.h.setup.processes == 1 && g.chance(40) {
		h.kind = blind
	}
	if h.kind != cookie && g.chance(20) {
		h.lag = g.between(time.Millisecond, 5*time.Second)
	}
	return h
}

// choose draws which kinds of trouble and of answers there are.
func (g *generator) choose() {
	for d := range deeds {
		g.enabled[d] = g.chance(25)
	}
	g.enabled[arrive] = true
	g.enabled[answerNext] = g.chance(75)
	g.hurried = g.chance(10)
	g.enabled[storeFails] = g.enabled[storeFails] || g.hurried
	for range pick(g, 1, 1, 2, 4) {
		a := g.IntN(len(answers))
		if answers[a].hostile && (g.enabled[keysFail] || g.enabled[keysLag]) {
			a = 0 // nobody could tell that it is
		}
		g.answers = append(g.answers, a)
	}
}

// rounds has everybody come whenever the access tokens are about to expire, or have.
func (g *generator) rounds() {
	s := &g.h.setup
	at := time.Duration(0)
	for range 2 + g.IntN(4) {
		gap := s.life + g.between(-30*time.Second, 20*time.Second)
		if g.chance(15) {
			gap = g.between(time.Second, s.life) // early, as Refresh may be
		}
		at += gap
		g.trouble(at)
		g.crowd(at)
	}
}

// crowd are the callers of one round: a burst, and stragglers.
func (g *generator) crowd(at time.Duration) {
	several := 1 + g.IntN(6)
	crowded := g.chance(5)
	if crowded {
		several = 24
	}
	spread := pick(g, time.Millisecond, 50*time.Millisecond, 400*time.Millisecond, 4*time.Second)
	for range several {
		c := g.caller()
		c.at = at + g.between(0, spread)
		if crowded && c.grant > 0 {
			c.grant = 1 + g.IntN(grants-1)
		}
		if g.h.setup.sameMoment && g.chance(60) {
			c.at, c.racing = at, true
		}
		g.h.steps = append(g.h.steps, c)
	}
	for n, homes := range g.h.setup.sessions {
		// A home that nobody comes to falls behind, and loses its session in the end.
		for home := range len(homes) * truth(len(homes) > 1 && g.chance(90)) {
			c := g.caller()
			c.session, c.home, c.at, c.cancel = n, home, at+g.between(0, 20*time.Second), 0
			g.h.steps = append(g.h.steps, c)
		}
	}
	for range g.IntN(3) {
		c := g.caller()
		c.at = at + g.between(time.Second, 55*time.Second)
		g.h.steps = append(g.h.steps, c)
	}
}

func (g *generator) caller() step {
	s := step{deed: arrive, process: g.IntN(g.h.setup.processes)}
	s.session = g.IntN(len(g.h.setup.sessions))
	s.home = g.IntN(len(g.h.setup.sessions[s.session]))
	s.call = pick(g, create, create, create, create, create, create, source, refresh)
	if g.hurried {
		s.call = pick(g, create, refresh)
	}
	if g.chance(30) {
		s.grant = 1 + g.IntN(usualGrants-1)
	}
	s.stale = g.chance(12)
	s.blindly = g.chance(12) || g.hurried && g.chance(40)
	s.nested = g.chance(5)
	s.second = g.chance(40)
	if g.chance(20) {
		s.cancel = pick(g, g.between(1, 100*time.Millisecond), g.between(1, time.Second), g.between(1, 10*time.Second))
	}
	return s
}

// trouble is what goes wrong around one round.
func (g *generator) trouble(at time.Duration) {
	for d := arrive + 1; d < deeds; d++ {
		for g.enabled[d] && g.chance(55) {
			s := g.fault(d)
			s.at = at + g.between(-500*time.Millisecond, 2*time.Second)
			if g.chance(20) {
				s.at = at + g.between(-5*time.Second, 40*time.Second)
			}
			g.h.steps = append(g.h.steps, s)
			if d != answerNext || g.chance(60) {
				break
			}
		}
	}
}

func (g *generator) fault(d deed) step {
	s := step{deed: d, process: g.IntN(g.h.setup.processes), only: -1}
	s.session = g.IntN(len(g.h.setup.sessions))
	s.home = g.IntN(len(g.h.setup.sessions[s.session]))
	s.lasts = pick(g, g.between(time.Millisecond, time.Second), g.between(time.Second, 8*time.Second), g.between(time.Second, 45*time.Second))
	switch d {
	case answerNext:
		s.answer, s.count, s.lasts = pick(g, g.answers...), pick(g, 1, 1, 1, 2, 5), 30*time.Second
		if answers[s.answer].means == denied {
			s.count, s.only = 10, 1+g.IntN(usualGrants-1)
		}
	case storeFails:
		s.fails = pick(g, refuses, readFails, writeFails, slow, hangs, deaf, mixes)
		if g.hurried {
			s.fails = slow
		}
	case coordinatorFails:
		s.fails = pick(g, refuses, slow, hangs, deaf, loses)
	case userInfoFails, keysFail:
		s.fails = pick(g, refuses, slow, hangs)
	case keysLag:
		s.lasts = g.between(100*time.Millisecond, 3*time.Second)
	case signOut, revoke:
		s.fails = pick(g, works, works, refuses, hangs, loses)
	case stop:
		s.lasts = g.between(time.Second, 25*time.Second)
	case jump:
		s.lasts = pick[time.Duration](g, -1, 1) * g.between(time.Second, 10*time.Minute)
	}
	return s
}
