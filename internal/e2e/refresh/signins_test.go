//go:build unix

package refresh

import (
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/postgres"
)

// backend is a real store that can be taken away.
type backend struct {
	store       authpihttp.Store
	coordinator authpi.RefreshCoordinator
	down, up    func()
}

func redisBackend(t *testing.T) backend {
	server := startRedis(t)
	client := redis.NewClient(&redis.Options{Addr: server.addr, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return backend{
		authpiredis.NewStore(client, nil), authpiredis.NewCoordinator(client, nil),
		func() { server.stop(syscall.SIGKILL) }, func() { server.restart(false) },
	}
}

func postgresBackend(t *testing.T) backend {
	_, db := startPostgres(t)
	admin := database.open(t, "postgres")
	name := databaseName(t, db)
	allow := func(yes bool) {
		run(t, admin, fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %t", name, yes))
	}
	return backend{
		&postgres.Store{DB: db}, &postgres.Coordinator{DB: db},
		func() {
			allow(false)
			run(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
		},
		func() { allow(true) },
	}
}

func run(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

// pair is two processes of one app, each with its own client, on one store.
type pair struct {
	t      *testing.T
	issuer *authpitest.Server
	apps   [2]*authpihttp.App
	muxes  [2]http.Handler
	jar    http.CookieJar

	mu    sync.Mutex // guards ahead
	ahead time.Duration
}

const siteOfPair = "https://app.example"

func newPair(t *testing.T, b backend, options authpihttp.Options) *pair {
	p := &pair{t: t, issuer: authpitest.NewInMemory(&authpitest.Options{ClientID: "c_pair", ClientSecret: "hush"})}
	t.Cleanup(p.issuer.Close)
	p.issuer.AddUser(authpitest.User{ID: "usr_ada"})
	for i := range p.apps {
		client, err := authpi.NewIdpClient(authpi.Config{
			IssuerURL: p.issuer.URL, ClientID: "c_pair", ClientSecret: "hush", RedirectURI: siteOfPair + "/auth/callback",
			HTTPClient: p.issuer.Client(), Coordinator: b.coordinator, Now: p.now,
		})
		if err != nil {
			t.Fatal(err)
		}
		p.apps[i] = authpihttp.New(client, b.store, &options)
		mux := http.NewServeMux()
		p.apps[i].Register(mux)
		mux.Handle("/", p.apps[i].RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			agent, _ := authpihttp.AgentFrom(r.Context())
			_, _ = io.WriteString(w, agent.Tokens.AccessToken)
		})))
		p.muxes[i] = mux
	}
	p.forget()
	return p
}

func (p *pair) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.ahead)
}

func (p *pair) expire() {
	p.issuer.Advance(40 * time.Minute)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead += 40 * time.Minute
}

// forget gives the user a new browser.
func (p *pair) forget() {
	var err error
	if p.jar, err = cookiejar.New(nil); err != nil {
		p.t.Fatal(err)
	}
}

// do sends a request to one of the processes.
func (p *pair) do(process int, method, target string, form url.Values) (status int, location, text string) {
	p.t.Helper()
	r := httptest.NewRequest(method, siteOfPair+strings.TrimPrefix(target, siteOfPair), strings.NewReader(form.Encode()))
	r.RequestURI = r.URL.RequestURI()
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	site, _ := url.Parse(siteOfPair)
	for _, c := range p.jar.Cookies(site) {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	p.muxes[process].ServeHTTP(w, r)
	p.jar.SetCookies(site, w.Result().Cookies())
	return w.Code, w.Header().Get("Location"), w.Body.String()
}

// signIn begins the login at one process and ends it at the other.
func (p *pair) signIn() {
	p.t.Helper()
	_, location, _ := p.do(0, http.MethodGet, "/auth/login", nil)
	callback, err := p.issuer.SignIn(location, "usr_ada")
	if err != nil {
		p.t.Fatal(err)
	}
	if status, location, text := p.do(1, http.MethodGet, callback, nil); status != http.StatusSeeOther || location != "/" {
		p.t.Fatalf("callback: got %d to %q %s", status, location, text)
	}
}

// want holds both processes' answers against a status.
func (p *pair) want(status int) (text string) {
	p.t.Helper()
	for process := range p.apps {
		got, _, body := p.do(process, http.MethodGet, "/page", nil)
		if got != status {
			p.t.Errorf("process %d: got %d; want %d", process, got, status)
		}
		text = body
	}
	return text
}

// What one process does to a sign-in the other one sees at once, with a real store that
// has CommitIf.
func TestSignInsOfTwoProcesses(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) backend{"Redis": redisBackend, "PostgreSQL": postgresBackend} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			p := newPair(t, b, authpihttp.Options{})
			p.signIn()
			before := p.want(http.StatusOK)

			// Both refresh at once, and one request is sent.
			p.expire()
			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() {
					if status, _, text := p.do(i%2, http.MethodGet, "/page", nil); status != http.StatusOK || text == before {
						t.Errorf("got %d; want the page with new tokens", status)
					}
				})
			}
			all.Wait()
			if got := p.issuer.Grants("refresh_token"); got != 1 {
				t.Errorf("got %d refreshes; want 1", got)
			}

			// The store is away: nobody is signed out.
			b.down()
			p.want(http.StatusServiceUnavailable)
			if status, _, _ := p.do(0, http.MethodPost, "/auth/logout", nil); status != http.StatusServiceUnavailable {
				t.Errorf("a logout without the store: got %d; want 503", status)
			}
			b.up()
			eventually(t, "store", func() bool { status, _, _ := p.do(0, http.MethodGet, "/page", nil); return status == http.StatusOK })
			p.want(http.StatusOK)

			// Signed out at one, signed out at the other.
			if status, location, _ := p.do(0, http.MethodPost, "/auth/logout", nil); !strings.Contains(location, "id_token_hint=") {
				t.Errorf("logout: got %d to %q", status, location)
			}
			p.want(http.StatusSeeOther)

			// The issuer tells one of them; a second time it tells the other.
			p.signIn()
			p.want(http.StatusOK)
			token := url.Values{"logout_token": {p.issuer.LogoutToken(map[string]any{"sub": "usr_ada"})}}
			for process, want := range []int{http.StatusOK, http.StatusBadRequest} {
				if status, _, text := p.do(process, http.MethodPost, "/auth/backchannel-logout", token); status != want {
					t.Errorf("back-channel logout at process %d: got %d %s; want %d", process, status, text, want)
				}
			}
			p.want(http.StatusSeeOther)
		})
	}
}

// A record that the store has dropped by itself is a sign-in that has ended.
func TestSignInsExpireInTheStore(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) backend{"Redis": redisBackend, "PostgreSQL": postgresBackend} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, start(t), authpihttp.Options{Lifetime: 3 * time.Second})
			p.signIn()
			p.want(http.StatusOK)
			eventually(t, "end of the sign-in", func() bool {
				status, _, _ := p.do(0, http.MethodGet, "/page", nil)
				return status == http.StatusSeeOther
			})
			p.want(http.StatusSeeOther)
		})
	}
}
