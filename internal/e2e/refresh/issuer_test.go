//go:build unix

package refresh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

const (
	ada          = "usr_ada"
	workerHeader = "Authpi-Test-Worker" // names the process that sends a request
	grantRefresh = "refresh_token"
)

// issuer is authpitest's, on a socket, with a record of who spent what. A request
// that has arrived is seen through, even if the process that sent it has died.
type issuer struct {
	*authpitest.Server
	t      testing.TB
	client *authpi.IdpClient

	mu       sync.Mutex     // guards all below
	open     int            // refresh requests under way
	requests []*request     // refresh requests, as they came
	issued   map[string]int // the order in which refresh tokens were issued, by label
}

// request is one use of a refresh token.
type request struct {
	worker string
	token  string // label of the token that was spent
	next   string // label of the one that was given for it; empty: refused, or not answered yet
	came   time.Time
	open   bool // not answered yet
	again  bool // the same process was given the next one before, or was waiting for it
}

// label names a token in reports.
func label(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:6])
}

func newIssuer(t testing.TB, opts authpitest.Options) *issuer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts.BaseURL = "http://" + l.Addr().String()
	i := &issuer{Server: authpitest.NewInMemory(&opts), t: t, issued: make(map[string]int)}
	web := &httptest.Server{Listener: l, Config: &http.Server{Handler: i}}
	web.Start()
	t.Cleanup(web.Close)
	i.AddUser(authpitest.User{ID: ada, Email: "ada@example.com", EmailVerified: true})
	i.client, err = authpi.NewIdpClient(authpi.Config{
		IssuerURL: i.URL, ClientID: i.ClientID(), RedirectURI: "https://app.example/callback",
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever sent it is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	if !strings.HasSuffix(r.URL.Path, "/token") || form.Get("grant_type") != grantRefresh {
		i.Handler().ServeHTTP(w, r)
		return
	}
	now := &request{worker: r.Header.Get(workerHeader), token: label(form.Get(grantRefresh)), came: time.Now(), open: true}
	i.mu.Lock()
	i.open++
	now.again = slices.ContainsFunc(i.requests, func(before *request) bool {
		return before.worker == now.worker && before.token == now.token && (before.open || before.next != "")
	})
	i.requests = append(i.requests, now)
	i.mu.Unlock()

	answer := httptest.NewRecorder()
	i.Handler().ServeHTTP(answer, r.WithContext(context.WithoutCancel(r.Context())))
	var given struct {
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal(answer.Body.Bytes(), &given)

	i.mu.Lock()
	if given.RefreshToken != "" {
		now.next = label(given.RefreshToken)
		i.issued[now.next] = len(i.issued)
	}
	now.open = false
	i.open--
	i.mu.Unlock()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// signIn begins a session.
func (i *issuer) signIn() authpi.TokenSet {
	i.t.Helper()
	auth, err := i.client.CreateAuthorizationURL([]string{"openid", "profile", "email", "offline_access"}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	callback, err := i.SignIn(auth.URL, ada)
	if err != nil {
		i.t.Fatal(err)
	}
	values, err := authpi.ParseCallback(callback)
	if err != nil {
		i.t.Fatal(err)
	}
	agent, err := i.client.ExchangeCallback(context.Background(), values, *auth)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	i.issued[label(agent.Tokens.RefreshToken)] = len(i.issued)
	i.mu.Unlock()
	return agent.Tokens
}

// issuedAs is a refresh token's place in the order of issue.
func (i *issuer) issuedAs(token string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n, ok := i.issued[label(token)]
	if !ok {
		i.t.Errorf("a refresh token was stored that was never issued: %s", label(token))
	}
	return n
}

// uses are the requests that spent a token, in order.
func (i *issuer) uses(token string) []request {
	i.mu.Lock()
	defer i.mu.Unlock()
	var found []request
	for _, r := range i.requests {
		if r.token == token {
			found = append(found, *r)
		}
	}
	return found
}

// spenders are the processes that spent a token.
func (i *issuer) spenders(token string) []string {
	var names []string
	for _, r := range i.uses(token) {
		if !slices.Contains(names, r.worker) {
			names = append(names, r.worker)
		}
	}
	return names
}

// last is the newest request of a process.
func (i *issuer) last(worker string) (request, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range slices.Backward(i.requests) {
		if r.worker == worker {
			return *r, true
		}
	}
	return request{}, false
}

// since is how long ago the request was made that gave a token.
func (i *issuer) since(token string) (time.Duration, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range slices.Backward(i.requests) {
		if r.next == token {
			return time.Since(r.came), true
		}
	}
	return 0, false
}

// idle tells that no refresh is under way.
func (i *issuer) idle() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.open == 0
}

// reuse finds the request that came with a token of this session for the second
// time, and the one that came before it. Tokens of a session are a chain from first.
func (i *issuer) reuse(first string) (before, after request, found bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	granted := make(map[string]*request)
	ours := map[string]bool{first: true}
	for _, r := range i.requests {
		if !ours[r.token] {
			continue
		}
		if earlier, ok := granted[r.token]; ok {
			return *earlier, *r, true
		}
		granted[r.token] = r
		if r.next != "" {
			ours[r.next] = true
		}
	}
	return request{}, request{}, false
}

// doubles counts the tokens that were spent, those of them that came from more than
// one process, and how often a process spent one that it had spent with success.
func (i *issuer) doubles() (spent, between, inside int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	by := make(map[string][]string)
	for _, r := range i.requests {
		if r.again {
			inside++
		}
		by[r.token] = append(by[r.token], r.worker)
	}
	for _, workers := range by {
		slices.Sort(workers)
		if len(slices.Compact(workers)) > 1 {
			between++
		}
	}
	return len(by), between, inside
}
