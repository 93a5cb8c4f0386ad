package authpihttp_test

import (
	"cmp"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// exampleApp is an app with its issuer, and Ada's browser.
type exampleApp struct {
	*authpihttp.App
	issuer *authpitest.Server
	client *authpi.IdpClient
	mux    *http.ServeMux
	cookie *http.Cookie // of Ada's sign-in
}

func newExampleApp() *exampleApp {
	issuer := authpitest.NewInMemory(nil)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**"}})
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: issuer.ClientID(), RedirectURI: "https://app.example/auth/callback",
		HTTPClient: issuer.Client(), Now: issuer.Now,
	})
	if err != nil {
		log.Fatal(err)
	}
	a := &exampleApp{App: authpihttp.New(client, nil, nil), issuer: issuer, client: client, mux: http.NewServeMux()}
	a.Register(a.mux)
	return a
}

// get opens a page in Ada's browser.
func (a *exampleApp) get(path string, cookies ...*http.Cookie) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "app.example"
	r.Header.Set("Accept", "text/html")
	if a.cookie != nil {
		cookies = append(cookies, a.cookie)
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	a.mux.ServeHTTP(w, r)
	return w.Result()
}

// signIn signs Ada in.
func (a *exampleApp) signIn() {
	login := a.get("/auth/login")
	location, err := a.issuer.SignIn(login.Header.Get("Location"), "usr_ada")
	if err != nil {
		log.Fatal(err)
	}
	u, err := url.Parse(location)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range a.get(u.RequestURI(), login.Cookies()...).Cookies() {
		if c.MaxAge > 0 {
			a.cookie = c
		}
	}
}

// Any router will do: the handlers are methods.
func ExampleNew() {
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: "https://idp.authpi.com/i_1", ClientID: "c_1", RedirectURI: "https://app.example/account/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	app := authpihttp.New(client, nil, &authpihttp.Options{
		Prefix:                "/account",
		PostLogoutRedirectURI: "https://app.example/bye",
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /account/login", app.Login)
	mux.HandleFunc("GET /account/callback", app.Callback)
	mux.HandleFunc("POST /account/logout", app.Logout)
	mux.HandleFunc("POST /account/backchannel-logout", app.BackchannelLogout)

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://app.example/account/login", nil))
	location, err := w.Result().Location()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(location.Host, location.Query().Get("redirect_uri"))
	// Output: idp.authpi.com https://app.example/account/callback
}

// CrossOriginProtection around the whole app refuses forms of other sites. It must
// let two addresses through: login, which another site may start by POST, and
// logout, which refuses other sites by itself, with a page of its own.
func ExampleApp_Register() {
	app := newExampleApp()
	protection := http.NewCrossOriginProtection()
	protection.AddInsecureBypassPattern("POST /auth/login")
	protection.AddInsecureBypassPattern("POST /auth/logout")
	handler := protection.Handler(app.mux)

	for _, path := range []string{"/auth/login", "/auth/logout", "/projects"} {
		form := url.Values{"iss": {app.issuer.URL}}
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Accept", "text/html")
		r.Host = "app.example"
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		to, _, _ := strings.Cut(w.Header().Get("Location"), "?")
		fmt.Println(path, w.Code, cmp.Or(to, w.Header().Get("Content-Type")))
	}
	// Output:
	// /auth/login 303 https://idp.authpi.test/i_test/authorize
	// /auth/logout 403 text/html; charset=utf-8
	// /projects 403 text/plain; charset=utf-8
}

// A page goes to the login. A program gets an error that it can read.
func ExampleApp_RequireAgent() {
	app := newExampleApp()
	app.mux.Handle("GET /projects", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		fmt.Println("the page of", agent.ID)
	})))

	page := app.get("/projects")
	fmt.Println(page.StatusCode, page.Header.Get("Location"))

	w := httptest.NewRecorder()
	app.mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/projects", nil))
	fmt.Print(w.Code, " ", w.Body)

	app.signIn()
	fmt.Println(app.get("/projects").StatusCode)
	// Output:
	// 303 /auth/login?return_to=%2Fprojects
	// 401 {"error":"login_required","error_description":"You are not signed in, or no longer."}
	// the page of usr_ada
	// 200
}

// Agent is for pages that people see who are not signed in, too.
func ExampleApp_Agent() {
	app := newExampleApp()
	app.mux.HandleFunc("GET /welcome", func(w http.ResponseWriter, r *http.Request) {
		if agent, err := app.Agent(r); err == nil {
			fmt.Println("Hello,", agent.Email)
			return
		}
		fmt.Println("Hello, stranger")
	})
	app.get("/welcome")
	app.signIn()
	app.get("/welcome")
	// Output:
	// Hello, stranger
	// Hello, ada@example.com
}

// Before something dangerous the user signs in again.
func ExampleApp_RequireRecent() {
	app := newExampleApp()
	remove := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fmt.Println("removed") })
	app.mux.Handle("GET /remove", app.RequireAgent(app.RequireRecent(5*time.Minute)(remove)))
	app.signIn()
	app.get("/remove")

	app.issuer.Advance(10 * time.Minute)
	answer := app.get("/remove")
	location, err := answer.Location()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.StatusCode, location.Path)
	// Output:
	// removed
	// 303 /auth/login
}

// A page calls an API for the user. The token is refreshed when needed, and stored.
func ExampleApp_AgentOptions() {
	app := newExampleApp()
	app.mux.Handle("GET /projects", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		api := app.client.HTTPClient(agent, app.AgentOptions(r))
		api.Timeout = 30 * time.Second
		answer, err := api.Get(app.issuer.URL + "/userinfo") // this API is the issuer's own
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		defer func() { _ = answer.Body.Close() }()
		fmt.Println(answer.StatusCode)
	})))
	app.signIn()
	app.get("/projects")
	// Output: 200
}

// SignOut ends the sign-in here, for example where an account is closed. Logout goes
// to the issuer as well.
func ExampleApp_SignOut() {
	app := newExampleApp()
	app.mux.HandleFunc("GET /close-account", func(w http.ResponseWriter, r *http.Request) {
		if err := app.SignOut(w, r); err != nil {
			http.Error(w, "still signed in: try again", http.StatusServiceUnavailable)
		}
	})
	app.signIn()
	app.get("/close-account")
	_, err := app.Agent(&http.Request{Header: http.Header{"Cookie": {app.cookie.String()}}, Host: "app.example"})
	fmt.Println(err, app.issuer.Requests("revoke"))
	// Output: authpihttp: not signed in 1
}
