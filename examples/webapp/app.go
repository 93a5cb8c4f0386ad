package main

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/alexedwards/scs/v2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// Copy from here to the end of the file, but for the lines that end in "not yours":
// those serve the embedded issuer. What the pages show is in page.go and page.html.

type app struct {
	client   *authpi.IdpClient
	auth     *authpihttp.App
	sessions *scs.SessionManager // the app's own, beside the sign-in
	url      string              // where browsers reach the app
	embedded *embedded           // not yours
}

// newApp keeps sign-ins in a store, in memory where it is nil. Browsers reach the app
// at url.
func newApp(cfg authpi.Config, url string, signIns authpihttp.Store) (*app, error) {
	a := &app{sessions: scs.New(), url: url}
	cfg.RedirectURI = url + "/auth/callback"
	var err error
	if a.client, err = authpi.NewIdpClient(cfg); err != nil {
		return nil, err
	}
	a.auth = authpihttp.New(a.client, signIns, &authpihttp.Options{
		PostLogoutRedirectURI: url + "/",
		SignedIn:              a.signedIn,
		SignedOut:             func(_ http.ResponseWriter, r *http.Request) { _ = a.sessions.Destroy(r.Context()) },
		Authorize: func(r *http.Request) *authpi.AuthorizationOptions {
			return &authpi.AuthorizationOptions{Org: strings.TrimSpace(r.URL.Query().Get("org"))}
		},
		Error: a.fail,
	})
	if strings.HasPrefix(url, "https:") {
		a.sessions.Cookie.Name, a.sessions.Cookie.Secure = "__Host-session", true
	}
	return a, nil
}

// signedIn makes the app's own session follow the sign-in. It may be another user's,
// who need not have signed out.
func (a *app) signedIn(_ http.ResponseWriter, r *http.Request, agent *authpi.Agent) error {
	if owner := a.sessions.GetString(r.Context(), ownerKey); owner != "" && owner != agent.ID {
		if err := a.sessions.Clear(r.Context()); err != nil {
			return err
		}
	}
	a.sessions.Put(r.Context(), ownerKey, agent.ID)
	return a.sessions.RenewToken(r.Context())
}

func (a *app) handler() http.Handler {
	pages := http.NewServeMux()
	a.auth.Register(pages)
	pages.HandleFunc("GET /{$}", a.home)
	pages.Handle("POST /refresh", a.auth.RequireAgent(http.HandlerFunc(a.refresh)))
	pages.Handle("POST /pause", a.auth.RequireAgent(http.HandlerFunc(a.pause)))
	readers := authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") })
	pages.Handle("GET /orgs/{org}/projects", a.auth.RequireAgent(readers(http.HandlerFunc(a.projects))))
	pages.HandleFunc("/", a.notFound)
	a.embedded.register(pages, a.auth) // not yours

	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(a.crossOrigin))
	protection.AddInsecureBypassPattern("POST /auth/login") // another site may start a login
	all := http.NewServeMux()
	for _, name := range []string{"/style.css", "/live.js", "/mark.svg"} {
		all.Handle("GET "+name, http.FileServerFS(files))
	}
	all.HandleFunc("GET /auth/logout", a.signOut)
	all.Handle("/", a.sessions.LoadAndSave(protection.Handler(pages)))
	return a.guard(all)
}

// guard sets the headers of every answer, and sends browsers that came by another
// name, such as localhost, to the one that the cookie and the redirect URI are for.
func (a *app) guard(next http.Handler) http.Handler {
	_, host, _ := strings.Cut(a.url, "://")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// No form-action: browsers apply it to the issuer's redirects after logout, too.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'")
		w.Header().Set("Referrer-Policy", "same-origin")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.Host != host {
			http.Redirect(w, r, a.url+"/", http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// home is the dashboard for those who are signed in, and a welcome for the others.
func (a *app) home(w http.ResponseWriter, r *http.Request) {
	agent, err := a.auth.Agent(r)
	switch {
	case err == nil:
		a.dashboard(w, r, agent)
	case !errors.Is(err, authpihttp.ErrNotSignedIn):
		a.fail(w, r, http.StatusServiceUnavailable, err) // still signed in, the next request may succeed
	case a.sessions.PopString(r.Context(), historyKey) != "":
		render(w, http.StatusOK, view{Page: "welcome", Title: "Your session has ended", Text: "You were signed out elsewhere, or your access was taken back."})
	default:
		render(w, http.StatusOK, view{Page: "welcome", Title: "Who may do what, where?", Text: "Sign in to see your organizations, what you may do in each, and how your tokens are refreshed."})
	}
}

// projects stands for the pages of one organization, which their routes name.
func (a *app) projects(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	org := r.PathValue("org")
	render(w, http.StatusOK, view{Page: "message", Title: "Projects of " + nameOf(org), ID: org, Agent: agent, Text: "You may read them, or you would not see this page.", Home: true})
}

// pause keeps the dashboard as it is until its reader has had time for it. The choice
// is in the app's own session, so no reload loses it.
func (a *app) pause(w http.ResponseWriter, r *http.Request) {
	a.sessions.Put(r.Context(), pausedKey, r.PostFormValue("paused") == "true")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// refresh refreshes the tokens early, for example after a change of rights.
func (a *app) refresh(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	opts := a.auth.AgentOptions(r) // these store what comes
	_, err := a.client.Refresh(r.Context(), agent, &authpi.RefreshOptions{OnRefresh: opts.OnRefresh, Reload: opts.Reload})
	if authpi.SessionEnded(err) {
		err = a.auth.SignOut(w, r)
	}
	if err != nil {
		a.fail(w, r, http.StatusServiceUnavailable, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// fail shows people what went wrong in the app's own look and words, and nothing of
// err. Programs get the JSON of package authpihttp.
func (a *app) fail(w http.ResponseWriter, r *http.Request, status int, err error) {
	if status != http.StatusUnauthorized && status != http.StatusForbidden { // which are no trouble of ours
		slog.WarnContext(r.Context(), "request failed", "path", r.URL.Path, "status", status, "error", err)
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		authpihttp.WriteError(w, r, status, err)
		return
	}
	v := view{Page: "message", Home: true}
	switch {
	case errors.Is(err, authpihttp.ErrForbidden):
		v.Title, v.Text = "Not allowed", "Your account may not do this here."
	case status == http.StatusForbidden:
		v.Title, v.Text, v.SignIn = "You were not signed in", "It was cancelled, or your account does not belong to this organization.", true
	case status == http.StatusServiceUnavailable:
		v.Title, v.Text = "One moment, please", "Something we need is not answering. Please try again in a few seconds."
	case status >= http.StatusInternalServerError:
		v.Title, v.Text = "Something is wrong here", "It is our fault, not yours. Please try again later."
	default:
		v.Title, v.Text, v.SignIn = "Sign-in did not work", "It took too long, was already used, or was started in another browser. Please allow cookies for this site, and try again.", true
	}
	render(w, status, v)
}

// signOut asks those who come by a link. The button of every page needs no question.
func (a *app) signOut(w http.ResponseWriter, _ *http.Request) {
	render(w, http.StatusOK, view{Page: "sign-out", Title: "Sign out?", Text: "You will be signed out here and where you signed in.", Home: true})
}

func (a *app) notFound(w http.ResponseWriter, _ *http.Request) {
	render(w, http.StatusNotFound, view{Page: "message", Title: "There is no such page", Text: "The address may be mistyped, or the page has moved.", Home: true})
}

func (a *app) crossOrigin(w http.ResponseWriter, _ *http.Request) {
	render(w, http.StatusForbidden, view{Page: "message", Title: "That did not come from this site", Text: "Please go back and press the button here.", Home: true})
}
