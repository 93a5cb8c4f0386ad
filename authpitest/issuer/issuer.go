package main

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

// issuer is the server with what a person does to it.
type issuer struct {
	opts     options
	base     string // scheme and host, as browsers and apps say them
	host     string // of base
	srv      *authpitest.Server
	people   *directory
	requests requestLog
}

func newIssuer(o options, listening net.Addr) (*issuer, error) {
	i := &issuer{opts: o, base: strings.TrimRight(cmp.Or(o.url, "http://"+reachable(o.addr, listening)), "/")}
	_, i.host, _ = strings.Cut(i.base, "://")
	i.srv = authpitest.NewInMemory(&authpitest.Options{
		BaseURL: i.base, Path: o.path,
		ClientID: o.clientID, ClientSecret: o.clientSecret, RedirectURIs: o.redirects,
		PostLogoutRedirectURIs: o.afterLogout, Algorithm: o.algorithm,
		AccessTokenLifetime: o.tokenLife, IDTokenLifetime: o.tokenLife,
		RefreshTokenLifetime: o.refreshLife, AgentTokenLifetime: o.machineLife,
	})
	i.srv.AddClient(authpitest.Client{ID: o.clientID, Name: "Your app", Secret: o.clientSecret, RedirectURIs: o.redirects})
	var err error
	if i.people, err = newDirectory(i.srv, o.people, o.clientID); err != nil {
		return nil, err
	}
	return i, i.loadKeys()
}

// reachable is the address with the port that was found, if it asked for any. Where
// it names no host of this machine, loopback is the one to begin with.
func reachable(addr string, listening net.Addr) string {
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(listening.String())
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// maxForm bounds what a button sends.
const maxForm = 64 << 10

// pagePaths are the paths that the issuer URL cannot have.
var pagePaths = []string{"/style.css", "/live.js", "/memberships", "/sessions", "/keys", "/faults"}

// handler serves the issuer below its path, and the page at the root.
func (i *issuer) handler() http.Handler {
	page := http.NewServeMux()
	page.HandleFunc("GET /{$}", i.page)
	page.HandleFunc("GET /style.css", serveFile)
	page.HandleFunc("GET /live.js", serveFile)
	page.HandleFunc("POST /memberships", i.changeMemberships)
	page.HandleFunc("POST /sessions", i.endSession)
	page.HandleFunc("POST /keys", i.changeKeys)
	page.HandleFunc("POST /faults", i.changeFaults)

	mux := http.NewServeMux()
	mux.Handle(i.opts.path+"/", i.requests.watch(i.opts.path+"/token", i.srv.Handler()))
	// Another site's page must not press a button.
	mux.Handle("/", http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(page, maxForm)))
	return i.guard(mux)
}

// guard refuses requests by another name: a site that points a name of its own at
// this machine (DNS rebinding) would count as the same origin. It also reads the
// file again.
func (i *issuer) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Host, i.host) {
			http.Error(w, "This issuer answers at "+i.base+" alone.", http.StatusMisdirectedRequest)
			return
		}
		_ = i.people.refresh() // the page shows the error
		next.ServeHTTP(w, r)
	})
}

// done leads back to the page, which says what was done.
func done(w http.ResponseWriter, r *http.Request, what string) {
	http.Redirect(w, r, "/?done="+what, http.StatusSeeOther)
}

func (i *issuer) changeMemberships(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	roles := map[string]string{}
	for name, values := range r.PostForm {
		if org, ok := strings.CutPrefix(name, "role:"); ok && values[0] != unchanged {
			roles[org] = values[0]
		}
	}
	if !i.people.setRoles(r.PostForm.Get("person"), roles) {
		http.Error(w, "there is no such person, organization or role", http.StatusBadRequest)
		return
	}
	done(w, r, "memberships")
}

func (i *issuer) endSession(w http.ResponseWriter, r *http.Request) {
	id := r.PostFormValue("session")
	live := i.srv.LiveSessions()
	at := slices.IndexFunc(live, func(s authpitest.Session) bool { return s.ID == id })
	if at < 0 || !i.srv.RevokeSession(id) {
		http.Error(w, "there is no such session", http.StatusNotFound)
		return
	}
	if i.opts.backchannel == "" {
		done(w, r, "session")
		return
	}
	if err := i.tellApp(live[at]); err != nil {
		fmt.Fprintln(os.Stderr, "issuer: back-channel logout:", err)
		done(w, r, "session-untold")
		return
	}
	done(w, r, "session-told")
}

// tellApp is OpenID Connect Back-Channel Logout 1.0 section 2.5.
func (i *issuer) tellApp(s authpitest.Session) error {
	token := i.srv.LogoutToken(map[string]any{"aud": s.ClientID, "sub": s.UserID, "sid": s.ID})
	app := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := app.PostForm(i.opts.backchannel, url.Values{"logout_token": {token}})
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s answered %s", i.opts.backchannel, answer.Status)
	}
	return nil
}

func (i *issuer) changeKeys(w http.ResponseWriter, r *http.Request) {
	what := r.PostFormValue("do")
	switch what {
	case "rotate":
		i.srv.RotateKeys()
	case "withdraw":
		i.srv.WithdrawKeys()
	default:
		http.Error(w, "want do=rotate or do=withdraw", http.StatusBadRequest)
		return
	}
	if err := i.saveKeys(); err != nil {
		fmt.Fprintln(os.Stderr, "issuer: keys:", err)
		http.Error(w, "the keys were changed and could not be written: "+err.Error(), http.StatusInternalServerError)
		return
	}
	done(w, r, what)
}

func (i *issuer) changeFaults(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("do") == "clear" {
		i.srv.ClearFaults()
		done(w, r, "cleared")
		return
	}
	times, err := strconv.Atoi(r.PostFormValue("times"))
	if err != nil || !i.inject(r.PostFormValue("fault"), times) {
		http.Error(w, "there is no such fault", http.StatusBadRequest)
		return
	}
	done(w, r, "fault")
}
