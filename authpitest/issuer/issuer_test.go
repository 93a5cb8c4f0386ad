package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

func (r *running) issuerURL() string { return r.exported["AUTHPI_ISSUER_URL"] }

// An app that took the three lines signs people in.
func TestSignInAndRefresh(t *testing.T) {
	t.Parallel()
	r := start(t, "-token-life", "2m")
	if r.issuerURL() != r.base+"/i_dev" || r.exported["AUTHPI_CLIENT_ID"] != "c_dev" {
		t.Errorf("to paste: %v; want the issuer %s/i_dev", r.exported, r.base)
	}
	client := r.client()
	agent := r.signIn(client, "usr_ada")
	if agent.Email != "ada@example.com" || !agent.HasAccessIn("org_engines", "write", "projects") || !agent.IsOwnerOf("org_poetry") ||
		agent.Organizations[0].Title != "Editor" || agent.ExpiresIn() > 2*time.Minute {
		t.Errorf("got %+v for %s", agent, agent.ExpiresIn())
	}
	if _, err := client.VerifyAccessToken(t.Context(), agent.Tokens.AccessToken, ""); err != nil {
		t.Errorf("the access token: %v", err)
	}
	fresh, err := client.Refresh(t.Context(), agent, nil)
	if err != nil || fresh.Tokens.RefreshToken == agent.Tokens.RefreshToken {
		t.Fatalf("refresh: %v", err)
	}
}

// After logout the browser comes back to the app, where authpihttp and its examples
// have their pages, and nowhere else.
func TestLogout(t *testing.T) {
	t.Parallel()
	r := start(t)
	client := r.client()
	for target, status := range map[string]int{
		"http://127.0.0.1:8080/": 302, "http://127.0.0.1:8080/auth/signed-out": 302, "http://127.0.0.1:8081/": 400,
	} {
		logout, err := client.CreateLogoutURL(&authpi.LogoutOptions{
			IDTokenHint: r.signIn(client, "usr_ada").Tokens.IDToken, PostLogoutRedirectURI: target,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.get(logout); got.status != status || status == 302 && got.location != target {
			t.Errorf("to %s: %d, to %q; want %d", target, got.status, got.location, status)
		}
	}
}

// Whoever has registered another address than the app sends sees both, and the flag.
func TestNotRegistered(t *testing.T) {
	t.Parallel()
	r := start(t, "-redirect", "http://127.0.0.1:8080/callback")
	sent, err := r.client().CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for address, wants := range map[string][]string{
		sent.URL: {defaultRedirect, "http://127.0.0.1:8080/callback", "-redirect)"},
		strings.Replace(sent.URL, "client_id=c_dev", "client_id=c_app", 1): {"c_app", "c_dev", "c_worker", "-client-id)"},
	} {
		got := r.get(address)
		if got.status != http.StatusBadRequest {
			t.Errorf("got %d; want 400", got.status)
		}
		wantTexts(t, got.body, wants...)
	}
}

// The built-in machine has five-minute tokens and memberships of its own.
func TestMachine(t *testing.T) {
	t.Parallel()
	r := start(t)
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: r.issuerURL(), ClientID: "c_worker", ClientSecret: defaultSecret})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := client.ClientCredentials(t.Context(), []string{"projects:read"})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := client.VerifyAccessToken(t.Context(), machine.Tokens.AccessToken, "")
	if err != nil || seen.ID != "agt_worker" || seen.Type != authpi.PrincipalAgent || seen.ExpiresIn() > 5*time.Minute ||
		!seen.HasAccessIn("org_engines", "read", "projects") || seen.HasAccessIn("org_engines", "write", "projects") {
		t.Errorf("got %+v, %v", seen, err)
	}
	if page := r.page(); !strings.Contains(page, "<td>Night worker <code>c_worker</code></td>") {
		t.Errorf("the page does not name the machine:\n%s", page)
	}
	auth := r.client()
	sent, err := auth.CreateAuthorizationURL([]string{"openid"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.get(strings.Replace(sent.URL, "client_id=c_dev", "client_id=c_worker", 1)); got.status != http.StatusBadRequest {
		t.Errorf("a machine that signs people in: %d", got.status)
	}
}

// After a restart the address and the keys are the same, so tokens go on working.
func TestRestart(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "deep", "keys.json")
	first := start(t, "-addr", steadyAddr(), "-keys", keys)
	agent := first.signIn(first.client(), "usr_mary")
	before := first.get(first.issuerURL() + "/jwks.json")
	if info, err := os.Stat(keys); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file of keys: %v, %v; want it for the owner alone", info, err)
	}
	first.stop()

	second := start(t, "-addr", strings.TrimPrefix(first.base, "http://"), "-keys", keys)
	if after := second.get(second.issuerURL() + "/jwks.json"); after.body != before.body || second.issuerURL() != first.issuerURL() {
		t.Errorf("the keys are others at %s", second.issuerURL())
	}
	client := second.client()
	if _, err := client.VerifyAccessToken(t.Context(), agent.Tokens.AccessToken, ""); err != nil {
		t.Errorf("a token from before: %v", err)
	}
	// Sessions end with the process that had them.
	if _, err := client.Refresh(t.Context(), agent, nil); !authpi.SessionEnded(err) {
		t.Errorf("a session from before: %v", err)
	}

	// What a button made is kept, too.
	second.pressed("/keys", map[string][]string{"do": {"rotate"}})
	rotated := second.get(second.issuerURL() + "/jwks.json")
	second.stop()
	third := start(t, "-addr", strings.TrimPrefix(first.base, "http://"), "-keys", keys)
	if got := third.get(third.issuerURL() + "/jwks.json"); got.body != rotated.body || got.body == before.body {
		t.Error("the rotation was forgotten")
	}
}

func TestKeysThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken := filepath.Join(dir, "keys.json")
	r := start(t, "-keys", broken)
	r.stop()
	text, err := os.ReadFile(broken)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, text[:len(text)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string]string{"cut": broken, "a folder": dir} {
		out, err := command(t, nil, "-addr", "127.0.0.1:0", "-keys", keys).CombinedOutput()
		if err == nil || !strings.Contains(string(out), keys) || strings.Contains(string(out), `"d"`) {
			t.Errorf("%s: got %v, %s; want an error that names the file alone", name, err, out)
		}
	}
}

// peopleFile is a file of people around what the test says of them.
type peopleFile struct {
	t    *testing.T
	path string
}

func newPeopleFile(t *testing.T) peopleFile {
	return peopleFile{t, filepath.Join(t.TempDir(), "people.json")}
}

func (f peopleFile) write(people string) {
	f.t.Helper()
	text := `{"organizations": [{"id": "org_1", "name": "Engines"}], "roles": [{"name": "Boss", "scopes": ["owner"]}], ` + people + `}`
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

const one = `{"id": "usr_1", "name": "One", "memberships": {"org_1": "Boss"}, "claims": {"department": "steam"}}`

// The file is read again when it changes: who stays as they were notices nothing,
// who left is gone with their sessions.
func TestPeopleFile(t *testing.T) {
	t.Parallel()
	file := newPeopleFile(t)
	file.write(`"people": [` + one + `, {"id": "usr_2", "name": "Two"}],
		"clients": [{"id": "c_m", "secret": "s", "memberships": {"org_1": ["a:read"]}}]`)
	r := start(t, "-people", file.path)
	client := r.client()
	stays, leaves := r.signIn(client, "usr_1"), r.signIn(client, "usr_2")
	var claims struct{ Department string }
	if err := stays.Claims(&claims); err != nil || claims.Department != "steam" || !stays.IsOwnerOf("org_1") || stays.Organizations[0].Title != "Boss" {
		t.Errorf("got %+v, %+v, %v", stays, claims, err)
	}

	file.write(`"people": [` + one + `, {"id": "usr_3", "name": "Three", "blocked": true}]`)
	if page := r.page(); strings.Contains(page, ">Two<") || !strings.Contains(page, ">Three<") {
		t.Errorf("after the change: %s", page)
	}
	joined := stays.Organizations[0].JoinedAt
	stays, err := client.Refresh(t.Context(), stays, nil)
	if err != nil || !stays.Organizations[0].JoinedAt.Equal(joined) {
		t.Errorf("one who stays: %+v, %v; want to have joined at %s", stays, err, joined)
	}
	if _, err := client.Refresh(t.Context(), leaves, nil); !authpi.SessionEnded(err) {
		t.Errorf("one who left the file: %v", err)
	}
	machine, err := authpi.NewIdpClient(authpi.Config{IssuerURL: r.issuerURL(), ClientID: "c_m", ClientSecret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := machine.ClientCredentials(t.Context(), nil); err == nil {
		t.Error("a machine that left the file gets a token")
	}
	file.write(`"people": [{"id": "usr_1", "memberships": {"org_1": []}}]`)
	if stays, err = client.Refresh(t.Context(), stays, nil); err != nil || !stays.IsMemberOf("org_1") || stays.IsOwnerOf("org_1") {
		t.Errorf("with other scopes: %+v, %v", stays, err)
	}
}

// A file that is broken or gone for the moment changes nobody.
func TestPeopleFileBreaks(t *testing.T) {
	t.Parallel()
	file := newPeopleFile(t)
	file.write(`"people": [` + one + `]`)
	r := start(t, "-people", file.path)
	client := r.client()
	agent := r.signIn(client, "usr_1")
	for _, tc := range []struct {
		name string
		do   func()
		want []string // any of them
	}{
		{"no JSON", func() { file.write("\n\"people\": [,]") }, []string{"line 2"}},
		{"gone", func() { _ = os.Remove(file.path) }, []string{"no such file", "cannot find"}},
	} {
		tc.do()
		page := r.page()
		if !slices.ContainsFunc(tc.want, func(want string) bool { return strings.Contains(page, want) }) || !strings.Contains(page, ">One<") {
			t.Errorf("%s: %s", tc.name, page)
		}
		var err error
		if agent, err = client.Refresh(t.Context(), agent, nil); err != nil || !agent.IsOwnerOf("org_1") {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	file.write(`"people": [` + one + `]`)
	if page := r.page(); strings.Contains(page, "was not taken") {
		t.Errorf("with the file again: %s", page)
	}
}

func TestPeopleThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"no JSON", "people", "line 1"},
		{"a wrong type", "{\n\"people\": {}}", "line 2"},
		{"an unknown field", `{"user": []}`, `unknown field "user"`},
		{"something after it", `{} {}`, "closing brace"},
		{"no ID", `{"people": [{"name": "X"}]}`, "person"},
		{"an ID twice", `{"people": [{"id": "u"}, {"id": "u"}]}`, `"u"`},
		{"the app's client", `{"clients": [{"id": "c_dev"}]}`, `"c_dev"`},
		{"an unknown organization", `{"people": [{"id": "u", "memberships": {"org_9": []}}]}`, `"org_9"`},
		{"an unknown role", `{"organizations": [{"id": "o"}], "people": [{"id": "u", "memberships": {"o": "King"}}]}`, `"King"`},
		{"a membership of another kind", `{"organizations": [{"id": "o"}], "people": [{"id": "u", "memberships": {"o": 7}}]}`, "a list of scopes"},
		{"too long", strings.Repeat(" ", maxPeople+1), "longer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "people.json")
			if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := command(t, nil, "-addr", "127.0.0.1:0", "-keys", "", "-people", file).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tc.want) {
				t.Errorf("got %v, %s; want an error with %s", err, out, tc.want)
			}
		})
	}
}

// What -print-people writes is a file that -people reads, to the same people.
func TestPrintPeople(t *testing.T) {
	t.Parallel()
	out, err := command(t, nil, "-print-people").Output()
	if err != nil || !json.Valid(out) {
		t.Fatalf("got %s, %v", out, err)
	}
	file := filepath.Join(t.TempDir(), "people.json")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if page := start(t, "-people", file).page(); !strings.Contains(page, "Caroline Herschel") || !strings.Contains(page, file) {
		t.Errorf("got %s", page)
	}
}
