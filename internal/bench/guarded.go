package bench

import (
	"context"
	"encoding/gob"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// Page serves a guarded page to somebody who is signed in, or does a part of it.
type Page struct {
	Name string
	New  func(n int) (serve func() error)
}

// Names of the contenders of this row alone.
const (
	CreateAgentAlone = "create-agent"
	GoOIDCWithSCS    = "go-oidc+scs"
)

// Pages find out who is there, and ask whether they may write in the last of n
// organizations. The page by hand keeps the tokens in a session of scs and verifies
// the ID token by go-oidc on each request, as an app must whose store is not sealed.
func Pages() []Page {
	return []Page{
		{CreateAgentAlone, func(n int) func() error {
			person := signedIn(n)
			stored, err := person.tokens.MarshalJSON()
			if err != nil {
				panic(err)
			}
			return func() error {
				tokens, err := authpi.ParseTokenSet(stored)
				if err != nil {
					return err
				}
				_, err = person.client.CreateAgent(context.Background(), tokens, nil)
				return err
			}
		}},
		{Ours, func(n int) func() error { return signedIn(n).serve }},
		{GoOIDCWithSCS, func(n int) func() error { return pageByHand(signedIn(n), n) }},
	}
}

// person is signed in to an app of ours, whose store is in memory.
type person struct {
	issuer *authpitest.Server
	client *authpi.IdpClient
	tokens authpi.TokenSet
	page   http.Handler
	r      *http.Request
}

func signedIn(n int) *person {
	p := &person{issuer: authpitest.NewInMemory(&authpitest.Options{
		ClientID: ClientID, ClientSecret: "hush", AccessTokenLifetime: 24 * time.Hour,
	})}
	p.issuer.AddUser(authpitest.User{ID: Subject, Email: "ada@example.com", EmailVerified: true})
	var orgs []authpitest.Organization
	for _, org := range Memberships(n, 3) {
		orgs = append(orgs, authpitest.Organization{ID: org.ID, Scopes: append(slices.Clone(org.Scopes), "projects:write")})
	}
	p.issuer.SetOrganizations(Subject, orgs...)
	var err error
	p.client, err = authpi.NewIdpClient(authpi.Config{
		IssuerURL: p.issuer.URL, ClientID: ClientID, ClientSecret: "hush",
		RedirectURI: "https://app.example/auth/callback", HTTPClient: p.issuer.Client(),
	})
	if err != nil {
		panic(err)
	}
	app := authpihttp.New(p.client, nil, nil)
	mux := http.NewServeMux()
	app.Register(mux)
	last := OrgID(n - 1)
	mayWrite := authpihttp.RequireAccess("write", "projects", func(*http.Request) string { return last })
	p.page = app.RequireAgent(mayWrite(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent, _ := authpihttp.AgentFrom(r.Context())
		p.tokens = agent.Tokens
		w.WriteHeader(http.StatusNoContent)
	})))
	login := httptest.NewRecorder()
	mux.ServeHTTP(login, httptest.NewRequest(http.MethodGet, "https://app.example/auth/login", nil))
	location, err := p.issuer.SignIn(login.Header().Get("Location"), Subject)
	if err != nil {
		panic(err)
	}
	callback := httptest.NewRecorder()
	mux.ServeHTTP(callback, withCookies(httptest.NewRequest(http.MethodGet, location, nil), login))
	p.r = withCookies(httptest.NewRequest(http.MethodGet, "https://app.example/projects", nil), callback)
	if err := p.serve(); err != nil {
		panic(err)
	}
	return p
}

func withCookies(r *http.Request, from *httptest.ResponseRecorder) *http.Request {
	for _, c := range from.Result().Cookies() {
		if c.MaxAge >= 0 {
			r.AddCookie(c)
		}
	}
	return r
}

func (p *person) serve() error { return serve(p.page, p.r) }

// quiet is the least that a handler can write to.
type quiet struct {
	header http.Header
	status int
}

func (q *quiet) Header() http.Header         { return q.header }
func (q *quiet) Write(b []byte) (int, error) { return len(b), nil }
func (q *quiet) WriteHeader(status int)      { q.status = status }

func serve(page http.Handler, r *http.Request) error {
	w := &quiet{header: http.Header{}}
	page.ServeHTTP(w, r)
	if w.status != http.StatusNoContent {
		return fmt.Errorf("got status %d", w.status)
	}
	return nil
}

// sessionTokens is what the app by hand keeps in its session.
type sessionTokens struct {
	Token   oauth2.Token
	IDToken string
}

func pageByHand(p *person, n int) func() error {
	gob.Register(sessionTokens{})
	sessions := scs.New()
	ctx, err := sessions.Load(context.Background(), "")
	if err != nil {
		panic(err)
	}
	sessions.Put(ctx, "tokens", sessionTokens{
		oauth2.Token{AccessToken: p.tokens.AccessToken, RefreshToken: p.tokens.RefreshToken, Expiry: p.tokens.ExpiresAt}, p.tokens.IDToken,
	})
	id, _, err := sessions.Commit(ctx)
	if err != nil {
		panic(err)
	}
	keys := oidc.ClientContext(context.Background(), p.issuer.Client())
	verifier := oidc.NewVerifier(p.issuer.URL, oidc.NewRemoteKeySet(keys, p.issuer.URL+"/jwks.json"), &oidc.Config{ClientID: ClientID, SupportedSigningAlgs: []string{"ES256"}})
	last := OrgID(n - 1)
	page := sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stored, ok := sessions.Get(r.Context(), "tokens").(sessionTokens)
		if !ok || !stored.Token.Valid() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		who, err := verifiedClaims(r.Context(), verifier, stored.IDToken)
		if err != nil || !slices.ContainsFunc(who.Organizations, func(o Organization) bool {
			return o.ID == last && slices.Contains(o.Scopes, "projects:write")
		}) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	r := httptest.NewRequest(http.MethodGet, "https://app.example/projects", nil)
	r.AddCookie(&http.Cookie{Name: sessions.Cookie.Name, Value: id})
	return func() error { return serve(page, r) }
}

func verifiedClaims(ctx context.Context, verifier *oidc.IDTokenVerifier, idToken string) (*Claims, error) {
	verified, err := verifier.Verify(ctx, idToken)
	if err != nil {
		return nil, err
	}
	who := &Claims{}
	return who, verified.Claims(who)
}

// APICalls are requests for a guarded API with a token that was not seen before. The
// handlers of the peers do by hand what Bearer does.
func APICalls() []Reader {
	calls := []Reader{{Ours, func(is *Issuer) func(string) (any, error) {
		api, err := authpihttp.NewBearer(NewClient(is), nil)
		if err != nil {
			panic(err)
		}
		guarded := api.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
		return func(token string) (any, error) { return nil, serve(guarded, apiCall(token)) }
	}}}
	for _, peer := range Verifiers() {
		if peer.Name == GoOIDC || peer.Name == JWX {
			calls = append(calls, Reader{peer.Name, func(is *Issuer) func(string) (any, error) {
				verify := peer.New(is)
				guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
					if _, err := verify(token); !found || err != nil {
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					w.WriteHeader(http.StatusNoContent)
				})
				return func(token string) (any, error) { return nil, serve(guarded, apiCall(token)) }
			}})
		}
	}
	return calls
}

func apiCall(token string) *http.Request {
	return &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/projects"}, Header: http.Header{"Authorization": {"Bearer " + token}}}
}
