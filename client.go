// Package authpi signs people in through AuthPI, an OpenID Connect provider
// whose users belong to several organizations, and tells what they may do where.
//
// A backend needs three calls. The login handler starts a login and redirects:
//
//	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
//
// The callback handler checks the answer, trades the code for tokens and stores
// them in the session:
//
//	agent, err := client.ExchangeCallback(ctx, r.URL.Query(), auth)
//
// Every later request rebuilds the agent from the stored tokens. Expired ones are
// refreshed on the way, and the new ones handed to OnRefresh to be stored:
//
//	agent, err := client.CreateAgent(ctx, tokens, &authpi.AgentOptions{OnRefresh: save})
//	if agent.HasAccessIn("org_1", "write", "projects") { ... }
//
// What arrives is verified: signature, issuer, audience, expiry, nonce, state. A
// refresh token is spent once, however many goroutines hold it; see [AgentOptions].
// Errors are [*OAuthError], [*RefreshError], [*SubjectMismatchError] and
// [*ConfigurationError]; [SessionEnded] tells whether to sign in again.
package authpi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/authpi/authpi-idp-go/internal/discovery"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/jwks"
)

// IdpClient is the relying party: one for each issuer and client ID, made once
// and shared. It is immutable and safe for concurrent use, and it makes no
// request before a call needs one.
type IdpClient struct {
	cfg       Config // with its defaults filled in
	endpoints Endpoints
	caller    *endpoint.Caller
	metadata  *fresh.Value[discovery.Metadata]
	keys      *jwks.Set
	verified  *verifiedTokens
	rotations *rotations
	log       *slog.Logger
	now       func() time.Time
}

// version is the module's, as CHANGELOG.md has it.
const version = "0.1.0"

// How long the discovery document is used without asking again, and how long it
// serves while the issuer is away.
const (
	metadataFresh  = time.Hour
	metadataUsable = 24 * time.Hour
)

// NewIdpClient checks the configuration and makes a client. It makes no request.
//
// What is wrong comes back as a [*ConfigurationError] that names the field.
func NewIdpClient(cfg Config) (*IdpClient, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &IdpClient{
		cfg:       cfg,
		endpoints: cfg.endpoints(),
		caller:    endpoint.NewCaller(cfg.HTTPClient, version, cfg.Now),
		log:       cfg.Logger,
		now:       cfg.Now,
	}
	c.metadata = fresh.New(metadataFresh, metadataUsable, c.now, func(ctx context.Context) (discovery.Metadata, error) {
		return discovery.Fetch(ctx, c.caller, c.cfg.IssuerURL, c.cfg.AllowInsecureHTTP)
	})
	c.keys = jwks.New(c.fetchKeys, c.now, c.log)
	c.verified = newVerifiedTokens(c.now)
	c.rotations = newRotations(cfg)
	return c, nil
}

// DiscoverEndpoints reads the endpoints of an issuer that has other paths than
// AuthPI's, for [Config].Endpoints (OpenID Connect Discovery 1.0 section 4). The
// issuer that the document states must equal issuerURL, but for one trailing
// slash. A nil client means one with a timeout of 30 s.
//
// It returns a [*ConfigurationError] for a bad issuerURL, and otherwise an
// [*OAuthError]: invalid_issuer, invalid_response or transport_error.
func DiscoverEndpoints(ctx context.Context, issuerURL string, client *http.Client) (Endpoints, error) {
	if reason := checkIssuer(issuerURL, false); reason != "" {
		return Endpoints{}, &ConfigurationError{"IssuerURL", reason}
	}
	m, err := discovery.Fetch(ctx, endpoint.NewCaller(client, version, time.Now), issuerURL, false)
	if err != nil {
		return Endpoints{}, discoveryError(err)
	}
	return Endpoints{
		Issuer:        m.Issuer,
		Authorization: m.Authorization,
		Token:         m.Token,
		UserInfo:      m.UserInfo,
		Revocation:    m.Revocation,
		Introspection: m.Introspection,
		EndSession:    m.EndSession,
		JWKS:          m.JWKS,
	}, nil
}

func discoveryError(err error) error {
	const op = "discovery"
	var document *discovery.DocumentError
	var issuer *discovery.IssuerError
	switch {
	case errors.As(err, &document):
		return &OAuthError{Code: codeInvalidResponse, Description: document.Reason, StatusCode: document.Status, op: op, cause: err}
	case errors.Is(err, endpoint.ErrTooLong):
		return &OAuthError{Code: codeInvalidResponse, Description: err.Error(), op: op, cause: err}
	case errors.As(err, &issuer):
		return &OAuthError{Code: codeInvalidIssuer, Description: err.Error(), op: op, cause: err}
	}
	return noAnswer(op, err)
}

// ClientCredentials signs a machine in with the client's own secret (RFC 6749
// section 4.4). Its token is short-lived and comes without a refresh token: ask
// again, or let [IdpClient.ClientCredentialsSource] do so.
//
// scopes and resources may be empty; Config.Resources are not sent. It returns a
// [*ConfigurationError] without Config.ClientSecret.
func (c *IdpClient) ClientCredentials(ctx context.Context, scopes []string, resources ...string) (*Agent, error) {
	const op = "client credentials"
	if c.cfg.ClientSecret == "" {
		return nil, &ConfigurationError{"ClientSecret", "is required for client credentials"}
	}
	url, err := c.needEndpoint("Token", c.endpoints.Token)
	if err != nil {
		return nil, err
	}
	var form endpoint.Params
	form.Add("grant_type", "client_credentials")
	form.AddList("scope", scopes)
	form.AddAll("resource", resources)
	answer, err := c.requestTokens(ctx, op, "token_error", url, &form)
	if err != nil {
		return nil, err
	}
	if answer.IDToken != "" {
		// None is due here, but CreateAgent would believe it, so one that cannot
		// be verified is left out.
		if _, err := c.verifyIDToken(ctx, answer.IDToken, expectation{op: op, accessToken: answer.AccessToken}); err != nil {
			c.log.WarnContext(ctx, "authpi: ID token of a client credentials answer left out", "error", err)
			answer.IDToken = ""
		}
	}
	id := c.cfg.ClientID
	return &Agent{ID: id, Type: principalType(id), Tokens: answer, now: c.now}, nil
}

// RevokeToken ends a token at the issuer (RFC 7009); a refresh token takes its
// session along. tokenTypeHint is "access_token", "refresh_token" or empty. A
// token that is not valid any more is no error.
func (c *IdpClient) RevokeToken(ctx context.Context, token, tokenTypeHint string) error {
	const op = "revoke token"
	url, err := c.needEndpoint("Revocation", c.endpoints.Revocation)
	if err != nil {
		return err
	}
	var form endpoint.Params
	form.Add("token", token)
	form.AddSet("token_type_hint", tokenTypeHint)
	answer, err := c.post(ctx, op, url, &form, token)
	if err != nil {
		return err
	}
	if answer.Status != http.StatusOK {
		return c.refusal(op, "revocation_error", answer, token)
	}
	return nil
}

// LogoutOptions are the parameters of a logout. Each may be empty.
type LogoutOptions struct {
	// IDTokenHint is the user's last ID token; AuthPI requires it.
	IDTokenHint string
	// PostLogoutRedirectURI is where the browser goes afterwards, as registered.
	PostLogoutRedirectURI string
	// State comes back there.
	State string
}

// String describes the options without the ID token and state.
func (o LogoutOptions) String() string {
	return fmt.Sprintf("authpi.LogoutOptions{PostLogoutRedirectURI:%q}", o.PostLogoutRedirectURI)
}

// Format prints String for every verb and flag.
func (o LogoutOptions) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(o.String())) }

// LogValue describes the options without the ID token and state, for log/slog.
func (o LogoutOptions) LogValue() slog.Value { return slog.StringValue(o.String()) }

// CreateLogoutURL gives the URL that ends the session at the issuer (OpenID
// Connect RP-Initiated Logout 1.0 section 2). End your own session, then redirect
// there. The URL holds the ID token: do not log it. A nil opts is fine.
func (c *IdpClient) CreateLogoutURL(opts *LogoutOptions) (string, error) {
	base, err := c.needEndpoint("EndSession", c.endpoints.EndSession)
	if err != nil || opts == nil {
		return base, err
	}
	var q endpoint.Params
	q.StartQuery(base)
	q.AddSet("id_token_hint", opts.IDTokenHint)
	q.AddSet("post_logout_redirect_uri", opts.PostLogoutRedirectURI)
	q.AddSet("state", opts.State)
	return q.String(), nil
}

// issuerIdentity is what tokens and callbacks must come from.
type issuerIdentity struct {
	id         string
	inResponse bool // callbacks carry it (RFC 9207)
}

// issuer gives the exact issuer identifier: the configured one where endpoints
// were given, otherwise the one that discovery states.
func (c *IdpClient) issuer(ctx context.Context) (issuerIdentity, error) {
	if c.cfg.Endpoints != (Endpoints{}) {
		return issuerIdentity{id: c.endpoints.Issuer}, nil
	}
	m, err := c.metadata.Get(ctx)
	if err != nil {
		return issuerIdentity{}, discoveryError(err)
	}
	return issuerIdentity{id: m.Issuer, inResponse: m.IssInResponse}, nil
}

// readyToVerify tells whether it is known whose tokens to expect, and where their
// keys are.
func (c *IdpClient) readyToVerify(ctx context.Context) error {
	if c.cfg.Endpoints != (Endpoints{}) {
		_, err := c.needEndpoint("JWKS", c.endpoints.JWKS)
		return err
	}
	_, err := c.issuer(ctx)
	return err
}

func (c *IdpClient) fetchKeys(ctx context.Context) ([]byte, error) {
	url := c.endpoints.JWKS
	if c.cfg.Endpoints == (Endpoints{}) {
		m, err := c.metadata.Get(ctx)
		if err != nil {
			return nil, err
		}
		url = m.JWKS
	}
	if _, err := c.needEndpoint("JWKS", url); err != nil {
		return nil, err
	}
	answer, err := c.caller.Do(ctx, endpoint.Request{URL: url})
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, fmt.Errorf("the key set's endpoint answered with status %d", answer.Status)
	}
	return []byte(answer.Body), nil
}

func (c *IdpClient) needRedirect() error {
	if c.cfg.RedirectURI == "" {
		return &ConfigurationError{"RedirectURI", "is required for the authorization code flow"}
	}
	return nil
}

func (c *IdpClient) needEndpoint(name, url string) (string, error) {
	if url == "" {
		return "", &ConfigurationError{"Endpoints." + name, "is empty: the issuer offers no such endpoint"}
	}
	return url, nil
}

// resourcesOr gives a copy of the call's resources, or the client's for nil.
func (c *IdpClient) resourcesOr(resources []string) []string {
	if resources == nil {
		resources = c.cfg.Resources
	}
	return slices.Clone(resources)
}

// String names issuer and client.
func (c *IdpClient) String() string {
	return fmt.Sprintf("authpi.IdpClient{IssuerURL:%q ClientID:%q}", c.cfg.IssuerURL, c.cfg.ClientID)
}

// Format prints String for every verb and flag.
func (c IdpClient) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue names issuer and client, for log/slog.
func (c IdpClient) LogValue() slog.Value { return slog.StringValue(c.String()) }
