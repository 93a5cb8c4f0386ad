package browser

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// With scripts the page counts down and shows what has changed, without being loaded
// anew. The policy allows what it needs, or the console would say so.
func TestLive(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 6*time.Second)
	b := newPerson(t)
	b.scripts(true)
	b.signIn(app, ada)
	b.mark()
	left := func() string { return ask[string](b, `document.querySelector("[data-left]").textContent`) }
	before := left()
	b.wait("countdown", func() error {
		if now := left(); now == before || !strings.HasSuffix(now, "s") {
			return fmt.Errorf("it says %q", now)
		}
		return nil
	})
	b.tabTo("Refresh now")
	b.see("New tokens, same memberships")
	b.wait("second refresh", func() error {
		if n := b.rotations(); n < 2 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	if at := b.focus(); at != "refresh" {
		t.Errorf("the focus went to %q", at)
	}
	b.sameDocument()
	b.looksGood("live")

	// Signed out elsewhere, it says so by itself.
	there := newPerson(t)
	there.signIn(app, ada)
	there.press("section.issuer", "Sign out everywhere")
	b.see("Your session has ended", "Sign in")
	b.sameDocument()
}

// Where the focus was before a form was sent, it is again, and a pause lasts until
// somebody ends it.
func TestFocusAndPauseSurviveAReload(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, time.Minute)
	b := newPerson(t)
	b.scripts(true)
	b.signIn(app, ada)
	b.see("Refreshes every 5 s")
	for _, step := range []struct{ button, shows, focus string }{
		{"Pause", "Paused", "pause"},
		{"Refresh now", "New tokens, same memberships", "refresh"},
		{"Reader", "arrives with the next refresh", "role-org_engines-Reader"},
	} {
		b.tabTo(step.button)
		b.do(chromedp.KeyEvent(kb.Enter))
		b.see(step.shows)
		b.wait("focus on "+step.button, func() error {
			if at := b.focus(); at != step.focus {
				return fmt.Errorf("it is on %q", at)
			}
			return nil
		})
	}
	b.open(app.url)
	b.see("Paused", "Resume")
	b.scripts(false)
	b.open(app.url)
	b.see("Paused", "Resume")
	if html := b.html(); strings.Contains(html, "http-equiv") || strings.Contains(html, "data-every") {
		t.Error("a paused page goes on")
	}
	b.press(".pace", "Resume")
	b.see("Refreshes every 5 s")
}

// While the app is away the page says that it is old, and the countdown goes on.
func TestLiveWithoutTheApp(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 12*time.Second)
	b := newPerson(t)
	b.scripts(true)
	b.expect("net::ERR_")
	b.signIn(app, ada)
	b.mark()
	app.stop()
	b.see("The app does not answer just now.")
	b.see("Expires in 0s", ada)
	b.sameDocument()
}

// focus is the ID of what has it.
func (b *tab) focus() string {
	b.t.Helper()
	return ask[string](b, `document.activeElement.id`)
}

// mark lets sameDocument tell whether the page was loaded anew meanwhile.
func (b *tab) mark() { ask[bool](b, `window.marked = true`) }

func (b *tab) sameDocument() {
	b.t.Helper()
	if !ask[bool](b, `window.marked === true`) {
		b.t.Error("the page was loaded anew")
	}
}
