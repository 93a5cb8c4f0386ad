package authpihttp

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	authpi "github.com/authpi/authpi-idp-go"
)

// EndSession ends the sign-in that the session in ctx holds, if the logout token
// names it. The session is a sign-in record, as scs's Iterate comes across; others
// are left alone.
func (a *App) EndSession(ctx context.Context, token authpi.LogoutToken) error {
	rec := a.recordIn(ctx)
	if rec == nil {
		return nil
	}
	if named, err := a.names(ctx, rec, token); err != nil || !named {
		return err
	}
	_, err := a.end(ctx, cmp.Or(a.sessions.GetString(ctx, keyRef), a.sessions.Token(ctx)))
	return err
}

// FrontchannelLogout is the page that the issuer shows in a hidden frame (OpenID
// Connect Front-Channel Logout 1.0). It ends this browser's sign-in if the parameters
// iss and sid name it. Browsers that keep third-party cookies back make it do
// nothing; offer [BackchannelLogout], too.
func (a *App) FrontchannelLogout(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	if !a.allow(w, r, http.MethodGet) {
		return
	}
	ctx, query := r.Context(), r.URL.Query()
	rec, err := a.open(ctx, a.readLink(ctx).Ref)
	named := false
	if err == nil && rec != nil && one(query, "iss") && one(query, "sid") {
		named, err = a.names(ctx, rec, authpi.LogoutToken{Issuer: query.Get("iss"), SessionID: query.Get("sid")})
	}
	if named {
		err = a.SignOut(ctx)
	}
	if err != nil {
		a.fail(w, r, err, "")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusOK)
}

// names tells whether a logout is for this sign-in: by the issuer's session where it
// is named, otherwise by the user.
func (a *App) names(ctx context.Context, rec *record, logout authpi.LogoutToken) (bool, error) {
	tokens := rec.tokens
	tokens.IDToken = rec.hint
	agent, err := a.client.CreateAgent(ctx, tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
	if err != nil {
		if authpi.SessionEnded(err) {
			return false, nil // it is no good to anybody
		}
		return false, err
	}
	var of struct {
		Issuer string `json:"iss"`
	}
	switch {
	case agent.Claims(&of) != nil, of.Issuer != logout.Issuer:
		return false, nil
	case logout.Subject != "" && agent.ID != logout.Subject:
		return false, nil
	case logout.SessionID != "" && agent.SessionID != "":
		return agent.SessionID == logout.SessionID, nil
	}
	return logout.Subject != "", nil
}

func one(query url.Values, name string) bool {
	return len(query[name]) == 1 && query[name][0] != ""
}
