package authpihttp_test

import (
	"net/http"
	"testing"
)

// Two tenants have an issuer and an App each, and one session store. An issuer may say
// of anybody what it likes, but to its own tenant only: who is signed in at one of them
// and shows that cookie to the other is nobody there, and the tokens stay where they
// are from.
func TestSessionOfAnotherTenant(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*setup)
	}{
		{"another issuer", func(made *setup) { made.issuer.Path = "/other" }},
		{"another client", func(made *setup) { made.issuer.ClientID, made.client.ClientID = "c_other", "c_other" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mallory, victim := newSite(t, nil), newSite(t, tc.change)
			victim.store, victim.sessions.Store = mallory.store, mallory.store
			here, there := mallory.browser(), victim.browser()
			here.signIn("usr_ada")
			there.setCookie(here.cookie())
			there.wantUser("")
			mallory.expire()
			victim.expire()
			there.wantUser("")
			there.send(http.MethodPost, "/auth/logout", nil)
			if got := victim.issuer.Requests("token") + victim.issuer.Requests("revoke"); got != 0 {
				t.Errorf("got %d requests with another issuer's tokens; want 0", got)
			}

			// Nor does a login of the one take the other's callback.
			here.start("/x")
			there.setCookie(here.cookie())
			callback := there.atIssuer(there.start("/y"), "usr_ada")
			here.setCookie(there.cookie())
			if a := here.get(callback); a.status != http.StatusBadRequest {
				t.Errorf("a callback of the other tenant's: got %d to %q; want 400", a.status, a.location)
			}
			if a := there.get(callback); a.status != http.StatusSeeOther || a.location != "/y" {
				t.Errorf("its own callback: got %d to %q, %v; want 303 to /y", a.status, a.location, victim.lastRefusal())
			}
			there.wantUser("usr_ada")
		})
	}
}

// What one tenant's user left in the session is not for the other tenant's, of the
// same name.
func TestSessionDataOfAnotherTenant(t *testing.T) {
	t.Parallel()
	one, other := newSite(t, nil), newSite(t, func(made *setup) { made.issuer.Path = "/other" })
	other.store, other.sessions.Store = one.store, one.store
	for _, s := range []*site{one, other} {
		s.mux.HandleFunc("GET /note", func(w http.ResponseWriter, r *http.Request) {
			if note := r.FormValue("put"); note != "" {
				s.sessions.Put(r.Context(), "note", note)
			}
			_, _ = w.Write([]byte(s.sessions.GetString(r.Context(), "note")))
		})
	}
	here, there := one.browser(), other.browser()
	here.signIn("usr_ada")
	here.get("/note?put=private")
	there.setCookie(here.cookie())
	there.signIn("usr_ada")
	if a := there.get("/note"); a.body != "" {
		t.Errorf("got note %q; want none", a.body)
	}
	if got := len(one.signIns()); got != 1 {
		t.Errorf("got %d sign-ins in the store; want the new one alone", got)
	}
}
