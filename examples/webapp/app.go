package main

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

//go:embed page.html style.css
var files embed.FS

var (
	page         = template.Must(template.ParseFS(files, "page.html"))
	errSignedOut = errors.New("signed out meanwhile")
)

type app struct {
	client   *authpi.IdpClient
	sessions *sessions
	url      string // where browsers reach the app
}

func newApp(cfg authpi.Config, appURL string) (*app, error) {
	cfg.RedirectURI = appURL + "/callback"
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		return nil, err
	}
	store := &sessions{byID: map[string]*session{}, secure: strings.HasPrefix(appURL, "https:"), now: cfg.Now}
	return &app{client, store, appURL}, nil
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /login", a.login)
	mux.HandleFunc("GET /callback", a.callback)
	mux.HandleFunc("GET /dashboard", a.dashboard)
	mux.HandleFunc("POST /logout", a.logout)
	mux.Handle("GET /style.css", http.FileServerFS(files))
	return a.guard(http.NewCrossOriginProtection().Handler(mux))
}

// guard sets the headers of every answer, and sends browsers that came by another
// name, such as localhost, to the one that the cookie and the redirect URI are for.
func (a *app) guard(next http.Handler) http.Handler {
	_, host, _ := strings.Cut(a.url, "://")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// No form-action: browsers apply it to the issuer's redirects after logout, too.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'")
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

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	if a.sessions.find(r).signedIn() {
		http.Redirect(w, r, "/dashboard", http.StatusSeeOther)
		return
	}
	render(w, http.StatusOK, view{Name: "A web app with organizations", Text: "Sign in to see who you are, and what you may do where."})
}

// login starts a login. What the callback is checked against stays in the session.
func (a *app) login(w http.ResponseWriter, r *http.Request) {
	auth, err := a.client.CreateAuthorizationURL([]string{"openid", "email", "profile"}, nil)
	if err != nil {
		slog.Error("login", "error", err)
		http.Error(w, "sign-in is out of order", http.StatusInternalServerError)
		return
	}
	s := a.sessions.find(r)
	if s.id == "" {
		s = a.sessions.start(w, authpi.TokenSet{})
	}
	a.sessions.openLogin(s.id, *auth)
	http.Redirect(w, r, auth.URL, http.StatusFound)
}

func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	s, query := a.sessions.find(r), r.URL.Query()
	auth, ok := a.sessions.takeLogin(s.id, query.Get("state"))
	if !ok {
		render(w, http.StatusBadRequest, view{Name: "This sign-in is not yours", Text: "It was started in another browser, has been used, or took too long."})
		return
	}
	agent, err := a.client.ExchangeCallback(r.Context(), query, auth)
	if err != nil {
		slog.Warn("callback", "error", err)
		text := "The sign-in service cannot be reached just now. Please try again in a minute."
		if authpi.SessionEnded(err) {
			text = "The sign-in was cancelled, or its answer was refused."
		}
		render(w, http.StatusBadRequest, view{Name: "You are not signed in", Text: text})
		return
	}
	a.sessions.end(s.id) // somebody may know a session ID from before the sign-in
	a.sessions.start(w, agent.Tokens)
	http.Redirect(w, r, "/dashboard", http.StatusSeeOther)
}

// agent rebuilds who is signed in, on every request. Rotated tokens go into the session.
func (a *app) agent(ctx context.Context, s session) (*authpi.Agent, error) {
	return a.client.CreateAgent(ctx, s.tokens, &authpi.AgentOptions{
		Reload: func(context.Context) (authpi.TokenSet, error) { return a.sessions.load(s.id), nil },
		OnRefresh: func(ctx context.Context, fresh authpi.TokenSet) error {
			if !a.sessions.save(s.id, fresh) { // signed out meanwhile: nobody needs the new tokens
				return errors.Join(errSignedOut, a.client.RevokeToken(ctx, fresh.RefreshToken, "refresh_token"))
			}
			return nil
		},
	})
}

func (a *app) dashboard(w http.ResponseWriter, r *http.Request) {
	s := a.sessions.find(r)
	if !s.signedIn() {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	agent, err := a.agent(r.Context(), s)
	if authpi.SessionEnded(err) {
		a.sessions.end(s.id)
		render(w, http.StatusUnauthorized, view{Name: "Your session has ended", Text: "Please sign in again."})
		return
	}
	if err != nil { // the tokens stay, the next request may succeed
		slog.Warn("dashboard", "error", err)
		render(w, http.StatusServiceUnavailable, view{Name: "Please come back in a moment", Text: "The sign-in service cannot be reached just now."})
		return
	}
	s = a.sessions.find(r) // with the rotation that may just have happened
	profile := struct{ Name string }{agent.ID}
	_ = agent.Claims(&profile) // no name is no trouble
	left := int(agent.ExpiresIn().Seconds())
	render(w, http.StatusOK, view{profile.Name, "", agent, left, s.rotations, s.rotatedAt})
}

// logout ends the session here, then its tokens, then the session at the issuer.
func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	last := a.sessions.end(a.sessions.find(r).id)
	http.SetCookie(w, a.sessions.cookie("", -1))
	if last.RefreshToken != "" {
		if err := a.client.RevokeToken(r.Context(), last.RefreshToken, "refresh_token"); err != nil {
			slog.Warn("logout: the refresh token lives on until it expires", "error", err)
		}
	}
	target, err := a.client.CreateLogoutURL(&authpi.LogoutOptions{IDTokenHint: last.IDToken, PostLogoutRedirectURI: a.url + "/"})
	if err != nil || last.IDToken == "" {
		target = "/"
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

// view is what the page shows. Where Agent is nil nobody is signed in.
type view struct {
	Name, Text      string
	Agent           *authpi.Agent
	Left, Rotations int // Left is the access token's life in seconds
	RotatedAt       time.Time
}

// Questions are what the page asks of each organization.
func (view) Questions() [][2]string {
	return [][2]string{{"read", "projects"}, {"write", "projects"}, {"delete", "projects.tasks"}, {"read", "members"}, {"write", "billing"}}
}

func render(w http.ResponseWriter, status int, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := page.Execute(w, v); err != nil {
		slog.Error("page", "error", err)
	}
}
