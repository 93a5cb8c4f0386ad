package authpi

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// Agent is somebody who is signed in, or a machine: who they are, their tokens, and
// what they may do in each organization. It is a value to read, never changed once
// handed out; a refresh makes a new one. The zero Agent may do nothing.
type Agent struct {
	// ID is the subject, for example usr_..., stable and unique at the issuer. A
	// machine's is its client ID where [IdpClient.ClientCredentials] made the Agent,
	// and the token's own subject, agt_..., where an API verified the token.
	ID string
	// Type is the kind of principal, by the prefix of its ID. A client ID has no
	// such prefix: an Agent of [IdpClient.ClientCredentials] has the type of a user.
	Type PrincipalType
	// Email is empty where the email scope was not granted.
	Email string
	// EmailVerified is false where the issuer does not say.
	EmailVerified bool
	// OrgID is the organization that the tokens are narrowed to, empty for all.
	OrgID string
	// SessionID is the sid claim, which a back-channel logout names.
	SessionID string
	// AuthTime is when the user last signed in, zero where the issuer does not say.
	AuthTime time.Time
	// Tokens are what to store. They are left out of the Agent's JSON.
	Tokens TokenSet `json:"-"`
	// Organizations are all active memberships, in the issuer's order.
	Organizations []Organization

	claims string // JSON of the token or user info it was made from
	now    func() time.Time
}

// PrincipalType is how a caller authenticated.
type PrincipalType string

// The kinds of principals.
const (
	PrincipalUser          PrincipalType = "user"
	PrincipalPersonalToken PrincipalType = "personal_token"
	PrincipalAPIKey        PrincipalType = "api_key"
	PrincipalAgent         PrincipalType = "agent"
)

// Organization is one membership.
type Organization struct {
	// ID is for example org_....
	ID string
	// Title is the user's title there, often empty.
	Title string
	// Scopes are roles such as "owner" and permissions such as "projects:read".
	Scopes []string
	// JoinedAt is zero where the issuer does not say; in JSON joined_at, seconds
	// since the Unix epoch, then 0.
	JoinedAt time.Time
}

// ExpiresAt is when the access token expires.
func (a *Agent) ExpiresAt() time.Time { return a.Tokens.ExpiresAt }

// ExpiresIn is the access token's remaining life in whole seconds by the client's
// clock, negative once it has expired.
func (a *Agent) ExpiresIn() time.Duration { return a.Tokens.remaining(a.clock()) }

// expiredMargin is how close to expiry [Agent.IsExpired] says so: the time that a
// request may need to reach an API.
const expiredMargin = 30 * time.Second

// IsExpired reports whether the access token has expired, or will within 30 s.
func (a *Agent) IsExpired() bool { return a.ExpiresWithin(expiredMargin) }

// ExpiresWithin reports whether the access token expires within buffer, or has.
func (a *Agent) ExpiresWithin(buffer time.Duration) bool { return a.ExpiresIn() <= buffer }

// Claims decodes every claim of the token that the Agent was made from into v, as
// [encoding/json.Unmarshal] does: acr, amr, client_id or the issuer's own. An
// Agent made without ID token has those of the user info; a machine has none.
// encoding/json matches the fields of a struct whatever their case: decode into a
// map to keep such names apart.
func (a *Agent) Claims(v any) error { return decodeClaims(a.claims, v) }

// Format describes the Agent without its tokens and claims, whatever the verb and
// flags.
func (a Agent) Format(f fmt.State, _ rune) {
	redact.Print(f, fmt.Sprintf("authpi.Agent{ID:%q Type:%q OrgID:%q Organizations:%d Tokens:%s}",
		a.ID, a.Type, a.OrgID, len(a.Organizations), a.Tokens))
}

// LogValue is ID, type and organization, for log/slog.
func (a Agent) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", a.ID), slog.String("type", string(a.Type)), slog.String("org_id", a.OrgID))
}

// MarshalJSON writes the claim's form: id, title, scopes, joined_at.
func (o Organization) MarshalJSON() ([]byte, error) {
	dst := append([]byte(nil), `{"id":`...)
	dst = strictjson.AppendString(dst, o.ID)
	dst = append(dst, `,"title":`...)
	dst = strictjson.AppendStringOrNull(dst, o.Title)
	dst = append(dst, `,"scopes":`...)
	dst = strictjson.AppendStrings(dst, o.Scopes)
	joined := int64(0)
	if !o.JoinedAt.IsZero() {
		joined = o.JoinedAt.Unix()
	}
	return fmt.Appendf(dst, `,"joined_at":%d}`, joined), nil
}

// UnmarshalJSON reads the claim's form, as leniently as a token's: only the id
// must be text.
func (o *Organization) UnmarshalJSON(data []byte) error {
	text := "[" + string(data) + "]"
	one, r := strictjson.NewReader(string(data)), strictjson.NewReader(text)
	one.Skip() // a text may close the list and open another
	orgs := claims.ReadOrganizations[Organization](&r, text)
	if one.End() != nil || r.End() != nil || len(orgs) != 1 {
		return invalidRequest("organization", "must be an object with a text id")
	}
	*o = orgs[0]
	return nil
}

// AgentOptions say what [IdpClient.CreateAgent] does besides decoding. With a nil
// *AgentOptions it refreshes, and calls no callback.
type AgentOptions struct {
	// OnRefresh, if set, is called with the new tokens before CreateAgent returns
	// them. The old refresh token no longer works by then, so store the set durably,
	// before anything else can fail; an error from it is passed to OnRefreshError
	// and returned. Callers that shared one refresh each get their own call, and
	// never an older set after a newer one. Its context carries the caller's values
	// and does not end with the caller's: it ends after RefreshTimeout, counted
	// while the process runs.
	OnRefresh func(ctx context.Context, tokens TokenSet) error
	// OnRefreshError, if set, is called if new tokens could not be received or
	// stored; the same error is returned. [SessionEnded] reports whether to sign in
	// again. It is not called for the caller's own cancellation.
	OnRefreshError func(ctx context.Context, err error)
	// Reload, if set, reads the session store again. It is asked before a refresh
	// token is spent or another caller's set is used, and once more when the issuer
	// refuses. If the store holds another refresh token or a later expiry, another
	// process was first: its set is used, or a newer one that came from it.
	// OnRefresh does not run for it. A zero set means that the user has signed out
	// meanwhile. An error counts as a temporary failure; nothing is spent then.
	//
	// A call for the same tokens from inside Reload or OnRefresh, with the context
	// that they were given, returns at once: with what is known, or a temporary
	// failure.
	Reload func(ctx context.Context) (TokenSet, error)
	// AutoRefresh, if not RefreshDefault, overrides Config.AutoRefresh.
	AutoRefresh RefreshMode
	// Resources are sent with a refresh (RFC 8707). Nil or empty: none are, and the
	// issuer keeps the session's. In [RefreshOptions] nil means Config's.
	Resources []string
}

// CreateAgent rebuilds an Agent from stored tokens, on every request. While the
// access token is good it makes no request; within Config.RefreshBuffer of its
// expiry it refreshes first. Any number of concurrent callers with the same
// tokens send one refresh between them. A nil opts is fine.
//
//	agent, err := client.CreateAgent(ctx, session.Tokens, &authpi.AgentOptions{
//		OnRefresh: func(ctx context.Context, tokens authpi.TokenSet) error {
//			return store.Save(ctx, sessionID, tokens)
//		},
//	})
//
// It returns an [*OAuthError] for tokens that cannot be read, or expired without a
// refresh token, and a [*RefreshError] for a refresh that failed. The stored ID
// token is trusted as stored, unless Config.VerifyStoredTokens is set. If no ID
// token is stored, the identity comes from the user info endpoint.
func (c *IdpClient) CreateAgent(ctx context.Context, tokens TokenSet, opts *AgentOptions) (*Agent, error) {
	if opts == nil {
		opts = &AgentOptions{}
	}
	if err := c.admit(ctx, &tokens, opts); err != nil {
		return nil, err
	}
	if r := c.renewalDue(ctx, tokens, opts); r != nil {
		return c.createRefreshed(r)
	}
	if c.sessions.Revoked(tokens.RefreshToken) {
		err := signedOut()
		c.reportError(ctx, opts.OnRefreshError, err)
		return nil, err
	}
	agent, err := c.agentOf(tokens)
	if err != nil {
		return nil, err
	}
	return c.hydrate(ctx, agent)
}

// admit checks stored tokens before anything is done with them.
func (c *IdpClient) admit(ctx context.Context, tokens *TokenSet, opts *AgentOptions) error {
	if tokens.isZero() {
		// What an empty session holds: it must not pass for the client itself.
		err := ownError(ErrTokenExpired, opStoredTokens, "there are no tokens")
		c.reportError(ctx, opts.OnRefreshError, err)
		return err
	}
	if c.cfg.VerifyStoredTokens {
		return c.verifyStored(ctx, tokens)
	}
	return nil
}

// createRefreshed is CreateAgent where the access token is about to expire.
func (c *IdpClient) createRefreshed(r *renewal) (*Agent, error) {
	renewed, err := r.runInTime()
	if err != nil {
		return nil, err
	}
	if renewed == nil {
		own, err := r.own()
		if err != nil {
			return nil, err
		}
		return c.hydrate(r.ctx, own.clone()) // what callers share is nobody's to change
	}
	identified, err := c.identify(r.ctx, renewed, r)
	if err != nil && r.onRefresh == nil {
		c.reportError(r.ctx, r.onError, err)
	}
	return identified, err
}

func (a *Agent) clock() time.Time {
	if a.now == nil {
		return time.Now()
	}
	return a.now()
}
