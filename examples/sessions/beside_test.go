package sessions

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// notebook is the app's own session: a page that keeps a note.
type notebook struct {
	opts   *authpihttp.Options
	cookie string
	wrap   func(http.Handler) http.Handler
	put    func(w http.ResponseWriter, r *http.Request, note string)
	note   func(r *http.Request) string
}

func scsNotebook() notebook {
	manager := scs.New()
	return notebook{
		following(manager), manager.Cookie.Name, manager.LoadAndSave,
		func(_ http.ResponseWriter, r *http.Request, note string) { manager.Put(r.Context(), "note", note) },
		func(r *http.Request) string { return manager.GetString(r.Context(), "note") },
	}
}

func gorillaNotebook(t *testing.T, store sessions.Store) notebook {
	return notebook{
		gorilla(store, "app"), "app", func(next http.Handler) http.Handler { return next },
		func(w http.ResponseWriter, r *http.Request, note string) {
			session, _ := store.Get(r, "app")
			session.Values["note"] = note
			if err := session.Save(r, w); err != nil {
				t.Error(err)
			}
		},
		func(r *http.Request) string {
			session, _ := store.Get(r, "app")
			note, _ := session.Values["note"].(string)
			return note
		},
	}
}

// The app's own session gets a new ID at sign-in, keeps what is in it for the same
// user alone, and ends with the sign-out.
func TestOwnSessionFollows(t *testing.T) {
	t.Parallel()
	key := []byte("a key of thirty-two bytes or more")[:32]
	files := sessions.NewFilesystemStore(t.TempDir(), key)
	files.Options.Secure = false // the test's browser comes over http
	cookies := sessions.NewCookieStore(key)
	cookies.Options.Secure = false
	for _, tc := range []struct {
		name  string
		own   notebook
		hasID bool
	}{
		{"scs", scsNotebook(), true},
		{"gorilla, on the server", gorillaNotebook(t, files), true},
		{"gorilla, in the cookie", gorillaNotebook(t, cookies), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			own, issuer := tc.own, newIssuer(t)
			site := startNotebook(t, issuer, own)
			b := newBrowser(t, issuer)
			b.get(site + "/note?put=kept")
			before := cookieOf(b, site, own.cookie)
			b.signIn(site)
			after := cookieOf(b, site, own.cookie)
			if got := b.get(site + "/note"); got != "kept" {
				t.Errorf("signed in: the note is %q", got)
			}
			if before == "" || after == "" || after == before && tc.hasID {
				t.Error("the session has the same ID after the sign-in")
			}

			b.endElsewhere(site)
			if got := b.get(site + "/"); got != "" {
				t.Errorf("signed out by the issuer: got %q", got)
			}
			b.signIn(site)
			if got := b.get(site + "/note"); got != "kept" {
				t.Errorf("signed in again: the note is %q", got)
			}
			b.endElsewhere(site)
			b.signInAs(site, "usr_bob")
			if got := b.get(site + "/note"); got != "" {
				t.Errorf("somebody else reads the note %q", got)
			}
			b.get(site + "/note?put=another")
			b.signOut(site)
			if got := b.get(site + "/note"); got != "" || cookieOf(b, site, own.cookie) != "" {
				t.Errorf("signed out: the note is %q", got)
			}
		})
	}
}

// startNotebook runs an app with a page for the note.
func startNotebook(t *testing.T, issuer *authpitest.Server, own notebook) string {
	t.Helper()
	opts := *own.opts
	opts.PostLogoutRedirectURI = "" // the issuer's business is not tested here
	return start(t, issuer, nil, &opts, func(mux *http.ServeMux) http.Handler {
		mux.HandleFunc("GET /note", func(w http.ResponseWriter, r *http.Request) {
			if note := r.FormValue("put"); note != "" {
				own.put(w, r, note)
			}
			_, _ = w.Write([]byte(own.note(r)))
		})
		return http.NewCrossOriginProtection().Handler(own.wrap(mux))
	})
}

func cookieOf(b browser, site, name string) string {
	b.t.Helper()
	address, err := url.Parse(site)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(address) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// A cookie that nobody can read keeps nobody from signing in or out.
func TestUnreadableCookie(t *testing.T) {
	t.Parallel()
	opts := gorilla(sessions.NewCookieStore([]byte("a key of thirty-two bytes or more")[:32]), "app")
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "app", Value: "nonsense"})
	w := httptest.NewRecorder()
	if err := opts.SignedIn(w, r, &authpi.Agent{ID: "usr_ada"}); err != nil {
		t.Error(err)
	}
	opts.SignedOut(w, r)
}
