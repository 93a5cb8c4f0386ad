package main

import (
	"net/http"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/examples/webapp/stage"
)

// embedded is the issuer that comes along where no other is named, and its panel on
// the dashboard. An app of your own has none of this: leave this file and stage out.
type embedded struct{ *stage.Issuer }

// newSite is newApp, with an issuer of its own where cfg names none; tokens live that
// long there.
func newSite(cfg authpi.Config, url string, signIns authpihttp.Store, tokenLife time.Duration) (*app, error) {
	if cfg.IssuerURL != "" {
		return newApp(cfg, url, signIns)
	}
	issuer := stage.NewIssuer(url, tokenLife)
	cfg.IssuerURL, cfg.ClientID, cfg.ClientSecret = issuer.URL, issuer.ClientID(), issuer.ClientSecret()
	cfg.RefreshBuffer = tokenLife / 6 // the default of a minute is half of these tokens' life
	a, err := newApp(cfg, url, signIns)
	if err != nil {
		issuer.Close()
		return nil, err
	}
	a.embedded = &embedded{issuer}
	return a, nil
}

// register adds the panel's actions. Without an embedded issuer there are none.
func (e *embedded) register(pages *http.ServeMux, auth *authpihttp.App) {
	if e == nil {
		return
	}
	pages.Handle("POST /issuer/membership", auth.RequireAgent(http.HandlerFunc(e.setRole)))
	pages.Handle("POST /issuer/end-sessions", auth.RequireAgent(http.HandlerFunc(e.signOutEverywhere)))
}

// memberships are the rows of the panel.
func (e *embedded) memberships(agent *authpi.Agent, chosen string) any {
	if e == nil {
		return nil
	}
	return e.Memberships(agent, chosen)
}

func (e *embedded) setRole(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	if !e.SetRole(agent.ID, r.PostFormValue("org"), r.PostFormValue("role")) {
		render(w, http.StatusBadRequest, view{Page: "message", Title: "There is no such role", Text: "Please go back and press one of the buttons.", Agent: agent, Home: true})
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// signOutEverywhere ends the sessions at the issuer, whose logout reaches all browsers.
func (e *embedded) signOutEverywhere(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	if err := e.SignOutEverywhere(agent.ID); err != nil {
		authpihttp.WriteError(w, r, http.StatusServiceUnavailable, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
