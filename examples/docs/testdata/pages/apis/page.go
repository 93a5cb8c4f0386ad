package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

const resource = "https://api.example.com"

type store struct{}

func (store) list(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprint(w, "projects of "+r.PathValue("org"))
}

func (store) create(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }

func me(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	_, _ = fmt.Fprint(w, agent.Type, " ", agent.ID)
}

func newAPI(issuerURL, clientID, resource string) (http.Handler, error) {
	//page:block Guard it
	//page:from api/projects/projects.go
	//page:fault Resource:             resource, => Resource: "https://other.example",
	//page:fault []string{issuerURL} => nil
	//page:fault "projects:write" => "projects:delete"
	var s store
	org := func(r *http.Request) string { return r.PathValue("org") }
	mayRead := authpihttp.RequireAccess("read", "projects", org)
	mayWrite := authpihttp.RequireAccess("write", "projects", org)
	//page:block Guard it
	//page:from api/projects/projects.go
	//page:fault mux.Handle(bearer.Metadata()) =>
	//page:fault bearer.Require(http.HandlerFunc(me)) => http.HandlerFunc(me)
	//page:fault mayRead(http.HandlerFunc(s.list)) => http.HandlerFunc(s.list)
	//page:fault mayWrite(http.HandlerFunc(s.create)) => mayRead(http.HandlerFunc(s.create))
	_, _ = mayRead, mayWrite // where a fault leaves one out
	return mux, nil
}

//page:block Without net/http
//page:fault return http.StatusUnauthorized => return http.StatusForbidden
//page:fault return http.StatusServiceUnavailable => return http.StatusUnauthorized
//page:fault "read" => "delete"
//page:fault "https://api.example.com" => "https://other.example"

//page:block Call an API for a user
//page:fault app.AgentOptions(r) => nil
//page:fault org_engines => org_observatory

func Page(t *testing.T) {
	issuer := development(t)
	api, err := newAPI(issuer.URL, "c_api", resource)
	if err != nil {
		t.Fatal(err)
	}
	answers(t, issuer, api)
	keysAway(t)
	forUser(t, issuer, api)
}

// tokenOf returns an access token for an audience, of a reader of org_engines.
func tokenOf(issuer *authpitest.Server, audience string) string {
	return issuer.AccessToken(map[string]any{
		"sub": "usr_mary", "aud": audience,
		"organizations": []map[string]any{{"id": "org_engines", "scopes": []string{"projects:read"}}},
	})
}

// answers asks for what callers get, of the API and of verify.
func answers(t *testing.T, issuer *authpitest.Server, api http.Handler) {
	client, good := newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_api"}), tokenOf(issuer, resource)
	for _, tc := range []struct {
		name, method, org, token string
		status                   int
		challenge                string
	}{
		{"no token", "GET", "org_engines", "", 401, "resource_metadata="},
		{"bad token", "GET", "org_engines", good + "x", 401, `error="invalid_token"`},
		{"another API's token", "GET", "org_engines", tokenOf(issuer, "https://other.example"), 401, `error="invalid_token"`},
		{"may read", "GET", "org_engines", good, 200, ""},
		{"may not write", "POST", "org_engines", good, 403, `scope="projects:write"`},
		{"may write", "POST", "org_engines", issuer.AccessToken(map[string]any{
			"aud": resource, "organizations": []map[string]any{{"id": "org_engines", "scopes": []string{"projects:write"}}},
		}), 201, ""},
		{"another organization", "GET", "org_observatory", good, 403, `error="insufficient_scope"`},
	} {
		w := ask(api, tc.method, "/orgs/"+tc.org+"/projects", tc.token)
		if got := w.Header().Get("WWW-Authenticate"); w.Code != tc.status || !strings.Contains(got, tc.challenge) {
			t.Errorf("%s: got %d %s; want %d %s", tc.name, w.Code, got, tc.status, tc.challenge)
		}
		if tc.token != "" && tc.method == "GET" {
			if got := verify(t.Context(), client, tc.token, tc.org); got != tc.status {
				t.Errorf("%s: verify returns %d; want %d", tc.name, got, tc.status)
			}
		}
	}
	if w := ask(api, "GET", "/me", good); w.Code != 200 || w.Body.String() != "user usr_mary" {
		t.Errorf("me: got %d %s", w.Code, w.Body)
	}
	if w := ask(api, "GET", "/me", ""); w.Code != 401 {
		t.Errorf("me, without a token: got %d %s", w.Code, w.Body)
	}
	if w := ask(api, "GET", "/me?access_token="+good, ""); w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_request") {
		t.Errorf("a token in the query: got %d %s", w.Code, w.Body)
	}
	metadata := ask(api, "GET", "/.well-known/oauth-protected-resource", "").Body.String()
	for _, part := range []string{issuer.URL, resource, "projects:read", "projects:write"} {
		if !strings.Contains(metadata, `"`+part+`"`) {
			t.Errorf("the metadata lacks %s: %s", part, metadata)
		}
	}
}

func keysAway(t *testing.T) {
	issuer := development(t)
	issuer.Inject(authpitest.Fault{Endpoint: "jwks", Status: 502, Times: -1})
	api, err := newAPI(issuer.URL, "c_api", resource)
	if err != nil {
		t.Fatal(err)
	}
	client, token := newClient(t, authpi.Config{IssuerURL: issuer.URL, ClientID: "c_api"}), tokenOf(issuer, resource)
	if w := ask(api, "GET", "/me", token); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("without keys: got %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if got := verify(t.Context(), client, token, "org_engines"); got != 503 {
		t.Errorf("without keys: verify returns %d", got)
	}
}

// forUser calls the page's API from an app, for whom the access token expires on the way.
// Started again, the app finds the new tokens in its store.
func forUser(t *testing.T, issuer *authpitest.Server, api http.Handler) {
	signIns, late, onTheWay := memstore.New(), time.Duration(0), 31*time.Minute
	app := func(cfg authpi.Config) http.Handler {
		client := newClient(t, cfg)
		app := authpihttp.New(client, signIns, &authpihttp.Options{Keys: [][]byte{make([]byte, 32)}})
		mux := http.NewServeMux()
		app.Register(mux)
		mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			late += onTheWay
			resp, err := callAPI(r, client, app)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			w.WriteHeader(resp.StatusCode)
			_ = resp.Write(w)
		})))
		return mux
	}
	cfg := authpi.Config{
		IssuerURL: issuer.URL, ClientID: "c_app", Resources: []string{resource}, Now: func() time.Time { return time.Now().Add(late) },
		HTTPClient: &http.Client{Transport: transport{"api.example.com": api}},
	}
	var site http.Handler
	url := start(t, cfg, func(at authpi.Config) http.Handler {
		cfg, site = at, app(at)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { site.ServeHTTP(w, r) })
	})
	browser := newBrowser(t)
	signIn(t, browser, issuer, url, "usr_ada")
	wantPage(t, browser, url+"/", 200, "projects of org_engines")
	site, onTheWay = app(cfg), 0
	wantPage(t, browser, url+"/", 200, "projects of org_engines")
	if issuer.Sessions("usr_ada") != 1 {
		t.Error("the tokens of the call were not stored: an old one ended the session")
	}
}
