package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/examples/api/projects"
)

var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.`)

func TestByItself(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), &out, func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	check(t, out.String(),
		`"agt_worker"`, "POST /orgs/org_engines/projects\n     403 Forbidden",
		`"usr_ada"`, "POST /orgs/org_engines/projects\n     201 Created", `{"projects":["difference engine"]}`)
}

// The issuer and the API run somewhere else.
func TestAgainstServers(t *testing.T) {
	t.Parallel()
	issuer := projects.NewIssuer()
	defer issuer.Close()
	api := httptest.NewUnstartedServer(nil)
	apiURL := "http://" + api.Listener.Addr().String()
	handler, err := projects.NewHandler(issuer.URL, "c_api", apiURL)
	if err != nil {
		t.Fatal(err)
	}
	api.Config.Handler = handler
	api.Start()
	defer api.Close()
	env := map[string]string{
		"AUTHPI_ISSUER_URL": issuer.URL, "AUTHPI_CLIENT_ID": projects.WorkerID, "AUTHPI_CLIENT_SECRET": projects.WorkerSecret,
		"API_URL": apiURL, "ORG": "org_poetry",
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, func(name string) string { return env[name] }); err != nil {
		t.Fatal(err)
	}
	check(t, out.String(), `"agt_worker"`, "GET  /orgs/org_poetry/projects\n     403 Forbidden")
	if got := issuer.Grants("client_credentials"); got != 1 {
		t.Errorf("got %d token requests; want 1 for all calls", got)
	}

	resp, err := http.Get(apiURL + "/me")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(got, "resource_metadata=") {
		t.Errorf("without a token: %s, %s", resp.Status, got)
	}
}

func TestMissingAPI(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), &bytes.Buffer{}, func(name string) string {
		return map[string]string{"AUTHPI_ISSUER_URL": "https://idp.example", "AUTHPI_CLIENT_ID": "c_1"}[name]
	})
	if err == nil || !strings.Contains(err.Error(), "API_URL") {
		t.Errorf("got %v; want an error about API_URL", err)
	}
}

func check(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, one := range want {
		if !strings.Contains(out, one) {
			t.Errorf("the output lacks %q", one)
		}
	}
	if jwt.MatchString(out) {
		t.Error("the output shows a token")
	}
	if t.Failed() {
		t.Log(out)
	}
}
