package authpi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/tokens"
)

// RefreshOptions are for one [IdpClient.Refresh].
type RefreshOptions struct {
	// OnRefresh is as in [AgentOptions].
	OnRefresh func(context.Context, TokenSet) error
	// Reload is as in [AgentOptions].
	Reload func(context.Context) (TokenSet, error)
	// Resources are RFC 8707 resource indicators; nil: Config's, empty: none. In
	// [AgentOptions] nil means none.
	Resources []string
	// Scopes may only narrow what was granted (RFC 6749 section 6). Empty: all.
	Scopes []string
}

// Refresh gets new tokens now (RFC 6749 section 6), whether or not the old ones are
// still good, and returns a new Agent with them. Concurrent calls with the same
// tokens and options share one request, and a call with tokens that were just spent
// gets their successor. [IdpClient.CreateAgent] does this by itself when it is due.
//
// It returns an [*OAuthError] matching [ErrTokenExpired] where there is no refresh
// token, one with the code invalid_request for a nil agent, a [*ConfigurationError]
// where there is no token endpoint, and otherwise a [*RefreshError];
// RefreshError.Tokens returns the tokens that were received but not stored. Where
// the answer has no ID token the identity comes from the user info endpoint, whose
// failure is an [*OAuthError] of its own once the tokens are stored.
func (c *IdpClient) Refresh(ctx context.Context, agent *Agent, opts *RefreshOptions) (*Agent, error) {
	if opts == nil {
		opts = &RefreshOptions{}
	}
	if agent == nil {
		return nil, invalidRequest(opRefresh, "the agent is nil")
	}
	r := &renewal{
		client: c, ctx: ctx, tokens: agent.Tokens, agent: agent,
		onRefresh: opts.OnRefresh, reload: opts.Reload,
		resources: c.resourcesOr(opts.Resources), scopes: slices.Clone(opts.Scopes),
		urgency: rotate.Named,
	}
	if agent.Tokens.RefreshToken == "" {
		return nil, ownError(ErrTokenExpired, opRefresh, "there is no refresh token")
	}
	renewed, err := r.run()
	if err != nil {
		return nil, err
	}
	return c.identify(ctx, renewed, r)
}

// RefreshCoordinator lets several processes spend a refresh token once between them.
// One process needs none: its callers share a refresh anyway. So Do is called once
// for each id and process, with a context that no caller's cancellation ends. Module
// authpiredis has one over Redis.
type RefreshCoordinator interface {
	// Do runs spend at most once for an id among all who share the coordinator, and
	// returns its result to each of them, and for a while after. An error of spend
	// is not kept: it means that nothing final happened.
	//
	// id is a digest, safe to store and log. The bytes are sealed: only a holder of
	// the old refresh token can read them. An error means that the coordinator does
	// not work; the refresh then fails for now and spends nothing.
	Do(ctx context.Context, id string, spend func(context.Context) ([]byte, error)) ([]byte, error)
}

const opRefresh = "refresh"

// patience is the longest that a caller whose access token is still good waits for new
// tokens. Storing them has RefreshTimeout.
const patience = 5 * time.Second

// newSessions sets up the engine that knows what became of each refresh token.
func (c *IdpClient) newSessions() *rotate.Engine {
	e := &rotate.Engine{
		IssuerAndClient: strings.TrimRight(c.cfg.IssuerURL, "/") + "\x00" + c.cfg.ClientID,
		Redeem:          c.redeem,
		Discard:         c.discard,
		Fault:           func(fault any) error { return passingFailure(refreshPanicked(fault)) },
		Passing:         isPassing,
		Buffer:          func(set rotate.Tokens) time.Duration { return TokenSet(set).buffer(c.cfg.RefreshBuffer) },
		Compare:         func(set, another *rotate.Tokens) int { return (*TokenSet)(set).compare((*TokenSet)(another)) },
		Memory:          c.cfg.RefreshMemory,
		Timeout:         c.cfg.RefreshTimeout,
		Patience:        patience,
		Now:             c.now,
		Clock:           c.clock,
	}
	if c.cfg.Coordinator != nil {
		shared := &rotate.Coordinator{
			Do: c.cfg.Coordinator.Do, ID: e.ID, Clock: c.clock, Once: c.redeem, Refusal: refusalOf,
			Refused: refusedElsewhere, Failed: coordinatorFailed, Turned: c.logTurn, Fault: panicked,
		}
		e.Redeem, e.Peek = shared.Redeem, shared.Peek
	}
	return e
}

// renewal is what one caller wants of a refresh: a [rotate.Caller].
type renewal struct {
	client            *IdpClient
	ctx               context.Context //nolint:containedctx // it lives as long as the call
	tokens            TokenSet        // as the caller has them
	agent             *Agent          // whose they are; nil: not decoded yet
	decoded           bool            // agent was made in this call
	onRefresh         func(context.Context, TokenSet) error
	onError           func(context.Context, error)
	reload            func(context.Context) (TokenSet, error)
	resources, scopes []string
	urgency           rotate.Urgency
	follower          *rotate.Follower
	held              bool   // no request was made, since the last one failed
	stillGood         bool   // it failed, and the caller goes on with its tokens
	unreadable        bool   // what the caller has cannot be decoded
	leads             bool   // this caller had the token spent, so it sees it through
	renewed           *Agent // of the set that it was given

	// mu guards agent, decoded and unreadable: a Reload that is left behind has them,
	// too.
	mu sync.Mutex
}

// grant names what is asked for besides new tokens: callers that ask for the same
// can share an answer.
func (r *renewal) grant() string {
	if len(r.resources)+len(r.scopes) == 0 {
		return "[] []"
	}
	return fmt.Sprintf("%q %q", r.resources, r.scopes)
}

// run gets the caller a newer token set than its own, and has the caller store it.
func (r *renewal) run() (*Agent, error) {
	began := time.Now()
	way, err := r.client.sessions.Renew(r.ctx, rotate.Call{
		Have: (*rotate.Tokens)(&r.tokens), Grant: r.grant(), Urgency: r.urgency, Caller: r,
		Loads: r.reload != nil, Saves: r.onRefresh != nil, Follower: r.follower,
	})
	if err := r.logEnd(began, way, err); err != nil {
		return nil, err
	}
	return r.renewed, nil
}

// logEnd logs how the refresh ended and returns its error as one of this package.
func (r *renewal) logEnd(began time.Time, way rotate.Way, err error) error {
	r.leads = way.Led
	if err != nil {
		err = r.failed(err)
		// The token may have ended during the wait.
		r.stillGood = r.urgency == rotate.Optional && r.tokens.remaining(r.client.now()) > 0 &&
			isPassing(err) && !hasLeft(r.ctx, err)
	}
	record.Refresh{
		End: endOf(r.ctx, began, err), Source: way.Source, Shared: way.Joined, Held: r.held, StillGood: r.stillGood,
	}.Log(r.ctx, r.client.log, r.client.shortID(r.tokens.RefreshToken))
	return err
}

// own is the agent as the caller has it.
func (r *renewal) own() (*Agent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.agent == nil {
		agent, err := r.client.agentOf(r.tokens)
		if err != nil {
			r.unreadable = true
			return nil, err
		}
		r.agent, r.decoded = agent, true
	}
	return r.agent, nil
}

// share takes the agent of another call with the very same tokens.
func (r *renewal) share(leader *renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.agent == nil && leader.decoded && leader.tokens == r.tokens {
		r.agent = leader.agent
	}
}

// Owner is called where this caller is about to have its token spent.
func (r *renewal) Owner() (any, error) {
	_, err := r.own()
	return r, err
}

// Accept decodes whose a set is: the caller's own, or it gets nothing of it. In a
// crowd most hold what the leader holds: they need not decode that again.
func (r *renewal) Accept(fate *rotate.Fate) error {
	if leader, ok := fate.HaveOwner.(*renewal); ok {
		r.share(leader)
	}
	own, err := r.own()
	if err != nil {
		return err
	}
	renewed, err := r.client.agentWith(fate)
	if err != nil {
		return &RefreshError{cause: err}
	}
	if renewed.ID != own.ID {
		return &RefreshError{cause: subjectMismatch(own.ID, renewed.ID, secretsOf(renewed.Tokens, r.tokens)...)}
	}
	r.renewed = renewed
	return nil
}

// agentWith is agentOf for a set that others wait for too: it is decoded once.
func (c *IdpClient) agentWith(fate *rotate.Fate) (*Agent, error) {
	decoded, ok := fate.Decoded.(*tokenClaims)
	if !ok {
		return c.agentOf(TokenSet(fate.Next))
	}
	agent := c.newAgent(decoded, TokenSet(fate.Next))
	agent.Organizations = claims.CloneOrganizations(agent.Organizations)
	return agent, nil
}

// Load reads the caller's session store.
func (r *renewal) Load(ctx context.Context) (*rotate.Tokens, error) {
	own, err := r.own()
	if err != nil {
		return nil, err
	}
	stored, err := r.reload(ctx)
	switch {
	case err != nil && r.ctx.Err() != nil:
		return nil, callerLeft(r.ctx) // whatever the store calls it
	case err != nil:
		cause := masked(err, secretsOf(stored, r.tokens)...)
		return nil, refreshFailed(codeTransport, "Reload: "+cause.Error(), cause)
	case stored.isZero():
		return nil, refreshFailed(ErrSessionExpired, "the session has ended meanwhile", nil)
	case stored == r.tokens:
		return (*rotate.Tokens)(&stored), nil
	}
	owner, err := r.client.agentOf(stored)
	if err != nil {
		return nil, &RefreshError{cause: err}
	}
	if owner.ID != own.ID {
		return nil, &RefreshError{cause: subjectMismatch(own.ID, owner.ID, secretsOf(stored, r.tokens)...)}
	}
	if r.client.cfg.VerifyStoredTokens {
		if err := r.client.verifyStored(ctx, &stored); err != nil {
			return nil, &RefreshError{cause: err}
		}
	}
	return (*rotate.Tokens)(&stored), nil
}

// Save is OnRefresh.
func (r *renewal) Save(ctx context.Context, fate *rotate.Fate) error {
	if err := r.onRefresh(ctx, TokenSet(fate.Next)); err != nil {
		return r.refusedByStore(TokenSet(fate.Next), err)
	}
	return nil
}

// refusedByStore is apart from Save, whose frame is to fit the first stack of its
// goroutine: in a crowd each caller has one.
func (r *renewal) refusedByStore(set TokenSet, why error) error {
	cause := masked(why, secretsOf(set, r.tokens)...)
	return r.notStored(set, "OnRefresh: "+cause.Error(), cause)
}

func (r *renewal) notStored(set TokenSet, why string, cause error) error {
	failed := refreshFailed(codeRefreshError, why, cause)
	failed.tokens = carry(set)
	return failed
}

// failed makes an error of the package's own out of what the engine says.
func (r *renewal) failed(err error) error {
	var held *rotate.HeldError
	var unsaved *rotate.UnsavedError
	var ended *rotate.EndedError
	switch {
	case errors.As(err, &held):
		r.held = true
		return heldBack(held)
	case errors.As(err, &unsaved):
		return r.notStored(TokenSet(unsaved.Set), "OnRefresh did not return in time", context.DeadlineExceeded)
	case errors.As(err, &ended):
		return endedBy(ended.Err)
	case err == awake.ErrOver:
		return refreshFailed(codeTransport, awake.ErrOver.Error(), context.DeadlineExceeded)
	case err == rotate.ErrRevoked:
		return signedOut()
	case err == rotate.ErrNoToken:
		return refreshFailed(ErrTokenExpired, "the newer tokens have no refresh token", nil)
	case err == rotate.ErrInside:
		return refreshFailed(codeTransport, "called from inside a callback of the same refresh, which must end first", nil)
	case err == r.ctx.Err():
		return callerLeft(r.ctx)
	}
	return err
}

// heldBack is the failure after which no request is made for a while, with what is
// left of the wait.
func heldBack(held *rotate.HeldError) error {
	var e *OAuthError
	if !errors.As(held.Err, &e) {
		return refreshFailed(codeTransport, "the last attempt failed a moment ago", nil)
	}
	return &RefreshError{cause: e.retryIn(time.Until(held.Until))}
}

// renewalDue is renewalOf for a set that is to be refreshed by now; nil: it is not.
func (c *IdpClient) renewalDue(ctx context.Context, current TokenSet, opts *AgentOptions) *renewal {
	remaining := current.remaining(c.now())
	if !c.autoRefresh(opts.AutoRefresh) || !current.isDue(remaining, c.cfg.RefreshBuffer) {
		return nil
	}
	return c.renewalOf(ctx, current, remaining, opts)
}

// renewalOf is what a caller of CreateAgent or of a token source wants. remaining is
// what is left of the access token's life.
func (c *IdpClient) renewalOf(ctx context.Context, current TokenSet, remaining time.Duration, opts *AgentOptions) *renewal {
	r := &renewal{
		client: c, ctx: ctx, tokens: current, onRefresh: opts.OnRefresh, onError: opts.OnRefreshError,
		reload: opts.Reload, resources: slices.Clone(opts.Resources), urgency: rotate.Needed,
	}
	if remaining > 0 {
		r.urgency = rotate.Optional
	}
	return r
}

// runInTime refreshes tokens that are about to expire, or have. It returns nil, and no error,
// where the issuer is unreachable for now and the access token is still good.
func (r *renewal) runInTime() (*Agent, error) {
	renewed, err := r.run()
	if err == nil {
		return renewed, nil
	}
	if r.stillGood {
		return nil, nil
	}
	if !r.unreadable { // else nothing was tried
		r.client.reportError(r.ctx, r.onError, err)
	}
	return nil, err
}

// reportError passes a failure on to an OnRefreshError, unless it is the caller's
// own leaving.
func (c *IdpClient) reportError(ctx context.Context, onError func(context.Context, error), err error) {
	if onError != nil && !hasLeft(ctx, err) {
		onError(context.WithoutCancel(ctx), err)
	}
}

// identify completes a renewed agent that came without ID token from the user info
// endpoint. Where nobody stored the tokens, the error carries them.
func (c *IdpClient) identify(ctx context.Context, renewed *Agent, r *renewal) (*Agent, error) {
	if renewed.Tokens.IDToken != "" {
		return renewed, nil
	}
	if r.leads {
		detached, cancel := c.clock.WithTimeout(context.WithoutCancel(ctx), c.cfg.RefreshTimeout)
		defer cancel()
		ctx = detached
	}
	from, err := c.identity(ctx, renewed.Tokens, r.agent)
	if err != nil && r.onRefresh == nil {
		err = &RefreshError{cause: err, tokens: carry(renewed.Tokens)}
	}
	if err != nil {
		return nil, err
	}
	return c.newAgent(&from, renewed.Tokens), nil
}

// redeem spends a refresh token and logs it, unless the user has signed out while the
// flight waited for its store or its turn.
func (c *IdpClient) redeem(ctx context.Context, have rotate.Tokens, grant string, leader any) (answer *rotate.Answer, err error) {
	if c.sessions.Revoked(have.RefreshToken) {
		return nil, rotate.ErrRevoked
	}
	began := time.Now()
	err = refreshFailed(codeTransport, "the refresh ended without an answer", nil) // a panic
	defer func() {
		var failed *RefreshError
		// Where a set came that cannot be used, the issuer did not end the session.
		ended := SessionEnded(err) && errors.As(err, &failed) && failed.tokens == nil
		spend := record.Spend{End: endOf(context.Background(), began, err), Ended: ended}
		if answer != nil {
			spend.Expires = answer.Next.ExpiresAt
		}
		spend.Log(ctx, c.log, c.shortID(have.RefreshToken))
	}()
	return c.spend(ctx, have, grant, leader)
}

// spend sends the refresh token to the issuer (RFC 6749 section 6), once, and
// verifies what comes back.
func (c *IdpClient) spend(ctx context.Context, have rotate.Tokens, grant string, leader any) (*rotate.Answer, error) {
	r, current := leader.(*renewal), TokenSet(have)
	url, err := c.needEndpoint("Token", c.endpoints.Token)
	if err != nil {
		return nil, &rotate.Failure{Err: err}
	}
	var form endpoint.Params
	form.Add("grant_type", "refresh_token")
	form.Add("refresh_token", current.RefreshToken)
	form.AddList("scope", r.scopes)
	form.AddAll("resource", r.resources)
	sentAt := c.now()
	answer, err := c.requestTokens(ctx, opRefresh, codeRefreshError, url, &form, secretsOf(current)...)
	if err != nil {
		return nil, refusedToRefresh(err, len(r.resources)+len(r.scopes) > 0)
	}
	set := TokenSet(answer.Set)
	if !answer.Usable() {
		return nil, unusable(answer, set)
	}
	if fault := answer.Fault(); fault != "" {
		record.OddAnswer(ctx, c.log, c.shortID(current.RefreshToken)(), fault)
	}
	set.RefreshToken = cmp.Or(set.RefreshToken, current.RefreshToken)
	set.Scope = cmp.Or(set.Scope, current.Scope)
	if err := c.verifyOrDropIDToken(ctx, r.agent.ID, current, &set, sentAt); err != nil {
		return nil, refusedAnswer(err, set)
	}
	redeemed := &rotate.Answer{Next: rotate.Tokens(set), Grant: grant}
	if decoded, err := storedClaims(set.IDToken); err == nil {
		redeemed.Decoded = &decoded
	}
	return redeemed, nil
}

// lostWait is how long a refresh token is held back whose answer was lost.
const lostWait = 5 * time.Second

// refusedToRefresh says what an error of the token endpoint means for the refresh
// token. narrowed is whether resources or scopes were asked for.
func refusedToRefresh(err error, narrowed bool) error {
	failure := &rotate.Failure{Err: &RefreshError{cause: err}}
	var e *OAuthError
	switch {
	case !errors.As(err, &e):
		return failure
	case errors.Is(err, endpoint.ErrCut): // of a 200
		return lost(e)
	case e.passing():
		failure.State, failure.Blocks, failure.Wait = rotate.Cooling, rotate.Named, e.wait()
	case e.Code == string(ErrInvalidGrant):
		failure.State = rotate.Dead
	case e.Code == "" || e.Code == codeRefreshError: // it is no OAuth error at all
	case speaksOfRequest(e.Code, narrowed):
		e.verdict = leavesIt
	case slices.Contains([]int{http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}, e.StatusCode):
		e.verdict = endsIt
	}
	return failure
}

// speaksOfRequest reports whether a refusal is about the client or about what was
// asked for (RFC 6749 section 5.2, RFC 8707 section 2), and not about the session.
func speaksOfRequest(code string, narrowed bool) bool {
	switch code {
	case "invalid_client", "unauthorized_client", "unsupported_grant_type", codeInvalidRequest, "invalid_scope", "invalid_target":
		return true
	}
	return code == "access_denied" && narrowed
}

// unusable is for a 200 without an access token. A JSON object is the issuer's: the
// token is spent, and must not be sent again. Anything else is a gateway's, or was
// cut off.
func unusable(answer tokens.Answer, set TokenSet) error {
	e := invalidResponse(opRefresh, answer.Fault(), http.StatusOK, nil)
	if !answer.Object {
		return lost(e)
	}
	e.verdict = endsIt
	return refusedAnswer(e, set)
}

// lost is for a 200 whose answer did not arrive: nobody knows whether the token is
// spent.
func lost(e *OAuthError) error {
	e.verdict = answerLost
	return &rotate.Failure{State: rotate.Cooling, Wait: lostWait, Blocks: rotate.Needed, Err: &RefreshError{cause: e}}
}

// refusedAnswer is for a set that came and must not be used. The error carries it.
func refusedAnswer(why error, set TokenSet) error {
	const overhead = 1024
	set = TokenSet(tokens.Set(set).Clone()) // it is remembered
	return &rotate.Failure{
		State: rotate.Refused, Err: &RefreshError{cause: why, tokens: carry(set)},
		Size: overhead + len(set.AccessToken) + len(set.RefreshToken) + len(set.IDToken) + len(set.Scope),
	}
}

// keysWait is how long a rotated set waits for the issuer's keys.
const keysWait = 5 * time.Second

// verifyOrDropIDToken verifies the new ID token against the old one. A token that
// was checked and refused is an error. One that cannot be checked now, or is no
// JWT, must not cost the session: the set is stored without it, under the subject's
// name, and the identity comes from the user info endpoint.
func (c *IdpClient) verifyOrDropIDToken(ctx context.Context, subject string, current TokenSet, set *TokenSet, sentAt time.Time) error {
	if set.IDToken != "" {
		err := c.verifyRefreshed(ctx, subject, current, *set, sentAt)
		if err == nil || isRefused(err) {
			return err
		}
		record.IDTokenLeftOut(ctx, c.log, c.shortID(current.RefreshToken)(), err)
	}
	set.IDToken, set.SubjectHint = "", subject
	return nil
}

func (c *IdpClient) verifyRefreshed(ctx context.Context, subject string, current, set TokenSet, sentAt time.Time) error {
	previous, _ := storedClaims(current.IDToken) // says nothing where it cannot be read
	want := idTokenPolicy{op: opRefresh, tokens: set, subject: subject, previous: &previous, sentAt: sentAt}
	limited, cancel := c.clock.WithTimeout(ctx, keysWait)
	defer cancel()
	_, err := c.verifyIDToken(limited, set.IDToken, want)
	return err
}

// isRefused reports whether an ID token was checked and does not hold. One that is
// no JWT at all, or could not be checked, was not.
func isRefused(err error) bool {
	var e *OAuthError
	if !errors.As(err, &e) || e.Code != string(ErrInvalidToken) && e.Code != codeSubjectMismatch {
		return false
	}
	return !isNoJWT(err)
}

// refusalOf returns what other processes are told of a refresh that failed for good.
func refusalOf(err error) (rotate.Refusal, bool) {
	var failure *rotate.Failure
	var e *OAuthError
	if !errors.As(err, &failure) || failure.State != rotate.Dead && failure.State != rotate.Refused || !errors.As(err, &e) {
		return rotate.Refusal{}, false
	}
	refusal := rotate.Refusal{Code: e.Code, Description: e.Description, Status: e.StatusCode}
	var mismatch *SubjectMismatchError
	if errors.As(err, &mismatch) {
		refusal.Subjects = []string{mismatch.Expected, mismatch.Actual}
	}
	return refusal, true
}

// refusedElsewhere turns a refusal that another process has published into an error.
func refusedElsewhere(refreshToken string, refusal rotate.Refusal) error {
	if len(refusal.Subjects) == 2 {
		cause := subjectMismatch(refusal.Subjects[0], refusal.Subjects[1], refreshToken)
		return &rotate.Failure{State: rotate.Refused, Err: &RefreshError{cause: cause}}
	}
	cause := &OAuthError{
		Code: refusal.Code, Description: redact.Text(refusal.Description, refreshToken),
		StatusCode: refusal.Status, op: opRefresh, verdict: endsIt,
	}
	state := rotate.Refused
	if refusal.Code == string(ErrInvalidGrant) {
		state = rotate.Dead
	}
	return &rotate.Failure{State: state, Err: &RefreshError{cause: cause}}
}

func coordinatorFailed(have rotate.Tokens, what string, cause error) error {
	text := "the coordinator"
	if what != "" {
		text += ": " + what
	}
	if cause != nil {
		cause = masked(cause, secretsOf(TokenSet(have))...)
		text += ": " + cause.Error()
	}
	return passingFailure(refreshFailed(codeTransport, text, cause))
}

// logTurn says how a call of the coordinator ended.
func (c *IdpClient) logTurn(ctx context.Context, have rotate.Tokens, t rotate.Turn) {
	end := endOf(context.Background(), t.Began, t.Err)
	record.Coordinate{End: end, Source: t.Source, Waited: t.Waited}.Log(ctx, c.log, c.shortID(have.RefreshToken))
}

func passingFailure(err error) error { return &rotate.Failure{State: rotate.Cooling, Err: err} }

// panicked names what a foreign function panicked with. The value may hold anything,
// so only its type is told.
func panicked(fault any) error { return fmt.Errorf("it panicked with a %T", fault) }

func refreshPanicked(fault any) error {
	return refreshFailed(codeTransport, fmt.Sprintf("the refresh panicked with a %T", fault), nil)
}

func refreshFailed(code errorCode, description string, cause error) *RefreshError {
	return &RefreshError{cause: &OAuthError{Code: string(code), Description: description, op: opRefresh, cause: cause}}
}

// signedOut is the error of a session that RevokeToken has ended.
func signedOut() *RefreshError {
	return refreshFailed(ErrSessionExpired, "the session was signed out: its refresh token, or a later one, was revoked", nil)
}

// endedBy is signedOut where an OnRefresh failed then: its own error is the cause, and
// the tokens are nobody's any more.
func endedBy(failed error) *RefreshError {
	ended := signedOut()
	var own, cause *OAuthError
	if errors.As(ended.cause, &own) && errors.As(failed, &cause) {
		own.cause = cause
	}
	return ended
}

// callerLeft is the error of a caller whose context ended.
func callerLeft(ctx context.Context) *RefreshError {
	return refreshFailed(codeTransport, "the caller left: "+ctx.Err().Error(), ctx.Err())
}

// shortID is enough of a refresh token's digest to find a session's lines in a log.
func (c *IdpClient) shortID(refreshToken string) func() string {
	return func() string {
		id := c.sessions.ID(refreshToken)
		return id[:min(record.KeyLength, len(id))]
	}
}
