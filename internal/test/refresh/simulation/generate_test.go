package simulation_test

import (
	"math/rand/v2"
	"slices"
	"time"
)

// generator draws a history. What may happen in it at all, and how often, is drawn first:
// a history with a little of everything hides what some things alone would show, and
// what is rare seldom meets.
type generator struct {
	*rand.Rand
	h *history
	mix
}

// mix is how often things happen in one history.
type mix struct {
	trouble [deeds]int // of each kind, in percent of the rounds
	answers []int      // the kinds of answers in this history

	// Of callers, in percent.
	source, refresh, granted, stale, blindly, nested, leaving int

	grants, sources   int // how many there are
	rounds, crowd     int // at most
	early, long, soon int // rounds, in percent
	stragglers        int
	hurried           bool // many refresh by name, while stores are slow: sets overtake each other
	drifting          bool // stores lag behind by several sets, and the memory is short
}

func generate(seed uint64) *history {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x5eed)), h: &history{seed: seed}}
	g.setup()
	g.choose()
	g.chooseCallers()
	g.play()
	slices.SortStableFunc(g.h.steps, func(a, b step) int { return int(a.at - b.at) })
	return g.h
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// rate draws how often something happens in this history, around what is usual.
func (g *generator) rate(usual int) int { return pick(g, 0, usual, usual, min(5*usual, 80)) }

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
	s.memory = pick(g, 0, 0, 0, 0, 10*time.Second, 10*time.Second, 5*time.Minute, -1)
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
	for d := arrive + 1; d < deeds; d++ {
		if g.chance(25) {
			g.mix.trouble[d] = pick(g, 20, 55, 55, 90)
		}
	}
	if g.chance(50) {
		g.mix.trouble[answerNext] = 55
	}
	g.hurried = g.chance(10)
	if g.hurried {
		g.mix.trouble[storeFails] = 55
	}
	for range pick(g, 1, 1, 2, 4) {
		a := g.IntN(len(answers))
		if answers[a].hostile && g.mix.trouble[keysFail]+g.mix.trouble[keysLag] > 0 {
			a = 0 // nobody could tell that it is
		}
		g.mix.answers = append(g.mix.answers, a)
	}
}

// chooseCallers draws who comes, and when.
func (g *generator) chooseCallers() {
	g.source, g.refresh, g.granted = g.rate(12), g.rate(12), g.rate(30)
	g.stale, g.blindly, g.nested, g.leaving = g.rate(12), g.rate(12), g.rate(5), g.rate(20)
	g.grants, g.sources = pick(g, 2, usualGrants, usualGrants), pick(g, 2, 4, 8)
	g.mix.rounds, g.mix.crowd, g.stragglers = pick(g, 4, 4, 4, 10), pick(g, 1, 2, 6, 6), pick(g, 0, 2, 2, 8)
	g.early, g.long, g.soon = g.rate(15), g.rate(8), g.rate(12)
	if g.drifting = g.chance(15); g.drifting {
		g.mix.trouble[storeFails], g.early = 90, 75
		g.h.setup.memory, g.h.setup.life = 10*time.Second, pick(g, 5*time.Minute, 15*time.Minute)
	}
}

// play has everybody come whenever the access tokens are about to expire, or have.
func (g *generator) play() {
	at := time.Duration(0)
	for range 2 + g.IntN(g.mix.rounds) {
		at += g.gap()
		g.goWrong(at)
		g.come(at)
	}
}

// gap is the time from one round to the next.
func (g *generator) gap() time.Duration {
	s := &g.h.setup
	switch {
	case g.chance(g.early):
		return g.between(time.Second, s.life) // as Refresh may be
	case g.chance(g.long):
		return g.between(s.life, s.life+10*time.Minute) // longer than any memory
	case g.chance(g.soon):
		memory := max(s.memory, 0)
		if s.memory == 0 {
			memory = time.Minute
		}
		return memory + g.between(time.Second, 20*time.Second) // the tokens may live still
	}
	return s.life + g.between(-30*time.Second, 20*time.Second)
}

// come draws the callers of one round: a burst, and stragglers.
func (g *generator) come(at time.Duration) {
	several := 1 + g.IntN(g.mix.crowd)
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
	for range g.IntN(g.stragglers + 1) {
		c := g.caller()
		c.at = at + g.between(time.Second, 55*time.Second)
		g.h.steps = append(g.h.steps, c)
	}
}

func (g *generator) caller() step {
	s := step{deed: arrive, process: g.IntN(g.h.setup.processes)}
	s.session = g.IntN(len(g.h.setup.sessions))
	s.home = g.IntN(len(g.h.setup.sessions[s.session]))
	switch {
	case g.hurried:
		s.call = pick(g, create, refresh)
	case g.drifting:
		s.call = pick(g, create, refresh, source)
	case g.chance(g.mix.source):
		s.call = source
	case g.chance(g.mix.refresh):
		s.call = refresh
	}
	if g.chance(g.granted) {
		s.grant = 1 + g.IntN(g.grants-1)
	}
	if g.chance(g.mix.stale) {
		s.stale = pick(g, 1, 1, 2, 3)
	}
	s.blindly = g.chance(g.mix.blindly) || g.hurried && g.chance(40)
	s.nested = g.chance(g.mix.nested)
	s.source = g.IntN(g.sources)
	if g.chance(g.leaving) {
		s.cancel = pick(g, g.between(1, 100*time.Millisecond), g.between(1, time.Second), g.between(1, 10*time.Second))
	}
	return s
}

// goWrong draws what goes wrong around one round.
func (g *generator) goWrong(at time.Duration) {
	for d := arrive + 1; d < deeds; d++ {
		for g.chance(g.mix.trouble[d]) {
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
		s.answer, s.count, s.lasts = pick(g, g.mix.answers...), pick(g, 1, 1, 1, 2, 5), 30*time.Second
		if answers[s.answer].means == denied {
			s.count, s.only = 10, 1+g.IntN(usualGrants-1)
		}
	case storeFails:
		g.storeFault(&s)
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

// storeFault draws how a store fails.
func (g *generator) storeFault(s *step) {
	switch {
	case g.hurried:
		s.fails = slow
	case g.drifting || g.chance(10):
		s.fails, s.count, s.lasts = lags, 1+g.IntN(4), g.between(time.Second, 10*time.Minute)
	default:
		s.fails = pick(g, refuses, readFails, writeFails, slow, hangs, deaf, mixes)
	}
}
