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
	"strings"
	"unicode"
	"unicode/utf8"
)

// pageData is what a page shows: a list of users to sign in as, or a message alone.
type pageData struct {
	Title, Message string
	Action         string // where the form goes; empty: no form
	Client         string // its name
	Scopes         []string
	Hidden         []field
	Users          []pageUser
}

type field struct{ Name, Value string }

type pageUser struct {
	ID, Name, Initials, Email, Note string
	Hue                             int // of the initials, one of the style's
	Blocked                         bool
}

const hues = 6

// signInPage lets a person pick the user to be. Its form carries a copy of the
// authorization request, which is then checked as a whole once more.
func (s *Server) signInPage(c Client, p url.Values) *answer {
	data := pageData{
		Title: "Sign in", Action: s.path + "/authorize",
		Client: cmp.Or(c.Name, c.ID), Scopes: splitScope(p.Get("scope")),
	}
	for name, values := range p {
		for _, v := range values {
			data.Hidden = append(data.Hidden, field{name, v})
		}
	}
	slices.SortStableFunc(data.Hidden, func(a, b field) int { return cmp.Compare(a.Name, b.Name) })
	s.mu.Lock()
	for i, id := range s.userOrder {
		data.Users = append(data.Users, s.users[id].shown(i))
	}
	s.mu.Unlock()
	return renderPage(http.StatusOK, data)
}

// shown is how the sign-in page lists a user, the nth.
func (u *account) shown(n int) pageUser {
	name := cmp.Or(u.Name, u.ID)
	return pageUser{
		ID: u.ID, Name: name, Initials: initials(name), Email: u.Email, Note: u.Note,
		Hue: n % hues, Blocked: u.blocked,
	}
}

// initials returns the first letter of the first word and of the last.
func initials(name string) string {
	words := strings.Fields(name)
	if len(words) > 2 {
		words = []string{words[0], words[len(words)-1]}
	}
	letters := ""
	for _, word := range words {
		first, _ := utf8.DecodeRuneInString(word)
		letters += string(unicode.ToUpper(first))
	}
	return letters
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
	csp := "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
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
:root {
  color-scheme: light dark; --bg: #f4f5f7; --card: #ffffff; --text: #1b1f24; --soft: #57606a; --line: #d5dae0; --hover: #f0f4f9; --accent: #0b5cad; --on-hue: #ffffff;
  --hue-0: #0b5cad; --hue-1: #7a3e9d; --hue-2: #0f6b4f; --hue-3: #a1421a; --hue-4: #a02657; --hue-5: #4a5566;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #0f1318; --card: #181d24; --text: #e8ebef; --soft: #a5afba; --line: #333c47; --hover: #212934; --accent: #7ab8ff; --on-hue: #10151b;
    --hue-0: #7ab8ff; --hue-1: #d3a4f0; --hue-2: #7bd6b3; --hue-3: #f2ad8c; --hue-4: #f49cc0; --hue-5: #b4c0cf;
  }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--bg); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 27rem; padding: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: 1rem; box-shadow: 0 8px 30px rgb(0 0 0 / 8%); overflow-wrap: anywhere; }
h1 { margin: 0 0 0.5rem; font-size: 1.5rem; line-height: 1.25; }
p { margin: 0 0 1.25rem; }
fieldset { min-width: 0; margin: 0; padding: 0; border: 0; }
legend { padding: 0; margin-bottom: 0.5rem; color: var(--soft); font-size: 0.875rem; }
ul { list-style: none; margin: 0 0 1rem; padding: 0; display: grid; gap: 0.5rem; }
button { width: 100%; min-height: 2.75rem; padding: 0.625rem 0.75rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 0.625rem; cursor: pointer; }
button:hover { border-color: var(--accent); background: var(--hover); }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.person { display: flex; gap: 0.75rem; align-items: center; text-align: start; }
.person > span:last-child { min-width: 0; }
.initials { flex: none; display: grid; place-items: center; width: 2.5rem; height: 2.5rem; border-radius: 50%; color: var(--on-hue); font-size: 0.9375rem; font-weight: 600; }
.initials::before { content: attr(data-initials) / ""; }
.name { display: block; font-weight: 600; line-height: 1.35; }
.soft { display: block; color: var(--soft); font-size: 0.875rem; line-height: 1.4; }
code { font: 0.75rem ui-monospace, monospace; color: var(--soft); font-weight: 400; white-space: nowrap; }
.cancel { border-color: transparent; color: var(--accent); }
footer { margin-top: 1.25rem; padding-top: 1.25rem; border-top: 1px solid var(--line); color: var(--soft); font-size: 0.875rem; }
.hue-0 { background: var(--hue-0); } .hue-1 { background: var(--hue-1); } .hue-2 { background: var(--hue-2); }
.hue-3 { background: var(--hue-3); } .hue-4 { background: var(--hue-4); } .hue-5 { background: var(--hue-5); }
`

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}} - authpitest</title>
<link rel="icon" href="data:,">
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
{{with .Message}}<p>{{.}}</p>
{{end}}{{if .Action}}<p><strong>{{.Client}}</strong> asks you to sign in.{{if .Scopes}}
<span class="soft">It asks for {{range $i, $s := .Scopes}}{{if $i}}, {{end}}{{$s}}{{end}}.</span>{{end}}</p>
<form method="post" action="{{.Action}}">
{{range .Hidden}}<input type="hidden" name="{{.Name}}" value="{{.Value}}">
{{end}}{{if .Users}}<fieldset>
<legend>Continue as</legend>
<ul>
{{range .Users}}<li><button type="submit" name="user" value="{{.ID}}" class="person"><span class="initials hue-{{.Hue}}" data-initials="{{.Initials}}"></span>
<span><span class="name">{{.Name}} {{if ne .Name .ID}}<code>{{.ID}}</code>{{end}}</span>
{{with .Email}}<span class="soft">{{.}}</span>{{end}}{{with .Note}}<span class="soft">{{.}}</span>{{end}}{{if .Blocked}}<span class="soft">blocked</span>{{end}}</span></button></li>
{{end}}</ul>
</fieldset>
{{else}}<p>This issuer has no users yet. A test adds them with AddUser.</p>
{{end}}<button type="submit" class="cancel" name="cancel" value="1">Cancel</button>
</form>
{{end}}<footer>An issuer for tests and development. It asks for no password.</footer>
</main>
</body>
</html>
`))
