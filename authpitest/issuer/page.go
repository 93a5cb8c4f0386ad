package main

import (
	"bytes"
	"cmp"
	"embed"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

//go:embed page.html style.css live.js
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "page.html"))

// view is what the page shows. It holds no token and no secret.
type view struct {
	Done, Problem  string // what a button did; what is wrong with the file
	IssuerURL      string
	ClientID       string
	Public         bool
	Redirects      []string
	File, KeysFile string
	TokenLife      string
	People         []shownPerson
	Machines       []shownMachine
	Sessions       []shownSession
	Requests       []shownRequest
	Keys           [][]shownKey // by generation, the newest first
	Choices        []faultChoice
	Pending        []string
}

type shownPerson struct {
	person
	Hue         int
	Memberships []shownMembership // for each organization
	Summary     []string
}

type shownMembership struct {
	organization
	Choices []choice
}

// choice is an option of a select.
type choice struct {
	Value, Label string
	Selected     bool
}

type shownMachine struct {
	ID, Name, Subject string
	Summary           []string
}

type shownSession struct {
	authpitest.Session
	Person, Organization string
}

type shownRequest struct {
	tokenRequest
	Name string // of the person
}

type shownKey struct {
	ID, Algorithm string
	Signs         bool
}

// unchanged is the choice that leaves scopes alone that are no role's.
const unchanged = "="

// news are the texts that a button's redirect names.
var news = map[string]string{
	"memberships":    "Changed. Apps see it with the next refresh.",
	"session":        "The session has ended. Its next refresh is refused.",
	"session-told":   "The session has ended, and the app was told by back-channel logout.",
	"session-untold": "The session has ended. The app could not be told; the terminal says why.",
	"rotate":         "New keys sign from now on. The old ones stay published.",
	"withdraw":       "The old keys are published no more.",
	"fault":          "Queued. The next requests that match will fail.",
	"cleared":        "No request fails on purpose any more.",
}

func (i *issuer) page(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, i.view(news[r.URL.Query().Get("done")])); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	secure(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body.Bytes()) // the browser may be gone
}

// secure lets the page load its own style and script, and nobody frame it.
func secure(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

func serveFile(w http.ResponseWriter, r *http.Request) {
	secure(w)
	http.ServeFileFS(w, r, files, r.URL.Path)
}

func (i *issuer) view(done string) view {
	people, err := i.people.snapshot()
	v := view{
		Done: done, IssuerURL: i.srv.URL, ClientID: i.opts.clientID, Public: i.opts.clientSecret == "",
		Redirects: i.opts.redirects, File: i.opts.people, KeysFile: i.opts.keys, TokenLife: exact(i.opts.tokenLife),
		Choices: faultChoices(),
	}
	if err != nil {
		v.Problem = err.Error()
	}
	v.addPeople(people)
	names := people.names()
	for _, s := range i.srv.LiveSessions() {
		v.Sessions = append(v.Sessions, shownSession{s, cmp.Or(names[s.UserID], s.UserID), people.organizationName(s.OrgID)})
	}
	for _, n := range i.requests.newestFirst() {
		v.Requests = append(v.Requests, shownRequest{n, cmp.Or(names[n.Person], n.Person)})
	}
	ids := i.srv.KeyIDs()
	for generation := range slices.Chunk(ids, len(algorithms)) {
		var keys []shownKey
		for n, id := range generation {
			keys = append(keys, shownKey{id, algorithms[n], len(v.Keys) == 0 && algorithms[n] == i.opts.algorithm})
		}
		v.Keys = append(v.Keys, keys)
	}
	for _, f := range i.srv.PendingFaults() {
		v.Pending = append(v.Pending, describeFault(f))
	}
	return v
}

// exact is a duration without its zeroes: 2m instead of 2m0s.
func exact(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}

func (v *view) addPeople(p people) {
	const hues = 6 // of the style
	for n, one := range p.People {
		shown := shownPerson{person: one, Hue: n % hues, Summary: p.summary(one.Memberships)}
		for _, o := range p.Organizations {
			shown.Memberships = append(shown.Memberships, shownMembership{o, p.choices(one.Memberships, o.ID)})
		}
		v.People = append(v.People, shown)
	}
	for _, c := range p.Clients {
		v.Machines = append(v.Machines, shownMachine{c.ID, cmp.Or(c.Name, c.ID), machineID(c.ID), p.summary(c.Memberships)})
	}
}

// choices are the roles, none, and scopes that are no role's where there are some.
func (p people) choices(memberships map[string]membership, org string) []choice {
	m, is := memberships[org]
	list := []choice{{noRole, "Not a member", !is}}
	for _, r := range p.Roles {
		list = append(list, choice{r.Name, r.Name, is && m.Role == r.Name})
	}
	if is && m.Role == "" {
		list = append(list, choice{unchanged, m.describe(), true})
	}
	return list
}

// summary is what somebody is, and where.
func (p people) summary(memberships map[string]membership) []string {
	var lines []string
	for _, o := range p.Organizations {
		if m, ok := memberships[o.ID]; ok {
			lines = append(lines, cmp.Or(m.describe(), "no scopes")+" at "+p.organizationName(o.ID))
		}
	}
	return lines
}

// names are those of people and machines, by subject.
func (p people) names() map[string]string {
	names := map[string]string{}
	for _, one := range p.People {
		names[one.ID] = one.Name
	}
	for _, c := range p.Clients {
		names[machineID(c.ID)] = c.Name
	}
	return names
}

// DisplayName is the name, or the ID of those who have none.
func (p person) DisplayName() string { return cmp.Or(p.Name, p.ID) }

// Initials are what stands for a picture.
func (p person) Initials() string {
	letters := ""
	for _, word := range strings.Fields(p.DisplayName()) {
		letters += strings.ToUpper(string([]rune(word)[:1]))
	}
	if runes := []rune(letters); len(runes) > 2 {
		return string(runes[0]) + string(runes[len(runes)-1])
	}
	return letters
}
