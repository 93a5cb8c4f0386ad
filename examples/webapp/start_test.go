package main

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("WEBAPP_TEST_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

func program(ctx context.Context, issuer string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], "-addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "WEBAPP_TEST_MAIN=1", "APP_URL=", "AUTHPI_CLIENT_ID=c_webapp", "AUTHPI_CLIENT_SECRET=", "AUTHPI_ISSUER_URL="+issuer)
	return cmd
}

// A wrong issuer ends the program at once, and the error names the setting.
func TestWrongIssuer(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	for _, issuer := range []string{other.URL, "http://issuer.example"} {
		if said, err := program(t.Context(), issuer).CombinedOutput(); err == nil || !strings.Contains(string(said), "IssuerURL") {
			t.Errorf("%s: got %v, %s; want an error that names IssuerURL", issuer, err, said)
		}
	}
}

// An issuer that is away for the moment does not, and health does not depend on it, nor
// on the name by which the probe comes.
func TestHealth(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := program(ctx, gone.URL)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodGet, strings.TrimSpace(strings.TrimPrefix(line, "Open "))+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "10.0.0.7:8080"
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("health: %s", resp.Status)
	}
	cancel()
	_ = cmd.Wait()
}
