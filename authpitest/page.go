package authpitest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
)

// pageData is what a page shows: a list of users to sign in as, or a message alone.
type pageData struct {
	Title, Message string
	Action         string // where the form goes; empty: no form
	ClientID       string
	Scopes         []string
	Hidden         []field
	Users          []pageUser
}

type field struct{ Name, Value string }

type pageUser struct {
	ID, Name, Email string
	Blocked         bool
}

// signInPage lets a person pick the user to be. Its form carries a copy of the authorization
// request, which is then checked as a whole once more.
func (s *Server) signInPage(c Client, p url.Values) *answer {
	data := pageData{
		Title: "Sign in", Action: s.path + "/authorize",
		ClientID: c.ID, Scopes: splitScope(p.Get("scope")),
	}
	for name, values := range p {
		for _, v := range values {
			data.Hidden = append(data.Hidden, field{name, v})
		}
	}
	slices.SortStableFunc(data.Hidden, func(a, b field) int { return cmp.Compare(a.Name, b.Name) })
	s.mu.Lock()
	for _, id := range s.userOrder {
		u := s.users[id]
		shown := pageUser{ID: id, Name: u.Name, Email: u.Email, Blocked: u.blocked}
		if shown.Name == "" {
			shown.Name = id
		}
		data.Users = append(data.Users, shown)
	}
	s.mu.Unlock()
	return renderPage(http.StatusOK, data)
}

// problemPage is for what may not be told by redirect.
func problemPage(message string) *answer {
	a := messagePage(http.StatusBadRequest, "This request cannot be answered", message)
	a.problem = message
	return a
}

func messagePage(status int, title, message string) *answer {
	return renderPage(status, pageData{Title: title, Message: message})
}

func renderPage(status int, data pageData) *answer {
	var body bytes.Buffer
	if err := page.Execute(&body, data); err != nil {
		panic("authpitest: " + err.Error())
	}
	sum := sha256.Sum256([]byte(pageStyle))
	// No form-action: browsers apply it to the redirect that follows the form, too.
	csp := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; frame-ancestors 'none'"
	return &answer{status: status, body: body.Bytes(), header: http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {csp},
		"Referrer-Policy":         {"no-referrer"},
		"X-Content-Type-Options":  {"nosniff"},
		"Cache-Control":           {"no-store"},
	}}
}

const pageStyle = `
:root { color-scheme: light dark; --bg: #f5f6f8; --card: #ffffff; --text: #1b1f24; --soft: #57606a; --line: #8b949e; --accent: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #0f1318; --card: #181d24; --text: #e8ebef; --soft: #a5afba; --line: #6b7682; --accent: #7ab8ff; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--bg); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 26rem; padding: 2rem; background: var(--card); border-radius: 0.75rem; box-shadow: 0 1px 4px rgb(0 0 0 / 20%); overflow-wrap: anywhere; }
h1 { margin: 0 0 0.5rem; font-size: 1.5rem; line-height: 1.25; }
p { margin: 0 0 1rem; }
fieldset { margin: 0; padding: 0; border: 0; }
legend { padding: 0; margin-bottom: 0.5rem; font-weight: 600; }
ul { list-style: none; margin: 0 0 1rem; padding: 0; display: grid; gap: 0.5rem; }
button { width: 100%; min-height: 2.75rem; padding: 0.625rem 1rem; font: inherit; text-align: start; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 0.5rem; cursor: pointer; }
button:hover { border-color: var(--accent); }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.cancel { text-align: center; color: var(--accent); }
.soft { display: block; color: var(--soft); font-size: 0.875rem; }
footer { margin-top: 1.5rem; color: var(--soft); font-size: 0.875rem; }
`

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}} - authpitest</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
{{with .Message}}<p>{{.}}</p>
{{end}}{{if .Action}}<p>The application <strong>{{.ClientID}}</strong> asks you to sign in.{{if .Scopes}}
<span class="soft">It asks for: {{range $i, $s := .Scopes}}{{if $i}}, {{end}}{{$s}}{{end}}</span>{{end}}</p>
<form method="post" action="{{.Action}}">
{{range .Hidden}}<input type="hidden" name="{{.Name}}" value="{{.Value}}">
{{end}}{{if .Users}}<fieldset>
<legend>Continue as</legend>
<ul>
{{range .Users}}<li><button type="submit" name="user" value="{{.ID}}">{{.Name}}{{with .Email}} <span class="soft">{{.}}</span>{{end}}{{if .Blocked}} <span class="soft">blocked</span>{{end}}</button></li>
{{end}}</ul>
</fieldset>
{{else}}<p>This issuer has no users yet. A test adds them with AddUser.</p>
{{end}}<button type="submit" class="cancel" name="cancel" value="1">Cancel</button>
</form>
{{end}}<footer>An issuer for tests. It asks for no password.</footer>
</main>
</body>
</html>
`))
