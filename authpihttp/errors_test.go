package authpihttp_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// Every error page leads on: to where trying again makes sense, and to the start.
func TestErrorPagesLeadOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(made *setup) { made.options.Authorize = forOrganization })
	s.mux.Handle("GET /orgs/{org}", s.app.RequireAgent(authpihttp.RequireAccess("read", "projects", orgOf)(http.HandlerFunc(s.whoami))))
	denied := func(b *browser, login, user string) answer { return b.get(s.atIssuer(b.get(login).location, user)) }
	const home, out, again = `<a href="/">To the start page`, `<form method="post" action="/auth/logout">`, `<a href="/auth/login?again=1&amp;return_to=%2Fx">Sign in again`
	for _, tc := range []struct {
		name        string
		do          func(b *browser) answer
		status      int
		text        string
		links, none []string
	}{
		{"forbidden", func(b *browser) answer { return b.get("/orgs/org_9") }, 403, "may not do this", []string{home, out}, []string{"Sign in again"}},
		{"cancelled", func(b *browser) answer { return denied(b, "/auth/login?return_to=/x", "") }, 403, "Sign-in was cancelled", []string{again, out, home}, nil},
		{"no member of the organization", func(b *browser) answer { return denied(b, "/auth/login?return_to=/x&org=org_9", "usr_ada") }, 403,
			"your account does not belong to this organization", []string{again, out, home}, []string{"was cancelled</h1>"}},
		{"cancelled for an organization", func(b *browser) answer { return denied(b, "/auth/login?return_to=/x&org=org_1", "") }, 403,
			"It was cancelled, or", []string{again, out, home}, nil},
		{"other site's form", func(b *browser) answer {
			return b.send("POST", "/auth/logout", map[string]string{"Sec-Fetch-Site": "cross-site"})
		}, 403, "press the button here", []string{home, out}, []string{"Sign in again"}},
		{"another issuer's login", func(b *browser) answer { return b.get("/auth/login?iss=https://evil.test") }, 400, "not for this site", []string{home, out}, []string{"Sign in again"}},
		{"page while the issuer is away", func(b *browser) answer { return b.get("/x") }, 503, "in a few seconds", []string{home, out}, []string{`href="/x"`, `href=""`}},
		{"form while the issuer is away", func(b *browser) answer { return b.send("POST", "/x", nil) }, 503, "in a few seconds", []string{home, out}, nil},
		{"start page while the issuer is away", func(b *browser) answer { return b.get("/") }, 503, "in a few seconds", []string{out}, []string{"start page", `href=`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := s.browser()
			b.signIn("usr_ada")
			if tc.status == 503 {
				s.expire()
				s.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: 502})
			}
			a := tc.do(b)
			if a.status != tc.status || !strings.Contains(a.body, tc.text) {
				t.Errorf("got %d %s; want %d with %q", a.status, a.body, tc.status, tc.text)
			}
			for _, link := range tc.links {
				if !strings.Contains(a.body, link) {
					t.Errorf("got %s; want %s", a.body, link)
				}
			}
			for _, text := range tc.none {
				if strings.Contains(a.body, text) {
					t.Errorf("got %s; want no %q", a.body, text)
				}
			}
			b.wantUser("usr_ada") // signed in as before
		})
	}
}

// Whoever is not signed in has a way on, too: another account at the issuer.
func TestErrorPagesOfStrangersLeadOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.issuer.BlockUser("usr_bob")
	b := s.browser()
	a := b.get(s.atIssuer(b.start("/x"), "usr_bob"))
	const again = `/auth/login?again=1&return_to=%2Fx`
	if a.status != 403 || !strings.Contains(a.body, strings.ReplaceAll(again, "&", "&amp;")) {
		t.Fatalf("got %d %s; want 403 with another sign-in", a.status, a.body)
	}
	if a = b.get(again); param(t, a.location, "prompt") != "login" {
		t.Errorf("got %q; want the issuer to ask who it is", a.location)
	}
}

// The issuer refuses something in the middle of somebody's work: that is no sign-in
// that did not work.
func TestRefusalsOfAPage(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"invalid_client", "invalid_scope", "invalid_request", "unauthorized_client"} {
		s := newSite(t, nil)
		b := s.browser()
		b.signIn("usr_ada")
		s.expire()
		s.issuer.Inject(authpitest.Fault{Grant: "refresh_token", Status: 400, Body: `{"error":"` + code + `"}`})
		a := b.get("/x")
		if strings.Contains(a.body, "Sign-in did not work") || a.status != 500 || !strings.Contains(a.body, "Sign out") {
			t.Errorf("%s: got %d %s; want 500 with a way out", code, a.status, a.body)
		}
	}
}
