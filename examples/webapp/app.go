package main

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/examples/webapp/stage"
)

type app struct {
	client   *authpi.IdpClient
	auth     *authpihttp.App
	sessions *scs.SessionManager // the app's own, beside the sign-in
	issuer   *stage.Issuer       // the embedded one, or nil
	url      string              // where browsers reach the app
}

// newApp brings its own issuer where cfg names none; tokens live that long there.
func newApp(cfg authpi.Config, url string, st store, tokenLife time.Duration) (*app, error) {
	a := &app{sessions: scs.New(), url: url}
	if cfg.IssuerURL == "" {
		a.issuer = stage.NewIssuer(url, tokenLife)
		cfg.IssuerURL, cfg.ClientID, cfg.ClientSecret = a.issuer.URL, a.issuer.ClientID(), a.issuer.ClientSecret()
		cfg.RefreshBuffer = tokenLife / 6 // the default of a minute is half of these tokens' life
	}
	cfg.RedirectURI, cfg.Coordinator = url+"/auth/callback", st.refresh
	var err error
	if a.client, err = authpi.NewIdpClient(cfg); err != nil {
		return nil, err
	}
	a.auth = authpihttp.New(a.client, st.signIns, &authpihttp.Options{
		PostLogoutRedirectURI: url + "/",
		SignedIn: func(_ http.ResponseWriter, r *http.Request, _ *authpi.Agent) error {
			return a.sessions.RenewToken(r.Context())
		},
		SignedOut: func(_ http.ResponseWriter, r *http.Request) { _ = a.sessions.Destroy(r.Context()) },
		Authorize: func(r *http.Request) *authpi.AuthorizationOptions {
			return &authpi.AuthorizationOptions{Org: strings.TrimSpace(r.URL.Query().Get("org"))}
		},
	})
	if strings.HasPrefix(url, "https:") {
		a.sessions.Cookie.Name, a.sessions.Cookie.Secure = "__Host-session", true
	}
	return a, nil
}

func (a *app) handler() http.Handler {
	pages := http.NewServeMux()
	a.auth.Register(pages)
	pages.HandleFunc("GET /{$}", a.home)
	pages.Handle("POST /refresh", a.auth.RequireAgent(http.HandlerFunc(a.refresh)))
	readers := authpihttp.RequireAccess("read", "projects", func(r *http.Request) string { return r.PathValue("org") })
	pages.Handle("GET /orgs/{org}/projects", a.auth.RequireAgent(readers(http.HandlerFunc(a.projects))))
	if a.issuer != nil {
		pages.Handle("POST /issuer/membership", a.auth.RequireAgent(http.HandlerFunc(a.setRole)))
		pages.Handle("POST /issuer/end-sessions", a.auth.RequireAgent(http.HandlerFunc(a.signOutEverywhere)))
	}
	all := http.NewServeMux()
	all.Handle("GET /style.css", http.FileServerFS(files))
	all.Handle("/", a.sessions.LoadAndSave(http.NewCrossOriginProtection().Handler(pages)))
	return a.guard(all)
}

// guard sets the headers of every answer, and sends browsers that came by another
// name, such as localhost, to the one that the cookie and the redirect URI are for.
func (a *app) guard(next http.Handler) http.Handler {
	_, host, _ := strings.Cut(a.url, "://")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// No form-action: browsers apply it to the issuer's redirects after logout, too.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
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
		authpihttp.WriteError(w, r, http.StatusServiceUnavailable, err) // still signed in, the next request may succeed
	case a.sessions.PopString(r.Context(), historyKey) != "":
		render(w, http.StatusOK, view{Name: "Your session has ended", Text: "You were signed out elsewhere, or your access was taken back."})
	default:
		render(w, http.StatusOK, view{Name: "Who may do what, where?", Text: "Sign in to see your organizations, what you may do in each, and how your tokens are refreshed."})
	}
}

// projects stands for the pages of one organization, which their routes name.
func (a *app) projects(w http.ResponseWriter, r *http.Request) {
	render(w, http.StatusOK, view{Name: "Projects of " + r.PathValue("org"), Text: "You may read them, or you would not see this page.", Back: true})
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
		authpihttp.WriteError(w, r, http.StatusServiceUnavailable, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// setRole is the embedded issuer's: it changes a membership.
func (a *app) setRole(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	if !a.issuer.SetRole(agent.ID, r.PostFormValue("org"), r.PostFormValue("role")) {
		render(w, http.StatusBadRequest, view{Name: "There is no such role", Text: "Please go back and press one of the buttons.", Back: true})
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// signOutEverywhere is the embedded issuer's, too: its logout reaches all browsers.
func (a *app) signOutEverywhere(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	if err := a.issuer.SignOutEverywhere(agent.ID); err != nil {
		authpihttp.WriteError(w, r, http.StatusServiceUnavailable, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
