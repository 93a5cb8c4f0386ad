package page

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// appSession is the request's session in an app without authpihttp.
type appSession struct {
	Tokens authpi.TokenSet
	Drop   func()
}

func home(w http.ResponseWriter, r *http.Request, client *authpi.IdpClient, session appSession, opts *authpi.AgentOptions) {
	//page:block In a handler
	//page:fault session.Drop() =>
	//page:fault "/login" => "/"
	//page:fault case authpi.SessionEnded(err): => case !authpi.SessionEnded(err):
	//page:fault wait = e.RetryAfter => wait += 0
	//page:fault http.StatusServiceUnavailable => http.StatusInternalServerError
	//page:fault "Retry-After" => "X-Retry-After"
	_, _ = w.Write([]byte(agent.ID))
}

func Page(t *testing.T) {
	token := authpitest.Fault{Endpoint: "token"}
	fails := func(status int, retryAfter string) func(*authpitest.Server) {
		token.Status, token.RetryAfter = status, retryAfter
		fault := token
		return func(i *authpitest.Server) { i.Inject(fault) }
	}
	for _, tc := range []struct {
		name       string
		happens    func(*authpitest.Server)
		status     int
		retryAfter string
		leadsTo    string
		drops      bool
	}{
		{"all is well", func(*authpitest.Server) {}, 200, "", "", false},
		{"the session has ended", func(i *authpitest.Server) { i.EndSession("usr_ada") }, 303, "", "/login", true},
		{"the issuer is unreachable", fails(502, ""), 503, "5", "", false},
		{"the issuer is busy", fails(429, "17"), 503, "17", "", false},
	} {
		issuer := development(t)
		client, dropped, w := appClient(t, issuer), false, httptest.NewRecorder()
		session := appSession{newAgent(t, client, issuer).Tokens, func() { dropped = true }}
		session.Tokens.ExpiresAt = time.Now().Add(-time.Hour)
		tc.happens(issuer)
		home(w, httptest.NewRequest("GET", "/", nil), client, session, nil)
		retryAfter, location := w.Header().Get("Retry-After"), w.Header().Get("Location")
		if w.Code != tc.status || retryAfter != tc.retryAfter || location != tc.leadsTo || dropped != tc.drops {
			t.Errorf("%s: got %d, Retry-After %q, to %q, dropped %v", tc.name, w.Code, retryAfter, location, dropped)
		}
		if tc.status == 200 && w.Body.String() != "usr_ada" {
			t.Errorf("%s: got %s", tc.name, w.Body)
		}
	}
}
