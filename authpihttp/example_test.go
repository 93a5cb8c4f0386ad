package authpihttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// webApp is all that an application needs for signing people in. A nil store keeps
// sign-ins in memory.
func webApp(config authpi.Config, store authpihttp.Store) (http.Handler, error) {
	client, err := authpi.NewIdpClient(config)
	if err != nil {
		return nil, err
	}
	app := authpihttp.New(client, store, nil)
	mux := http.NewServeMux()
	app.Register(mux)
	mux.Handle("/", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		fmt.Fprintln(w, "Hello,", agent.Email)
	})))
	return mux, nil
}

// A browser that opens a page is sent to the issuer and comes back to the page,
// signed in.
func ExampleApp() {
	issuer := exampleIssuer()
	defer issuer.Close()
	site := httptest.NewUnstartedServer(nil)
	handler, err := webApp(authpi.Config{
		IssuerURL: issuer.URL, ClientID: issuer.ClientID(),
		RedirectURI: "http://" + site.Listener.Addr().String() + "/auth/callback",
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	site.Config.Handler = handler
	site.Start()
	defer site.Close()

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		fmt.Println(r.Method, r.URL.Path)
		if r.URL.Path == "/i_test/authorize" {
			return http.ErrUseLastResponse // a person signs in here
		}
		return nil
	}}
	location, _ := open(browser, site.URL+"/projects")
	callback, err := issuer.SignIn(location, "usr_ada")
	if err != nil {
		log.Fatal(err)
	}
	_, page := open(browser, callback)
	fmt.Print(page)
	// Output:
	// GET /auth/login
	// GET /i_test/authorize
	// GET /projects
	// Hello, ada@example.com
}

// The organization comes out of the route, for pages and APIs alike.
func ExampleRequireAccess() {
	issuer := exampleIssuer()
	defer issuer.Close()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID()})
	if err != nil {
		log.Fatal(err)
	}
	api, err := authpihttp.NewBearer(client, &authpihttp.BearerOptions{Resource: "https://api.example"})
	if err != nil {
		log.Fatal(err)
	}
	org := func(r *http.Request) string { return r.PathValue("org") }
	projects := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		fmt.Fprintf(w, "the projects of %s, for %s", r.PathValue("org"), agent.ID)
	})
	mux := http.NewServeMux()
	mux.Handle(api.Metadata())
	mux.Handle("GET /orgs/{org}/projects", api.Require(authpihttp.RequireAccess("read", "projects", org)(projects)))

	token := issuer.AccessToken(map[string]any{
		"sub": "usr_ada", "aud": "https://api.example",
		"organizations": []map[string]any{{"id": "org_engines", "scopes": []string{"projects:read"}}},
	})
	for _, try := range []struct{ path, authorization string }{
		{"/orgs/org_engines/projects", "Bearer " + token},
		{"/orgs/org_observatory/projects", "Bearer " + token},
		{"/orgs/org_engines/projects", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, try.path, nil)
		if try.authorization != "" {
			r.Header.Set("Authorization", try.authorization)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			fmt.Println(w.Code, w.Body)
			continue
		}
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	}
	// Output:
	// 200 the projects of org_engines, for usr_ada
	// 403 Bearer realm="api", error="insufficient_scope", error_description="the token names no membership in this organization", resource_metadata="https://api.example/.well-known/oauth-protected-resource"
	// 401 Bearer realm="api", resource_metadata="https://api.example/.well-known/oauth-protected-resource"
}

// An app that keeps sign-ins by itself ends them where the issuer says so.
func ExampleBackchannelLogout() {
	issuer := exampleIssuer()
	defer issuer.Close()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID()})
	if err != nil {
		log.Fatal(err)
	}
	logout := authpihttp.BackchannelLogout(client, func(_ context.Context, token authpi.LogoutToken) error {
		fmt.Println("sign out", token.Subject)
		return nil
	}, nil)

	form := "logout_token=" + issuer.LogoutToken(map[string]any{"sub": "usr_ada"})
	for range 2 {
		status, body, _ := post(logout, form)
		fmt.Println(strings.TrimSpace(fmt.Sprintln(status, body)))
	}
	// Output:
	// sign out usr_ada
	// 200
	// 400 {"error":"invalid_request","error_description":"jti: the logout token was used before"}
}

func exampleIssuer() *authpitest.Server {
	issuer := authpitest.NewServer(nil)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com", EmailVerified: true})
	return issuer
}

// open opens a page as a browser does, and returns where it leads to, or its text.
func open(browser *http.Client, url string) (location, page string) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	answer, err := browser.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	return answer.Header.Get("Location"), string(body)
}
