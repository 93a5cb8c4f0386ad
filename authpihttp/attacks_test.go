package authpihttp_test

import (
	"net/http"
	"testing"
)

// What a page shows its user is not to be seen after the sign-out, by the back button
// or out of somebody's cache, whatever the site says elsewhere.
func TestPagesAreNotCached(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.mux.Handle("GET /open", s.app.RequireAgent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=60")
		s.whoami(w, r)
	})))
	inner := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600") // a middleware's
		inner.ServeHTTP(w, r)
	})
	b := s.browser()
	b.signIn("usr_ada")
	for path, want := range map[string]string{"/": "no-store", "/open": "private, max-age=60"} {
		if a := b.get(path); a.header.Get("Cache-Control") != want {
			t.Errorf("%s: got Cache-Control %q; want %q", path, a.header.Get("Cache-Control"), want)
		}
	}
	b.send(http.MethodPost, "/auth/logout", nil)
	if a := b.get("/"); a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("signed out: got Cache-Control %q; want no-store", a.header.Get("Cache-Control"))
	}
}
