package authpihttp

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// misplaced tells whether a request is a callback of ours that reached another
// handler than Callback, and why. A page of the application may be the callback of
// some other service, with the same parameters: ours answers a login of this
// browser, or comes to RedirectURI. A proxy or http.StripPrefix may have taken the
// start of that path away.
func (a *App) misplaced(r *http.Request) error {
	if !looksLikeCallback(r) {
		return nil
	}
	state := r.URL.Query().Get("state")
	known := slices.ContainsFunc(a.readLogins(r.Context()), func(l login) bool { return a.answers(l, state) })
	atRedirect := r.URL.Path != "" && strings.HasSuffix(a.redirectPath, r.URL.Path)
	if !known && !atRedirect {
		return nil
	}
	if a.redirectPath == a.callbackPath() {
		return &mistake{fmt.Errorf("authpihttp: a callback did not reach the callback handler, which must be mounted at %q", a.redirectPath)}
	}
	return &mistake{fmt.Errorf("authpihttp: the client's RedirectURI has path %q, but the callback is mounted at %q", a.redirectPath, a.callbackPath())}
}

// failMisplaced answers it. To try again at the same address would not help.
func (a *App) failMisplaced(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Referrer-Policy", "no-referrer") // the address holds the code
	a.fail(w, r, err, a.opts.Home)
}

// looksLikeCallback goes by the parameters of RFC 6749 sections 4.1.2 and 4.1.2.1.
func looksLikeCallback(r *http.Request) bool {
	query := r.URL.Query()
	return query.Has("state") && (query.Has("code") || query.Has("error"))
}
