package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/examples/webapp/stage"
)

//go:embed page.html style.css
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

// view is what the page shows. Where Agent is nil it is a text.
type view struct {
	Name, Text   string
	Back, Paused bool
	Agent        *authpi.Agent
	Questions    [][2]string   // actions on resources, asked of each organization
	Left         time.Duration // of the access token's life
	Reload       int           // after how many seconds the page asks for itself again
	History      history
	Issuer       []stage.Membership // at the embedded issuer
}

func render(w http.ResponseWriter, status int, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := page.Execute(w, v); err != nil {
		slog.Warn("page", "error", err)
	}
}

func (a *app) dashboard(w http.ResponseWriter, r *http.Request, agent *authpi.Agent) {
	profile := struct{ Name string }{agent.ID}
	_ = agent.Claims(&profile) // no name is no trouble
	v := view{Name: profile.Name, Agent: agent, Left: agent.ExpiresIn().Round(time.Second), Paused: r.URL.Query().Has("pause")}
	v.Questions = [][2]string{{"read", "projects"}, {"write", "projects"}, {"delete", "projects.tasks"}, {"read", "members"}, {"write", "billing"}}
	v.History = a.recordHistory(r.Context(), agent)
	v.Reload = min(10, max(1, v.History.Life/12))
	if a.issuer != nil {
		v.Issuer = a.issuer.Memberships(agent, v.History.Chosen)
	}
	render(w, http.StatusOK, v)
}

const historyKey = "history"

// history is what this browser has seen of its sign-in's tokens.
type history struct {
	SignIn    string            // which sign-in this is about
	Chosen    string            // the organization that it was narrowed to
	Token     string            // digest of the access token that was seen last
	Life      int               // of that token when it was new, in seconds
	Scopes    map[string]string // what that token says of each organization
	Rotations []rotation        // the newest first
}

type rotation struct {
	At   time.Time
	News []string
}

// recordHistory notices a rotation by the access token, which is another one then.
func (a *app) recordHistory(ctx context.Context, agent *authpi.Agent) (h history) {
	_ = json.Unmarshal([]byte(a.sessions.GetString(ctx, historyKey)), &h) // or a new one
	if signIn := agent.ID + agent.SessionID + agent.AuthTime.String(); h.SignIn != signIn {
		h = history{SignIn: signIn, Chosen: agent.OrgID}
	}
	digest := sha256.Sum256([]byte(agent.Tokens.AccessToken))
	token := hex.EncodeToString(digest[:])
	if h.Token == token {
		return h
	}
	var news []string
	scopes := map[string]string{}
	for _, o := range agent.Organizations {
		scopes[o.ID] = "now " + strings.Join(o.Scopes, " ")
		if h.Scopes[o.ID] != scopes[o.ID] {
			news = append(news, o.ID+": "+scopes[o.ID])
		}
	}
	for org := range h.Scopes {
		if scopes[org] == "" {
			news = append(news, org+": left")
		}
	}
	slices.Sort(news)
	if h.Token != "" {
		h.Rotations = slices.Insert(h.Rotations, 0, rotation{time.Now(), news})
		h.Rotations = h.Rotations[:min(len(h.Rotations), 6)]
	}
	h.Token, h.Life, h.Scopes = token, int(agent.ExpiresIn().Seconds()), scopes
	data, _ := json.Marshal(h) // texts, numbers and times
	a.sessions.Put(ctx, historyKey, string(data))
	return h
}
