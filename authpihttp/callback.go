package authpihttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/intent"
	"github.com/authpi/authpi-idp-go/internal/signin"
)

// Callback is where the issuer sends the browser back to: the client's RedirectURI.
// It checks the answer against the login that this browser has under way, stores the
// sign-in under a new cookie, and redirects to where the login came from. It answers
// GET.
//
// A login takes one callback; a second one with the same state shares its outcome. A
// callback whose login is gone sends a signed-in user to where they wanted to go,
// and anybody else to a new login, once.
func (a *App) Callback(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	hideAddress(w)
	if !a.allow(w, r, http.MethodGet) {
		return
	}
	if intent.Prefetch(r) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	query, err := authpi.ParseCallback("?" + r.URL.RawQuery) // 64 KiB at most
	if err != nil {
		a.fail(w, r, err, a.loginPath())
		return
	}
	state := query.Get("state")
	l, known := a.book.OpenState(state)
	cookie := a.loginOf(r, state)
	if cookie == nil || !known || len(query["state"]) != 1 || cookie.IsOver(a.now()) {
		a.answerUnknown(w, r, l.Back)
		return
	}
	a.answer(w, r, query, l.With(cookie))
}

// hideAddress keeps the address of a page, which holds a code, from the next one.
// With no-referrer a browser would post the page's sign-out form from the origin
// null, and where it sends no Sec-Fetch-Site, as to an http host, that is refused.
func hideAddress(w http.ResponseWriter) { w.Header().Set("Referrer-Policy", "strict-origin") }

// answerUnknown is for a callback whose login is gone: its cookie was never kept,
// has expired, or was used. Whoever has just been here for the same reason gets a
// page.
func (a *App) answerUnknown(w http.ResponseWriter, r *http.Request, back string) {
	if back == "" {
		back = a.home()
	}
	_, err := a.Agent(r)
	switch {
	case err == nil:
		redirect(w, back)
	case !errors.Is(err, ErrNotSignedIn):
		a.fail(w, r, err, a.loginFor(back))
	case a.hasCookie(r, kindRetry):
		a.fail(w, r, errNoLogin, a.loginFor(back))
	default:
		a.setCookie(w, a.siteOf(r), kindRetry, "1", time.Minute)
		redirect(w, a.loginFor(back, "retry", "1"))
	}
}

// answer is what became of a login: one exchange for all callbacks with its state.
type answer struct {
	done   chan struct{} // closed once the rest is set
	agent  *authpi.Agent
	signIn *signin.SignIn
	err    error
}

func (a *App) answer(w http.ResponseWriter, r *http.Request, query url.Values, l *signin.Login) {
	if r.Context().Err() != nil {
		return // nothing was sent: it may come again
	}
	result := a.exchangeOnce(r, query, l)
	if result == nil {
		return
	}
	err := result.err
	if err == nil && a.opts.SignedIn != nil {
		err = a.tellApp(w, r, l.ID, result)
	}
	s := a.siteOf(r)
	if !isPassing(err) {
		a.setCookie(w, s, l.ID+"-", "", -1)
	}
	switch {
	case err == nil:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeLimit)
		result.signIn.Settle(ctx, result.agent)
		cancel()
		if a.hasCookie(r, kindRetry) {
			a.setCookie(w, s, kindRetry, "", -1)
		}
		a.setCookie(w, s, kindSignIn, result.signIn.Cookie(), a.opts.Lifetime)
		redirect(w, l.Back)
	case l.Silent && silentFailure(err):
		a.setCookie(w, s, kindSilent, "1", time.Minute)
		redirect(w, l.Back)
	case errors.Is(err, errAnswered):
		a.answerUnknown(w, r, l.Back)
	default:
		a.fail(w, r, &failure{cause: err, back: l.Back}, a.loginFor(l.Back, "again", "1"))
	}
}

// tellApp calls Options.SignedIn. Its error undoes the sign-in, and so does a panic.
func (a *App) tellApp(w http.ResponseWriter, r *http.Request, id string, result *answer) (err error) {
	err = errPanicked
	defer func() {
		if err != nil {
			ctx, cancel := signin.Tidying(r.Context())
			defer cancel()
			err = &mistake{errors.Join(err, result.signIn.Undo(ctx, result.agent))}
			a.note(id, &answer{done: result.done, err: err})
		}
	}()
	return a.opts.SignedIn(w, r, result.agent)
}

const (
	answerLife    = time.Minute // how long a callback may come again
	exchangeLimit = 30 * time.Second
)

// exchangeOnce returns the login's outcome, of this callback or of another with the
// same state. It is nil for a caller that has left meanwhile.
func (a *App) exchangeOnce(r *http.Request, query url.Values, l *signin.Login) *answer {
	a.mu.Lock()
	result, known := a.answered.Get(l.ID)
	if !known {
		result = &answer{done: make(chan struct{}), err: errAnswered}
		a.note(l.ID, result)
	}
	a.mu.Unlock()
	if known {
		select {
		case <-result.done:
			return result
		case <-r.Context().Done():
			return nil
		}
	}
	defer close(result.done)
	// A browser that loads the callback anew ends the first request, not its
	// exchange.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeLimit)
	defer cancel()
	result.agent, result.signIn, result.err = a.exchange(ctx, r, query, l)
	a.note(l.ID, result) // as large as it is now
	return result
}

// note remembers an answer under a copy of the id, which is a part of the whole
// request line.
func (a *App) note(id string, result *answer) {
	size, life := 4<<10, answerLife
	switch {
	case isPassing(result.err):
		life = -1 // it may come again
	case result.agent != nil:
		size += 4 * (len(result.agent.Tokens.IDToken) + len(result.agent.Tokens.AccessToken))
	}
	a.answered.Put(strings.Clone(id), result, size, a.now().Add(life))
}

// exchange trades the code, once among all processes, and stores the sign-in under a
// cookie that nobody knew before.
func (a *App) exchange(ctx context.Context, r *http.Request, query url.Values, l *signin.Login) (*authpi.Agent, *signin.SignIn, error) {
	began, once := a.now(), l.Secret("answered")
	if query.Has("code") {
		first, err := a.book.Once(ctx, once, began.Add(signin.LoginLife))
		if err != nil {
			return nil, nil, err
		}
		if !first {
			return nil, nil, errAnswered
		}
	}
	agent, err := a.client.ExchangeCallback(ctx, query, l.Auth(began))
	if err == nil {
		var s *signin.SignIn
		if s, err = a.book.Create(ctx, agent, l, began, a.signInCookies(r)); err == nil {
			return agent, s, nil
		}
	}
	if query.Has("code") {
		_ = a.book.Forget(ctx, once)
	}
	if isDenied(err) && l.Org != "" {
		err = fmt.Errorf("%w: %w", errNoEntry, err)
	}
	return nil, nil, err
}

// isPassing reports whether the same callback may be answered later.
func isPassing(err error) bool {
	return err != nil && statusOf(err) == http.StatusServiceUnavailable
}
