package authpitest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestPrintingShowsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "ClientSecretDDDD"
	opts := authpitest.Options{ClientID: "c_1", ClientSecret: secret}
	server := authpitest.NewInMemory(&opts)
	defer server.Close()
	client := authpitest.Client{ID: "c_1", Secret: secret}
	for name, v := range map[string]any{
		"Options": opts, "*Options": &opts, "Server": server, "Client": client, "*Client": &client,
		"Options in a struct": struct{ Options authpitest.Options }{opts}, "a slice": []authpitest.Client{client},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			got := fmt.Sprintf(verb, v)
			if strings.Contains(got, secret) || strings.Contains(got, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s by %s: got %.200s; want no secret", name, verb, got)
			}
		}
	}
	if got := fmt.Sprint(server, client); !strings.Contains(got, server.URL) || !strings.Contains(got, "c_1") {
		t.Errorf("got %s; want address and ID", got)
	}
}
