package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// world is the MCP server and its issuer, on a clock of their own.
type world struct {
	t        *testing.T
	issuer   *authpitest.Server
	endpoint string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	issuer := newIssuer()
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuer.URL, ClientID: "c_mcp", Now: issuer.Now})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	endpoint := "http://" + server.Listener.Addr().String() + "/mcp"
	if server.Config.Handler, err = newHandler(client, issuer.URL, endpoint); err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections() // the sessions' streams would keep it waiting
		server.Close()
		issuer.Close()
	})
	return &world{t, issuer, endpoint}
}

func (w *world) connect(handler auth.OAuthHandler) *mcp.ClientSession {
	w.t.Helper()
	session, err := connect(w.t.Context(), w.endpoint, handler)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = session.Close() })
	return session
}

// call returns what a model would read.
func call(t *testing.T, session *mcp.ClientSession, tool, organization, name string) string {
	t.Helper()
	args := map[string]any{}
	if organization != "" {
		args["organization"] = organization
	}
	if name != "" {
		args["name"] = name
	}
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		t.Fatalf("%s in %s: %v", tool, organization, err)
	}
	return text(result)
}

// token is one for the server, with these scopes of its own and of org_1.
func (w *world) token(scope string, organization ...string) string {
	return w.issuer.AccessToken(map[string]any{
		"aud": w.endpoint, "scope": scope, "organizations": []authpitest.Organization{{ID: "org_1", Scopes: organization}},
	})
}

// post sends a message of the protocol by hand.
func (w *world) post(token, message string, header ...string) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.endpoint, strings.NewReader(message))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

const (
	hello  = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"hand","version":"1"}}}`
	create = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"create_project","arguments":{"organization":"org_1","name":"engine"}}}`
)

// What a request is refused with, and where that leads.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	metadata := strings.TrimSuffix(w.endpoint, "/mcp") + "/.well-known/oauth-protected-resource/mcp"
	for _, tc := range []struct {
		name, token, message string
		status               int
		challenge            map[string]string // of WWW-Authenticate
	}{
		{"no token", "", hello, 401, map[string]string{"resource_metadata": metadata, "scope": "projects:read"}},
		{"another server's token", w.issuer.AccessToken(map[string]any{"aud": "https://other.example"}), hello, 401, map[string]string{"resource_metadata": metadata}},
		{"an expired token", w.issuer.AccessToken(map[string]any{"aud": w.endpoint, "exp": 1}), hello, 401, map[string]string{"resource_metadata": metadata}},
		{"no access token", w.issuer.Sign(map[string]any{"iss": w.issuer.URL, "aud": w.endpoint, "sub": "x"}, nil), hello, 401, nil},
		{"a token for something else", w.token("openid"), hello, 403, map[string]string{"error": "insufficient_scope", "scope": "projects:read", "resource_metadata": metadata}},
		{"a tool beyond the token's scope", w.token("projects:read", "projects:**"), create, 403, map[string]string{"error": "insufficient_scope", "scope": "projects:write", "resource_metadata": metadata}},
		{"too long", w.token("projects:read"), strings.Repeat(" ", maxBody+1), 413, nil},
		{"a good one", w.token("projects:read"), hello, 200, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			resp := w.post(tc.token, tc.message)
			if resp.StatusCode != tc.status {
				t.Errorf("got %s; want %d", resp.Status, tc.status)
			}
			challenges, err := oauthex.ParseWWWAuthenticate(resp.Header.Values("WWW-Authenticate"))
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range tc.challenge {
				if len(challenges) != 1 || challenges[0].Params[name] != want {
					t.Errorf("the challenge is %v; want %s=%q", challenges, name, want)
				}
			}
		})
	}
	if resp := w.post(w.token("projects:read"), hello, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page: %s", resp.Status)
	}
}

// Without keys nobody is refused for good, and no session ends.
func TestKeysCannotBeHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issuer.Inject(authpitest.Fault{Endpoint: "jwks", Status: http.StatusServiceUnavailable, Times: -1})
	resp := w.post(w.token("projects:read"), hello)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %s, Retry-After %q; want 503", resp.Status, resp.Header.Get("Retry-After"))
	}
	if body, _ := io.ReadAll(resp.Body); bytes.Contains(body, []byte("eyJ")) {
		t.Error("the answer shows a token")
	}
}

// RFC 9728: found by the challenge, and open to scripts.
func TestMetadata(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := strings.TrimSuffix(w.endpoint, "/mcp") + "/.well-known/oauth-protected-resource/mcp"
	found, err := oauthex.GetProtectedResourceMetadata(t.Context(), url, w.endpoint, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.AuthorizationServers) != 1 || found.AuthorizationServers[0] != w.issuer.URL || len(found.ScopesSupported) != 2 {
		t.Errorf("got %+v", found)
	}
}

// The whole way of somebody's own MCP client: from a 401 to the issuer, and back once
// more for the scope of a tool. What it may not do in an organization, it is told.
func TestPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issuer.SetOrganizations("usr_ada",
		authpitest.Organization{ID: "org_engines", Scopes: []string{"projects:**"}},
		authpitest.Organization{ID: "org_observatory", Scopes: []string{"projects:read"}})
	var asked []string
	handler, err := person("c_cli", "http://127.0.0.1:8765/callback", func(_ context.Context, url string) (string, error) {
		query, err := authpi.ParseCallback(url)
		if err != nil {
			return "", err
		}
		asked = append(asked, query.Get("scope"))
		if query.Get("resource") != w.endpoint || query.Get("code_challenge_method") != "S256" {
			t.Errorf("asked for a token with %v", query)
		}
		return w.issuer.SignIn(url, "usr_ada")
	})
	if err != nil {
		t.Fatal(err)
	}
	session := w.connect(handler)
	for _, tc := range []struct{ tool, org, name, want string }{
		{"who_am_i", "", "", `"id":"usr_ada"`},
		{"list_projects", "org_engines", "", `{"projects":[]}`},
		{"list_projects", "org_poetry", "", "insufficient_scope"},
		{"create_project", "org_engines", "difference engine", `{"projects":["difference engine"]}`},
		{"create_project", "org_observatory", "telescope", "insufficient_scope"},
		{"list_projects", "org_observatory", "", `{"projects":[]}`},
	} {
		if got := call(t, session, tc.tool, tc.org, tc.name); !strings.Contains(got, tc.want) {
			t.Errorf("%s in %s: %s; want %s", tc.tool, tc.org, got, tc.want)
		}
	}
	if len(asked) != 2 || asked[0] != "projects:read" || !strings.Contains(asked[1], "projects:write") {
		t.Errorf("scopes asked for: %q; want projects:read, then projects:write, too", asked)
	}
}

func TestPersonCancels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	handler, err := person("c_cli", "http://127.0.0.1:8765/callback", func(_ context.Context, url string) (string, error) {
		return w.issuer.SignIn(url, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t.Context(), w.endpoint, handler); err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("got %v; want access_denied", err)
	}
}

// A machine's session outlives its five-minute tokens.
func TestMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: w.issuer.URL, ClientID: w.issuer.ClientID(), ClientSecret: w.issuer.ClientSecret(), Now: w.issuer.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	session := w.connect(holder{client.ClientCredentialsSource([]string{"projects:read", "projects:write"}, w.endpoint)})
	for round := range 3 {
		if got := call(t, session, "who_am_i", "", ""); !strings.Contains(got, `"id":"agt_worker"`) || !strings.Contains(got, `"type":"agent"`) {
			t.Errorf("round %d: %s", round, got)
		}
		if got := call(t, session, "list_projects", "org_engines", ""); got != `{"projects":[]}` {
			t.Errorf("round %d: %s", round, got)
		}
		if got := call(t, session, "create_project", "org_engines", "loom"); !strings.Contains(got, "insufficient_scope") {
			t.Errorf("round %d: %s", round, got)
		}
		w.issuer.Advance(5 * time.Minute)
	}
	if got := w.issuer.Redemptions("client_credentials"); got != 3 {
		t.Errorf("%d tokens; want one for each five minutes", got)
	}

	// With less scope the server's challenge reaches the caller.
	narrow := w.connect(holder{client.ClientCredentialsSource([]string{"projects:read"}, w.endpoint)})
	_, err = narrow.CallTool(t.Context(), &mcp.CallToolParams{Name: "create_project", Arguments: map[string]any{"organization": "org_engines", "name": "x"}})
	if err == nil || !strings.Contains(err.Error(), "insufficient_scope") {
		t.Errorf("got %v; want insufficient_scope", err)
	}
}

// A web app calls for the user who is signed in there: tokens are refreshed and stored,
// and a new membership shows in the session that is open.
func TestUserOfAWebApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: w.issuer.URL, ClientID: w.issuer.ClientID(), ClientSecret: w.issuer.ClientSecret(), Now: w.issuer.Now,
		RedirectURI: "http://127.0.0.1:8080/auth/callback", Resources: []string{w.endpoint},
	})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := client.CreateAuthorizationURL([]string{"openid", "projects:read", "projects:write"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := w.issuer.SignIn(auth.URL, "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	callback, err := authpi.ParseCallback(answer)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := client.ExchangeCallback(t.Context(), callback, *auth)
	if err != nil {
		t.Fatal(err)
	}
	stored := make(chan authpi.TokenSet, 10)
	session := w.connect(holder{client.TokenSource(agent, &authpi.AgentOptions{
		OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
			stored <- tokens
			return nil
		},
	})})
	if got := call(t, session, "create_project", "org_observatory", "telescope"); !strings.Contains(got, "insufficient_scope") {
		t.Errorf("as a reader: %s", got)
	}
	w.issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_observatory", Scopes: []string{"projects:**"}})
	w.issuer.Advance(31 * time.Minute)
	if got := call(t, session, "create_project", "org_observatory", "telescope"); got != `{"projects":["telescope"]}` {
		t.Errorf("as an editor: %s", got)
	}
	if got := w.issuer.Redemptions("refresh_token"); got != 1 || len(stored) == 0 {
		t.Errorf("%d refreshes, %d sets stored", got, len(stored))
	}
}

// What reads like another tool to the first look is refused by the second.
func TestToolsDecideThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	reader := w.token("projects:read", "projects:**")
	session := w.post(reader, hello).Header.Get("Mcp-Session-Id")
	_ = w.post(reader, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", session)
	disguised := `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"create_project","NAME":"who_am_i","arguments":{"organization":"org_1","name":"engine"}}}`
	body, err := io.ReadAll(w.post(reader, disguised, "Mcp-Session-Id", session).Body)
	if err != nil || bytes.Contains(body, []byte(`\"engine\"`)) {
		t.Errorf("got %s, %v", body, err)
	}
	list := `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"list_projects","arguments":{"organization":"org_1"}}}`
	if body, _ = io.ReadAll(w.post(reader, list, "Mcp-Session-Id", session).Body); !bytes.Contains(body, []byte(`\"projects\":[]`)) {
		t.Errorf("afterwards there are %s", body)
	}
}

// A session belongs to who began it.
func TestSessionOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	session := w.post(w.token("projects:read"), hello).Header.Get("Mcp-Session-Id")
	if session == "" {
		t.Fatal("there is no session")
	}
	other := w.issuer.AccessToken(map[string]any{"aud": w.endpoint, "scope": "projects:read", "sub": "usr_other"})
	list := `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	if resp := w.post(other, list, "Mcp-Session-Id", session); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another user: %s; want 403", resp.Status)
	}
	if resp := w.post(w.token("projects:read"), list, "Mcp-Session-Id", session); resp.StatusCode != http.StatusOK {
		t.Errorf("its own: %s", resp.Status)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), &out, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"id":"usr_ada"`, `"id":"agt_worker"`, `{"projects":["difference engine"]}`, `projects:write in organization "org_observatory"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
	if n := strings.Count(out.String(), "(somebody signs in)"); n != 2 || strings.Contains(out.String(), "eyJ") {
		t.Errorf("%d sign-ins; want two, and no token:\n%s", n, &out)
	}
}

// With an issuer named it serves.
func TestServe(t *testing.T) {
	t.Parallel()
	issuer := newIssuer()
	t.Cleanup(issuer.Close)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	settings := map[string]string{"AUTHPI_ISSUER_URL": issuer.URL, "AUTHPI_CLIENT_ID": "c_mcp", "ADDR": "127.0.0.1:0"}
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, writer, func(name string) string { return settings[name] }) }()
	var line [200]byte
	n, err := reader.Read(line[:])
	if err != nil {
		t.Fatal(err)
	}
	endpoint := strings.TrimSpace(strings.TrimPrefix(string(line[:n]), "The MCP server is at "))
	resp, err := http.Get(strings.TrimSuffix(endpoint, "/mcp") + "/.well-known/oauth-protected-resource/mcp")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var metadata struct{ Resource string }
	if err := json.NewDecoder(resp.Body).Decode(&metadata); err != nil || metadata.Resource != endpoint {
		t.Errorf("got %+v, %v; want the resource %s", metadata, err, endpoint)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
