package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
)

// stage is what the steps are played on: a client, and an issuer of our own or a real one.
type stage struct {
	out         io.Writer
	client      *authpi.IdpClient
	issuer      *authpitest.Server // nil: a real one
	redirectURI string
	ahead       atomic.Int64 // how far the client's clock was put forward
}

func openStage(out io.Writer, getenv func(string) string) (*stage, error) {
	st := &stage{out: out, redirectURI: cmp.Or(getenv("AUTHPI_REDIRECT_URI"), "http://127.0.0.1:8765/callback")}
	cfg := authpi.Config{
		IssuerURL:    getenv("AUTHPI_ISSUER_URL"),
		ClientID:     getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: getenv("AUTHPI_CLIENT_SECRET"),
		RedirectURI:  st.redirectURI,
		Now:          func() time.Time { return time.Now().Add(time.Duration(st.ahead.Load())) },
	}
	if cfg.IssuerURL == "" && cfg.ClientID == "" {
		st.issuer = authpitest.NewServer(&authpitest.Options{ClientID: "c_quickstart", ClientSecret: "only for this run"})
		st.issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com", EmailVerified: true})
		st.issuer.SetOrganizations("usr_ada",
			authpitest.Organization{ID: "org_engines", Title: "Engineer", Scopes: []string{"projects:**"}},
		)
		cfg.IssuerURL, cfg.ClientID, cfg.ClientSecret = st.issuer.URL, st.issuer.ClientID(), st.issuer.ClientSecret()
		_, _ = fmt.Fprintf(out, "With an issuer of our own, %s\n\n", st.issuer.URL)
	} else {
		_, _ = fmt.Fprintf(out, "With the issuer %s\n\n", cfg.IssuerURL)
	}
	var err error
	if st.client, err = authpi.NewIdpClient(cfg); err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

func (st *stage) close() {
	if st.issuer != nil {
		st.issuer.Close()
	}
}

func (st *stage) say(step, format string, args ...any) {
	_, _ = fmt.Fprintf(st.out, "ok    %-18s %s\n", step, fmt.Sprintf(format, args...))
}

func (st *stage) skip(step, why string) {
	_, _ = fmt.Fprintf(st.out, "skip  %s: %s\n", step, why)
}

// signIn has somebody sign in at the URL and returns the callback's parameters.
func (st *stage) signIn(ctx context.Context, authURL string) (url.Values, error) {
	if st.issuer == nil {
		return st.waitForBrowser(ctx, authURL)
	}
	callback, err := st.issuer.SignIn(authURL, "usr_ada") // as a browser would
	if err != nil {
		return nil, err
	}
	return authpi.ParseCallback(callback)
}

// waitForBrowser listens at the redirect URI for one callback.
func (st *stage) waitForBrowser(ctx context.Context, authURL string) (url.Values, error) {
	redirect, err := url.Parse(st.redirectURI)
	if err != nil || redirect.Scheme != "http" || net.ParseIP(redirect.Hostname()) == nil || redirect.Port() == "" {
		return nil, errors.New("AUTHPI_REDIRECT_URI must be like http://127.0.0.1:8765/callback: this program listens there")
	}
	listener, err := net.Listen("tcp", redirect.Host)
	if err != nil {
		return nil, err
	}
	callbacks := make(chan url.Values, 1)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != redirect.Path {
			http.NotFound(w, r)
			return
		}
		select {
		case callbacks <- r.URL.Query():
		default: // one is enough
		}
		_, _ = fmt.Fprintln(w, "Thank you. Go back to the terminal; you may close this page.")
	})}
	go func() { _ = server.Serve(listener) }()
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_ = server.Shutdown(ending)
	}()

	_, _ = fmt.Fprintf(st.out, "\nThe client needs the redirect URI %s. Open within five minutes:\n\n%s\n\n", st.redirectURI, authURL)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	select {
	case query := <-callbacks:
		return query, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody signed in: %w", ctx.Err())
	}
}

// expire makes the access token old. Our own issuer's clock and the client's are put
// forward; a real issuer's token is only marked as expired.
func (st *stage) expire(tokens authpi.TokenSet) authpi.TokenSet {
	if st.issuer == nil {
		tokens.ExpiresAt = time.Now()
		st.say("expiry", "not awaited: the stored tokens are marked as expired")
		return tokens
	}
	const later = 31 * time.Minute
	st.issuer.Advance(later)
	st.ahead.Add(int64(later))
	st.say("expiry", "31 minutes later, by both clocks: the access token has expired")
	return tokens
}

// session is what a web app would keep in its session store.
type session struct {
	mu     sync.Mutex // guards what follows
	tokens authpi.TokenSet
	saved  int
}

func (s *session) options() *authpi.AgentOptions {
	return &authpi.AgentOptions{OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens = tokens
		s.saved++
		return nil
	}}
}

func (s *session) get() authpi.TokenSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens
}

func (s *session) saves() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved
}

type check struct {
	org, action, resource string
	want                  bool
}

// checks are questions with known answers: of a real issuer's user, who has a scope that
// reads like projects:read in some organization, or else not much can be known.
func (st *stage) checks(agent *authpi.Agent) []check {
	if st.issuer != nil {
		return []check{
			{"org_engines", "write", "projects", true},
			{"org_engines", "write", "billing", false},
			{"org_poetry", "read", "projects", false},
		}
	}
	no := check{"org_of_somebody_else", "read", "projects", false}
	for _, org := range agent.Organizations {
		for _, text := range org.Scopes {
			if s, ok := authpi.ParseScope(text); ok {
				return []check{{org.ID, s.Action, s.Resource, true}, no}
			}
		}
	}
	st.skip("HasAccessIn = true", "the tokens name no organization with a scope like projects:read")
	return []check{no}
}

func withoutQuery(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.RawQuery = ""
	return u.String()
}

// maskHint shows that the ID token is in the URL, but not the token.
func maskHint(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	query := u.Query()
	if query.Has("id_token_hint") {
		query.Set("id_token_hint", "an-ID-token-of-"+strconv.Itoa(len(query.Get("id_token_hint")))+"-letters")
	}
	u.RawQuery = query.Encode()
	return u.String()
}
