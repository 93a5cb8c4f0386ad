package signin

import (
	"cmp"
	"slices"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Guard is what a page wants of a sign-in, beyond that there is one.
type Guard struct {
	MaxAge time.Duration // 0: any; negative: begun by this guard
	ACR    []string      // one of them; none: any
}

// Stricter returns the stricter of two ages, the guard's and another: below zero is a
// fresh sign-in, zero any.
func (g Guard) Stricter(age time.Duration) time.Duration {
	if g.MaxAge == 0 || age == 0 {
		return g.MaxAge + age
	}
	return min(g.MaxAge, age)
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

// freshLife is how long a sign-in that a guard has begun counts for its page.
const freshLife = time.Minute

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
		return has.Recent == pageOf(g.ID(), page) && !now.After(time.Unix(has.Begun, 0).Add(freshLife))
	}
	return true
}

// judge makes the record of a new sign-in, with a note whether a guard's login
// brought what that wants.
func (b *Book) judge(l *Login, agent *authpi.Agent) Record {
	rec := Record{Claims: ClaimsOf(agent)}
	if l.Guard == "" {
		return rec
	}
	since := l.Began()
	if l.MaxAge > 0 {
		since = b.now().Add(-l.MaxAge)
	}
	recent := l.MaxAge == 0 || rec.AuthTime > 0 && !time.Unix(rec.AuthTime, 0).Before(since.Add(-b.skew))
	if !recent || len(l.ACR) > 0 && !slices.Contains(l.ACR, rec.ACR) {
		rec.Failed = l.Guard
	} else {
		rec.Recent = pageOf(l.Guard, l.Back)
	}
	return rec
}

// pageOf names a guard's page.
func pageOf(guard, address string) string {
	page, _, _ := strings.Cut(address, "?")
	return guard + page
}
