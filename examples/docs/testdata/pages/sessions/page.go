package page

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

//page:block Choose a store
//page:fault authpiredis.NewStore(rdb, nil) => nil
//page:fault [][]byte{key} => nil
//page:fault "https://app.example/auth/signed-out" => "https://app.example/"

//page:block Your own sessions
//page:from sessions/beside.go
//page:fault sessions.Clear(r.Context()) => error(nil)
//page:fault return sessions.RenewToken(r.Context()) => return nil
//page:fault _ = sessions.Destroy(r.Context()) =>
//page:fault sessions.Put(r.Context(), "owner", agent.ID) =>
//page:fault "https://app.example/auth/signed-out" => "https://app.example/"

//page:block Without authpihttp
//page:fault return store.Save(ctx, sessionID, tokens) => return nil
//page:fault return client.CreateAgent => store = memory{map[string]authpi.TokenSet{sessionID: tokens}, func() {}}; return client.CreateAgent

var _ = authpiredis.NewStore // where a fault leaves it out

// Store keeps token sets under the sessions' IDs.
type Store interface {
	Load(ctx context.Context, sessionID string) (authpi.TokenSet, error)
	Save(ctx context.Context, sessionID string, tokens authpi.TokenSet) error
}

func Page(t *testing.T) {
	issuer := development(t)
	inRedis(t, issuer)
	beside(t, issuer)
	byHand(t, issuer)
}

// serve starts an app whose page says who is signed in.
func serve(t *testing.T, issuer *authpitest.Server, newApp func(*authpi.IdpClient) (*authpihttp.App, func(*http.ServeMux) http.Handler)) string {
	return start(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_app"}, func(cfg authpi.Config) http.Handler {
		app, wrap := newApp(newClient(t, cfg))
		mux := http.NewServeMux()
		app.Register(mux)
		mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(says)))
		return wrap(mux)
	})
}

func asItIs(mux *http.ServeMux) http.Handler { return mux }

// inRedis signs in at one process; another one has the same store and key, or another
// key.
func inRedis(t *testing.T, issuer *authpitest.Server) {
	rdb, _ := newRedis(t)
	var sites []string
	for _, key := range []byte{7, 7, 8} {
		sites = append(sites, serve(t, issuer, func(client *authpi.IdpClient) (*authpihttp.App, func(*http.ServeMux) http.Handler) {
			return newRedisApp(client, rdb, bytes.Repeat([]byte{key}, 32)), asItIs
		}))
	}
	browser := newBrowser(t)
	signIn(t, browser, issuer, sites[0], "usr_ada")
	wantPage(t, browser, sites[1], 200, "usr_ada")
	wantPage(t, browser, sites[2], 401, "")
	wantSignOut(t, browser, sites[0])
	wantPage(t, browser, sites[1], 401, "")
}

func wantSignOut(t *testing.T, browser *http.Client, site string) {
	t.Helper()
	resp := must(browser.Post(site+"/auth/logout", "", nil))(t)
	_ = resp.Body.Close()
	if got := resp.Header.Get("Location"); !strings.Contains(got, "post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fauth%2Fsigned-out") {
		t.Errorf("signing out leads to %s", got)
	}
}

// beside has a page that keeps a note in the app's own session. It stays for the same
// user alone, under a new ID.
func beside(t *testing.T, issuer *authpitest.Server) {
	manager := scs.New()
	site := serve(t, issuer, func(client *authpi.IdpClient) (*authpihttp.App, func(*http.ServeMux) http.Handler) {
		return authpihttp.New(client, nil, following(manager)), func(mux *http.ServeMux) http.Handler {
			mux.HandleFunc("GET /note", func(w http.ResponseWriter, r *http.Request) {
				if note := r.FormValue("put"); note != "" {
					manager.Put(r.Context(), "note", note)
				}
				_, _ = w.Write([]byte("the note: " + manager.GetString(r.Context(), "note")))
			})
			return manager.LoadAndSave(mux)
		}
	})
	browser := newBrowser(t)
	session := func() (id string) {
		for _, cookie := range browser.Jar.Cookies(httptest.NewRequest("GET", site, nil).URL) {
			if cookie.Name == manager.Cookie.Name {
				id = cookie.Value
			}
		}
		return id
	}
	wantNote := func(note string) {
		t.Helper()
		if _, _, got := visit(t, browser, site+"/note"); got != "the note: "+note {
			t.Errorf("%s; want %q", got, note)
		}
	}
	visit(t, browser, site+"/note?put=kept")
	before := session()
	signIn(t, browser, issuer, site, "usr_ada")
	if after := session(); before == "" || after == "" || after == before {
		t.Error("the session has the same ID after the sign-in")
	}
	wantNote("kept")
	signIn(t, browser, issuer, site, "usr_charles")
	wantNote("")
	visit(t, browser, site+"/note?put=another")
	wantSignOut(t, browser, site)
	wantNote("")
}

// memory is a Store. Reading it may have a consequence.
type memory struct {
	sets map[string]authpi.TokenSet
	read func()
}

func (m memory) Load(_ context.Context, id string) (authpi.TokenSet, error) {
	m.read()
	return m.sets[id], nil
}

func (m memory) Save(_ context.Context, id string, tokens authpi.TokenSet) error {
	m.sets[id] = tokens
	return nil
}

// byHand rebuilds the agent of a session: one whose tokens have expired, one whose
// tokens another process refreshes after they were read, and one that has ended.
func byHand(t *testing.T, issuer *authpitest.Server) {
	tokens := newAgent(t, appClient(t, issuer), issuer).Tokens
	tokens.ExpiresAt = time.Now().Add(-time.Hour)
	store := memory{map[string]authpi.TokenSet{"1": tokens}, func() {}}
	agent, err := agentOf(t.Context(), appClient(t, issuer), store, "1")
	if err != nil || agent.ID != "usr_ada" || store.sets["1"].RefreshToken == tokens.RefreshToken {
		t.Errorf("got %v, %v; want new tokens in the store", agent, err)
	}
	fresh, reads := store.sets["1"], 0
	store.sets["1"] = tokens
	store.read = func() {
		if reads++; reads == 2 {
			store.sets["1"] = fresh
		}
	}
	agent, err = agentOf(t.Context(), appClient(t, issuer), store, "1")
	if err != nil || agent.Tokens.RefreshToken != fresh.RefreshToken || issuer.Grants("refresh_token") != 1 {
		t.Errorf("got %v, %v; want what another process stored meanwhile", agent, err)
	}
	if _, err := agentOf(t.Context(), appClient(t, issuer), store, "2"); !authpi.SessionEnded(err) {
		t.Errorf("nobody: %v", err)
	}
}
