package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

// TestMain lets the test binary be the program, so that its exit status can be seen.
func TestMain(m *testing.M) {
	if os.Getenv("QUICKSTART_TEST_MAIN") == "1" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), append([]string{
		"QUICKSTART_TEST_MAIN=1", "AUTHPI_ISSUER_URL=", "AUTHPI_CLIENT_ID=", "AUTHPI_CLIENT_SECRET=", "AUTHPI_REDIRECT_URI=",
	}, env...)...)
	return cmd
}

// jwt is what a token would look like.
var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.`)

func TestOwnIssuer(t *testing.T) {
	out, err := program(t).CombinedOutput()
	if err != nil {
		t.Fatalf("exit: %v\n%s", err, out)
	}
	for _, want := range []string{
		`HasAccessIn("org_engines", "write", "projects") = true`,
		`HasAccessIn("org_engines", "write", "billing") = false`,
		"OnRefresh stored a new set",
		"shows after the refresh",
		"1 token request",
		"revocation",
		"/logout?id_token_hint=",
		"Every step held.",
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if jwt.Match(out) {
		t.Error("the output shows a token")
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

func TestFailureIsExitStatus1(t *testing.T) {
	out, err := program(t, "AUTHPI_ISSUER_URL=not a URL", "AUTHPI_CLIENT_ID=c_1").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("got %v; want exit status 1\n%s", err, out)
	}
}

// A second issuer plays the real one, and this test the browser.
func TestRealIssuer(t *testing.T) {
	port := freePort(t)
	redirect := "http://127.0.0.1:" + port + "/callback"
	srv := authpitest.NewServer(&authpitest.Options{
		ClientID: "c_real", ClientSecret: "s3cret", RedirectURIs: []string{redirect},
	})
	defer srv.Close()
	srv.AddUser(authpitest.User{ID: "usr_bob", Email: "bob@example.com"})
	srv.SetOrganizations("usr_bob", authpitest.Organization{ID: "org_7", Scopes: []string{"admin", "tasks:read"}})

	env := map[string]string{
		"AUTHPI_ISSUER_URL": srv.URL, "AUTHPI_CLIENT_ID": "c_real", "AUTHPI_CLIENT_SECRET": "s3cret",
		"AUTHPI_REDIRECT_URI": redirect,
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var printed bytes.Buffer
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, writer, func(name string) string { return env[name] })
		_ = writer.Close()
		done <- err
	}()

	buffer := make([]byte, 4096)
	signedIn := false
	for {
		n, err := reader.Read(buffer)
		printed.Write(buffer[:n])
		if authURL := regexp.MustCompile(`http\S+/authorize\?\S+\n`).FindString(printed.String()); authURL != "" && !signedIn {
			signedIn = true
			callback, err := srv.SignIn(strings.TrimSpace(authURL), "usr_bob")
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.Get(callback)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		if err != nil {
			break
		}
	}
	if err := <-done; err != nil {
		t.Fatalf("run: %v\n%s", err, &printed)
	}
	for _, want := range []string{`HasAccessIn("org_7", "read", "tasks") = true`, "skip  membership change", "Every step held."} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if jwt.Match(printed.Bytes()) {
		t.Error("the output shows a token")
	}
	if t.Failed() {
		t.Log(printed.String())
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
