package authpitest_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	first := c.login("org", "org_1", "resource", "https://api.example")
	c.srv.Advance(time.Hour)
	c.userinfo(first.text("access_token")).wantError(t, http.StatusUnauthorized, "invalid_token")
	c.srv.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_1", Scopes: []string{"admin"}})

	second := c.refresh(first.text("refresh_token"))
	second.wantOK(t)
	if second.text("refresh_token") == first.text("refresh_token") || second.text("refresh_token") == "" {
		t.Error("the refresh token did not change")
	}
	_, before := decode(t, first.text("id_token"))
	_, after := decode(t, second.text("id_token"))
	equalJSON(t, "auth_time", after["auth_time"], before["auth_time"])
	equalJSON(t, "nonce", after["nonce"], nil)
	_, access := decode(t, second.text("access_token"))
	equalJSON(t, "aud", access["aud"], "https://api.example")
	equalJSON(t, "org_id", access["org_id"], "org_1")
	org, _ := access["organizations"].([]any)[0].(map[string]any)
	equalJSON(t, "scopes", org["scopes"], []string{"admin"})
	c.userinfo(second.text("access_token")).wantOK(t)
}

func TestRefreshAfterLeavingTheOrganization(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	first := c.login("org", "org_1")
	c.srv.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_2"})
	r := c.refresh(first.text("refresh_token"))
	_, access := decode(t, r.text("access_token"))
	equalJSON(t, "organizations", access["organizations"], []any{})
	equalJSON(t, "org_id", access["org_id"], nil)
	equalJSON(t, "userinfo", c.userinfo(r.text("access_token")).json["organizations"], []any{})
}

func TestReuseEndsTheSession(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts  authpitest.Options
		after time.Duration
		dies  bool
	}{
		"strict":       {dies: true},
		"within grace": {opts: authpitest.Options{ReuseGrace: 10 * time.Second}, after: 10 * time.Second},
		"after grace":  {opts: authpitest.Options{ReuseGrace: 10 * time.Second}, after: 10*time.Second + 1, dies: true},
		"no rotation":  {opts: authpitest.Options{NoRotation: true}, after: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := time.Unix(1_800_000_000, 0)
			tc.opts.Now = func() time.Time { return clock }
			c := inMemory(t, &tc.opts)
			first := c.login()
			second := c.refresh(first.text("refresh_token"))
			second.wantOK(t)
			if second.json["refresh_token"] == nil != tc.opts.NoRotation {
				t.Errorf("got %s; want a refresh token unless NoRotation", second.body)
			}
			c.srv.Advance(tc.after)
			third := c.refresh(first.text("refresh_token"))
			if alive := c.srv.SessionAlive(second.text("access_token")); alive == tc.dies {
				t.Errorf("session alive: got %v; want %v", alive, !tc.dies)
			}
			if !tc.dies {
				third.wantOK(t)
				return
			}
			third.wantError(t, http.StatusBadRequest, "invalid_grant")
			c.refresh(second.text("refresh_token")).wantError(t, http.StatusBadRequest, "invalid_grant")
			c.userinfo(second.text("access_token")).wantError(t, http.StatusUnauthorized, "invalid_token")
			if got := c.srv.Sessions("usr_ada"); got != 0 {
				t.Errorf("sessions: got %d; want 0", got)
			}
		})
	}
}

func TestRefreshNarrows(t *testing.T) {
	t.Parallel()
	const a, b = "https://a.example", "https://b.example"
	for name, tc := range map[string]struct {
		change  []string
		wantErr string
		scope   string
		aud     any
	}{
		"nothing asked":      {scope: allScopes, aud: []string{a, b}},
		"narrower scope":     {change: []string{"scope", "projects:read"}, scope: "projects:read", aud: []string{a, b}},
		"one resource":       {change: []string{"resource", b}, scope: allScopes, aud: b},
		"wider scope":        {change: []string{"scope", "openid admin"}, wantErr: "invalid_scope"},
		"another resource":   {change: []string{"resource", "https://c.example"}, wantErr: "invalid_target"},
		"malformed resource": {change: []string{"resource", "a"}, wantErr: "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, nil)
			token := c.login("resource", a, "resource", b).text("refresh_token")
			r := c.refresh(token, tc.change...)
			if tc.wantErr != "" {
				r.wantError(t, http.StatusBadRequest, tc.wantErr)
				c.refresh(token).wantOK(t) // a refused request spends nothing
				return
			}
			_, access := decode(t, r.text("access_token"))
			equalJSON(t, "scope", r.json["scope"], tc.scope)
			equalJSON(t, "scope claim", access["scope"], tc.scope)
			equalJSON(t, "aud", access["aud"], tc.aud)
			whole := c.refresh(r.text("refresh_token"))
			equalJSON(t, "scope afterwards", whole.json["scope"], allScopes)
		})
	}
}

func TestRefreshRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before func(rp)
		code   string
		alive  bool
	}{
		"expired":      {func(c rp) { c.srv.Advance(7 * 24 * time.Hour) }, "invalid_grant", false},
		"user removed": {func(c rp) { c.srv.RemoveUser("usr_ada") }, "invalid_grant", false},
		"user blocked": {func(c rp) { c.srv.BlockUser("usr_ada") }, "user_blocked", true},
		"session over": {func(c rp) { c.srv.EndSession("usr_ada") }, "invalid_grant", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inMemory(t, nil)
			r := c.login()
			tc.before(c)
			c.refresh(r.text("refresh_token")).wantError(t, http.StatusBadRequest, tc.code)
			if got := c.srv.SessionAlive(r.text("refresh_token")); got != tc.alive {
				t.Errorf("alive: got %v; want %v", got, tc.alive)
			}
			if tc.alive { // no longer blocked, nothing was spent
				c.srv.AddUser(ada)
				c.refresh(r.text("refresh_token")).wantOK(t)
			}
		})
	}
	t.Run("another client's", func(t *testing.T) {
		c := inMemory(t, nil)
		c.srv.AddClient(authpitest.Client{ID: "c_other"})
		token := c.login().text("refresh_token")
		c.refresh(token, "client_id", "c_other").wantError(t, http.StatusBadRequest, "invalid_grant")
		c.refresh("no such token").wantError(t, http.StatusBadRequest, "invalid_grant")
		c.refresh("").wantError(t, http.StatusBadRequest, "invalid_request")
		c.refresh(token).wantOK(t)
	})
}

func TestOmitIDTokenOnRefresh(t *testing.T) {
	t.Parallel()
	c := inMemory(t, &authpitest.Options{OmitIDTokenOnRefresh: true})
	r := c.login()
	if r.text("id_token") == "" {
		t.Error("no ID token at the exchange")
	}
	if r = c.refresh(r.text("refresh_token")); r.json["id_token"] != nil {
		t.Error("an ID token at the refresh")
	}
}

func TestConcurrentRefreshes(t *testing.T) {
	t.Parallel()
	srv := authpitest.NewServer(nil)
	defer srv.Close()
	c := withAda(t, srv)
	token := c.login().text("refresh_token")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.try(c.postRequest("/token", "grant_type", "refresh_token", "refresh_token", token)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := srv.Redemptions("refresh_token"); got != 1 {
		t.Errorf("redemptions: got %d; want 1", got)
	}
	if got := srv.Grants("refresh_token"); got != 20 {
		t.Errorf("grants: got %d; want 20", got)
	}
	if srv.SessionAlive(token) {
		t.Error("the session outlived a reuse")
	}
}
