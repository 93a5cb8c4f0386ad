package browser

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	authpi "github.com/authpi/authpi-idp-go"
)

// startIssuer runs the development issuer for an app, both on loopback with these ports,
// and returns the app and the issuer's page.
func startIssuer(t *testing.T, appPort, port string) (app *httptest.Server, page string) {
	t.Helper()
	needChromium(t)
	program := filepath.Join(t.TempDir(), "issuer")
	build := exec.Command("go", "build", "-o", program, "./authpitest/issuer")
	build.Dir, build.Env = filepath.Join("..", "..", ".."), append(os.Environ(), "GOWORK=off")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building authpitest/issuer: %v\n%s", err, text)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+appPort)
	if err != nil {
		t.Fatal(err)
	}
	app = &httptest.Server{Listener: listener, Config: &http.Server{}}
	redirect := "http://" + listener.Addr().String() + "/auth/callback"
	cmd := exec.Command(program, "-addr", "127.0.0.1:"+port, "-keys", "", "-redirect", redirect)
	cmd.Stderr = os.Stderr
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
	cfg := authpi.Config{RedirectURI: redirect}
	for lines := bufio.NewScanner(out); cfg.ClientSecret == "" && lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch name {
		case "export AUTHPI_ISSUER_URL":
			cfg.IssuerURL = value
		case "export AUTHPI_CLIENT_ID":
			cfg.ClientID = value
		case "export AUTHPI_CLIENT_SECRET":
			cfg.ClientSecret = value
		}
	}
	app.Config.Handler = greeting(t, cfg)
	app.Start()
	t.Cleanup(app.Close)
	return app, strings.TrimSuffix(cfg.IssuerURL, "i_dev")
}

// greeting is an app that signs one person in, refreshes at once and says who it is.
func greeting(t *testing.T, cfg authpi.Config) http.Handler {
	t.Helper()
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := client.CreateAuthorizationURL([]string{"openid", "profile", "email"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler(auth.URL, http.StatusFound))
	mux.HandleFunc("GET /auth/callback", func(w http.ResponseWriter, r *http.Request) {
		agent, err := client.ExchangeCallback(r.Context(), r.URL.Query(), *auth)
		if err == nil {
			agent, err = client.Refresh(r.Context(), agent, nil)
		}
		if err != nil {
			_, _ = fmt.Fprintln(w, "no:", err)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!DOCTYPE html><link rel="icon" href="data:,">Hello %s`, agent.Email)
	})
	return mux
}

func (b *tab) issuerLooks(where string) {
	b.t.Helper()
	for _, width := range []int64{1280, 700, 390, 320} {
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			b.do(chromedp.EmulateViewport(width, 800))
			b.looksGood(fmt.Sprintf("%s, %d wide, %s", where, width, scheme))
		}
	}
}

// A person signs in at the issuer and presses its buttons, in a browser without
// scripts; then a second window of the page shows what happens by itself.
func TestIssuer(t *testing.T) {
	t.Parallel()
	app, page := startIssuer(t, "0", "0")
	b := newPerson(t)
	b.open(page)
	b.see("Ada Lovelace", "Nobody is signed in.", "None yet.")
	b.issuerLooks("the page, new")
	b.open(app.URL)
	b.see("Your app asks you to sign in.", "Editor at Analytical Engines")
	b.issuerLooks("the sign-in page")
	b.press("fieldset", ada)
	b.see("Hello ada@example.com")

	b.open(page)
	b.see("at c_dev since", "refresh_token", "authorization_code")
	b.unfold("Change")
	b.issuerLooks("the page, used")
	b.press("details form", "Save")
	b.see("Changed. Apps see it with the next refresh.")
	b.press("form[action='/keys']", "Rotate")
	b.see("New keys sign from now on.", "Older, still published")
	b.press("form[action='/faults']", "Inject")
	b.see("token (refresh_token): answer lost, 1 more")
	b.issuerLooks("the page, with a fault")

	watching := b.another()
	watching.emulate(emulation.SetScriptExecutionDisabledParams{Value: false})
	watching.open(page)
	watching.see("1 more")
	b.press("#faults form", "Clear")
	b.see("No request fails on purpose any more.")
	b.press("form[action='/sessions']", "End")
	b.see("The session has ended.", "Nobody is signed in.")
	watching.see("Nobody is signed in.")
	if text := ask[string](watching, `document.body.innerText`); strings.Contains(text, "1 more") {
		t.Error("the watching page shows a fault that was cleared")
	}
}

// The picture of the docs, with -update.
func TestIssuerScreenshot(t *testing.T) {
	t.Parallel()
	dir, appPort, port := t.TempDir(), "0", "0"
	if *update {
		dir, appPort, port = filepath.Join("..", "..", "..", "docs", "img"), "8080", "9400"
	}
	app, page := startIssuer(t, appPort, port)
	b := newPerson(t)
	for _, name := range []string{"Mary Somerville", ada} {
		b.open(app.URL)
		b.see("Continue as")
		b.press("fieldset", name)
		b.see("Hello")
	}
	b.open(page)
	b.scheme("light")
	b.do(chromedp.EmulateViewport(1100, 1000))
	b.see("refresh_token")
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	keep(t, filepath.Join(dir, "issuer.png"), shot)
}
