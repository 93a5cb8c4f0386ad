package signin

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Guard is what a page wants of a sign-in, beyond that there is one.
type Guard struct {
	MaxAge time.Duration // 0: any; negative: begun by this guard
	ACR    []string      // one of them; none: any
}

// AddTo makes a login ask the issuer for what the guard wants.
func (g Guard) AddTo(l *Login, opts *authpi.AuthorizationOptions) {
	l.Guard, l.ACR = g.ID(), g.ACR
	opts.MaxAge = g.stricter(opts.MaxAge)
	if len(g.ACR) > 0 {
		opts.ACRValues = g.ACR
	}
	opts.Prompt = slices.DeleteFunc(slices.Clone(opts.Prompt), func(p string) bool { return p == "none" })
}

// stricter returns the stricter of two ages, the guard's and another: below zero is a
// fresh sign-in, zero any. An issuer can only be asked for whole seconds.
func (g Guard) stricter(age time.Duration) time.Duration {
	own := g.MaxAge
	switch {
	case own >= time.Second:
		own = own.Truncate(time.Second)
	case own > 0:
		own = -1
	}
	if own == 0 || age == 0 {
		return own + age
	}
	return min(own, age)
}

// ID is the same for guards that want the same.
func (g Guard) ID() string { return Name("authpihttp guard", string(g.pack())) }

func (g Guard) pack() []byte {
	return Pack(number(int64(g.MaxAge)), strings.Join(g.ACR, " "))
}

// SealGuard is a guard's wish as it travels through the login's address.
func (b *Book) SealGuard(g Guard) string {
	return Base64URL.EncodeToString(b.Seal("guard", "", g.pack()))
}

// OpenGuard reads what SealGuard made.
func (b *Book) OpenGuard(text string) (g Guard, ok bool) {
	sealed, err := Base64URL.DecodeString(text)
	if err != nil || text == "" {
		return Guard{}, false
	}
	plain, ok := b.Open("guard", "", sealed)
	if !ok {
		return Guard{}, false
	}
	p := Unpack(plain)
	g = Guard{time.Duration(p.Number()), strings.Fields(p.Text())}
	return g, p.Whole()
}

// step is a login that a guard has asked for. A sign-in keeps those of the ones that
// it replaced, for guards that stand one behind the other.
type step struct {
	guard, page string
	at          int64
	failed      bool // it did not bring what the guard wants
}

const (
	freshLife = time.Minute // for which a step counts for its page
	maxSteps  = 8
	maxTurns  = 2 // of one guard at a page where another one has its turn, too
)

func packSteps(steps []step) string {
	var parts []string
	for _, s := range steps {
		parts = append(parts, s.guard, s.page, number(s.at), strconv.FormatBool(s.failed))
	}
	return string(Pack(parts...))
}

func unpackSteps(packed string) (steps []step) {
	for p := (Packed{rest: packed}); p.rest != ""; {
		steps = append(steps, step{p.Text(), p.Text(), p.Number(), p.Text() == "true"})
	}
	return steps
}

func (s *step) isFresh(now time.Time) bool { return !now.After(time.Unix(s.at, 0).Add(freshLife)) }

// Satisfied reports whether a sign-in is what the guard of a page wants. rec is nil
// where there is only an Agent.
func (b *Book) Satisfied(g Guard, rec *Record, agent *authpi.Agent, page string) bool {
	has := Record{}
	if rec != nil {
		has = *rec
	}
	// A refresh may bring no ID token, or one that says nothing of the sign-in.
	if rec == nil || agent.Tokens.IDToken != "" {
		claims := ClaimsOf(agent)
		has.AuthTime, has.ACR = cmp.Or(claims.AuthTime, has.AuthTime), cmp.Or(claims.ACR, has.ACR)
	}
	now := b.now()
	switch {
	case len(g.ACR) > 0 && !slices.Contains(g.ACR, has.ACR):
		return false
	case g.MaxAge > 0:
		return has.AuthTime > 0 && !now.After(time.Unix(has.AuthTime, 0).Add(g.MaxAge+b.skew))
	case g.MaxAge < 0:
		id := pageOf(g.ID(), page)
		return slices.ContainsFunc(has.steps, func(s step) bool { return s.page == id && !s.failed && s.isFresh(now) })
	}
	return true
}

// GivesUp reports whether no further login may help a guard that is not satisfied:
// its own did not, or it takes turns with another guard, each of which undoes what
// the other one wants.
func (b *Book) GivesUp(g Guard, rec *Record, page string) bool {
	if rec == nil || len(rec.steps) == 0 {
		return rec == nil // an Agent from elsewhere stays what it is
	}
	if last := rec.steps[len(rec.steps)-1]; last.guard == g.ID() {
		return last.failed
	}
	id, turns, now := pageOf(g.ID(), page), 0, b.now()
	for _, s := range rec.steps {
		if s.page == id && s.isFresh(now) {
			turns++
		}
	}
	return turns >= maxTurns
}

// judge makes the record of a new sign-in, with a note whether a guard's login
// brought what that wants, and with the steps before it.
func (b *Book) judge(l *Login, agent *authpi.Agent, before []step) Record {
	rec, now := Record{Claims: ClaimsOf(agent)}, b.now()
	if l.Guard == "" {
		return rec
	}
	since := l.Began()
	if l.MaxAge > 0 {
		since = now.Add(-l.MaxAge)
	}
	recent := l.MaxAge == 0 || rec.AuthTime > 0 && !time.Unix(rec.AuthTime, 0).Before(since.Add(-b.skew))
	failed := !recent || len(l.ACR) > 0 && !slices.Contains(l.ACR, rec.ACR)
	for _, s := range before[max(0, len(before)-maxSteps+1):] {
		if s.isFresh(now) {
			rec.steps = append(rec.steps, s)
		}
	}
	rec.steps = append(rec.steps, step{l.Guard, pageOf(l.Guard, l.Back), now.Unix(), failed})
	return rec
}

// pageOf names a guard's page.
func pageOf(guard, address string) string {
	page, _, _ := strings.Cut(address, "?")
	return Name("authpihttp page", guard, page)
}
