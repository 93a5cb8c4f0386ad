package browser

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// faults are what a page should not have, found by looking at it as it is drawn.
const faults = `(() => {
	const found = [];
	const html = document.documentElement;
	if (html.scrollWidth > html.clientWidth) {
		found.push("it scrolls sideways: " + html.scrollWidth + " of " + html.clientWidth);
	}
	if (!html.lang) found.push("no language");
	if (!document.title) found.push("no title");
	if (document.querySelectorAll("h1").length != 1) found.push("not one h1");
	if (document.querySelectorAll("main").length != 1) found.push("not one main");
	if (!document.querySelector("meta[name=viewport]")) found.push("no viewport");
	if (document.querySelector("script:not([src]), [style], [onclick]")) found.push("inline scripts or styles");
	for (const e of document.querySelectorAll("input:not([type=hidden]), select")) {
		if (!e.labels.length) found.push("no label: " + e.name);
	}
	for (const e of document.querySelectorAll("a, button")) {
		if (!e.textContent.trim()) found.push("no name: " + e.outerHTML);
	}
	for (const e of document.querySelectorAll("button, .button, input:not([type=hidden])")) {
		const box = e.getBoundingClientRect();
		if (box.width && box.height < 44) found.push("small to touch: " + e.outerHTML);
	}

	// Contrast, WCAG 2.2 success criterion 1.4.3.
	const light = c => {
		const [r, g, b] = c.match(/[\d.]+/g).slice(0, 3).map(x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const opaque = c => c.startsWith("rgb(");
	const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(18, 18, 18)" : "rgb(255, 255, 255)";
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) || !e.getClientRects().length) continue;
		let behind = e;
		while (behind && !opaque(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
		const a = light(getComputedStyle(e).color), b = light(behind ? getComputedStyle(behind).backgroundColor : canvas);
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) found.push("contrast " + ratio.toFixed(1) + ": " + e.outerHTML.slice(0, 80));
	}
	return found;
})()`

func (b *tab) looksGood(where string) {
	b.t.Helper()
	for _, fault := range ask[[]string](b, faults) {
		b.t.Errorf("%s: %s", where, fault)
	}
}

// Every page in light and dark, on a wide screen, on a phone and on the narrowest
// that WCAG 2.2 asks for (1.4.10).
func TestLooks(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 2*time.Minute)
	b := newPerson(t)
	b.expect("404")
	everyLook := func(page string) {
		t.Helper()
		for _, width := range []int64{1100, 700, 390, 320} {
			for _, scheme := range []string{"light", "dark"} {
				b.scheme(scheme)
				b.do(chromedp.EmulateViewport(width, 800))
				b.looksGood(fmt.Sprintf("%s, %d wide, %s", page, width, scheme))
			}
		}
	}
	b.open(app.url)
	everyLook("welcome")
	b.unfold("Sign in for one organization only")
	everyLook("welcome, opened")
	b.press("main", "Sign in")
	b.see("Continue as")
	everyLook("issuer")
	b.press("fieldset", ada)
	b.see(ada)
	b.press("section.issuer form:nth-of-type(1)", "Owner")
	b.see("arrives with the next refresh")
	b.press("form[action='/refresh']", "Refresh now")
	b.see("Analytical Engines now Owner")
	b.press("section.issuer form:nth-of-type(2)", "Reader")
	b.see("arrives with the next refresh")
	b.press(".pace", "Pause")
	b.see("Paused")
	everyLook("dashboard")
	b.open(app.url + "/orgs/org_poetry/projects")
	everyLook("projects")
	b.open(app.url + "/nowhere")
	b.see("Tessera", "There is no such page")
	everyLook("404")

	guest := newPerson(t)
	guest.signIn(app, "Luigi Menabrea")
	guest.see("You are in no organization")
	guest.looksGood("guest")
	guest.open(app.url + "/auth/callback?code=x&state=y")
	guest.see("What you may do, and where")

	b = newPerson(t)
	b.expect("400")
	b.open(app.url + "/auth/callback?code=x&state=y")
	b.see("Continue as") // a new login, once
	b.open(app.url + "/auth/callback?code=x&state=y")
	everyLook("error")
	b.open(app.url + "/auth/logout")
	everyLook("sign out")
}

// Somebody without a mouse signs in and out, and always sees where they are.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	app := startWebapp(t, 2*time.Minute)
	b := newPerson(t)
	b.open(app.url)
	b.tabTo("Sign in")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.see("Continue as")
	b.tabTo(ada)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.see("What you may do, and where")
	b.tabTo("Pause") // or the page is another one before the next key
	b.do(chromedp.KeyEvent(kb.Enter))
	b.see("Paused")
	b.tabTo("Refresh now")
	b.do(chromedp.KeyEvent(" "))
	b.see("New tokens, same memberships")
	b.tabTo("Sign out")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.see("Who may do what, where?")
}

func (b *tab) tabTo(text string) {
	b.t.Helper()
	for range 40 {
		b.do(chromedp.KeyEvent(kb.Tab))
		focus := ask[[]string](b, `(() => {
			const e = document.activeElement, s = getComputedStyle(e);
			return [e.innerText.trim(), s.outlineStyle, s.outlineWidth];
		})()`)
		if focus[1] == "none" || focus[2] == "0px" {
			b.t.Errorf("the focus on %q cannot be seen", focus[0])
		}
		if len(focus[0]) >= len(text) && focus[0][:len(text)] == text {
			return
		}
	}
	b.t.Fatalf("the keyboard does not reach %q", text)
}

// maxImage is what a README may load.
const maxImage = 100 << 10

// keep writes a screenshot as a small file, in the 256 colors that it has most of: the
// others are a few pixels at the edges of letters.
func keep(t *testing.T, path string, screenshot []byte) {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(screenshot))
	if err != nil {
		t.Fatal(err)
	}
	count := map[color.Color]int{}
	area := full.Bounds()
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			count[full.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	small := image.NewPaletted(area, colors[:min(len(colors), 256)])
	draw.Draw(small, area, full, area.Min, draw.Src)
	var file bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&file, small); err != nil {
		t.Fatal(err)
	}
	if file.Len() > maxImage {
		t.Errorf("%s has %d bytes; want at most %d", path, file.Len(), maxImage)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The picture of the README, with -update: Ada, as all pages have her.
func TestScreenshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if *update {
		dir = filepath.Join("..", "..", "..", "docs", "img")
	}
	app := startWebapp(t, 2*time.Minute)
	b := newPerson(t)
	b.signIn(app, ada)
	for range 2 {
		b.press("form[action='/refresh']", "Refresh now")
		b.see("New tokens, same memberships")
		time.Sleep(3 * time.Second) // so that the times differ
	}
	b.press("section.issuer form:nth-of-type(2)", "Reader")
	b.see("arrives with the next refresh")
	b.scheme("light")
	b.do(chromedp.EmulateViewport(1100, 800))
	b.open(app.url)
	b.see(ada)
	shot, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	keep(t, filepath.Join(dir, "webapp-dashboard.png"), shot)
}
