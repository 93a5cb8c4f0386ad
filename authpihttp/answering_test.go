package authpihttp_test

import (
	"bytes"
	"errors"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A session that cannot be stored is told of while the answer is being written, too,
// and by then there is one: a request gets one body, and one line in the log.
func TestOneAnswerWhereTheStoreFails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path string
		status     int
		refusals   int
		text       string
	}{
		{"login that cannot be kept", "/auth/login", 503, 1, "temporarily_unavailable"},
		{"handler that calls Unavailable", "/unavailable", 503, 1, "temporarily_unavailable"},
		{"handler's own page", "/page", 503, 1, "temporarily_unavailable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			s.mux.HandleFunc("GET /unavailable", func(w http.ResponseWriter, r *http.Request) {
				s.sessions.Put(r.Context(), "cart", "book")
				s.app.Unavailable(w, r, errors.New("the shop is away"))
			})
			s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
				s.sessions.Put(r.Context(), "cart", "book")
				_, _ = w.Write([]byte("page"))
			})
			s.store.set(func(st *store) { st.full = true })
			var complaints bytes.Buffer
			server := httptest.NewUnstartedServer(s.handler)
			server.Config.ErrorLog = log.New(&complaints, "", 0)
			server.Start()
			status, body := fetch(t, server.URL+tc.path)
			server.Close() // and with it, all handlers have ended
			if status != tc.status || strings.Count(body, `"error"`) != 1 || !strings.Contains(body, tc.text) || strings.Contains(body, "page") {
				t.Errorf("got %d %s; want %d with one %q", status, body, tc.status, tc.text)
			}
			if got := len(s.refused); got != tc.refusals {
				t.Errorf("got %d answers %v; want %d", got, s.refused, tc.refusals)
			}
			if tc.path != "/page" && complaints.Len() > 0 { // there the sessions' middleware goes on
				t.Errorf("the server complains: %s", &complaints)
			}
		})
	}
}

// fetch makes a request as a program.
func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, text.String()
}
