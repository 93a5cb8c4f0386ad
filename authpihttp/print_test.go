package authpihttp_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// An App and a Bearer hold a client, with its secret, and an App a store of
// sessions.
func TestPrintingShowsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "ClientSecretDDDD"
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: "https://idp.example/i_1", ClientID: "c_1", ClientSecret: secret, RedirectURI: "https://app.test/auth/callback",
	})
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("KeyOfThirtyTwoBytesEEEEEEEEEEEEEE")
	options := authpihttp.Options{Keys: [][]byte{key}}
	app := authpihttp.New(client, nil, &options)
	bearer, err := authpihttp.NewBearer(client, &authpihttp.BearerOptions{Resource: "https://api.test"})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"*App": app, "*Bearer": bearer, "Options": options, "*Options": &options, "BearerOptions": authpihttp.BearerOptions{},
		"a struct": struct {
			App    *authpihttp.App
			Bearer *authpihttp.Bearer
		}{app, bearer},
	} {
		var logged bytes.Buffer
		slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "v", v)
		text, _ := json.Marshal(v)
		prints := logged.String() + string(text)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			prints += fmt.Sprintf(verb, v)
		}
		for _, hidden := range []string{secret, string(key)} {
			for _, form := range []string{hidden, fmt.Sprintf("%x", hidden), strings.Trim(fmt.Sprint([]byte(hidden)), "[]"), base64.StdEncoding.EncodeToString([]byte(hidden))} {
				if strings.Contains(prints, form[:min(len(form), 16)]) {
					t.Errorf("%s: got a print with a secret; want none", name)
				}
			}
		}
	}
}
