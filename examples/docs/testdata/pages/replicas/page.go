package page

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
	"github.com/authpi/authpi-idp-go/authpitest"
)

var sealKey = make([]byte, 32)

//page:block With Redis
//page:from replicas/web.go
//page:fault cfg.Coordinator = authpiredis.NewCoordinator(rdb, nil) =>
//page:fault authpiredis.NewStore(rdb, nil) => nil
//page:fault [][]byte{sealKey} => nil
//page:fault "/signed-out" => "/"

var _ = authpiredis.NewStore // where faults leave it out

func Page(t *testing.T) {
	issuer := development(t)
	rdb, commands := newRedis(t)
	var sites []string
	for range 3 { // processes
		cfg := authpi.Config{IssuerURL: issuer.URL, ClientID: "c_app", Now: issuer.Now}
		sites = append(sites, start(t, cfg, func(cfg authpi.Config) http.Handler {
			app := must(newWeb(cfg, rdb))(t)
			mux := http.NewServeMux()
			app.Register(mux)
			mux.Handle("GET /{$}", app.RequireAgent(http.HandlerFunc(says)))
			return mux
		}))
	}
	browser := newBrowser(t)
	signIn(t, browser, issuer, sites[0], "usr_ada")
	for round := 1; round <= 2; round++ {
		issuer.Advance(31 * time.Minute)
		issuer.Inject(authpitest.Fault{Endpoint: "token", DelayAnswer: 300 * time.Millisecond})
		var requests sync.WaitGroup
		for n := range 12 {
			requests.Go(func() { wantPage(t, browser, sites[n%3], 200, "usr_ada") })
		}
		requests.Wait()
		if got := issuer.Grants("refresh_token"); got != round || issuer.Sessions("usr_ada") != 1 {
			t.Errorf("%d refreshes, %d sessions; want %d and one", got, issuer.Sessions("usr_ada"), round)
		}
	}
	commands.wantKey(t, "authpi:refresh:")
	resp := must(browser.Post(sites[1]+"/auth/logout", "", nil))(t)
	_ = resp.Body.Close()
	if back := url.QueryEscape(sites[1] + "/auth/signed-out"); !strings.Contains(resp.Header.Get("Location"), back) {
		t.Errorf("signing out leads to %s; want it to come back to %s", resp.Header.Get("Location"), back)
	}
	wantPage(t, browser, sites[2], 401, "")
}
