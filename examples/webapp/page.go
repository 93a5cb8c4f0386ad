package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

//go:embed page.html mark.svg style.css live.js
var files embed.FS

var page = template.Must(template.New("").
	Funcs(template.FuncMap{"name": nameOf, "life": life}).
	ParseFS(files, "page.html", "mark.svg"))

// names are the app's own: tokens name organizations by their IDs. An app of yours has
// them in its database.
var names = map[string]string{
	"org_engines": "Analytical Engines", "org_observatory": "Royal Observatory", "org_poetry": "Poetry Society",
}

func nameOf(org string) string { return cmp.Or(names[org], org) }

// question is an action on a resource, asked of each organization.
type question struct{ Action, Resource, Label string }

var questions = []question{
	{"read", "projects", "Read projects"},
	{"write", "projects", "Write projects"},
	{"delete", "projects.tasks", "Delete tasks"},
	{"read", "members", "See members"},
	{"write", "billing", "Change billing"},
}

// view is what a page shows.
type view struct {
	Page             string // dashboard, welcome, message or sign-out
	Title, Text, ID  string
	Home, SignIn     bool // the ways on from a message
	Agent            *authpi.Agent
	Person, Initials string

	// The dashboard's.
	Questions []question
	Left      time.Duration // of the access token's life
	Every     int           // seconds after which the page asks for itself again
	Paused    bool          // it does not
	History   history
	Issuer    any // its panel
}

func render(w http.ResponseWriter, status int, v view) {
	if v.Agent != nil {
		profile := struct{ Name string }{}
		_ = v.Agent.Claims(&profile) // no name is no trouble
		v.Person = cmp.Or(profile.Name, v.Agent.Email, v.Agent.ID)
		v.Initials = initials(v.Person)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := page.ExecuteTemplate(w, "page.html", v); err != nil {
		slog.Warn("page", "error", err)
	}
}

// initials are those of the first and the last name.
func initials(name string) string {
	words := strings.Fields(name)
	if len(words) > 1 {
		words = []string{words[0], words[len(words)-1]}
	}
	letters := ""
	for _, word := range words {
		letters += string([]rune(word)[:1])
	}
	return strings.ToUpper(letters)
}

// life is a time as people say it: 1m 59s. live.js has the same.
func life(d time.Duration) string {
	seconds := max(0, int(d.Round(time.Second).Seconds()))
	switch {
	case seconds >= 3600:
		return fmt.Sprintf("%dh %dm", seconds/3600, seconds/60%60)
	case seconds >= 60:
		return fmt.Sprintf("%dm %ds", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%ds", seconds)
}

func (a *app) dashboard(w http.ResponseWriter, r *http.Request, agent *authpi.Agent) {
	h := a.recordHistory(r.Context(), agent)
	render(w, http.StatusOK, view{
		Page: "dashboard", Title: "What you may do, and where", Agent: agent, Questions: questions,
		Left: agent.ExpiresIn().Round(time.Second), History: h, Every: min(10, max(1, (h.Life+6)/12)),
		Paused: a.sessions.GetBool(r.Context(), pausedKey),
		Issuer: a.embedded.memberships(agent, h.Chosen), // not yours
	})
}

const ownerKey, historyKey, pausedKey = "owner", "history", "paused"

// history is what this browser has seen of its sign-in's tokens.
type history struct {
	SignIn    string            // which sign-in this is about
	Chosen    string            // the organization that it was narrowed to
	Token     string            // digest of the access token that was seen last
	Life      int               // of that token when it was new, in seconds
	Rights    map[string]change // what that token says of each organization
	Refreshes []refreshed       // the newest first
}

type refreshed struct {
	At   time.Time
	News []change
}

// change is what a token says otherwise of an organization than the one before.
type change struct{ Name, Now, Scopes string }

// recordHistory notices a refresh by the access token, which is another one then.
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
	rights := map[string]change{}
	for _, o := range agent.Organizations {
		rights[o.ID] = change{nameOf(o.ID), strings.TrimSpace("now " + o.Title), strings.Join(o.Scopes, ", ")}
	}
	if h.Token != "" {
		h.Refreshes = slices.Insert(h.Refreshes, 0, refreshed{time.Now(), changes(h.Rights, rights)})
		h.Refreshes = h.Refreshes[:min(len(h.Refreshes), 5)]
	}
	h.Token, h.Life, h.Rights = token, int(agent.ExpiresIn().Seconds()), rights
	data, _ := json.Marshal(h) // texts, numbers and times
	a.sessions.Put(ctx, historyKey, string(data))
	return h
}

// changes compares the rights of two tokens.
func changes(before, after map[string]change) (news []change) {
	for org, rights := range after {
		if before[org] != rights {
			news = append(news, rights)
		}
	}
	for org := range before {
		if _, member := after[org]; !member {
			news = append(news, change{Name: nameOf(org), Now: "left"})
		}
	}
	slices.SortFunc(news, func(a, b change) int { return strings.Compare(a.Name, b.Name) })
	return news
}
