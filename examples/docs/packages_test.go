package docs

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// What the packages' own comments show works together.
func TestPackageComments(t *testing.T) {
	issuer := newIssuer(t)
	t.Setenv("AUTHPI_ISSUER_URL", issuer.URL)
	t.Setenv("AUTHPI_CLIENT_ID", issuer.ClientID())
	t.Setenv("AUTHPI_CLIENT_SECRET", "")
	client, err := packageClient()
	if err != nil {
		t.Fatal(err)
	}
	auth, err := packageLogin(client)
	if err != nil {
		t.Fatal(err)
	}
	callback, err := issuer.SignIn(auth.URL, "usr_ada")
	if err != nil {
		t.Fatal(err)
	}
	agent, err := packageCallback(t.Context(), httptest.NewRequest("GET", callback, nil), client, auth)
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	save := func(context.Context, authpi.TokenSet) error { return nil }
	if err := packageRequest(t.Context(), &page, client, agent.Tokens, save); err != nil || page.String() != "New project\n" {
		t.Errorf("got %q, %v", page.String(), err)
	}

	callback, err = packageIssuer(func(srv *authpitest.Server) string {
		client := newClient(t, authpi.Config{IssuerURL: srv.URL, ClientID: srv.ClientID(), RedirectURI: "https://app.example/callback"})
		auth, err := packageLogin(client)
		if err != nil {
			t.Fatal(err)
		}
		return auth.URL
	})
	if err != nil || !strings.Contains(callback, "code=") {
		t.Errorf("got %q, %v", callback, err)
	}
	var cfg authpi.Config
	if store := packageRedis(&cfg); store == nil || cfg.Coordinator == nil || cfg.MachineTokens == nil {
		t.Error("nothing is shared over Redis")
	}
}
