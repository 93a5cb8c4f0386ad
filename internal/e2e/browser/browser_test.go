package browser

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const ada = "Ada Lovelace"

// signIn opens the app and goes through the issuer's page.
func (b *tab) signIn(app *webapp, name string) {
	b.t.Helper()
	b.open(app.url)
	b.press("main", "Sign in")
	b.press("fieldset", name)
	b.see(name, "What you may do, and where")
}

// rotations is how many the page shows.
func (b *tab) rotations() int {
	b.t.Helper()
	return ask[int](b, `document.querySelectorAll("time").length`)
}

func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 2*time.Minute)
	b := newPerson(t)
	b.signIn(app, ada)
	b.see("ada@example.com", "Analytical Engines", "org_engines", "Poetry Society", "None yet since you signed in")
	if at := ask[string](b, `location.href`); at != app.url+"/" {
		t.Errorf("signed in at %s; want %s/", at, app.url)
	}
	if n := ask[int](b, `document.querySelectorAll("td .yes").length`); n != 4+5 {
		t.Errorf("the matrix says yes %d times; want 4 in org_engines and 5 in org_poetry", n)
	}
	if html := b.html(); strings.Contains(html, "eyJ") || ask[string](b, `document.cookie`) != "" {
		t.Error("the page shows a token, or scripts can read the cookie")
	}

	// A page of one organization, by a link in the matrix, and one that is not hers.
	b.press("table", "Analytical Engines")
	b.see("Projects of Analytical Engines", "org_engines", ada)
	b.expect("403")
	b.open(app.url + "/orgs/org_observatory/projects")
	b.see("Not allowed")

	b.open(app.url)
	b.press("header", "Sign out")
	b.see("Who may do what, where?")
	b.do(chromedp.NavigateBack())
	b.open(app.url) // also where the browser kept the last page
	b.see("Who may do what, where?")
	b.open(app.url + "/orgs/org_engines/projects")
	b.see("Continue as") // at the issuer, who has forgotten her, too
}

func TestBackButton(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 2*time.Minute)
	b := newPerson(t)
	b.signIn(app, ada)

	// Back to the issuer's page, and once more through the callback that is used up.
	b.do(chromedp.NavigateBack())
	b.see("Continue as")
	b.press("fieldset", ada)
	b.see("What you may do, and where")
	b.open(b.lastCallback())
	b.see("What you may do, and where")
	if b.path() != "/" {
		t.Errorf("the callback once more leads to %s; want /", b.path())
	}

	// Nobody sees the dashboard by the back button after a sign-out.
	b.press("header", "Sign out")
	b.see("Who may do what, where?")
	b.do(chromedp.NavigateBack())
	b.wait("page without the dashboard", func() error {
		if html := b.html(); strings.Contains(html, "ada@example.com") && strings.Contains(html, "Sign out") {
			return fmt.Errorf("the dashboard is there again")
		}
		return nil
	})
	b.open(b.lastCallback())
	b.see("Continue as") // a new login
}

func TestTwoTabsSignInAtOnce(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 2*time.Minute)
	first := newPerson(t)
	first.open(app.url)
	second := first.another()
	third := first.another()
	tabs := []*tab{first, second, third}
	together := func(do func(*tab)) {
		var wg sync.WaitGroup
		for _, b := range tabs {
			wg.Go(func() { do(b) })
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	together(func(b *tab) { b.open(app.url + "/auth/login") })
	together(func(b *tab) { b.see("Continue as") })
	together(func(b *tab) { b.press("fieldset", ada) })
	together(func(b *tab) { b.see(ada, "What you may do, and where") })
	together(func(b *tab) { b.press("form[action='/refresh']", "Refresh now") })
	together(func(b *tab) { b.see(ada, "New tokens, same memberships") })
}

func TestRotationWhileThePageIsOpen(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 6*time.Second)
	b := newPerson(t)
	b.signIn(app, ada)
	b.see("None yet")
	// Nobody touches anything.
	b.wait("rotation", func() error {
		if n := b.rotations(); n < 2 {
			return fmt.Errorf("%d rotations", n)
		}
		return nil
	})
	b.see("New tokens, same memberships")

	// A change of memberships arrives by itself as well.
	b.press("section.issuer form:nth-of-type(2)", "Reader")
	b.see("arrives with the next refresh")
	b.see("Royal Observatory now Reader *:read")
	b.wait("row of the organization", func() error {
		if html := b.html(); !strings.Contains(html, `href="/orgs/org_observatory/projects"`) || strings.Contains(html, "arrives with") {
			return fmt.Errorf("not there, or still under way")
		}
		return nil
	})
}

func TestMembershipChange(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 2*time.Minute)
	b := newPerson(t)
	b.signIn(app, ada)
	b.press("section.issuer form:nth-of-type(1)", "Owner")
	b.see("arrives with the next refresh")
	b.press("section.issuer form:nth-of-type(3)", "None")
	b.wait("second change", func() error {
		if n := strings.Count(b.html(), "arrives with the next refresh"); n != 2 {
			return fmt.Errorf("%d changes are under way", n)
		}
		return nil
	})
	b.press("form[action='/refresh']", "Refresh now")
	b.see("Analytical Engines now Owner owner, *:**", "Poetry Society left")
	if n := ask[int](b, `document.querySelectorAll("td .yes").length`); n != 5 {
		t.Errorf("the matrix says yes %d times; want 5", n)
	}
}

func TestOneOrganization(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 2*time.Minute)
	b := newPerson(t)
	b.open(app.url)
	b.unfold("Sign in for one organization only")
	b.do(chromedp.SendKeys(chromedp.ID("org"), "org_engines"))
	b.press("details form", "Sign in")
	b.press("fieldset", ada)
	b.see("Analytical Engines only")
	if html := b.html(); strings.Contains(html, "/orgs/org_poetry") || !strings.Contains(html, `value="org_engines" aria-current="true"`) {
		t.Error("the tokens are not for org_engines alone")
	}
	b.press("section", "All organizations")
	b.press("fieldset", ada)
	b.see("Poetry Society only")

	// One that is not hers: nobody says that she cancelled, and she is still signed in.
	b.expect("403")
	b.open(app.url + "/auth/login?org=org_observatory")
	b.press("fieldset", ada)
	b.see("You were not signed in", "your account does not belong to this organization")
	b.looksGood("refused for an organization")
	b.press("main", "To the start page")
	b.see("Poetry Society only")
}

func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 30*time.Second) // the page loads anew every 2 s
	here, there, mary := newPerson(t), newPerson(t), newPerson(t)
	here.signIn(app, ada)
	there.signIn(app, ada)
	mary.signIn(app, "Mary Somerville")
	here.press("section.issuer", "Sign out everywhere")
	here.see("Your session has ended")
	there.see("Your session has ended") // by itself
	mary.open(app.url)
	mary.see("Mary Somerville", "What you may do, and where")
	there.signIn(app, ada)
}

func TestRefusedCallback(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 2*time.Minute)
	b := newPerson(t)
	b.expect("403")
	b.expect("400")
	b.open(app.url)
	b.press("main", "Sign in")
	b.press("form", "Cancel")
	b.see("You were not signed in", "It was cancelled", "Sign in again")
	refused, err := url.Parse(b.lastCallback())
	if err != nil {
		t.Fatal(err)
	}
	b.leaksNothing(refused.Query())

	forged := url.Values{"code": {"some-other-code"}, "state": {"some-other-state"}, "iss": {"https://evil.example/<script>alert(1)</script>"}}
	b.open(app.url + "/auth/callback?" + forged.Encode())
	b.see("Continue as") // a new login, once
	b.open(app.url + "/auth/callback?" + forged.Encode())
	b.see("Sign-in did not work", "Sign in again")
	b.leaksNothing(forged)

	told := url.Values{"error": {"odd_error"}, "error_description": {"call 555-0199 now"}, "state": {"some-other-state"}}
	b.open(app.url + "/auth/callback?" + told.Encode())
	b.see("Sign-in did not work")
	b.leaksNothing(told)

	// The callback of another person's login.
	other := newPerson(t)
	other.signIn(app, "Mary Somerville")
	b.open(other.lastCallback())
	b.see("Sign-in did not work")

	b.press("main", "Sign in again")
	b.press("fieldset", ada)
	b.see(ada, "What you may do, and where")
}

// leaksNothing checks an error page: nothing of the callback is in it, nor goes on
// to the next page.
func (b *tab) leaksNothing(callback url.Values) {
	b.t.Helper()
	html := b.html()
	for name, values := range callback {
		for _, value := range values {
			if strings.Contains(html, value) {
				b.t.Errorf("the error page holds the callback's %s", name)
			}
		}
	}
	for _, word := range []string{"eyJ", "authpi", "oauth", "OAuth", "_denied", "<script"} {
		if strings.Contains(html, word) {
			b.t.Errorf("the error page holds %q", word)
		}
	}
}
