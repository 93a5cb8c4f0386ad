package frameworks

import (
	"bufio"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./...").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, name := range []string{"chi", "gin", "echo"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_app", ClientSecret: "s3cret"})
			t.Cleanup(issuer.Close)
			issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com"})
			issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_1", Scopes: []string{"projects:read"}})
			walk(t, start(t, filepath.Join(dir, name), issuer), issuer)
		})
	}
}

// start runs a program until the end of the test, and returns its address.
func start(t *testing.T, program string, issuer *authpitest.Server) (url string) {
	t.Helper()
	cmd := exec.Command(program, "-addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "AUTHPI_ISSUER_URL="+issuer.URL, "AUTHPI_CLIENT_ID=c_app", "AUTHPI_CLIENT_SECRET=s3cret", "GIN_MODE=release")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if url, ok := strings.CutPrefix(lines.Text(), "Open "); ok {
			return url
		}
	}
	t.Fatal("it has not said where it listens")
	return ""
}

// walk signs Ada in and out, and calls the API.
func walk(t *testing.T, url string, issuer *authpitest.Server) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := visitor{t: t, client: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	v.get(url+"/", "Accept", "application/json", 401, `"login_required"`)
	login := v.get(url+"/orgs/org_1/projects", "Accept", "text/html", 303, "")
	if login != "/auth/login?return_to=%2Forgs%2Forg_1%2Fprojects" {
		t.Fatalf("a page without a session leads to %q", login)
	}
	callback, err := issuer.SignIn(v.get(url+login, "Accept", "text/html", 303, ""), "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	if back := v.get(callback, "Accept", "text/html", 303, ""); back != "/orgs/org_1/projects" {
		t.Errorf("the callback leads to %q", back)
	}
	v.get(url+"/", "Accept", "text/html", 200, "Hello, ada@example.com\n")
	v.get(url+"/orgs/org_1/projects", "Accept", "text/html", 200, "The projects of org_1, for usr_ada\n")
	v.get(url+"/orgs/org_2/projects", "Accept", "application/json", 403, "")
	v.get(url+"/api/orgs/org_1/projects", "Accept", "application/json", 401, "") // a cookie is no bearer token
	bearer := "Bearer " + issuer.AccessToken(map[string]any{
		"organizations": []map[string]any{{"id": "org_2", "scopes": []string{"projects:*"}}},
	})
	v.get(url+"/api/orgs/org_2/projects", "Authorization", bearer, 200, "The projects of org_2, for usr_test\n")
	v.get(url+"/api/orgs/org_1/projects", "Authorization", bearer, 403, `"insufficient_scope"`)

	away := v.do(http.MethodPost, url+"/auth/logout", "Accept", "text/html", 303, "")
	if !strings.HasPrefix(away, issuer.URL+"/logout?") {
		t.Errorf("signing out leads to %q", away)
	}
	back := v.get(away, "Accept", "text/html", 302, "")
	v.get(back, "Accept", "text/html", 200, "You are signed out")
	v.get(url+"/", "Accept", "application/json", 401, "")
}

type visitor struct {
	t      *testing.T
	client *http.Client
}

func (v visitor) get(url, header, value string, status int, want string) (location string) {
	v.t.Helper()
	return v.do(http.MethodGet, url, header, value, status, want)
}

// do returns where the answer leads to. A text in want must be part of it.
func (v visitor) do(method, url, header, value string, status int, want string) (location string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, url, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set(header, value)
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || !strings.Contains(string(body), want) {
		v.t.Errorf("%s %s: got %s, %q, %v; want %d, %q", method, url, resp.Status, body, err, status, want)
	}
	return resp.Header.Get("Location")
}
