package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/api/projects"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("API_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// program is the program on a port of its own, which ends with the test.
func program(t *testing.T, issuerURL, clientID string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "API_TEST_MAIN=1", "ADDR=127.0.0.1:0", "API_URL=", "AUTHPI_ISSUER_URL="+issuerURL, "AUTHPI_CLIENT_ID="+clientID)
	return cmd
}

// start starts the program, and returns its address and the first line that it prints.
func start(t *testing.T, cmd *exec.Cmd) (address, first string) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if first, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`http://[0-9.:]+`).FindString(first), first
}

func TestProgram(t *testing.T) {
	t.Parallel()
	apiURL, first := start(t, program(t, "", ""))
	resp, err := http.Get(apiURL + "/.well-known/oauth-protected-resource")
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	err = json.NewDecoder(resp.Body).Decode(&metadata)
	_ = resp.Body.Close()
	if err != nil || metadata.Resource != apiURL || len(metadata.Servers) != 1 || !strings.Contains(first, metadata.Servers[0]) {
		t.Errorf("got %+v, %v; want the resource %s", metadata, err, apiURL)
	}
}

// A wrong issuer ends the program at once. One that is away does not, and health does
// not depend on it.
func TestIssuerAtStart(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	for _, issuer := range []string{other.URL, "http://issuer.example"} {
		if said, err := program(t, issuer, "c_api").CombinedOutput(); err == nil || !strings.Contains(string(said), "IssuerURL") {
			t.Errorf("%s: got %v, %s; want an error that names IssuerURL", issuer, err, said)
		}
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	apiURL, _ := start(t, program(t, gone.URL, "c_api"))
	resp, err := http.Get(apiURL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("health: %s", resp.Status)
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	issuer := authpitest.NewServer(nil)
	t.Cleanup(issuer.Close)
	const resource = "https://api.example.com"
	handler, err := projects.NewHandler(issuer.URL, "c_api", resource)
	if err != nil {
		t.Fatal(err)
	}
	token := func(audience string, scopes ...string) string {
		return issuer.AccessToken(map[string]any{
			"aud": audience, "organizations": []map[string]any{{"id": "org_1", "scopes": scopes}},
		})
	}
	for _, tc := range []struct {
		name, method, path, body, token string
		want                            int
	}{
		{"nobody", "GET", "/orgs/org_1/projects", "", "", 401},
		{"another API's token", "GET", "/orgs/org_1/projects", "", token("https://other.example", "projects:read"), 401},
		{"may read", "GET", "/orgs/org_1/projects", "", token(resource, "projects:read"), 200},
		{"another organization", "GET", "/orgs/org_2/projects", "", token(resource, "projects:read"), 403},
		{"may not write", "POST", "/orgs/org_1/projects", `{"name":"x"}`, token(resource, "projects:read"), 403},
		{"may write", "POST", "/orgs/org_1/projects", `{"name":"x"}`, token(resource, "projects:write"), 201},
		{"no name", "POST", "/orgs/org_1/projects", `{}`, token(resource, "projects:write"), 400},
		{"too long", "POST", "/orgs/org_1/projects", `{"name":"` + strings.Repeat("x", 5000) + `"}`, token(resource, "projects:write"), 400},
		{"me", "GET", "/me", "", token(resource), 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body))
			if tc.token != "" {
				r.Header.Set("Authorization", "Bearer "+tc.token)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != tc.want {
				t.Errorf("got %d %s; want %d", w.Code, w.Body, tc.want)
			}
		})
	}
}
