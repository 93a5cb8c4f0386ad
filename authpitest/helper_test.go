package authpitest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/authpitest"
)

const (
	verifier    = "a-verifier-of-at-least-forty-three-characters-0123"
	redirectURI = "https://app.example/callback"
	allScopes   = "openid profile email projects:read"
)

var ada = authpitest.User{
	ID: "usr_ada", Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace",
	Claims: map[string]any{"department": "engines"},
}

// rp is a client written by hand, with as little between the test and the wire as
// can be.
type rp struct {
	t   testing.TB
	srv *authpitest.Server
}

func inMemory(t testing.TB, opts *authpitest.Options) rp {
	t.Helper()
	srv := authpitest.NewInMemory(opts)
	t.Cleanup(srv.Close)
	return withAda(t, srv)
}

func withAda(t testing.TB, srv *authpitest.Server) rp {
	srv.AddUser(ada)
	srv.SetOrganizations("usr_ada",
		authpitest.Organization{ID: "org_1", Title: "Engines", Scopes: []string{"owner"}},
		authpitest.Organization{ID: "org_2", Scopes: []string{"projects:read"}},
	)
	return rp{t, srv}
}

func (c rp) endpoint(name string) string { return strings.TrimSuffix(c.srv.URL, "/") + name }

// authURL makes an authorization URL; pairs replace, add or (with an empty value)
// remove parameters.
func (c rp) authURL(pairs ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {c.srv.ClientID()}, "redirect_uri": {redirectURI}, "response_type": {"code"},
		"scope": {allScopes}, "state": {"st-1"}, "nonce": {"no-1"},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(sum[:])},
		"code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		q.Del(pairs[i])
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Add(pairs[i], pairs[i+1])
		}
	}
	return c.endpoint("/authorize?") + q.Encode()
}

func (c rp) signIn(pairs ...string) url.Values {
	c.t.Helper()
	callback, err := c.srv.SignIn(c.authURL(pairs...), "usr_ada")
	if err != nil {
		c.t.Fatalf("SignIn: %v", err)
	}
	u, err := url.Parse(callback)
	if err != nil {
		c.t.Fatalf("callback %q: %v", callback, err)
	}
	return u.Query()
}

type reply struct {
	status int
	header http.Header
	json   map[string]any
	body   string
}

func (r reply) text(name string) string {
	s, _ := r.json[name].(string)
	return s
}

func (c rp) do(req *http.Request) reply {
	c.t.Helper()
	r, err := c.try(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	return r
}

func (c rp) try(req *http.Request) (reply, error) {
	resp, err := c.srv.Client().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, header: resp.Header, body: string(body)}
	json.Unmarshal(body, &r.json) // not every answer is JSON
	return r, nil
}

func (c rp) request(method, path string, form url.Values) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.endpoint(path), strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req
}

// post sends a form with the first client's credentials; pairs replace or add.
func (c rp) post(path string, pairs ...string) reply {
	c.t.Helper()
	return c.do(c.postRequest(path, pairs...))
}

func (c rp) postRequest(path string, pairs ...string) *http.Request {
	c.t.Helper()
	form := url.Values{"client_id": {c.srv.ClientID()}}
	if secret := c.srv.ClientSecret(); secret != "" {
		form.Set("client_secret", secret)
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Del(pairs[i])
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return c.request(http.MethodPost, path, form)
}

func (c rp) exchange(code string, pairs ...string) reply {
	c.t.Helper()
	return c.post("/token", replace([]string{
		"grant_type", "authorization_code", "code", code,
		"redirect_uri", redirectURI, "code_verifier", verifier,
	}, pairs)...)
}

func (c rp) refresh(token string, pairs ...string) reply {
	c.t.Helper()
	return c.post("/token", replace([]string{"grant_type", "refresh_token", "refresh_token", token}, pairs)...)
}

// replace takes the pairs of base that by does not name, and those of by.
func replace(base, by []string) (out []string) {
	for i := 0; i < len(base); i += 2 {
		named := false
		for j := 0; j < len(by); j += 2 {
			named = named || by[j] == base[i]
		}
		if !named {
			out = append(out, base[i], base[i+1])
		}
	}
	return append(out, by...)
}

// login signs ada in and returns the token endpoint's answer.
func (c rp) login(pairs ...string) reply {
	c.t.Helper()
	r := c.exchange(c.signIn(pairs...).Get("code"))
	if r.status != http.StatusOK {
		c.t.Fatalf("exchange: status %d %s", r.status, r.body)
	}
	return r
}

func (c rp) userinfo(token string) reply {
	c.t.Helper()
	req := c.request(http.MethodGet, "/userinfo", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	return c.do(req)
}

// wantError checks an error answer.
func (r reply) wantError(t testing.TB, status int, code string) {
	t.Helper()
	if r.status != status || r.text("error") != code {
		t.Errorf("got %d %s; want %d %s", r.status, r.body, status, code)
	}
}

func (r reply) wantOK(t testing.TB) {
	t.Helper()
	if r.status != http.StatusOK {
		t.Errorf("got %d %s; want 200", r.status, r.body)
	}
}

// decode returns a JWT's header and claims without looking at the signature.
func decode(t testing.TB, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", token)
	}
	for i, v := range []*map[string]any{&header, &claims} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(data, v)
		}
		if err != nil {
			t.Fatalf("JWT part %d: %v", i, err)
		}
	}
	return header, claims
}

func equalJSON(t testing.TB, what string, got, want any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		t.Errorf("%s: got %s; want %s", what, g, w)
	}
}
