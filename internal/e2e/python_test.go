package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// One session, two languages: what either package stores the other one reads.
// The access tokens live for less than the refresh buffer, so that every
// CreateAgent, here and there, refreshes.

// shared is an app of two services, one in Go and one in Python.
type shared struct {
	t      *testing.T
	issuer *authpitest.Server
	client *authpi.IdpClient
	python *python
	async  bool // Python's asynchronous client
}

// pythonAnswer is what testdata/session.py says.
type pythonAnswer struct {
	ID            string
	Email         string
	Organizations []authpi.Organization
	MayRead       bool `json:"may_read"`
	MayWrite      bool `json:"may_write"`
	Tokens        string
	Saved         []string
	Auth          string
	JSON          string
	Error         string
	Class         string
}

type sharedCase struct {
	name    string
	options authpitest.Options
	async   bool
	slash   bool // the issuer is written with a slash
}

var sharedCases = []sharedCase{
	{name: "public client"},
	{name: "public client, asynchronous", async: true, slash: true},
	{name: "confidential client", options: authpitest.Options{ClientSecret: "s3cr:et +/%&=?ä"}},
	{name: "confidential client, asynchronous", async: true, options: authpitest.Options{
		ClientSecret: "s3cr:et +/%&=?ä", Algorithm: "EdDSA"}},
	{name: "no ID token on refresh", options: authpitest.Options{OmitIDTokenOnRefresh: true, Algorithm: "RS256"}},
	{name: "no ID token on refresh, asynchronous", async: true, options: authpitest.Options{OmitIDTokenOnRefresh: true}},
	{name: "refresh tokens that stay", options: authpitest.Options{NoRotation: true}},
}

func newShared(t *testing.T, tc sharedCase) *shared {
	t.Helper()
	p := startPython(t)
	tc.options.AccessTokenLifetime = 30 * time.Second
	issuer := authpitest.NewServer(&tc.options)
	t.Cleanup(issuer.Close)
	issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com", EmailVerified: true, Name: "Ada Ünïcode 🚀"})
	issuer.SetOrganizations("usr_ada",
		authpitest.Organization{ID: "org_1", Title: "Größe \"1\"", Scopes: []string{"owner", "projects:read"}},
		authpitest.Organization{ID: "org_2", Scopes: []string{"projects:*"}},
	)
	s := &shared{t: t, issuer: issuer, python: p, async: tc.async}
	cfg := authpi.Config{
		IssuerURL: issuer.URL, ClientID: issuer.ClientID(), ClientSecret: issuer.ClientSecret(), RedirectURI: redirectURI,
	}
	if tc.slash {
		cfg.IssuerURL += "/"
	}
	// Two calls for one session are two requests: nothing is taken from memory
	// that the other language does not know of.
	cfg.RefreshMemory = -1
	// Python refreshes in the last minute of a token, and Go in the second half of its life.
	cfg.Now = func() time.Time { return time.Now().Add(20 * time.Second) }
	s.client = newClient(t, cfg)
	return s
}

// ask has Python do a step.
func (s *shared) ask(do string, more map[string]any) pythonAnswer {
	s.t.Helper()
	client := map[string]any{
		"issuer_url": s.issuer.URL, "client_id": s.issuer.ClientID(), "redirect_uri": redirectURI,
	}
	if secret := s.issuer.ClientSecret(); secret != "" {
		client["client_secret"] = secret
	}
	question := map[string]any{"do": do, "async": s.async, "client": client}
	for name, value := range more {
		question[name] = value
	}
	var answer pythonAnswer
	s.python.ask(question, &answer)
	return answer
}

// inPython rebuilds the agent there, and gives what Python stored.
func (s *shared) inPython(stored string) string {
	s.t.Helper()
	got := s.ask("create", map[string]any{"tokens": stored})
	s.wantAda("Python", got)
	if len(got.Saved) != 1 {
		s.t.Fatalf("Python stored %d sets; want 1", len(got.Saved))
	}
	sameJSON(s.t, "what Python stored and what its agent has", got.Saved[0], got.Tokens)
	return got.Saved[0]
}

func (s *shared) wantAda(who string, got pythonAnswer) {
	s.t.Helper()
	if got.Error != "" {
		s.t.Fatalf("%s: %s (%s)", who, got.Error, got.Class)
	}
	if got.ID != "usr_ada" || got.Email != "ada@example.com" || !got.MayRead || !got.MayWrite ||
		len(got.Organizations) != 2 || got.Organizations[0].Title != "Größe \"1\"" || got.Organizations[1].Title != "" {
		s.t.Errorf("%s's agent = %+v", who, got)
	}
}

// inGo rebuilds the agent here, and gives what was stored.
func (s *shared) inGo(stored string) string {
	s.t.Helper()
	tokens, err := authpi.ParseTokenSet([]byte(stored))
	if err != nil {
		s.t.Fatalf("ParseTokenSet: %v", err)
	}
	var saved []string
	agent, err := s.client.CreateAgent(s.t.Context(), tokens, &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, set authpi.TokenSet) error {
			saved = append(saved, marshal(s.t, set))
			return nil
		},
	})
	if err != nil {
		s.t.Fatalf("CreateAgent: %v", err)
	}
	s.wantAda("Go", described(agent))
	if len(saved) != 1 {
		s.t.Fatalf("Go stored %d sets; want 1", len(saved))
	}
	return saved[0]
}

func described(agent *authpi.Agent) pythonAnswer {
	return pythonAnswer{
		ID: agent.ID, Email: agent.Email, Organizations: agent.Organizations,
		MayRead:  agent.HasAccessIn("org_1", "read", "projects"),
		MayWrite: agent.HasAccessIn("org_2", "write", "projects"),
	}
}

func (s *shared) signIn(authURL string) string {
	s.t.Helper()
	callback, err := s.issuer.SignIn(authURL, "usr_ada")
	if err != nil {
		s.t.Fatal(err)
	}
	return callback
}

var sharedScopes = []string{"openid", "email", "profile", "offline_access"}

// startInGo starts a login, and gives what an app puts into the session.
func (s *shared) startInGo(resources []string) (url, stored string) {
	s.t.Helper()
	auth, err := s.client.CreateAuthorizationURL(sharedScopes, &authpi.AuthorizationOptions{Resources: resources})
	if err != nil {
		s.t.Fatal(err)
	}
	return auth.URL, marshal(s.t, auth)
}

func (s *shared) startInPython(resources []string) (url, stored string) {
	s.t.Helper()
	got := s.ask("authorize", map[string]any{"scopes": sharedScopes, "resources": resources})
	if got.Error != "" {
		s.t.Fatalf("Python: %s", got.Error)
	}
	return s.parseAuth(got.Auth).URL, got.Auth
}

func (s *shared) parseAuth(stored string) authpi.AuthorizationURL {
	s.t.Helper()
	var auth authpi.AuthorizationURL
	if err := json.Unmarshal([]byte(stored), &auth); err != nil {
		s.t.Fatalf("stored login: %v", err)
	}
	return auth
}

func (s *shared) finishInGo(callback, stored string) string {
	s.t.Helper()
	query, err := authpi.ParseCallback(callback)
	if err != nil {
		s.t.Fatal(err)
	}
	agent, err := s.client.ExchangeCallback(s.t.Context(), query, s.parseAuth(stored))
	if err != nil {
		s.t.Fatalf("ExchangeCallback: %v", err)
	}
	s.wantAda("Go", described(agent))
	return marshal(s.t, agent.Tokens)
}

func (s *shared) finishInPython(callback, stored string) string {
	s.t.Helper()
	got := s.ask("callback", map[string]any{"callback": callback, "auth": stored})
	s.wantAda("Python", got)
	return got.Tokens
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func sameJSON(t *testing.T, what, a, b string) {
	t.Helper()
	var left, right any
	if err := errors.Join(json.Unmarshal([]byte(a), &left), json.Unmarshal([]byte(b), &right)); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !reflect.DeepEqual(left, right) {
		t.Errorf("%s differ:\n%s\n%s", what, a, b)
	}
}

func TestPythonSharesSessions(t *testing.T) {
	t.Parallel()
	pythonEnv(t)
	for _, tc := range sharedCases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newShared(t, tc)
			for _, resources := range [][]string{nil, {"https://api.example/ä?x=1", "https://b.example"}} {
				if resources != nil && !strings.HasPrefix(tc.name, "public client") {
					continue // has nothing to do with how tokens are refreshed
				}
				for range 2 {
					s.issuer.ResetCounters()
					url, login := s.startInGo(resources)
					first := s.finishInPython(s.signIn(url), login)
					stored := s.inPython(s.inGo(s.inPython(s.inGo(first))))
					s.wantSession(stored, 4)

					s.issuer.ResetCounters()
					url, login = s.startInPython(resources)
					first = s.finishInGo(s.signIn(url), login)
					stored = s.inGo(s.inPython(s.inGo(s.inPython(first))))
					s.wantSession(stored, 4)
				}
			}
		})
	}
}

// wantSession wants the session alive after so many refreshes, and its tokens
// good: neither language has spent a refresh token of the other's twice.
func (s *shared) wantSession(stored string, refreshes int) {
	s.t.Helper()
	if all, good := s.issuer.Grants("refresh_token"), s.issuer.Redemptions("refresh_token"); all != refreshes || good != refreshes {
		s.t.Errorf("%d refreshes, %d of them granted; want %d", all, good, refreshes)
	}
	tokens, err := authpi.ParseTokenSet([]byte(stored))
	if err != nil {
		s.t.Fatal(err)
	}
	if !s.issuer.SessionAlive(tokens.RefreshToken) {
		s.t.Error("the session is dead")
	}
	if _, err := s.client.VerifyAccessToken(s.t.Context(), tokens.AccessToken, audience(s.t, tokens.AccessToken)); err != nil {
		s.t.Errorf("VerifyAccessToken: %v", err)
	}
}

// audience is the first one of a token, whatever it is.
func audience(t *testing.T, token string) string {
	t.Helper()
	payload := strings.Split(token, ".")[1]
	var claims struct {
		Audience any `json:"aud"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		t.Fatalf("access token: %v", err)
	}
	if list, ok := claims.Audience.([]any); ok {
		claims.Audience = list[0]
	}
	text, _ := claims.Audience.(string)
	return text
}

// The session's end is the same error in both, whichever of them spent the token.
func TestPythonSpentTokens(t *testing.T) {
	t.Parallel()
	pythonEnv(t)
	for _, async := range []bool{false, true} {
		t.Run(map[bool]string{false: "blocking", true: "asynchronous"}[async], func(t *testing.T) {
			t.Parallel()
			s := newShared(t, sharedCase{async: async})
			url, login := s.startInGo(nil)
			old := s.finishInGo(s.signIn(url), login)
			s.inPython(old)
			spent, err := authpi.ParseTokenSet([]byte(old))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.client.CreateAgent(t.Context(), expired(spent), nil); !errors.Is(err, authpi.ErrInvalidGrant) || !authpi.SessionEnded(err) {
				t.Errorf("Go, with the token that Python spent: %v; want invalid_grant and the session's end", err)
			}

			url, login = s.startInPython(nil)
			old = s.finishInPython(s.signIn(url), login)
			s.inGo(old)
			if got := s.ask("create", map[string]any{"tokens": old}); got.Error != "invalid_grant" || got.Class != "RefreshError" {
				t.Errorf("Python, with the token that Go spent: %+v; want RefreshError invalid_grant", got)
			}
		})
	}
}

// With Reload a Go service that holds an old set finds the one that Python
// stored, and spends nothing twice.
func TestPythonWasFirst(t *testing.T) {
	t.Parallel()
	s := newShared(t, sharedCase{})
	url, login := s.startInPython(nil)
	old := s.finishInGo(s.signIn(url), login)
	store := s.inPython(old)
	spent, err := authpi.ParseTokenSet([]byte(old))
	if err != nil {
		t.Fatal(err)
	}
	s.issuer.ResetCounters()
	agent, err := s.client.CreateAgent(t.Context(), expired(spent), &authpi.AgentOptions{
		Reload:    func(context.Context) (authpi.TokenSet, error) { return authpi.ParseTokenSet([]byte(store)) },
		OnRefresh: func(context.Context, authpi.TokenSet) error { t.Error("OnRefresh was called"); return nil },
	})
	if err != nil {
		t.Fatalf("CreateAgent: %v", err)
	}
	sameJSON(t, "the agent's tokens and the store's", marshal(t, agent.Tokens), store)
	if n := s.issuer.Grants("refresh_token"); n != 0 {
		t.Errorf("%d refreshes; want none", n)
	}
	s.inPython(marshal(t, agent.Tokens))
}

// Both read the storage JSON and write it again without loss, in odd shapes too.
func TestPythonStorageJSON(t *testing.T) {
	t.Parallel()
	s := newShared(t, sharedCase{})
	for _, stored := range []string{
		`{"access_token":"a","expires_at":1}`,
		`{"access_token":"","expires_at":0,"token_type":"DPoP","refresh_token":null,"id_token":null,"subject_hint":null,"scope":null}`,
		`{"access_token":"ä\u00e4\ud83d\ude80\"\\\n\t\u0000\u2028</script>","expires_at":-5,"refresh_token":"r","unknown":{"a":[1]}}`,
		`{ "scope":"openid a:b","subject_hint":"usr_1","id_token":"x.y.z","refresh_token":"r","expires_at":253402300799,"access_token":"a" }`,
	} {
		tokens, err := authpi.ParseTokenSet([]byte(stored))
		if err != nil {
			t.Errorf("ParseTokenSet(%s): %v", stored, err)
			continue
		}
		wrote := marshal(t, tokens)
		theirs := s.ask("echo", map[string]any{"kind": "tokens", "json": stored})
		sameJSON(t, "the set as Go and as Python writes it", wrote, theirs.JSON)
		back := s.ask("echo", map[string]any{"kind": "tokens", "json": wrote})
		sameJSON(t, "Go's set and Python's reading of it", wrote, back.JSON)
	}
	for _, stored := range []string{
		`{"url":"https://i/authorize?a=b&c=%C3%A4","code_verifier":"v","state":"s","nonce":"n"}`,
		`{"url":"u","code_verifier":"ä\u0000\ud83d\ude80","state":"","nonce":"</script>","resources":[],"unknown":1}`,
		`{"nonce":"n","state":"s","code_verifier":"v","url":"u","resources":["https://a","https://b","https://a"]}`,
	} {
		wrote := marshal(t, s.parseAuth(stored))
		theirs := s.ask("echo", map[string]any{"kind": "auth", "json": stored})
		sameJSON(t, "the login as Go and as Python writes it", wrote, theirs.JSON)
		back := s.ask("echo", map[string]any{"kind": "auth", "json": wrote})
		sameJSON(t, "Go's login and Python's reading of it", wrote, back.JSON)
	}
}

// A callback belongs to one login in both languages.
func TestPythonCallbackRefusals(t *testing.T) {
	t.Parallel()
	s := newShared(t, sharedCase{})
	goURL, goLogin := s.startInGo(nil)
	_, pythonLogin := s.startInPython(nil)
	callback := s.signIn(goURL)
	if got := s.ask("callback", map[string]any{"callback": callback, "auth": pythonLogin}); got.Error != "invalid_state" {
		t.Errorf("Python with another login: %+v; want invalid_state", got)
	}
	query, err := authpi.ParseCallback(callback)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.ExchangeCallback(t.Context(), query, s.parseAuth(pythonLogin)); !errors.Is(err, authpi.ErrInvalidState) {
		t.Errorf("Go with another login: %v; want invalid_state", err)
	}
	stored := s.finishInPython(callback, goLogin)
	if _, err := s.client.ExchangeCallback(t.Context(), query, s.parseAuth(goLogin)); !errors.Is(err, authpi.ErrInvalidGrant) {
		t.Errorf("Go with the code that Python redeemed: %v; want invalid_grant", err)
	}
	// Redeemed twice, so the issuer has ended the session (RFC 6749 section 4.1.2).
	if got := s.ask("create", map[string]any{"tokens": stored}); got.Error != "invalid_grant" {
		t.Errorf("Python after a code was redeemed twice: %+v; want invalid_grant", got)
	}
}
