package authpitest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// app is what is tested: a small application with sessions of its own.
type app struct {
	client   *authpi.IdpClient
	sessions sync.Map // cookie value -> authpi.AuthorizationURL, then authpi.TokenSet
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", a.login)
	mux.HandleFunc("GET /callback", a.callback)
	mux.HandleFunc("GET /dashboard", a.dashboard)
	return mux
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	auth, err := a.client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
	if err != nil {
		http.Error(w, "login", http.StatusInternalServerError)
		return
	}
	a.start(w, *auth)
	http.Redirect(w, r, auth.URL, http.StatusSeeOther)
}

func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	auth, _ := a.session(r).(authpi.AuthorizationURL)
	agent, err := a.client.ExchangeCallback(r.Context(), r.URL.Query(), auth)
	if err != nil {
		http.Error(w, "callback", http.StatusBadRequest)
		return
	}
	a.start(w, agent.Tokens) // under a new ID
	http.Redirect(w, r, "/dashboard", http.StatusSeeOther)
}

func (a *app) dashboard(w http.ResponseWriter, r *http.Request) {
	tokens, ok := a.session(r).(authpi.TokenSet)
	if !ok {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	agent, err := a.client.CreateAgent(r.Context(), tokens, &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			a.sessions.Store(sessionID(r), tokens)
			return nil
		},
	})
	if err != nil {
		http.Error(w, "dashboard", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "Hello, %s. May you write projects? %t.", agent.Email, agent.HasAccessIn("org_engines", "write", "projects"))
}

func (a *app) start(w http.ResponseWriter, data any) {
	id := rand.Text()
	a.sessions.Store(id, data)
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (a *app) session(r *http.Request) any {
	data, _ := a.sessions.Load(sessionID(r))
	return data
}

func sessionID(r *http.Request) string {
	cookie, err := r.Cookie("session")
	if err != nil {
		return ""
	}
	return cookie.Value
}

// A whole application under test: it listens on a port, a browser with cookies
// visits it, and only the sign-in page at the issuer is skipped.
func Example_application() {
	srv := authpitest.NewServer(nil)
	defer srv.Close()
	srv.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	srv.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Scopes: []string{"projects:write"}})

	site := httptest.NewUnstartedServer(nil) // its address is needed before its handlers are
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: srv.URL, ClientID: srv.ClientID(), ClientSecret: srv.ClientSecret(),
		RedirectURI: "http://" + site.Listener.Addr().String() + "/callback",
		HTTPClient:  srv.Client(),
		Now:         srv.Now, // so that Advance moves both clocks
	})
	if err != nil {
		log.Fatal(err)
	}
	site.Config.Handler = (&app{client: client}).handler()
	site.Start()
	defer site.Close()

	jar, err := cookiejar.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the test takes each step by itself
	}}
	visit := func(url string) (location string) {
		resp, err := browser.Get(url)
		if err != nil {
			log.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		page, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Fatal(err)
		}
		location = resp.Header.Get("Location")
		if location == "" {
			fmt.Println(resp.StatusCode, string(page))
		}
		return location
	}

	fmt.Println("nobody:", visit(site.URL+"/dashboard"))
	callback, err := srv.SignIn(visit(site.URL+"/login"), "usr_ada")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in:", visit(callback))
	visit(site.URL + "/dashboard")

	srv.Advance(time.Hour) // the access token has expired
	visit(site.URL + "/dashboard")
	fmt.Println("refreshes:", srv.Redemptions("refresh_token"))
	// Output:
	// nobody: /login
	// signed in: /dashboard
	// 200 Hello, ada@example.com. May you write projects? true.
	// 200 Hello, ada@example.com. May you write projects? true.
	// refreshes: 1
}
