package authpihttp_test

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// aDay outlives every run of a fuzz target.
func aDay() int64 { return time.Now().Add(24 * time.Hour).Unix() }

// FuzzBearerHeader lets nobody in but by the token, alone behind its scheme. A
// refusal can be read by programs and does not show what was sent.
func FuzzBearerHeader(f *testing.F) {
	s, _ := newAPI(f, nil)
	token := s.issuer.AccessToken(map[string]any{"exp": aDay()})
	f.Fuzz(func(t *testing.T, header, query string) {
		header, query = strings.ReplaceAll(header, "$TOKEN", token), strings.ReplaceAll(query, "$TOKEN", token)
		r := &http.Request{
			Method: http.MethodGet, Host: "app.test", RequestURI: "/api/me?" + query, URL: &url.URL{Path: "/api/me", RawQuery: query},
			Header: http.Header{"Authorization": {header}},
		}
		w := newRecorder()
		s.handler.ServeHTTP(w, r)

		scheme, rest, _ := strings.Cut(header, " ")
		good := strings.EqualFold(scheme, "Bearer") && strings.Trim(rest, " ") == token
		inQuery, _ := url.ParseQuery(strings.ReplaceAll(query, ";", "&"))
		switch {
		case w.Code == http.StatusOK && (!good || inQuery.Has("access_token")):
			t.Errorf("%q with the query %q was let in", header, query)
		case w.Code != http.StatusOK && good && !strings.Contains(query, "access_token") && !strings.Contains(query, "%"):
			t.Errorf("%q with the query %q: got %d; want 200", header, query, w.Code)
		}
		if w.Code == http.StatusOK {
			return
		}
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code != http.StatusUnauthorized && w.Code != http.StatusBadRequest || !strings.HasPrefix(challenge, `Bearer realm="api"`) ||
			strings.ContainsFunc(challenge, func(c rune) bool { return c < ' ' || c > '~' || c == '\\' }) || strings.Count(challenge, `"`)%2 != 0 {
			t.Errorf("got %d with %q; want a challenge that can be read", w.Code, challenge)
		}
		wantBody(t, w.Body.String(), token)
		if strings.Contains(challenge, token) {
			t.Errorf("got %q, which shows the token", challenge)
		}
	})
}

// wantBody wants an error as programs are told, without the token.
func wantBody(t *testing.T, body, token string) {
	t.Helper()
	var said struct{ Error, ErrorDescription string }
	if err := json.Unmarshal([]byte(strings.Replace(body, "error_description", "ErrorDescription", 1)), &said); err != nil || said.Error == "" || said.ErrorDescription == "" {
		t.Errorf("got %q, %v; want JSON with error and error_description", body, err)
	}
	if strings.Contains(body, token) {
		t.Errorf("got %q, which shows the token", body)
	}
}

// always takes every logout token for one that was not used yet.
type always struct{}

func (always) Use(context.Context, string, time.Time) (bool, error) { return true, nil }
func (always) Forget(context.Context, string) error                 { return nil }

// FuzzLogoutForm ends sessions for the issuer's logout token alone, in a form that
// holds it once.
func FuzzLogoutForm(f *testing.F) {
	s := newSite(f, nil)
	ended := 0
	h := authpihttp.BackchannelLogout(s.client, func(context.Context, authpi.LogoutToken) error {
		ended++
		return nil
	}, &authpihttp.BackchannelOptions{Replays: always{}})
	token := s.issuer.LogoutToken(map[string]any{"exp": aDay()})
	f.Fuzz(func(t *testing.T, contentType, body string) {
		body = strings.ReplaceAll(body, "$TOKEN", token)
		r, err := http.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Content-Type"] = []string{contentType}
		ended = 0
		w := newRecorder()
		h.ServeHTTP(w, r)

		kind, _, kindErr := mime.ParseMediaType(contentType)
		form, formErr := url.ParseQuery(body)
		values := form["logout_token"]
		good := kindErr == nil && kind == "application/x-www-form-urlencoded" && formErr == nil && len(body) <= 128<<10 &&
			len(values) == 1 && values[0] == token
		if (w.Code == http.StatusOK) != good || (ended == 1) != good {
			t.Fatalf("%q as %q: got %d and %d logouts; want %t", body, contentType, w.Code, ended, good)
		}
		if !good {
			wantBody(t, w.Body.String(), token)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got Cache-Control %q; want no-store", w.Header().Get("Cache-Control"))
		}
	})
}

// FuzzAccept sends a browser that wants a page to the login, and nobody else (RFC
// 9110 section 12.5.1). Package mime reads each part a second time.
func FuzzAccept(f *testing.F) {
	s := newSite(f, nil)
	weight := regexp.MustCompile(`^[01](\.[0-9]*)?$`)
	f.Fuzz(func(t *testing.T, accept string) {
		want := false
		for part := range strings.SplitSeq(accept, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil && strings.Contains(strings.ToLower(part), "text/html") {
				return // nobody knows
			}
			q, weighted := params["q"]
			if weighted && !weight.MatchString(q) {
				return // nobody knows
			}
			zero := weighted && strings.Trim(q, "0.") == ""
			want = want || err == nil && kind == "text/html" && !zero
		}
		w := newRecorder()
		s.handler.ServeHTTP(w, &http.Request{
			Method: http.MethodGet, Host: "app.test", RequestURI: "/a", URL: &url.URL{Path: "/a"}, Header: http.Header{"Accept": {accept}},
		})
		if got := w.Code == http.StatusSeeOther; got != want || !got && w.Code != http.StatusUnauthorized {
			t.Errorf("%q: got %d; want a page: %t", accept, w.Code, want)
		}
	})
}
