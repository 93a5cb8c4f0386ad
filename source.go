package authpi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/machine"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/tokens"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// TokenSource returns a source of the agent's access token, refreshed ahead of
// expiry for as long as the session lives, for libraries that take an
// [oauth2.TokenSource]. New tokens go to opts.OnRefresh before they are used, as in
// [IdpClient.CreateAgent], once for all callers of the source. While the token is
// good, Token takes no lock.
//
// There may be several sources of one session, with or without OnRefresh, made from
// the same agent at any time. Each picks up the tokens that another one, or
// CreateAgent, has refreshed, for as long as one of them is in use. Without
// OnRefresh only the source has the newest tokens: keep the source, not the agent.
//
// Its Token method has no context, so only RefreshTimeout ends a refresh
// there. It returns an [*OAuthError] matching [ErrTokenExpired] where the token has
// expired and cannot be refreshed, a [*RefreshError] where that failed, and one
// matching [ErrSessionExpired] once the session was signed out with
// [IdpClient.RevokeToken]. It is safe for concurrent use; do not change the Token it
// returns.
func (c *IdpClient) TokenSource(agent *Agent, opts *AgentOptions) oauth2.TokenSource {
	return c.userSource(agent, opts)
}

// HTTPClient calls APIs as the agent: it adds the access token, refreshed where
// needed, as [IdpClient.TokenSource] does. A request waits for that no longer than
// its own context lasts; the refresh goes on without it, and the next request has
// the result. It uses Config.HTTPClient's transport.
//
// A redirect to another origin, or back from one, is followed without the token. A
// request over plain http outside loopback fails with a [*ConfigurationError],
// unless Config.AllowInsecureHTTP is set (RFC 6750 section 5.3). Without a token the
// request fails as Token does.
func (c *IdpClient) HTTPClient(agent *Agent, opts *AgentOptions) *http.Client {
	return &http.Client{Transport: &bearerTransport{
		source: c.userSource(agent, opts), base: c.caller.Transport(), insecure: c.cfg.AllowInsecureHTTP,
	}}
}

// ClientCredentialsSource returns a source of a machine's access token (see
// [IdpClient.ClientCredentials]). It keeps the token until shortly before it
// expires, and then requests the next one, once for all callers. While the issuer is
// unreachable it returns a token that is still good. After a Retry-After, no source
// of this client makes a request before its time. Its errors are those of
// ClientCredentials. It is safe for concurrent use; do not change the Token it
// returns.
//
// With Config.MachineTokens, processes that ask for the same scopes and resources,
// in the same order, share a token; one of them asks for the next. If the store is
// unreachable, each process requests its own, after some seconds at most.
func (c *IdpClient) ClientCredentialsSource(scopes []string, resources ...string) oauth2.TokenSource {
	s := &machineSource{client: c, scopes: slices.Clone(scopes), resources: slices.Clone(resources)}
	timeout := machineTimeout
	if s.share = c.shareOf(s); s.share != nil {
		timeout += machine.WaitForOthers
	}
	s.asking = fresh.NewGroup[struct{}, *cachedToken](timeout)
	return s
}

// machineTimeout bounds one request for a machine's token, whoever waits for it.
const machineTimeout = 10 * time.Second

// MachineTokenStore keeps the tokens of [IdpClient.ClientCredentialsSource] for all
// processes of a client. It needs no lock. Module authpiredis has one over Redis.
type MachineTokenStore interface {
	// Load returns what was last saved under id. If there is nothing, or it has
	// expired, it returns nil and no error.
	Load(ctx context.Context, id string) ([]byte, error)
	// Save keeps the bytes under id until expiry, in place of what is there. They
	// are sealed under the client secret, and id is a digest that takes the secret
	// to make, so both are safe to store and to log.
	Save(ctx context.Context, id string, sealed []byte, expiry time.Time) error
}

// cachedToken is a token in use. It is never changed, so that reading it takes no
// lock.
type cachedToken struct {
	agent   *Agent
	token   *oauth2.Token
	renewAt time.Time
}

// isFresh reports whether a token need not be renewed yet. No token, nil, is not fresh.
func (t *cachedToken) isFresh(now time.Time) bool { return t != nil && now.Before(t.renewAt) }

// isGood reports whether a token may still be used. No token, nil, is not good.
func (t *cachedToken) isGood(now time.Time) bool {
	return t != nil && now.Before(t.agent.Tokens.ExpiresAt)
}

// cached returns what a source keeps of an agent's tokens. issued is when they came: a
// token that does not say how long it lives is refreshed when half of what was left of
// its life then is over, at the earliest.
func (c *IdpClient) cached(agent *Agent, issued time.Time, buffer time.Duration) *cachedToken {
	set := agent.Tokens
	buffer = min(set.buffer(buffer), max(set.remaining(issued), 0)/2)
	return &cachedToken{agent: agent, token: set.OAuth2(), renewAt: set.ExpiresAt.Add(-buffer)}
}

// userSource holds the tokens of one session.
type userSource struct {
	client   *IdpClient
	opts     AgentOptions
	follower *rotate.Follower
	current  atomic.Pointer[cachedToken]

	mu      sync.Mutex // guards refresh
	refresh *sourceRefresh
}

// sourceRefresh is a refresh of a source on its way, for all its callers.
type sourceRefresh struct {
	done chan struct{} // closed when err is set
	err  error
}

func (c *IdpClient) userSource(agent *Agent, opts *AgentOptions) *userSource {
	if agent == nil {
		agent = &Agent{}
	}
	first := *agent
	s := &userSource{client: c, follower: c.sessions.Follow(rotate.Tokens(first.Tokens))}
	if opts != nil {
		s.opts = *opts
		s.opts.Resources = slices.Clone(opts.Resources)
	}
	s.current.Store(&cachedToken{
		agent: &first, token: first.Tokens.OAuth2(), renewAt: first.Tokens.ExpiresAt.Add(-first.Tokens.buffer(c.cfg.RefreshBuffer)),
	})
	runtime.AddCleanup(s, c.sessions.Unfollow, s.follower)
	return s
}

func (s *userSource) Token() (*oauth2.Token, error) { return s.token(context.Background()) }

func (s *userSource) token(ctx context.Context) (*oauth2.Token, error) {
	have, now := s.current.Load(), s.client.now()
	if s.follower.Revoked() {
		err := signedOut()
		s.client.reportError(ctx, s.opts.OnRefreshError, err)
		return nil, err
	}
	if now.Before(have.renewAt) {
		return have.token, nil
	}
	refreshes := s.client.autoRefresh(s.opts.AutoRefresh)
	if now.Before(have.agent.Tokens.ExpiresAt) && (!refreshes || have.agent.Tokens.RefreshToken == "") {
		return have.token, nil
	}
	switch {
	case !refreshes:
		return nil, ownError(ErrTokenExpired, "token source", "automatic refresh is off")
	case have.agent.Tokens.RefreshToken == "":
		err := ownError(ErrTokenExpired, opRefresh, "there is no refresh token")
		s.client.reportError(ctx, s.opts.OnRefreshError, err)
		return nil, err
	case ctx.Err() != nil:
		return nil, callerLeft(ctx)
	}
	refresh := s.begin(ctx, have)
	select {
	case <-refresh.done:
	case <-ctx.Done():
		return nil, callerLeft(ctx)
	}
	if refresh.err != nil {
		return nil, refresh.err
	}
	return s.current.Load().token, nil
}

// begin returns the source's refresh. It goes on whoever leaves: a set that comes for
// it is to be stored.
func (s *userSource) begin(ctx context.Context, have *cachedToken) *sourceRefresh {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refresh != nil {
		return s.refresh
	}
	refresh := &sourceRefresh{done: make(chan struct{})}
	if s.current.Load() != have {
		close(refresh.done) // it has just ended
		return refresh
	}
	s.refresh = refresh
	go func() {
		defer s.end(refresh)
		refresh.err = refreshFailed(codeTransport, "the refresh ended without an answer", nil)
		defer func() {
			if fault := recover(); fault != nil {
				refresh.err = refreshPanicked(fault)
			}
		}()
		refresh.err = s.renew(context.WithoutCancel(ctx), have)
	}()
	return refresh
}

func (s *userSource) end(refresh *sourceRefresh) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh = nil
	close(refresh.done)
}

func (s *userSource) renew(ctx context.Context, have *cachedToken) error {
	c := s.client
	r := c.renewalOf(ctx, have.agent.Tokens, have.agent.Tokens.remaining(c.now()), &s.opts)
	r.agent, r.follower = have.agent, s.follower
	renewed, err := r.runInTime()
	if renewed != nil {
		s.current.Store(c.cached(renewed, c.now(), c.cfg.RefreshBuffer))
	}
	return err
}

// String names the source; the tokens stay inside.
func (s *userSource) String() string { return "authpi token source" }

// Format prints String for every verb and flag.
func (s *userSource) Format(f fmt.State, _ rune) { redact.Print(f, s.String()) }

// machineSource holds a client credentials token.
type machineSource struct {
	client            *IdpClient
	scopes, resources []string
	current           atomic.Pointer[cachedToken]
	asking            *fresh.Group[struct{}, *cachedToken] // lets callers share a request
	share             *machine.Share                       // nil: with no other process
	retryAt           atomic.Int64                         // unix nanoseconds before which a good token is not renewed
}

func (s *machineSource) Token() (*oauth2.Token, error) {
	have, now := s.current.Load(), s.client.now()
	if have.isFresh(now) {
		return have.token, nil
	}
	good, held := have.isGood(now), s.client.machines.left(now)
	switch {
	case good && (now.UnixNano() < s.retryAt.Load() || held != nil):
		return have.token, nil
	case held != nil:
		return nil, held
	}
	next, err := s.renewTogether(good)
	if err == nil {
		return next.token, nil
	}
	if now = s.client.now(); have.isGood(now) && isPassing(err) { // it may have ended during the wait
		s.retryAt.Store(now.Add(goodCooldown).UnixNano()) // from the failure on
		return have.token, nil
	}
	return nil, err
}

// renewTogether shares one renewal among all callers. Whoever has a good token waits
// for its patience at most.
func (s *machineSource) renewTogether(good bool) (*cachedToken, error) {
	ctx := context.Background()
	if good {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		ctx = limited
	}
	next, err := s.asking.Do(ctx, struct{}{}, s.renew)
	var e *OAuthError
	var config *ConfigurationError
	if err != nil && !errors.As(err, &e) && !errors.As(err, &config) {
		err = noAnswer(opClientCredentials, err) // our patience, or a panic
	}
	return next, err
}

// goodCooldown is how long no attempt follows a passing failure while the token is
// good, and busyCooldown where another process is asking for the next one.
const (
	goodCooldown = 5 * time.Second
	busyCooldown = time.Second
)

// renew gets the next token, and keeps it as the current one.
func (s *machineSource) renew(ctx context.Context) (*cachedToken, error) {
	// Somebody's whole request may have fitted between this caller's look and now.
	have, now := s.current.Load(), s.client.now()
	if have.isFresh(now) {
		return have, nil
	}
	if s.share == nil {
		return s.ask(ctx)
	}
	return s.renewShared(ctx, have, have.isGood(now))
}

// renewShared is renew where other processes may have the next token, or ask for it.
func (s *machineSource) renewShared(ctx context.Context, have *cachedToken, good bool) (*cachedToken, error) {
	c, began := s.client, time.Now()
	var asked *cachedToken
	token, err := s.share.Get(ctx, machine.Want{
		Due:   func(t machine.Token) bool { return !c.now().Before(c.cachedShared(t).renewAt) },
		Spare: good,
		Ask: func(ctx context.Context) (_ machine.Token, err error) {
			issued := c.now()
			if asked, err = s.ask(ctx); err != nil {
				return machine.Token{}, err
			}
			return machine.Token{Set: tokens.Set(asked.agent.Tokens), Issued: issued}, nil
		},
	})
	switch {
	case err == machine.ErrBusy:
		s.retryAt.Store(c.now().Add(busyCooldown).UnixNano())
		return have, nil
	case err != nil || asked != nil:
		return asked, err
	}
	record.MachineToken{
		End: endOf(ctx, began, nil), Source: record.Store, Expires: token.Set.ExpiresAt,
	}.Log(ctx, c.log)
	next := c.cachedShared(token)
	s.current.Store(next)
	return next, nil
}

// ask requests a token from the issuer, and keeps it as the current one.
func (s *machineSource) ask(ctx context.Context) (*cachedToken, error) {
	c := s.client
	ctx, cancel := context.WithTimeout(ctx, machineTimeout)
	defer cancel()
	agent, err := c.ClientCredentials(ctx, s.scopes, s.resources...)
	if err != nil {
		c.machines.begin(err, c.now())
		return nil, err
	}
	next := c.cached(agent, c.now(), c.cfg.RefreshBuffer)
	s.current.Store(next)
	return next, nil
}

// shareOf returns how a source's token is shared with other processes, nil where it
// is not.
func (c *IdpClient) shareOf(s *machineSource) *machine.Share {
	if c.cfg.MachineTokens == nil || c.cfg.ClientSecret == "" {
		return nil
	}
	failed := func(ctx context.Context, err error) {
		record.MachineStoreFailed(ctx, c.log, masked(err, c.withOwn(nil)...))
	}
	what := append([]string{strings.TrimRight(c.cfg.IssuerURL, "/"), c.cfg.ClientID, fmt.Sprint(len(s.scopes))}, s.scopes...)
	share, err := machine.New(machine.Options{
		Store: c.cfg.MachineTokens, Secret: c.cfg.ClientSecret, For: append(what, s.resources...),
		Skew: c.cfg.ClockSkew, Now: c.now, Clock: c.clock, Failed: failed,
	})
	if err != nil { // a secret that FIPS 140-3 finds too short
		failed(context.Background(), err)
		return nil
	}
	return share
}

// cachedShared is what a source keeps of a token that another process has got. That
// one's clock may have been ahead: what the token says itself counts, too, and it is
// used up somewhat earlier.
func (c *IdpClient) cachedShared(t machine.Token) *cachedToken {
	if exp, ok := dateOf(t.Set.AccessToken, "exp"); ok {
		t.Set.ExpiresAt = earlier(t.Set.ExpiresAt, exp)
	}
	id := c.cfg.ClientID
	agent := &Agent{ID: id, Type: principalType(id), Tokens: TokenSet(t.Set), now: c.now}
	return c.cached(agent, t.Issued, max(c.cfg.RefreshBuffer, c.cfg.ClockSkew))
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

// strayed reports whether redirects have led to this request through another origin
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
