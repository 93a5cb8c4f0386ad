package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/loopback"
)

// stage is what the steps are played on: a client, and an issuer of our own or a real one.
type stage struct {
	out         io.Writer
	client      *authpi.IdpClient
	issuer      *authpitest.Server // nil: a real one
	redirectURI string
}

func openStage(out io.Writer, getenv func(string) string) (*stage, error) {
	st := &stage{out: out, redirectURI: cmp.Or(getenv("AUTHPI_REDIRECT_URI"), "http://127.0.0.1:8765/callback")}
	cfg := authpi.Config{
		IssuerURL:    getenv("AUTHPI_ISSUER_URL"),
		ClientID:     getenv("AUTHPI_CLIENT_ID"),
		ClientSecret: getenv("AUTHPI_CLIENT_SECRET"),
		RedirectURI:  st.redirectURI,
	}
	if cfg.IssuerURL == "" && cfg.ClientID == "" {
		st.issuer = authpitest.NewServer(&authpitest.Options{ClientID: "c_quickstart", ClientSecret: "only for this run"})
		st.issuer.AddUser(authpitest.User{ID: "usr_ada", Email: "ada@example.com", EmailVerified: true})
		st.issuer.SetOrganizations("usr_ada",
			authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**", "members:read"}},
		)
		cfg.IssuerURL, cfg.ClientID, cfg.ClientSecret = st.issuer.URL, st.issuer.ClientID(), st.issuer.ClientSecret()
	}
	_, _ = fmt.Fprintf(out, "With the issuer %s\n\n", cfg.IssuerURL)
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

// signIn has somebody sign in and returns the callback's parameters.
func (st *stage) signIn(ctx context.Context, auth *authpi.AuthorizationURL) (url.Values, error) {
	if st.issuer != nil {
		callback, err := st.issuer.SignIn(auth.URL, "usr_ada") // as a browser would
		if err != nil {
			return nil, err
		}
		return authpi.ParseCallback(callback)
	}
	redirect, err := url.Parse(st.redirectURI)
	if err != nil || redirect.Scheme != "http" || net.ParseIP(redirect.Hostname()) == nil || redirect.Port() == "" {
		return nil, errors.New("AUTHPI_REDIRECT_URI must be like http://127.0.0.1:8765/callback: this program listens there")
	}
	listener, err := net.Listen("tcp", redirect.Host)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(st.out, "\nThe client needs the redirect URI %s. Open within five minutes:\n\n%s\n\n", st.redirectURI, auth.URL)
	return loopback.Wait(ctx, listener, redirect.Path, auth.State)
}

// session is what a web app would keep in its session store.
type session struct {
	mu     sync.Mutex // guards what follows while requests are under way
	tokens authpi.TokenSet
	saves  int
}

func (s *session) options() *authpi.AgentOptions {
	return &authpi.AgentOptions{OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens = tokens
		s.saves++
		return nil
	}}
}

// expire gives the tokens as they are once the access token has expired.
func (s *session) expire() authpi.TokenSet {
	old := s.tokens
	old.ExpiresAt = time.Now()
	return old
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
