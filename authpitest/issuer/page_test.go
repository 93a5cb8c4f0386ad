package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
)

func digestOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:4])
}

func wantTexts(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}

// The page shows who is there and what was asked, and no secret of it.
func TestPage(t *testing.T) {
	t.Parallel()
	r := start(t, "-client-secret", "TheClientSecret")
	wantTexts(t, r.page(), "Nobody is signed in.", "None yet.", "Ada Lovelace", "Editor at Analytical Engines",
		"observations:** projects:read at Royal Observatory", "In no organization", "in the terminal", defaultRedirect)
	client := r.client()
	agent := r.signIn(client, "usr_ada")
	fresh, err := client.Refresh(t.Context(), agent, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The old refresh token once more, by another process that knows no better.
	if _, err := r.client().Refresh(t.Context(), agent, nil); !errors.Is(err, authpi.ErrInvalidGrant) {
		t.Fatalf("a spent refresh token: %v", err)
	}
	page := r.page()
	wantTexts(t, page, "Nobody is signed in.", // reuse has ended the session
		digestOf(agent.Tokens.RefreshToken)+"</code> → <code>"+digestOf(fresh.Tokens.RefreshToken),
		"invalid_grant: the refresh token was used before", "authorization_code")
	if n := strings.Count(page, "<td>Ada Lovelace <code>c_dev</code></td>"); n != 3 {
		t.Errorf("%d requests are Ada's; want 3", n)
	}
	for _, tokens := range []authpi.TokenSet{agent.Tokens, fresh.Tokens} {
		for _, secret := range []string{tokens.AccessToken, tokens.RefreshToken, tokens.IDToken} {
			if strings.Contains(page, secret) || strings.Contains(page, secret[len(secret)-20:]) {
				t.Error("the page shows a token")
			}
		}
	}
	if strings.Contains(page, "TheClientSecret") {
		t.Error("the page shows the client's secret")
	}
}

// One line for each token request, whatever came of it.
func TestRequestLog(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.signIn(r.client(), "usr_luigi")
	post := func(contentType, body string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, r.issuerURL()+"/token", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		req.SetBasicAuth("c_basic", "x")
		if resp, err := browser.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}
	const form = "application/x-www-form-urlencoded"
	for _, tc := range []struct{ name, fault, contentType, body, want string }{
		{"unknown client", "", form, "grant_type=refresh_token&refresh_token=x", "401 invalid_client"},
		{"no form", "", "application/json", "{}", "415 invalid_content_type"},
		{"broken", "", form, "%zz", "400 invalid_request"},
		{"too long", "", form, "x=" + strings.Repeat("y", maxSeen), "413 invalid_request"},
		{"503", "token-503", form, "grant_type=x", "503 Service Unavailable"},
		{"a page", "token-page", form, "grant_type=x", "200 no tokens in it"},
		{"cut", "refresh-cut", form, "grant_type=refresh_token", "connection cut"},
		{"many letters", "", form, "grant_type=" + strings.Repeat("g", 2000), strings.Repeat("g", 80) + "…</td>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.fault != "" {
				r.pressed("/faults", url.Values{"fault": {tc.fault}, "times": {"1"}})
			}
			post(tc.contentType, tc.body)
			rows := strings.Split(r.page(), "<tr>")
			wantTexts(t, rows[2], tc.want, "<code>c_basic</code>") // the newest
		})
	}
	for range maxRequests {
		post(form, "")
	}
	if n := strings.Count(r.page(), "<tr>"); n != maxRequests+1 {
		t.Errorf("%d rows; want the last %d and a head", n, maxRequests)
	}
}

func TestMembershipButton(t *testing.T) {
	t.Parallel()
	r := start(t)
	client := r.client()
	agent := r.signIn(client, "usr_caroline")
	r.pressed("/memberships", url.Values{
		"person": {"usr_caroline"}, "role:org_observatory": {"="}, "role:org_engines": {"Owner"}, "role:org_poetry": {""},
	})
	agent, err := client.Refresh(t.Context(), agent, nil)
	if err != nil || !agent.IsOwnerOf("org_engines") || !agent.HasAccessIn("org_observatory", "write", "observations") || agent.IsMemberOf("org_poetry") {
		t.Errorf("got %+v, %v", agent, err)
	}
	wantTexts(t, r.page(), "Owner at Analytical Engines")
	r.pressed("/memberships", url.Values{"person": {"usr_caroline"}, "role:org_observatory": {""}, "role:org_engines": {"Reader"}})
	agent, err = client.Refresh(t.Context(), agent, nil)
	if err != nil || agent.IsMemberOf("org_observatory") || agent.HasAccessIn("org_engines", "write", "projects") || !agent.HasAccessIn("org_engines", "read", "projects") {
		t.Errorf("got %+v, %v", agent, err)
	}
	before := r.page()
	for name, form := range map[string]url.Values{
		"nobody":               {"person": {"usr_x"}, "role:org_engines": {"Owner"}},
		"another organization": {"person": {"usr_ada"}, "role:org_x": {"Owner"}},
		"another role":         {"person": {"usr_ada"}, "role:org_engines": {"Owner"}, "role:org_poetry": {"King"}},
	} {
		if got := r.press("/memberships", form); got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d; want 400", name, got.status)
		}
	}
	if r.page() != before {
		t.Error("a refused change has changed something")
	}
}

// A session that ends here ends for the app at its next refresh, or at once where it
// is told.
func TestSessionButton(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		answer   int // of the app; zero: it is not told
		wantDone string
	}{{"untold", 0, "session"}, {"told", http.StatusOK, "session-told"}, {"deaf", http.StatusTeapot, "session-untold"}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			told := make(chan string, 1)
			app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				told <- req.PostFormValue("logout_token")
				w.WriteHeader(tc.answer)
			}))
			t.Cleanup(app.Close)
			args := []string{"-backchannel", app.URL}
			if tc.answer == 0 {
				args = nil
			}
			r := start(t, args...)
			client := r.client()
			agent, other := r.signIn(client, "usr_ada"), r.signIn(client, "usr_ada")
			if agent.SessionID == other.SessionID {
				t.Fatal("two sign-ins are one session")
			}
			got := r.press("/sessions", url.Values{"session": {agent.SessionID}})
			if got.location != "/?done="+tc.wantDone {
				t.Errorf("got %d, to %q; want done=%s", got.status, got.location, tc.wantDone)
			}
			if tc.answer != 0 {
				logout, err := client.VerifyLogoutToken(t.Context(), <-told)
				if err != nil || logout.SessionID != agent.SessionID || logout.Subject != "usr_ada" {
					t.Errorf("the app was told %+v, %v", logout, err)
				}
			}
			if _, err := client.Refresh(t.Context(), agent, nil); !authpi.SessionEnded(err) {
				t.Errorf("the ended session: %v", err)
			}
			if _, err := client.Refresh(t.Context(), other, nil); err != nil {
				t.Errorf("the other session: %v", err)
			}
			if got := r.press("/sessions", url.Values{"session": {agent.SessionID}}); got.status != http.StatusNotFound {
				t.Errorf("once more: %d; want 404", got.status)
			}
		})
	}
}

func (r *running) kids() (kids []string) {
	r.t.Helper()
	var set struct {
		Keys []struct{ KID string }
	}
	if err := json.Unmarshal([]byte(r.get(r.issuerURL()+"/jwks.json").body), &set); err != nil {
		r.t.Fatal(err)
	}
	for _, k := range set.Keys {
		kids = append(kids, k.KID)
	}
	return kids
}

func TestKeyButtons(t *testing.T) {
	t.Parallel()
	r := start(t, "-alg", "EdDSA")
	before := r.kids()
	r.pressed("/keys", url.Values{"do": {"rotate"}})
	rotated := r.kids()
	if len(before) != 6 || len(rotated) != 9 || rotated[3] != before[0] {
		t.Errorf("from %d keys to %d; want three more before them", len(before), len(rotated))
	}
	wantTexts(t, r.page(), `class="tag chosen" title="`+rotated[2]+`">EdDSA`)
	r.pressed("/keys", url.Values{"do": {"withdraw"}})
	if got := r.kids(); len(got) != 3 || got[0] != rotated[0] {
		t.Errorf("%d keys; want the three that sign", len(got))
	}
	wantTexts(t, r.page(), `value="withdraw" disabled`)
	if got := r.press("/keys", url.Values{"do": {"sell"}}); got.status != http.StatusBadRequest {
		t.Errorf("another deed: %d", got.status)
	}
}

// Each fault of the list does something that the app notices, and only as often as
// asked for.
func TestFaultButton(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, choice := range faultChoices() {
		if choice.Name == "refresh-slow" {
			continue // ten seconds
		}
		t.Run(choice.Name, func(t *testing.T) {
			agent := r.signIn(r.client(), "usr_ada")
			r.pressed("/faults", url.Values{"fault": {choice.Name}, "times": {"1"}})
			wantTexts(t, r.page(), choice.Label, describeFault(choice.fault)[:10], "1 more", ">Clear<")
			client := r.client() // has no keys yet
			_, err := client.Refresh(t.Context(), agent, nil)
			if choice.Name != "keys-503" && err == nil {
				t.Error("the refresh went well")
			}
			if page := r.page(); strings.Contains(page, "1 more") {
				t.Errorf("the fault is still to come: %s", page)
			}
		})
	}
	r.pressed("/faults", url.Values{"fault": {"refresh-slow"}, "times": {"3"}})
	r.pressed("/faults", url.Values{"fault": {"all-503"}, "times": {"-1"}})
	wantTexts(t, r.page(), "token (refresh_token): 10s late, 3 more", "any endpoint: status 503, until cleared")
	for range 2 {
		if got := r.get(r.issuerURL() + "/jwks.json"); got.status != http.StatusServiceUnavailable {
			t.Errorf("got %d; want 503", got.status)
		}
	}
	r.pressed("/faults", url.Values{"do": {"clear"}})
	if page := r.page(); strings.Contains(page, "until cleared") {
		t.Error("the faults were not cleared")
	}
	r.signIn(r.client(), "usr_ada")
	for name, form := range map[string]url.Values{
		"another fault": {"fault": {"flood"}, "times": {"1"}},
		"no number":     {"fault": {"all-503"}, "times": {"often"}},
	} {
		if got := r.press("/faults", form); got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d; want 400", name, got.status)
		}
	}
}

// No other site presses a button, not even one that is served from this machine or
// points a name of its own at it.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	r := start(t)
	agent := r.signIn(r.client(), "usr_ada")
	buttons := map[string]url.Values{
		"/memberships": {"person": {"usr_ada"}, "role:org_engines": {"Owner"}},
		"/sessions":    {"session": {agent.SessionID}},
		"/keys":        {"do": {"rotate"}},
		"/faults":      {"fault": {"all-503"}, "times": {"-1"}},
	}
	before, kids := r.page(), r.kids()
	for path, form := range buttons {
		for name, header := range map[string][]string{
			"another site":           {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
			"the app beside it":      {"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:8080"},
			"an old browser":         {"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
			"a sandboxed frame":      {"Sec-Fetch-Site", "", "Origin", "null"},
			"a name that leads here": {"Host", "evil.example", "Origin", "http://evil.example"},
		} {
			if got := r.press(path, form, header...); got.status != http.StatusForbidden && got.status != http.StatusMisdirectedRequest {
				t.Errorf("%s, %s: got %d; want a refusal", path, name, got.status)
			}
		}
		if got := r.get(r.base + path + "?" + form.Encode()); got.status == http.StatusSeeOther {
			t.Errorf("%s: pressed by a link", path)
		}
		if got := r.press(path, url.Values{"x": {strings.Repeat("y", maxForm)}}); got.status == http.StatusSeeOther {
			t.Errorf("%s: a form of %d bytes was taken", path, maxForm)
		}
	}
	if r.page() != before || len(r.kids()) != len(kids) {
		t.Error("another site has changed something")
	}
	for _, target := range []string{"/", "/i_dev/.well-known/openid-configuration"} {
		req, err := http.NewRequest(http.MethodGet, r.base+target, nil)
		if err == nil {
			req.Host = "evil.example"
		}
		if got := r.do(req, err); got.status != http.StatusMisdirectedRequest || strings.Contains(got.body, "Ada") {
			t.Errorf("%s by another name: %d", target, got.status)
		}
	}
}

// Names, IDs and whatever else comes from a file or a request are text.
func TestEscaping(t *testing.T) {
	t.Parallel()
	const evil = `"'><script>alert(1)</script>`
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("OTHER", `"c_`+string(quoted[1:]), "EVIL", string(quoted)).Replace(`{"organizations": [{"id": EVIL, "name": EVIL}], "roles": [{"name": EVIL, "scopes": [EVIL]}],
		"people": [{"id": EVIL, "name": EVIL, "email": EVIL, "memberships": {EVIL: EVIL}}, {"id": "u", "memberships": {EVIL: [EVIL]}}],
		"clients": [{"id": OTHER, "name": EVIL, "memberships": {EVIL: EVIL}}]}`)
	file := filepath.Join(t.TempDir(), "people.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "-people", file, "-client-id", evil, "-redirect", defaultRedirect, "-redirect", "x:"+evil)
	r.press("/i_dev/token", url.Values{"grant_type": {evil}, "client_id": {evil}, "client_secret": {evil}})
	r.signIn(r.clientWithID(evil), evil)
	if err := os.WriteFile(file, []byte(`{`+string(quoted)+`: 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got := r.get(r.base + "/?done=" + url.QueryEscape(evil))
	if strings.Contains(got.body, "<script>alert") || strings.Contains(got.body, evil) {
		t.Errorf("not escaped:\n%s", got.body)
	}
	wantTexts(t, got.body, "&lt;script&gt;alert(1)&lt;/script&gt;", "was not taken")
	csp := got.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("CSP %q lacks %q", csp, want)
		}
	}
	if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", got.header)
	}
}

func (r *running) clientWithID(id string) *authpi.IdpClient {
	r.exported["AUTHPI_CLIENT_ID"] = id
	return r.client()
}

func TestFiles(t *testing.T) {
	t.Parallel()
	r := start(t)
	for path, want := range map[string]string{"/style.css": "text/css", "/live.js": "javascript"} {
		got := r.get(r.base + path)
		if got.status != http.StatusOK || !strings.Contains(got.header.Get("Content-Type"), want) {
			t.Errorf("%s: got %d %s", path, got.status, got.header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/people.json", "/page.html", "/keys.json", "/i_other/token", "/i_dev/nothing"} {
		if got := r.get(r.base + path); got.status != http.StatusNotFound {
			t.Errorf("%s: got %d; want 404", path, got.status)
		}
	}
}
