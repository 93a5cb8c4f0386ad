package authpitest_test

import (
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

func TestLiveSessions(t *testing.T) {
	t.Parallel()
	start := time.Unix(1700000000, 0)
	c := inMemory(t, &authpitest.Options{Now: func() time.Time { return start }})
	if got := c.srv.LiveSessions(); len(got) != 0 {
		t.Fatalf("nobody signed in: %v", got)
	}
	c.signIn() // a code that nobody redeems
	first := c.login()
	c.srv.Advance(time.Hour)
	second := c.login("org", "org_2", "resource", "https://api.example")
	got := c.srv.LiveSessions()
	if len(got) != 2 {
		t.Fatalf("got %d sessions; want 2", len(got))
	}
	_, claims := decode(t, second.text("access_token"))
	equalJSON(t, "the newest", got[0], authpitest.Session{
		ID: claims["sid"].(string), UserID: "usr_ada", ClientID: "c_test", OrgID: "org_2",
		Scopes: []string{"openid", "profile", "email", "projects:read"}, Resources: []string{"https://api.example"},
		Since: start.Add(time.Hour), ExpiresAt: start.Add(169 * time.Hour),
	})
	_, claims = decode(t, first.text("access_token"))
	if got[1].ID != claims["sid"] || !got[1].Since.Equal(start) {
		t.Errorf("the oldest: %+v", got[1])
	}

	// One ends, the other goes on.
	if !c.srv.RevokeSession(got[1].ID) || c.srv.RevokeSession(got[1].ID) || c.srv.RevokeSession("s_unheard_of") {
		t.Error("a session is ended once, and only if it is there")
	}
	c.refresh(first.text("refresh_token")).wantError(t, 400, "invalid_grant")
	if r := c.userinfo(first.text("access_token")); r.status != 401 {
		t.Errorf("userinfo: %d; want 401", r.status)
	}
	c.refresh(second.text("refresh_token")).wantOK(t)
	if got := c.srv.LiveSessions(); len(got) != 1 || got[0].OrgID != "org_2" {
		t.Errorf("got %v; want the second session", got)
	}
	c.srv.Advance(200 * time.Hour)
	if got := c.srv.LiveSessions(); len(got) != 0 {
		t.Errorf("expired: %v", got)
	}
}

func TestRemoveClient(t *testing.T) {
	t.Parallel()
	c := inMemory(t, nil)
	token := c.login().text("refresh_token")
	c.srv.RemoveClient("c_test")
	c.refresh(token).wantError(t, 401, "invalid_client")
	c.srv.AddClient(authpitest.Client{ID: "c_test"})
	c.refresh(token).wantOK(t)
}
