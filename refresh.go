package authpi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// RefreshOptions are for one [IdpClient.Refresh].
type RefreshOptions struct {
	// OnRefresh is as in [AgentOptions].
	OnRefresh func(context.Context, TokenSet) error
	// Reload is as in [AgentOptions].
	Reload func(context.Context) (TokenSet, error)
	// Resources are RFC 8707 resource indicators; nil: Config's, empty: none. Mind
	// that [AgentOptions] read nil otherwise.
	Resources []string
	// Scopes may only narrow what was granted (RFC 6749 section 6). Empty: all.
	Scopes []string
}

// Refresh gets new tokens now (RFC 6749 section 6), whether or not the old ones are
// still good, and returns a new Agent with them. Concurrent calls with the same tokens
// and options share one request, and a call with tokens that were just spent gets
// their successor. [IdpClient.CreateAgent] does this by itself when it is due.
//
// It returns an [*OAuthError] matching [ErrTokenExpired] where there is no refresh
// token, one with the code invalid_request for a nil agent, a [*ConfigurationError]
// where there is no token endpoint, and otherwise a [*RefreshError];
// RefreshError.Tokens gives the tokens that were received but not stored. Where the
// answer has no ID token the identity comes from the user info endpoint, whose
// failure is an [*OAuthError] of its own once the tokens are stored.
func (c *IdpClient) Refresh(ctx context.Context, agent *Agent, opts *RefreshOptions) (*Agent, error) {
	if opts == nil {
		opts = &RefreshOptions{}
	}
	if agent == nil {
		return nil, invalidRequest(opRefresh, "the agent is nil")
	}
	r := &renewal{
		agent:     agent,
		onRefresh: opts.OnRefresh,
		reload:    opts.Reload,
		resources: c.resourcesOr(opts.Resources),
		scopes:    slices.Clone(opts.Scopes),
	}
	renewed, err := c.renew(ctx, r)
	if err != nil {
		return nil, err
	}
	return c.identify(ctx, renewed, r)
}

const opRefresh = "refresh"

// How a refresh that is not urgent behaves: the access token is still good.
const (
	patience = 5 * time.Second // the longest that a caller waits for it
	pause    = 5 * time.Second // how long none is tried again after a passing failure
)

// renewal is what one caller wants of a refresh, and how far it has come. What is
// spent for it are the agent's tokens, or what others have made of them since.
type renewal struct {
	agent             *Agent // as the caller has it; it is not changed
	onRefresh         func(context.Context, TokenSet) error
	onError           func(context.Context, error)
	reload            func(context.Context) (TokenSet, error)
	resources, scopes []string
	patient           bool      // the access token is still good: wait no longer than patience
	spends            bool      // this caller started the flight, so it sees it through
	came              time.Time // when this caller began to wait
	until             time.Time // when it stops waiting for others, its store included
	decoded           bool      // agent was made in this call and is nobody else's yet
	joined            *arrival  // of the flight that it has waited for already
}

// grant names what is asked for besides new tokens: callers that ask for the same
// can share an answer.
func (r *renewal) grant() string {
	if len(r.resources)+len(r.scopes) == 0 {
		return "[] []"
	}
	return fmt.Sprintf("%q %q", r.resources, r.scopes)
}

// spendTime is what must be left of a patient caller's time when a token is spent:
// a caller that leaves at once would not store what it gets.
func (r *renewal) spendTime() time.Duration {
	if r.patient {
		return patience / 2
	}
	return 0
}

// renewalOf is what a caller of CreateAgent or of a token source wants, whose access
// token has so much of its life left. The agent is still to be set.
func renewalOf(remaining time.Duration, opts *AgentOptions) *renewal {
	return &renewal{
		onRefresh: opts.OnRefresh,
		onError:   opts.OnRefreshError,
		reload:    opts.Reload,
		resources: slices.Clone(opts.Resources),
		patient:   remaining > 0,
	}
}

// createRefreshed is CreateAgent where the access token is about to expire.
func (c *IdpClient) createRefreshed(ctx context.Context, r *renewal) (*Agent, error) {
	renewed, err := c.renewInTime(ctx, r)
	if err != nil {
		return nil, err
	}
	if renewed == r.agent {
		if !r.decoded {
			renewed = renewed.clone() // what callers share is nobody's to change
		}
		return c.hydrate(ctx, renewed)
	}
	identified, err := c.identify(ctx, renewed, r)
	if err != nil && r.onRefresh == nil {
		c.reportError(ctx, r.onError, err)
	}
	return identified, err
}

// renewInTime refreshes tokens that are about to expire, or gives the agent back
// as it is where the issuer is briefly away and its token is still good.
func (c *IdpClient) renewInTime(ctx context.Context, r *renewal) (*Agent, error) {
	renewed, err := c.renew(ctx, r)
	if err == nil {
		return renewed, nil
	}
	agent := r.agent
	stillGood := r.patient && agent.Tokens.remaining(c.now()) > 0 // it may have ended during the wait
	if stillGood && isPassing(err) && !hasLeft(ctx, err) {
		if c.rotations.paused(agent.Tokens.RefreshToken) {
			return agent, nil // said already; asking again must not prolong the pause
		}
		c.rotations.pause(agent.Tokens.RefreshToken)
		c.log.WarnContext(ctx, "authpi: refresh failed for now; the access token is still good",
			"key", c.rotations.shortID(agent.Tokens.RefreshToken), "error", err)
		return agent, nil
	}
	c.reportError(ctx, r.onError, err)
	return nil, err
}

// reportError passes a failure on to an OnRefreshError, unless it is the caller's own
// leaving.
func (c *IdpClient) reportError(ctx context.Context, onError func(context.Context, error), err error) {
	if onError != nil && !hasLeft(ctx, err) {
		onError(context.WithoutCancel(ctx), err)
	}
}

// hasLeft tells whether err is the caller's own leaving.
func hasLeft(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// maxHops bounds how many successors one caller follows: each hop means that
// others have refreshed meanwhile.
const maxHops = 8

// renew gets the caller a newer token set than its own, and has the caller store
// it. It goes from what is cheapest to what cannot be undone: the memory of spent
// tokens, where the caller's session store agrees, the flight of another caller,
// the store again, and only then the refresh token.
func (c *IdpClient) renew(ctx context.Context, r *renewal) (*Agent, error) {
	if r.agent.Tokens.RefreshToken == "" {
		return nil, ownError(ErrTokenExpired, opRefresh, "there is no refresh token")
	}
	c.startWaiting(r)
	current, asked := r.agent.Tokens, false
	for hops := 0; hops < maxHops; {
		if ctx.Err() != nil {
			return nil, left(ctx)
		}
		known, err := c.fromMemory(ctx, current, r)
		if err != nil {
			return nil, err
		}
		if known != nil {
			if c.satisfies(known, r) {
				c.event(ctx, "refresh taken from memory", current)
				return c.handOver(ctx, known, r)
			}
			current = known.tokens
			hops++
		}
		ended, err := c.fly(ctx, current, r)
		if err != nil {
			return nil, err
		}
		got := ended.rotation
		if ended.err != nil {
			if asked || !errors.Is(ended.err, ErrInvalidGrant) {
				return nil, ended.err
			}
			asked = true
			if got, err = c.reloadRefused(ctx, current, r, ended.err); err != nil {
				return nil, err
			}
		}
		if got == nil {
			continue // the first caller left before anything was spent: no hop
		}
		// While this caller was on its way another may have refreshed again: an
		// older set must not be stored over a newer one.
		latest := c.rotations.latest(got)
		if ended.err == nil && ended.asked.Before(r.came) {
			// The flight's first caller has no session store, or had asked it before the user
			// signed out.
			if latest, err = c.orNewer(ctx, latest, r, r.until); err != nil {
				return nil, err
			}
		}
		justSpent := latest == got && got.grant == r.grant() // a stored one has no grant
		if justSpent || c.satisfies(latest, r) {
			return c.handOver(ctx, latest, r)
		}
		current = latest.tokens // and now this successor is spent
		hops++
	}
	return nil, refreshFailed(codeTransport, "others refresh this session faster than this call can follow", nil)
}

// satisfies tells whether a remembered set is what the caller wants: newer than
// its own, asked for with the same options, and good.
func (c *IdpClient) satisfies(known *rotation, r *renewal) bool {
	if known.tokens.AccessToken == r.agent.Tokens.AccessToken || !known.stored && known.grant != r.grant() {
		return false
	}
	least := time.Duration(0)
	if known.kept {
		least = c.cfg.RefreshBuffer // the same refresh token may simply be used again
	}
	return known.tokens.remaining(c.now()) > least
}

// fromMemory gives the newest successor of current that is remembered, or what the
// session store has in its place; nil where there is none. The store is asked here,
// too: whoever signed out meanwhile must not be signed in again by what this
// process remembers.
func (c *IdpClient) fromMemory(ctx context.Context, current TokenSet, r *renewal) (*rotation, error) {
	if r.joined != nil {
		return nil, nil // the outcome of its flight is newer
	}
	known := c.rotations.newest(c.rotations.id(current.RefreshToken))
	switch {
	case known == nil:
		return nil, nil
	case known.ended:
		return nil, refreshFailed(ErrSessionExpired, "a later refresh token of it was revoked", nil)
	case r.reload != nil && c.pausing(r):
		return nil, errPausing()
	}
	return c.orNewer(ctx, known, r, r.until.Add(-r.spendTime()))
}

// pausing tells whether a refresh that is not urgent failed a moment ago.
func (c *IdpClient) pausing(r *renewal) bool {
	return r.patient && c.rotations.paused(r.agent.Tokens.RefreshToken)
}

func errPausing() error {
	return refreshFailed(codeTransport, "the last attempt failed a moment ago", nil)
}

// handOver gives a new set to the caller's OnRefresh, unless it came from the store.
func (c *IdpClient) handOver(ctx context.Context, rotated *rotation, r *renewal) (*Agent, error) {
	// Checked last of all: a slow caller must not store an older set over a newer one.
	if latest := c.rotations.latest(rotated); c.satisfies(latest, r) {
		rotated = latest
	}
	owner, err := c.ownerOf(rotated)
	if err == nil && owner.ID != r.agent.ID {
		err = subjectMismatch(r.agent.ID, owner.ID, secretsOf(rotated.tokens, r.agent.Tokens)...)
	}
	if err != nil {
		return nil, &RefreshError{cause: err}
	}
	if rotated.stored || r.onRefresh == nil {
		return owner, nil
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.RefreshTimeout)
	defer cancel()
	if err := r.onRefresh(detached, rotated.tokens); err != nil {
		cause := masked(err, secretsOf(rotated.tokens, r.agent.Tokens)...)
		failed := refreshFailed(codeRefreshError, "OnRefresh: "+cause.Error(), cause)
		tokens := rotated.tokens
		failed.tokens = &tokens
		return nil, failed
	}
	return owner, nil
}

// ownerOf is agentOf for a set that others wait for too: it is decoded once.
func (c *IdpClient) ownerOf(rotated *rotation) (*Agent, error) {
	if rotated.owner == nil {
		return c.agentOf(rotated.tokens)
	}
	owner := c.newAgent(rotated.owner, rotated.tokens)
	owner.Organizations = cloneOrganizations(owner.Organizations)
	return owner, nil
}

// identify completes a renewed agent that came without ID token from the user info
// endpoint. Where nobody stored the tokens, the error carries them.
func (c *IdpClient) identify(ctx context.Context, renewed *Agent, r *renewal) (*Agent, error) {
	if renewed.Tokens.IDToken != "" {
		return renewed, nil
	}
	if r.spends {
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.RefreshTimeout)
		defer cancel()
		ctx = detached
	}
	from, err := c.identity(ctx, renewed.Tokens, r.agent)
	if err != nil && r.onRefresh == nil {
		err = &RefreshError{cause: err, tokens: &renewed.Tokens}
	}
	if err != nil {
		return nil, err
	}
	return c.newAgent(&from, renewed.Tokens), nil
}

func refreshFailed(code errorCode, description string, cause error) *RefreshError {
	return &RefreshError{cause: &OAuthError{Code: string(code), Description: description, op: opRefresh, cause: cause}}
}

// left is the error of a caller whose context ended.
func left(ctx context.Context) *RefreshError {
	return refreshFailed(codeTransport, "the caller left: "+ctx.Err().Error(), ctx.Err())
}

func secretsOf(sets ...TokenSet) (secrets []string) {
	for _, t := range sets {
		secrets = append(secrets, t.AccessToken, t.RefreshToken, t.IDToken)
	}
	return secrets
}

// event logs what became of a refresh token, by a part of its digest.
func (c *IdpClient) event(ctx context.Context, what string, of TokenSet) {
	if c.log.Enabled(ctx, slog.LevelDebug) {
		c.log.DebugContext(ctx, "authpi: "+what, "key", c.rotations.shortID(of.RefreshToken))
	}
}
