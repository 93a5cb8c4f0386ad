package authpi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// TokenSource gives the agent's access token to whatever takes an
// [oauth2.TokenSource], refreshing ahead of expiry for as long as the session
// lives. New tokens go to opts.OnRefresh before they are used, as in
// [IdpClient.CreateAgent]. A token that is good is given without a lock.
//
// Its Token method has no context, so a refresh there ends with RefreshTimeout
// alone. It returns an [*OAuthError] matching [ErrTokenExpired] where the token has
// expired and cannot be refreshed, and a [*RefreshError] where that failed. It is
// safe for concurrent use; do not change the Token it gives.
func (c *IdpClient) TokenSource(agent *Agent, opts *AgentOptions) oauth2.TokenSource {
	return c.userSource(agent, opts)
}

// HTTPClient calls APIs as the agent: it adds the access token, refreshed where
// needed under the request's own context, as [IdpClient.TokenSource] does. A
// redirect to another origin, or back from one, goes without the token, and so
// does nothing over plain http outside loopback: such a request is a
// [*ConfigurationError] unless Config.AllowInsecureHTTP is set (RFC 6750 section
// 5.3). Where there is no token the request fails as Token does. It uses
// Config.HTTPClient's transport.
func (c *IdpClient) HTTPClient(agent *Agent, opts *AgentOptions) *http.Client {
	return &http.Client{Transport: &bearerTransport{
		source: c.userSource(agent, opts), base: c.caller.Transport(), insecure: c.cfg.AllowInsecureHTTP,
	}}
}

// ClientCredentialsSource gives a machine's access token (see
// [IdpClient.ClientCredentials]), kept until shortly before it expires and then
// asked for anew, once for all callers. While the issuer is briefly away a token
// that is still good goes on being given. Its errors are those of ClientCredentials.
// It is safe for concurrent use; do not change the Token it gives.
func (c *IdpClient) ClientCredentialsSource(scopes []string, resources ...string) oauth2.TokenSource {
	scopes, resources = slices.Clone(scopes), slices.Clone(resources)
	s := &machineSource{client: c}
	s.latest = fresh.New(fresh.Options[*held]{Now: c.now, Fetch: func(ctx context.Context) (*held, error) {
		// Somebody's whole request may have fitted between this caller's look and now.
		if h := s.current.Load(); h != nil && c.now().Before(h.renewAt) {
			return h, nil
		}
		agent, err := c.ClientCredentials(ctx, scopes, resources...)
		if err != nil {
			return nil, err
		}
		next := c.hold(agent)
		s.current.Store(next)
		return next, nil
	}})
	return s
}

// held is a token in use. It is never changed, so that reading it takes no lock.
type held struct {
	agent   *Agent
	token   *oauth2.Token
	renewAt time.Time
}

// hold keeps an agent's token until it should be renewed: the buffer before its
// expiry, or half its life where it lives hardly longer than the buffer.
func (c *IdpClient) hold(agent *Agent) *held {
	life := agent.Tokens.remaining(c.now())
	return &held{
		agent:   agent,
		token:   agent.Tokens.OAuth2(),
		renewAt: agent.Tokens.ExpiresAt.Add(-min(c.cfg.RefreshBuffer, max(life, 0)/2)),
	}
}

// userSource holds the tokens of one session.
type userSource struct {
	client  *IdpClient
	opts    AgentOptions
	current atomic.Pointer[held]
}

func (c *IdpClient) userSource(agent *Agent, opts *AgentOptions) *userSource {
	s := &userSource{client: c}
	if opts != nil {
		s.opts = *opts
		s.opts.Resources = slices.Clone(opts.Resources)
	}
	if agent == nil {
		agent = &Agent{}
	}
	first := *agent
	h := &held{agent: &first, token: first.Tokens.OAuth2(), renewAt: first.Tokens.ExpiresAt.Add(-c.cfg.RefreshBuffer)}
	s.current.Store(h)
	return s
}

func (s *userSource) Token() (*oauth2.Token, error) { return s.token(context.Background()) }

func (s *userSource) token(ctx context.Context) (*oauth2.Token, error) {
	h := s.current.Load()
	now := s.client.now()
	if now.Before(h.renewAt) {
		return h.token, nil
	}
	good := now.Before(h.agent.Tokens.ExpiresAt)
	if good && (h.agent.Tokens.RefreshToken == "" || !s.client.autoRefresh(s.opts.AutoRefresh)) {
		return h.token, nil
	}
	if !s.client.autoRefresh(s.opts.AutoRefresh) {
		return nil, ownError(ErrTokenExpired, "token source", "automatic refresh is off")
	}
	r := renewalOf(h.agent.Tokens.remaining(now), &s.opts)
	r.agent = h.agent
	renewed, err := s.client.renewInTime(ctx, r)
	if err != nil {
		return nil, err
	}
	if renewed == h.agent {
		return h.token, nil
	}
	s.current.CompareAndSwap(h, s.client.hold(renewed))
	return s.current.Load().token, nil // or another caller's, which is as new or newer
}

// String names the source; the tokens stay inside.
func (s *userSource) String() string { return "authpi token source" }

// Format prints String for every verb and flag.
func (s *userSource) Format(f fmt.State, _ rune) { redact.Print(f, s.String()) }

// machineSource holds a client credentials token.
type machineSource struct {
	client  *IdpClient
	current atomic.Pointer[held]
	latest  *fresh.Value[*held] // never fresh: it only lets callers share a request
	retryAt atomic.Int64        // unix nanoseconds before which a good token is not renewed
}

func (s *machineSource) Token() (*oauth2.Token, error) {
	h, now := s.current.Load(), s.client.now()
	if h != nil && now.Before(h.renewAt) {
		return h.token, nil
	}
	good := h != nil && now.Before(h.agent.Tokens.ExpiresAt)
	if good && now.UnixNano() < s.retryAt.Load() {
		return h.token, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	if good {
		ctx, cancel = context.WithTimeout(context.Background(), patience)
	}
	defer cancel()
	next, err := s.latest.Get(ctx)
	if err == nil {
		return next.token, nil
	}
	var e *OAuthError
	if config := (*ConfigurationError)(nil); !errors.As(err, &e) && !errors.As(err, &config) {
		err = noAnswer(opClientCredentials, err) // our patience, or a panic
	}
	if good && s.client.now().Before(h.agent.Tokens.ExpiresAt) && isPassing(err) { // it may have ended during the wait
		s.retryAt.Store(s.client.now().Add(pause).UnixNano()) // from the failure on
		return h.token, nil
	}
	return nil, err
}

// String names the source; the token stays inside.
func (s *machineSource) String() string { return "authpi client credentials source" }

// Format prints String for every verb and flag.
func (s *machineSource) Format(f fmt.State, _ rune) { redact.Print(f, s.String()) }

// bearerTransport adds the token to requests (RFC 6750 section 2.1).
type bearerTransport struct {
	source   *userSource
	base     http.RoundTripper
	insecure bool
}

func (t *bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	// A RoundTripper closes the body of a request that it refuses, too.
	refuse := func(err error) (*http.Response, error) {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	if strayed(r) {
		return t.base.RoundTrip(r)
	}
	if r.URL.Scheme != "https" && !t.insecure && !weburl.Loopback(r.URL.Hostname()) {
		return refuse(&ConfigurationError{"AllowInsecureHTTP", "is not set, and a token may not travel over plain http (RFC 6750 section 5.3)"})
	}
	token, err := t.source.token(r.Context())
	if err != nil {
		return refuse(err)
	}
	own := r.Clone(r.Context())
	token.SetAuthHeader(own)
	return t.base.RoundTrip(own)
}

// strayed tells whether redirects have led to this request through another origin
// than the first one's: whoever is there must not get the token.
func strayed(r *http.Request) bool {
	origin := weburl.Origin(r.URL)
	for from := r; from.Response != nil; {
		if from = from.Response.Request; from == nil || from.URL == nil {
			return true // a round tripper that does not say where it has been
		}
		if weburl.Origin(from.URL) != origin {
			return true
		}
	}
	return false
}
