package signin

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

const (
	seedSize = 8 + 32 // when the login began, and random bytes
	// IDSize is how many characters of a state are its login's ID.
	IDSize = 22
	// LoginLife is how long a login may be under way.
	LoginLife = 10 * time.Minute
)

// Login is one that is under way. The browser has its seed in a cookie of its own;
// what else must be known travels inside state, sealed.
type Login struct {
	ID    string // IDSize characters: the start of State, and in the cookie's name
	State string

	Back      string // the address to come back to
	Org       string
	Redirect  string        // the redirect URI; empty: the client's first
	MaxAge    time.Duration // as it was asked for
	OwnMaxAge time.Duration // the app's part of that, which the sign-in itself must keep
	Resources []string      // nil: the client's
	Silent    bool          // prompt=none
	Guard     string        // ID of the one that asked for it; empty: none did
	ACR       []string      // what the guard wants, one of them

	seed string
}

// NewLogin makes a login.
func NewLogin(now time.Time) *Login {
	seed := make([]byte, seedSize)
	binary.BigEndian.PutUint64(seed, uint64(now.Unix()))
	_, _ = rand.Read(seed[8:]) // never fails
	return loginOf(string(seed))
}

func loginOf(seed string) *Login {
	l := &Login{seed: seed}
	l.ID = l.Secret("id")[:IDSize]
	return l
}

// Secret derives one of the login's texts from its seed. Each has 43 characters.
func (l *Login) Secret(what string) string { return Name("authpihttp login "+what, l.seed) }

// Challenge is S256 of the login's verifier (RFC 7636 section 4.2).
func (l *Login) Challenge() string { return Challenge(l.Secret("verifier")) }

// Challenge is S256 of RFC 7636 section 4.2.
func Challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return encoded(sum)
}

// Began is when the login was begun, to the second.
func (l *Login) Began() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64([]byte(l.seed[:8]))), 0)
}

// IsOver reports whether it was left for too long.
func (l *Login) IsOver(now time.Time) bool { return !now.Before(l.Began().Add(LoginLife)) }

// Auth is what the callback is checked against.
func (l *Login) Auth(now time.Time) authpi.AuthorizationURL {
	asked := url.Values{}
	if l.Org != "" {
		asked.Set("org", l.Org)
	}
	switch { // what a guard wants besides is the guard's to judge
	case l.OwnMaxAge > 0:
		asked.Set("max_age", strconv.FormatInt(int64(l.OwnMaxAge/time.Second), 10))
	case l.OwnMaxAge < 0: // since the login began
		asked.Set("max_age", strconv.FormatInt(max(int64(now.Sub(l.Began())/time.Second), 0)+1, 10))
	}
	return authpi.AuthorizationURL{
		URL: "?" + asked.Encode(), CodeVerifier: l.Secret("verifier"), State: l.State, Nonce: l.Secret("nonce"),
		RedirectURI: l.Redirect, Resources: l.Resources,
	}
}

func (l *Login) pack() []byte {
	hasResources := strconv.FormatBool(l.Resources != nil) // nil is not the same as none
	return append(Pack(l.Back, l.Org, l.Redirect, number(int64(l.MaxAge)), number(int64(l.OwnMaxAge)), strconv.FormatBool(l.Silent),
		l.Guard, strings.Join(l.ACR, " "), hasResources), Pack(l.Resources...)...)
}

func (l *Login) unpack(plain []byte) (ok bool) {
	p := Unpack(plain)
	l.Back, l.Org, l.Redirect = p.Text(), p.Text(), p.Text()
	l.MaxAge, l.OwnMaxAge, l.Silent = time.Duration(p.Number()), time.Duration(p.Number()), p.Text() == "true"
	l.Guard, l.ACR = p.Text(), strings.Fields(p.Text())
	if p.Text() == "true" {
		l.Resources = []string{}
	}
	for p.rest != "" {
		l.Resources = append(l.Resources, p.Text())
	}
	return p.Whole()
}

// SealState sets the login's state, once the rest is set.
func (b *Book) SealState(l *Login) {
	l.State = l.ID + Base64URL.EncodeToString(b.Seal("state", l.ID, l.pack()))
}

// OpenState reads what travels inside a state. Whether it is one of this browser's
// logins, its cookie says.
func (b *Book) OpenState(state string) (l *Login, ok bool) {
	l = &Login{}
	if len(state) < IDSize {
		return l, false
	}
	sealed, err := Base64URL.DecodeString(state[IDSize:])
	if err != nil {
		return l, false
	}
	plain, ok := b.Open("state", state[:IDSize], sealed)
	if !ok || !l.unpack(plain) {
		return &Login{}, false
	}
	l.ID, l.State = state[:IDSize], state
	return l, true
}

// CookieOf is what the browser keeps of a login.
func (b *Book) CookieOf(l *Login) string {
	return Base64URL.EncodeToString(b.Seal("login", l.ID, []byte(l.seed)))
}

// OpenLogin reads a login's cookie; nil where it is none of ours. The login has its
// seed alone.
func (b *Book) OpenLogin(id, cookie string) *Login {
	sealed, err := Base64URL.DecodeString(cookie)
	if err != nil {
		return nil
	}
	seed, ok := b.Open("login", id, sealed)
	if !ok || len(seed) != seedSize {
		return nil
	}
	if l := loginOf(string(seed)); l.ID == id {
		return l
	}
	return nil
}

// With gives a login that was read from a state the seed of its cookie.
func (l *Login) With(cookie *Login) *Login {
	l.seed = cookie.seed
	return l
}

// Bounds of the logins that one browser may have under way.
const (
	maxLogins     = 25
	maxLoginBytes = 4 << 10 // of their cookies together: servers refuse long headers
)

// Prune returns the IDs of those logins to remove, so that there is room for one
// more: the oldest, after what is none of ours. Their cookies' names begin and end
// so.
func (b *Book) Prune(cookies []*http.Cookie, prefix, suffix string) (gone []string) {
	type cookie struct {
		id    string
		began int64
		size  int
	}
	var all []cookie
	total := 0
	for _, c := range cookies {
		rest, begins := strings.CutPrefix(c.Name, prefix)
		id, ends := strings.CutSuffix(rest, suffix)
		if !begins || !ends || len(id) != IDSize {
			continue
		}
		found := cookie{id: id, size: len(c.Name) + len(c.Value) + len("=; ")}
		if l := b.OpenLogin(id, c.Value); l != nil {
			found.began = l.Began().Unix()
		}
		all, total = append(all, found), total+found.size
	}
	slices.SortStableFunc(all, func(x, y cookie) int { return cmp.Compare(x.began, y.began) })
	const another = 160 // bytes of the one to come
	for len(all) >= maxLogins || len(all) > 0 && total > maxLoginBytes-another {
		gone, total, all = append(gone, all[0].id), total-all[0].size, all[1:]
	}
	return gone
}
