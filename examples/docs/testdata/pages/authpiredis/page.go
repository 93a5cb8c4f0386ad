package page

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpihttp"
)

func newClients(redisAddr, issuerURL string) (*redis.Client, *authpi.IdpClient, error) {
	//page:block Refresh once
	//page:set "localhost:6379" => redisAddr
	//page:set "https://idp.authpi.com/i_1" => issuerURL
	//page:set "c_1" => "c_app"
	//page:fault Coordinator: authpiredis.NewCoordinator(rdb, nil), =>
	return rdb, client, err
}

func newApp(client *authpi.IdpClient, rdb *redis.Client, key []byte) *authpihttp.App {
	//page:block Keep sign-ins
	//page:fault authpiredis.NewStore(rdb, nil) => nil
	//page:fault [][]byte{key} => nil
	return app
}

var _ = authpiredis.NewStore // where faults leave it out

func Page(t *testing.T) {
	issuer := development(t)
	shared, _ := newRedis(t)
	address := shared.Options().Addr
	tokens := newAgent(t, appClient(t, issuer), issuer).Tokens
	tokens.ExpiresAt = time.Now().Add(-time.Hour)
	for range 2 { // processes, the second of which has the old tokens still
		rdb, client, err := newClients(address, issuer.URL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = rdb.Close() })
		if agent, err := client.CreateAgent(t.Context(), tokens, nil); err != nil || agent.ID != "usr_ada" {
			t.Errorf("got %v, %v", agent, err)
		}
	}
	if got := issuer.Grants("refresh_token"); got != 1 {
		t.Errorf("the refresh token was spent %d times", got)
	}
	signIns(t, shared)
}

// signIns signs in at one process; another one has the same key, or another key.
func signIns(t *testing.T, rdb *redis.Client) {
	issuer := development(t)
	var sites []string
	for _, key := range []byte{7, 7, 8} {
		cfg := authpi.Config{IssuerURL: issuer.URL, ClientID: "c_worker", ClientSecret: "s3cret"}
		sites = append(sites, start(t, cfg, func(cfg authpi.Config) http.Handler {
			app := newApp(newClient(t, cfg), rdb, bytes.Repeat([]byte{key}, 32))
			mux := http.NewServeMux()
			app.Register(mux)
			mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(says)))
			return mux
		}))
	}
	browser := newBrowser(t)
	signIn(t, browser, issuer, sites[0], "usr_ada")
	wantPage(t, browser, sites[1]+"/", 200, "usr_ada")
	wantPage(t, browser, sites[2]+"/", 401, "")
}
