package authpihttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

// Callback is where the issuer sends the browser back to: the client's RedirectURI.
// It checks the answer against the login that this browser has under way, stores the
// sign-in under a cookie that nobody knew before, and goes on to where the login came
// from. It answers GET.
//
// A login answers one callback; a second one with the same state shares its outcome.
// A callback that answers none any more sends a signed-in user to where they wanted,
// anybody else to a new login once.
func (a *App) Callback(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	w.Header().Set("Referrer-Policy", "no-referrer") // the address holds the code
	if !a.allow(w, r, http.MethodGet) {
		return
	}
	if isPrefetch(r) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	query, err := authpi.ParseCallback("?" + r.URL.RawQuery) // 64 KiB at most
	if err != nil {
		a.fail(w, r, err, a.loginPath())
		return
	}
	state := query.Get("state")
	sealed, known := a.openState(state)
	if len(query["state"]) != 1 {
		known = false
	}
	l := a.loginOf(r, state)
	if l == nil || !known || l.isOver(a.now()) {
		a.answerUnknown(w, r, sealed.back)
		return
	}
	sealed.seed, sealed.id, sealed.state = l.seed, l.id, l.id+state[22:]
	a.answer(w, r, query, &sealed)
}

// answerUnknown is for a callback whose login is gone: its cookie was never kept, has
// expired, or was used. Whoever has just been here for the same reason gets a page.
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
	signIn *signIn
	err    error
}

func (a *App) answer(w http.ResponseWriter, r *http.Request, query url.Values, l *login) {
	if r.Context().Err() != nil {
		return // nothing was sent: it may come again
	}
	result := a.exchangeOnce(r, query, l)
	if result == nil {
		return
	}
	err := result.err
	if err == nil && a.opts.SignedIn != nil {
		if err = a.opts.SignedIn(w, r, result.agent); err != nil {
			err = &mistake{errors.Join(err, result.signIn.forget(context.WithoutCancel(r.Context())))}
			a.revoke(r.Context(), result.agent.Tokens)
			a.note(l.id, &answer{done: result.done, err: err}, time.Minute)
		}
	}
	s := a.siteOf(r)
	if !isPassing(err) {
		a.setCookie(w, s, l.id+"-", "", -1)
	}
	switch {
	case err == nil:
		if a.hasCookie(r, kindRetry) {
			a.setCookie(w, s, kindRetry, "", -1)
		}
		a.setCookie(w, s, kindSignIn, base64url.EncodeToString([]byte(result.signIn.cookie)), a.opts.Lifetime)
		redirect(w, l.back)
	case l.silent && silentFailure(err):
		a.setCookie(w, s, kindSilent, "1", time.Minute)
		redirect(w, l.back)
	case errors.Is(err, errAnswered):
		a.answerUnknown(w, r, l.back)
	default:
		a.fail(w, r, &failure{cause: err, back: l.back}, a.loginFor(l.back, "again", "1"))
	}
}

const (
	answerLife    = time.Minute // how long a callback may come again
	exchangeLimit = 30 * time.Second
)

// exchangeOnce gives the login's outcome, of this callback or of another with the same
// state. It is nil for a caller that has left meanwhile.
func (a *App) exchangeOnce(r *http.Request, query url.Values, l *login) *answer {
	a.mu.Lock()
	result, known := a.answered.Get(l.id)
	if !known {
		result = &answer{done: make(chan struct{}), err: errAnswered}
		a.note(l.id, result, answerLife)
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
	// A browser that loads the callback anew ends the first request, not its exchange.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), exchangeLimit)
	defer cancel()
	result.agent, result.signIn, result.err = a.exchange(ctx, r, query, l)
	if isPassing(result.err) {
		a.note(l.id, nil, -answerLife) // it may come again
	}
	return result
}

// note remembers an answer under a copy of the id, which is a part of the whole
// request line.
func (a *App) note(id string, result *answer, life time.Duration) {
	const size = 4 << 10
	a.answered.Put(strings.Clone(id), result, size, a.now().Add(life))
}

// exchange trades the code, once among all processes, and stores the sign-in.
func (a *App) exchange(ctx context.Context, r *http.Request, query url.Values, l *login) (*authpi.Agent, *signIn, error) {
	began := a.now()
	key := name("authpihttp answered", l.secret("answered"))
	if query.Has("code") {
		first, err := a.entries.write(ctx, key, nil, []byte("answered"), began.Add(loginLife))
		if err != nil {
			return nil, nil, err
		}
		if !first {
			return nil, nil, errAnswered
		}
	}
	agent, err := a.client.ExchangeCallback(ctx, query, l.auth(began))
	if err == nil {
		var s *signIn
		if s, err = a.signIn(ctx, r, agent, l, began); err == nil {
			return agent, s, nil
		}
		a.revoke(ctx, agent.Tokens)
	}
	if query.Has("code") {
		_ = a.entries.remove(ctx, key)
	}
	if isDenied(err) && l.org != "" {
		err = fmt.Errorf("%w: %w", errNoEntry, err)
	}
	return nil, nil, err
}

// signIn stores the agent's sign-in under a cookie of its own, so that whoever knew
// the browser's last one knows nothing, and then puts it in that one's place.
func (a *App) signIn(ctx context.Context, r *http.Request, agent *authpi.Agent, l *login, began time.Time) (*signIn, error) {
	claims, now := claimsOf(agent), a.now().Unix()
	rec := record{tokens: agent.Tokens, subject: agent.ID, begun: now, seen: now, authTime: claims.authTime, acr: claims.acr}
	l.judge(&rec, a.skew)
	var olds []*signIn
	for _, cookie := range a.signInCookies(r) {
		old := a.signInOf(cookie)
		last, err := old.read(ctx)
		if err != nil {
			return nil, err
		}
		if last != nil {
			olds, rec.before = append(olds, old), old.key
		}
	}
	s := a.signInOf(random())
	if err := s.create(ctx, rec, agent, began); err != nil {
		return nil, err
	}
	for _, old := range olds {
		if err := a.replace(ctx, old, agent); err != nil { // it ends by itself
			slog.Default().WarnContext(ctx, "authpihttp: a replaced sign-in is still in the store", "error", err)
		}
	}
	return s, nil
}

// replace ends a sign-in that another one follows. Its refresh token is revoked, but
// where the issuer has both in one session, which that would end. Tabs of the same
// user that are under way may read it for a moment.
func (a *App) replace(ctx context.Context, old *signIn, agent *authpi.Agent) error {
	rec := old.last()
	_ = a.entries.remove(ctx, old.hintKey())
	var err error
	if rec.subject == agent.ID {
		now := a.now().Unix()
		rec, err = old.change(ctx, func(rec *record) {
			if rec.replaced == 0 {
				rec.replaced, rec.tokens.RefreshToken = now, ""
			}
		})
	} else {
		rec, err = old.end(ctx)
	}
	if err != nil || rec == nil || rec.replaced != 0 {
		return err
	}
	last, err := a.client.CreateAgent(ctx, rec.tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
	if err != nil || last.SessionID == "" || last.SessionID != agent.SessionID {
		a.revoke(ctx, rec.tokens)
	}
	return nil
}

// isPassing reports whether the same callback may be answered later.
func isPassing(err error) bool {
	return err != nil && statusOf(err) == http.StatusServiceUnavailable
}
