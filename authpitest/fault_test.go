package authpitest_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

func TestFaultAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault  authpitest.Fault
		status int
		body   string
		header map[string]string
		spent  bool
	}{
		"status": {fault: authpitest.Fault{Status: 503}, status: 503},
		"too many requests": {
			fault:  authpitest.Fault{Status: 429, RetryAfter: "7", Body: "slow down", ContentType: "text/plain"},
			status: 429, body: "slow down", header: map[string]string{"Retry-After": "7", "Content-Type": "text/plain"},
		},
		"body alone": {fault: authpitest.Fault{Body: `{"a":1}`}, status: 200, body: `{"a":1}`,
			header: map[string]string{"Content-Type": "application/json"}},
		"malformed": {fault: authpitest.Fault{Malform: func(b []byte) []byte { return b[:1] }}, status: 200, body: "{", spent: true},
	} {
		for where, start := range servers {
			t.Run(name+" "+where, func(t *testing.T) {
				t.Parallel()
				srv := start(nil)
				defer srv.Close()
				c := withAda(t, srv)
				token := c.login().text("refresh_token")
				fault := tc.fault
				fault.Endpoint = "token"
				srv.Inject(fault)
				r := c.refresh(token)
				if r.status != tc.status || r.body != tc.body {
					t.Errorf("got %d %q; want %d %q", r.status, r.body, tc.status, tc.body)
				}
				for name, want := range tc.header {
					if got := r.header.Get(name); got != want {
						t.Errorf("%s: got %q; want %q", name, got, want)
					}
				}
				if r = c.refresh(token); (r.status == 400) != tc.spent {
					t.Errorf("afterwards: got %d; want spent %v", r.status, tc.spent)
				}
			})
		}
	}
}

func TestFaultCutsConnection(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault authpitest.Fault
		spent bool
	}{
		"before processing": {authpitest.Fault{Drop: true}, false},
		"after processing":  {authpitest.Fault{DropAnswer: true}, true},
	} {
		for where, start := range servers {
			t.Run(name+" "+where, func(t *testing.T) {
				t.Parallel()
				srv := start(nil)
				defer srv.Close()
				c := withAda(t, srv)
				token := c.login().text("refresh_token")
				srv.Inject(tc.fault)
				req := c.postRequest("/token", "grant_type", "refresh_token", "refresh_token", token)
				if _, err := c.try(req); !errors.Is(err, io.EOF) {
					t.Errorf("got %v; want EOF", err)
				}
				if got := srv.Redemptions("refresh_token"); (got == 1) != tc.spent {
					t.Errorf("redemptions: got %d; want spent %v", got, tc.spent)
				}
				if got := srv.Grants("refresh_token"); got != 1 {
					t.Errorf("grants: got %d; want 1", got)
				}
			})
		}
	}
}

func TestFaultRefuse(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	c.srv.Inject(authpitest.Fault{Refuse: true})
	_, err := c.try(c.request(http.MethodGet, "/jwks.json", nil))
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("got %v; want a dial error", err)
	}
	if got := c.srv.Requests(""); got != 0 {
		t.Errorf("requests: got %d; want 0", got)
	}
}

func TestFaultMatching(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault              authpitest.Fault
		jwks, code, renews []bool // which of the requests, in turn, fail
	}{
		"any":           {authpitest.Fault{}, []bool{true, false}, []bool{false}, []bool{false}},
		"endpoint":      {authpitest.Fault{Endpoint: "token"}, []bool{false}, []bool{true}, []bool{false}},
		"grant":         {authpitest.Fault{Grant: "refresh_token"}, []bool{false}, []bool{false}, []bool{true, false}},
		"twice":         {authpitest.Fault{Endpoint: "jwks", Times: 2}, []bool{true, true, false}, []bool{false}, []bool{false}},
		"until cleared": {authpitest.Fault{Endpoint: "jwks", Times: -1}, []bool{true, true, true}, []bool{false}, []bool{false}},
		"grant elsewhere": {authpitest.Fault{Endpoint: "jwks", Grant: "refresh_token"},
			[]bool{false}, []bool{false}, []bool{false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, nil)
			code := c.signIn().Get("code")
			tc.fault.Status = http.StatusTeapot
			c.srv.Inject(tc.fault)
			check := func(what string, fails []bool, send func() reply) (last reply) {
				for i, want := range fails {
					if last = send(); (last.status == http.StatusTeapot) != want {
						t.Errorf("%s %d: got %d; want fault %v", what, i, last.status, want)
					}
				}
				return last
			}
			jwks := func() reply { return c.do(c.request(http.MethodGet, "/jwks.json", nil)) }
			check("jwks", tc.jwks, jwks)
			r := check("code", tc.code, func() reply { return c.exchange(code) })
			if r.status == http.StatusTeapot {
				r = c.exchange(code)
			}
			token := r.text("refresh_token")
			check("refresh", tc.renews, func() reply { return c.refresh(token) })
			c.srv.ClearFaults()
			jwks().wantOK(t)
		})
	}
}

func TestFaultIDToken(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change   func(header, claims map[string]any)
		verifies bool
		alg      any
	}{
		"untouched":        {func(header, claims map[string]any) {}, true, "ES256"},
		"other issuer":     {func(header, claims map[string]any) { claims["iss"] = "https://evil.example" }, true, "ES256"},
		"other algorithm":  {func(header, claims map[string]any) { header["alg"] = "RS256" }, true, "RS256"},
		"none":             {func(header, claims map[string]any) { header["alg"] = "none" }, false, "none"},
		"HMAC, public key": {func(header, claims map[string]any) { header["alg"] = "HS256" }, false, "HS256"},
		"HMAC, secret": {func(header, claims map[string]any) {
			maps.Copy(header, map[string]any{"alg": "HS256", "_secret": "shh"})
		}, false, "HS256"},
		"bad signature": {func(header, claims map[string]any) { header["_signature"] = "bad" }, false, "ES256"},
		"no kid":        {func(header, claims map[string]any) { delete(header, "kid") }, false, "ES256"},
		"foreign kid":   {func(header, claims map[string]any) { header["kid"] = "nope" }, false, "ES256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, nil)
			code := c.signIn().Get("code")
			c.srv.Inject(authpitest.Fault{IDToken: func(header, claims map[string]any) {
				c.srv.KeyIDs() // the server can be used from here
				claims["seen"] = true
				tc.change(header, claims)
			}})
			c.do(c.request(http.MethodGet, "/jwks.json", nil)) // does not use the fault up
			token := c.exchange(code).text("id_token")
			header, claims := decode(t, token)
			equalJSON(t, "alg", header["alg"], tc.alg)
			equalJSON(t, "seen", claims["seen"], true)
			if _, ok := header["_signature"]; ok || header["_secret"] != nil {
				t.Errorf("header %v", header)
			}
			if got := verify(c, token); (got == nil) != tc.verifies {
				t.Errorf("verify: got %v; want ok %v", got, tc.verifies)
			}
		})
	}
}

func TestDelayInBubble(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault    authpitest.Fault
		timeout  time.Duration
		took     time.Duration
		wantErr  error
		redeemed int
	}{
		"before":              {authpitest.Fault{Delay: time.Hour}, 2 * time.Hour, time.Hour, nil, 1},
		"after":               {authpitest.Fault{DelayAnswer: time.Hour}, 2 * time.Hour, time.Hour, nil, 1},
		"deadline before":     {authpitest.Fault{Delay: 2 * time.Hour}, time.Hour, time.Hour, context.DeadlineExceeded, 0},
		"deadline after":      {authpitest.Fault{DelayAnswer: 2 * time.Hour}, time.Hour, time.Hour, context.DeadlineExceeded, 1},
		"delay, then nothing": {authpitest.Fault{Delay: time.Hour, Drop: true}, 2 * time.Hour, time.Hour, io.EOF, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outside := authpitest.NewInMemory(nil) // a server from outside works, too
			real := time.Now()
			synctest.Test(t, func(t *testing.T) {
				c := withAda(t, outside)
				token := c.login().text("refresh_token")
				c.srv.Inject(tc.fault)
				ctx, cancel := context.WithTimeout(t.Context(), tc.timeout)
				defer cancel()
				start := time.Now()
				_, err := c.try(c.postRequest("/token", "grant_type", "refresh_token", "refresh_token", token).WithContext(ctx))
				if !errors.Is(err, tc.wantErr) {
					t.Errorf("got %v; want %v", err, tc.wantErr)
				}
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %v; want %v", took, tc.took)
				}
				if got := c.srv.Redemptions("refresh_token"); got != tc.redeemed {
					t.Errorf("redemptions: got %d; want %d", got, tc.redeemed)
				}
			})
			if took := time.Since(real); took >= time.Hour {
				t.Errorf("took %v of real time", took)
			}
		})
	}
}

func TestTimePassesInBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, nil)
		r := c.login()
		time.Sleep(29*time.Minute + 59*time.Second)
		c.userinfo(r.text("access_token")).wantOK(t)
		time.Sleep(time.Second)
		c.userinfo(r.text("access_token")).wantError(t, http.StatusUnauthorized, "invalid_token")
		client := c.srv.Client()
		client.Timeout = time.Second
		c.srv.Inject(authpitest.Fault{Delay: time.Hour})
		_, err := client.Get(c.endpoint("/jwks.json"))
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("got %v; want a timeout", err)
		}
	})
}

func TestDelayOverSocket(t *testing.T) {
	t.Parallel()
	srv := authpitest.NewServer(nil)
	c := withAda(t, srv)
	srv.Inject(authpitest.Fault{Delay: time.Hour, Times: 2})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ask := func(ctx context.Context) {
		_, err := c.try(c.request(http.MethodGet, "/jwks.json", nil).WithContext(ctx))
		done <- err
	}
	go ask(ctx)
	testkit.Eventually(t, "the first request arrives", func() bool { return srv.Requests("jwks") == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want the caller's own end", err)
	}
	go ask(t.Context())
	testkit.Eventually(t, "the second request arrives", func() bool { return srv.Requests("jwks") == 2 })
	srv.Close() // ends the delay
	if err := <-done; err == nil {
		t.Error("got an answer from a closed server")
	}
}

func TestCounters(t *testing.T) {
	t.Parallel()
	c := inMemory(t, &authpitest.Options{ClientSecret: "secret"})
	r := c.login()
	c.refresh(r.text("refresh_token"))
	c.refresh(r.text("refresh_token")) // refused
	req := c.postRequest("/revoke", "token", "x")
	req.Header.Set("User-Agent", "tester")
	c.do(req)
	for endpoint, want := range map[string]int{
		"authorize": 1, "token": 3, "revoke": 1, "userinfo": 0, "jwks": 0, "": 5,
	} {
		if got := c.srv.Requests(endpoint); got != want {
			t.Errorf("Requests(%q): got %d; want %d", endpoint, got, want)
		}
	}
	if g, r := c.srv.Grants("refresh_token"), c.srv.Redemptions("refresh_token"); g != 2 || r != 1 {
		t.Errorf("got %d grants, %d redemptions; want 2, 1", g, r)
	}
	if got := c.srv.LastForm().Encode(); got != "client_id=c_test&client_secret=secret&token=x" {
		t.Errorf("LastForm: got %q", got)
	}
	if got := c.srv.LastHeader().Get("User-Agent"); got != "tester" {
		t.Errorf("LastHeader: got %q", got)
	}
	c.srv.LastForm().Set("token", "changed") // a copy
	if got := c.srv.LastForm().Get("token"); got != "x" {
		t.Errorf("LastForm is no copy: %q", got)
	}
	c.srv.ResetCounters()
	if c.srv.Requests("") != 0 || c.srv.Grants("refresh_token") != 0 || c.srv.LastForm() != nil || c.srv.LastHeader() != nil {
		t.Error("counts outlive ResetCounters")
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	c.post("/token", "grant_type", "refresh_token", "refresh_token", strings.Repeat("x", 1<<20)).
		wantError(t, http.StatusRequestEntityTooLarge, "invalid_request")
}

// A misspelt name would make a fault that never happens, and a test that passes for
// nothing.
func TestInjectUnknownNames(t *testing.T) {
	t.Parallel()
	srv := authpitest.NewInMemory(nil)
	for _, tc := range []struct {
		fault authpitest.Fault
		want  string
	}{
		{authpitest.Fault{Endpoint: "user_info"},
			`authpitest: unknown Fault.Endpoint "user_info": want one of authorize, token, userinfo, jwks, discovery, revoke, introspect, logout`},
		{authpitest.Fault{Grant: "refresh"},
			`authpitest: unknown Fault.Grant "refresh": want one of authorization_code, refresh_token, client_credentials`},
	} {
		func() {
			defer func() {
				if got := recover(); got != tc.want {
					t.Errorf("got %v; want a panic with %s", got, tc.want)
				}
			}()
			srv.Inject(tc.fault)
		}()
	}
}

func TestPendingFaults(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	c.srv.Inject(authpitest.Fault{Endpoint: "token", Status: 503, Times: 2})
	c.srv.Inject(authpitest.Fault{Endpoint: "jwks", Drop: true, Times: -1})
	check := func(want ...authpitest.Fault) {
		t.Helper()
		got := c.srv.PendingFaults()
		if len(got) != len(want) {
			t.Fatalf("got %d faults; want %d", len(got), len(want))
		}
		for i, w := range want {
			if got[i].Endpoint != w.Endpoint || got[i].Times != w.Times || got[i].Status != w.Status || got[i].Drop != w.Drop {
				t.Errorf("fault %d: %s, %d times; want %s, %d times", i, got[i].Endpoint, got[i].Times, w.Endpoint, w.Times)
			}
		}
	}
	keys := authpitest.Fault{Endpoint: "jwks", Drop: true, Times: -1}
	check(authpitest.Fault{Endpoint: "token", Status: 503, Times: 2}, keys)
	c.post("/token")
	c.srv.PendingFaults()[0].Times = 7 // a copy
	check(authpitest.Fault{Endpoint: "token", Status: 503, Times: 1}, keys)
	c.post("/token")
	check(keys)
	c.srv.ClearFaults()
	check()
}
