//go:build unix

package refresh

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/postgres"
)

// A process that dies while it answers a callback, at each moment that there is:
// before and after each request to the issuer and each operation of the store, and at
// some random ones. Whatever it leaves, the browser gets in at another process, which
// works on, and no sign-in outlives a later logout.
func TestSignInsKilled(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) (setup, authpihttp.Store){"Redis": redisSite, "PostgreSQL": postgresSite} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, signed in before: %t", name, again), func(t *testing.T) {
				t.Parallel()
				s, store := start(t)
				newKilling(t, s, store, again).run(times(t, "AUTHPI_SIGNIN_KILLS", 8))
			})
		}
	}
}

func redisSite(t *testing.T) (setup, authpihttp.Store) {
	server := startRedis(t)
	client := redis.NewClient(&redis.Options{Addr: server.addr})
	t.Cleanup(func() { _ = client.Close() })
	return setup{Redis: server.addr}, plainStore{authpiredis.NewStore(client, nil)}
}

func postgresSite(t *testing.T) (setup, authpihttp.Store) {
	dsn, db := startPostgres(t)
	return setup{Postgres: dsn}, &postgres.Store{DB: db}
}

const (
	bob    = "usr_bob"
	secret = "hush"
)

// killing has one victim after another, and a process that lives.
type killing struct {
	t      *testing.T
	idp    *issuer
	setup  setup
	store  authpihttp.Store
	again  bool // the browser is signed in before
	lives  *process
	addr   string   // of that
	bob    *browser // who is signed in there all the time
	record int      // which of a sign-in's writes is the record
}

func newKilling(t *testing.T, s setup, store authpihttp.Store, again bool) *killing {
	k := &killing{t: t, idp: newIssuer(t, authpitest.Options{ClientSecret: secret}), setup: s, store: store, again: again, record: -1}
	k.idp.AddUser(authpitest.User{ID: bob})
	k.setup.Site, k.setup.Issuer, k.setup.ClientID = true, k.idp.URL, k.idp.ClientID()
	k.lives, k.addr, _ = k.start(0)
	k.bob = k.browser(bob)
	k.bob.arrive(k.addr, "/page")
	return k
}

func (k *killing) run(random int) {
	died, orphans := 0, 0
	if _, writes := k.round(0, -1); k.record < 0 {
		k.t.Fatalf("none of the writes is the record's: %q", writes)
	}
	for at := 1; ; at++ {
		dead, writes := k.round(at, -1)
		if !dead {
			break // it was done before
		}
		died++
		if len(writes) > k.record {
			orphans++
		}
	}
	if died < 20 || orphans == 0 {
		k.t.Errorf("got %d moments, %d of them after the record was written; want 20 and some", died, orphans)
	}
	inTime := 0
	at := moments(k.t)
	for range random {
		if dead, _ := k.round(0, within(at, 12*time.Millisecond)); dead {
			inTime++
		}
	}
	k.lives.stop()
	k.t.Logf("%d moments of a callback, %d with a record that no browser has; %d of %d random ones came in time", died, orphans, inTime, random)
}

// start starts a process that dies at a moment, 0: never. wrote is what it has
// written during callbacks, to be asked once it is dead.
func (k *killing) start(dieAt int) (p *process, addr string, wrote func() []string) {
	k.t.Helper()
	var mu sync.Mutex // guards keys
	var keys []string
	ready := make(chan string, 1)
	s := k.setup
	s.Name, s.DieAt = fmt.Sprintf("dies at %d", dieAt), dieAt
	p = startWorker(k.t, s, func(_ *process, r report) {
		mu.Lock()
		defer mu.Unlock()
		switch r.Event {
		case evReady:
			ready <- r.Addr
		case evWrote:
			keys = append(keys, r.Token)
		default:
			k.t.Errorf("worker %s: %+v", s.Name, r)
		}
	})
	select {
	case addr = <-ready:
	case <-time.After(patience):
		k.t.Fatalf("worker %s is not ready within %v", s.Name, patience)
	}
	return p, addr, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(keys)
	}
}

// round is one sign-in at a process that dies meanwhile: by itself at a moment, or
// killed from outside after a while, below 0: not.
func (k *killing) round(dieAt int, after time.Duration) (died bool, writes []string) {
	k.t.Helper()
	b := k.browser(ada)
	if k.again {
		b.arrive(k.addr, "/page")
	}
	victim, addr, wrote := k.start(dieAt)
	_, login, _, err := b.do(addr, http.MethodGet, "/auth/login?return_to=%2Fpage", nil)
	if err != nil {
		k.t.Fatal(err)
	}
	callback, err := k.idp.SignIn(login, ada)
	if err != nil {
		k.t.Fatal(err)
	}
	if after >= 0 {
		timer := time.AfterFunc(after, victim.kill)
		defer timer.Stop()
	}
	status, _, text, err := b.do(addr, http.MethodGet, callback, nil)
	if err == nil && status != http.StatusSeeOther {
		k.t.Errorf("the callback: got %d %s", status, text)
	}
	if died = err != nil; !died && after < 0 {
		victim.stop()
	} else {
		victim.kill()
	}
	writes = wrote()
	if !died && k.record < 0 {
		k.record = slices.Index(writes, b.recordKey())
	}
	k.check(b, callback, writes)
	return died, writes
}

// check holds what the dead process has left against what must be.
func (k *killing) check(b *browser, callback string, writes []string) {
	k.t.Helper()
	k.bob.arrive(k.addr, "/page") // the other process works on

	sid := b.arrive(k.addr, callback) // the browser loads it again
	k.logout(map[string]any{"sub": ada, "sid": sid})
	if status, location, _, err := b.do(k.addr, http.MethodGet, "/page", nil); err != nil || status != http.StatusSeeOther {
		k.t.Errorf("after the logout of its session: got %d to %q, %v; want a login", status, location, err)
	}
	if b.arrive(k.addr, "/page") == sid {
		k.t.Error("the session that was logged out came back")
	}
	k.logout(map[string]any{"sub": ada})
	if status, _, _, err := b.do(k.addr, http.MethodGet, "/page", nil); err != nil || status != http.StatusSeeOther {
		k.t.Errorf("after the user's logout: got %d, %v; want a login", status, err)
	}
	if k.record >= 0 && len(writes) > k.record {
		if _, found, err := k.store.Find(writes[k.record]); found || err != nil {
			k.t.Errorf("the record of the dead process's sign-in is found after the user's logout: %t, %v", found, err)
		}
	}
	k.bob.arrive(k.addr, "/page")
	if logins := k.bob.logins; logins != 1 {
		k.t.Errorf("another user had to sign in %d times; want once", logins)
	}
}

func (k *killing) logout(claims map[string]any) {
	k.t.Helper()
	form := url.Values{"logout_token": {k.idp.LogoutToken(claims)}}
	status, _, text, err := (&browser{t: k.t}).do(k.addr, http.MethodPost, "/auth/backchannel-logout", form)
	if err != nil || status != http.StatusOK {
		k.t.Errorf("back-channel logout of %v: got %d %s, %v", claims, status, text, err)
	}
}

// browser is a user's, before processes that are reached by a proxy.
type browser struct {
	t      *testing.T
	idp    *issuer
	user   string
	jar    http.CookieJar // nil: the issuer itself
	logins int
}

func (k *killing) browser(user string) *browser {
	k.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		k.t.Fatal(err)
	}
	return &browser{t: k.t, idp: k.idp, user: user, jar: jar}
}

var direct = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true}, // or it would send a GET again
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       patience,
}

func (b *browser) do(addr, method, target string, form url.Values) (status int, location, text string, err error) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+addr+strings.TrimPrefix(target, siteOfPair), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	site, _ := url.Parse(siteOfPair)
	r.Host = site.Host
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.jar != nil {
		for _, c := range b.jar.Cookies(site) {
			r.AddCookie(c)
		}
	}
	resp, err := direct.Do(r)
	if err != nil {
		return 0, "", "", err
	}
	body, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if b.jar != nil {
		b.jar.SetCookies(site, resp.Cookies())
	}
	return resp.StatusCode, resp.Header.Get("Location"), string(body), err
}

// arrive follows redirects, through the issuer where they lead there, to the page
// whose text it returns.
func (b *browser) arrive(addr, target string) (text string) {
	b.t.Helper()
	var way []string
	for range 8 {
		if strings.HasPrefix(target, b.idp.URL) {
			b.logins++
			callback, err := b.idp.SignIn(target, b.user)
			if err != nil {
				b.t.Fatal(err)
			}
			target = callback
		}
		status, location, text, err := b.do(addr, http.MethodGet, target, nil)
		way = append(way, fmt.Sprintf("%.40s: %d", target, status))
		switch {
		case err != nil:
			b.t.Fatal(err)
		case status == http.StatusOK:
			return text
		case status != http.StatusSeeOther:
			b.t.Fatalf("got %d %s; on the way: %q", status, text, way)
		}
		target = location
	}
	b.t.Fatalf("no page at the end of the way: %q", way)
	return ""
}

// recordKey is where the store has the browser's sign-in.
func (b *browser) recordKey() string {
	site, _ := url.Parse(siteOfPair)
	for _, c := range b.jar.Cookies(site) {
		value, err := base64.RawURLEncoding.DecodeString(c.Value)
		_, kind, _ := strings.Cut(c.Name, "authpi-")
		if err == nil && len(value) == 32 && !strings.HasPrefix(kind, "out-") {
			sum := sha256.Sum256(value)
			return base64.RawURLEncoding.EncodeToString(sum[:])
		}
	}
	return ""
}
