package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long anything may take that does not wait for a token to expire.
const patience = 20 * time.Second

// chromium is the browser process of all tests. The first one starts it.
var chromium browser

type browser struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	dir    string
	err    error

	preferences string // of a new profile, as JSON
}

func (b *browser) start(path string) {
	if b.dir, b.err = os.MkdirTemp("", "authpi-chromium-"); b.err != nil {
		return
	}
	if b.preferences != "" {
		profile := filepath.Join(b.dir, "Default")
		if b.err = os.Mkdir(profile, 0o700); b.err == nil {
			b.err = os.WriteFile(filepath.Join(profile, "Preferences"), []byte(b.preferences), 0o600)
		}
		if b.err != nil {
			return
		}
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(b.dir), chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", true))
	if os.Geteuid() == 0 { // as root Chromium refuses to run in its sandbox
		options = append(options, chromedp.NoSandbox)
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	b.ctx, b.cancel = ctx, func() { cancel(); end() }
	b.err = chromedp.Do(ctx) // starts it
}

func (b *browser) stop() {
	if b.cancel != nil {
		_ = chromedp.Cancel(b.ctx) // waits until it has ended
		b.cancel()
	}
	for range 50 { // its last children may still be writing
		if b.dir == "" || os.RemoveAll(b.dir) == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// person has cookies of their own, and the first tab open.
func newPerson(t *testing.T) *tab {
	t.Helper()
	chromium.once.Do(func() { chromium.start(needChromium(t)) })
	if chromium.err != nil {
		t.Fatalf("Chromium: %v", chromium.err)
	}
	return openTab(t, chromium.ctx, chromedp.WithNewBrowserContext())
}

// tab is one of a person's. What it says on the console that nobody expected fails
// the test in the end.
type tab struct {
	t   *testing.T
	ctx context.Context

	left atomic.Int64 // how often a link or form led away

	mu        sync.Mutex // guards what follows
	console   []string
	expected  []string // parts of lines on the console that are right
	callbacks []string // addresses that the issuer sent this tab to
}

func openTab(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(b.hear))...)
	b.ctx = ctx
	t.Cleanup(func() {
		b.checkConsole()
		cancel()
	})
	b.do(chromedp.EmulateViewport(1100, 800))
	// Nothing here needs JavaScript. The tests' own still runs.
	b.emulate(emulation.SetScriptExecutionDisabledParams{Value: true})
	return b
}

// another is a second tab of the same person.
func (b *tab) another() *tab {
	b.t.Helper()
	return openTab(b.t, b.ctx)
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.console = append(b.console, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		b.console = append(b.console, string(e.Type))
	case *runtime.EventExceptionThrown:
		b.console = append(b.console, e.ExceptionDetails.Text)
	case *page.EventFrameRequestedNavigation:
		switch e.Reason {
		case page.ClientNavigationReasonAnchorClick, page.ClientNavigationReasonFormSubmissionGet, page.ClientNavigationReasonFormSubmissionPost:
			b.left.Add(1)
		}
	case *network.EventRequestWillBeSent:
		if strings.Contains(e.Request.URL, "/auth/callback?") {
			b.callbacks = append(b.callbacks, e.Request.URL)
		}
	}
}

// expect names what may be on the console, such as the status of a refusal.
func (b *tab) expect(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, part)
}

func (b *tab) checkConsole() {
	b.mu.Lock()
	defer b.mu.Unlock()
lines:
	for _, line := range b.console {
		for _, part := range b.expected {
			if strings.Contains(line, part) {
				continue lines
			}
		}
		b.t.Errorf("on the console: %s", line)
	}
}

func (b *tab) lastCallback() string {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.callbacks) == 0 {
		b.t.Fatal("the issuer sent nobody back")
	}
	return b.callbacks[len(b.callbacks)-1]
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) emulate(params any) {
	b.t.Helper()
	var err error
	switch p := params.(type) {
	case emulation.SetScriptExecutionDisabledParams:
		_, err = chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, p)
	case emulation.SetEmulatedMediaParams:
		_, err = chromedp.Call(b.ctx, emulation.SetEmulatedMedia, p)
	default:
		err = fmt.Errorf("%T is not emulated", p)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) scheme(name string) {
	b.t.Helper()
	b.emulate(emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

// ask evaluates an expression in the page.
func ask[T any](b *tab, expression string) T {
	b.t.Helper()
	var value T
	b.wait("an answer of the page", func() (err error) {
		value, err = chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
		return err
	})
	return value
}

// wait tries again until there is no error: the page may be loading anew just now.
func (b *tab) wait(what string, try func() error) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.pathname + "\n" + document.body.innerText`))
			b.t.Fatalf("no %s: %v\nat %s", what, err, text)
		}
	}
}

// see waits until the page shows all texts.
func (b *tab) see(texts ...string) {
	b.t.Helper()
	b.wait("page with "+strings.Join(texts, ", "), func() error {
		// What is still loading may lack its end, or its looks.
		shown, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.readyState === "complete" ? document.body.innerText : ""`))
		for _, text := range texts {
			if err == nil && !strings.Contains(shown, text) {
				err = fmt.Errorf("%q is not on it", text)
			}
		}
		return err
	})
}

// press clicks a link or button by the text on it, inside of what the CSS selector
// finds, and sees to it that the page is left: a click that meets the moment when the
// page loads anew is lost.
func (b *tab) press(within, text string) {
	b.t.Helper()
	b.wait("press of "+text, func() error {
		before := b.left.Load()
		if err := b.click(within, "a, button", text); err != nil {
			return err
		}
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if b.left.Load() > before {
				return nil
			}
		}
		return fmt.Errorf("%q was pressed and nothing happened", text)
	})
}

// unfold opens the details with this summary.
func (b *tab) unfold(summary string) {
	b.t.Helper()
	b.wait("summary "+summary, func() error { return b.click("details", "summary", summary) })
}

// click uses the mouse where a person would, once all of the page is there: what
// comes late moves the buttons, and a click would meet another one.
func (b *tab) click(within, what, text string) error {
	expression := fmt.Sprintf(`(() => {
		if (document.readyState !== "complete") return [];
		const all = [...document.querySelectorAll(%s)].flatMap(e => [...e.querySelectorAll(%s)]);
		const hit = all.find(e => e.innerText.trim().startsWith(%s));
		if (!hit) return [];
		hit.scrollIntoView({block: "center", behavior: "instant"});
		const r = hit.getBoundingClientRect();
		return [r.left + r.width / 2, r.top + r.height / 2];
	})()`, quote(within), quote(what), quote(text))
	at, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](expression))
	if err != nil {
		return err
	}
	if len(at) == 0 {
		return fmt.Errorf("%q is not there to be pressed", text)
	}
	return chromedp.Do(b.ctx, chromedp.MouseClickXY(at[0], at[1]))
}

func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// html is the page's source with all that is in it.
func (b *tab) html() string {
	b.t.Helper()
	return ask[string](b, `document.documentElement.outerHTML`)
}

func (b *tab) path() string {
	b.t.Helper()
	return ask[string](b, `location.pathname`)
}
