// Package authpi signs users in through AuthPI, an OpenID Connect provider whose
// users belong to several organizations, keeps them signed in, and reports what each
// user may do in each organization.
//
// Make one client and share it:
//
//	client, err := authpi.NewIdpClient(authpi.Config{
//		IssuerURL:    os.Getenv("AUTHPI_ISSUER_URL"), // https://idp.authpi.com/i_...
//		ClientID:     os.Getenv("AUTHPI_CLIENT_ID"),
//		ClientSecret: os.Getenv("AUTHPI_CLIENT_SECRET"),   // empty for a native app
//		RedirectURI:  "https://app.example/auth/callback", // as registered
//	})
//
// A web app on net/http is best served by package [authpihttp], which has the login,
// callback and logout handlers, keeps sign-ins in a store, and guards pages and
// APIs. Any other app needs three calls. The login handler starts a login and
// redirects:
//
//	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
//
// The callback handler checks the answer and exchanges the code for tokens, which go
// into the session:
//
//	// *auth was kept in the browser's session since the login
//	agent, err := client.ExchangeCallback(ctx, r.URL.Query(), *auth)
//
// Every later request rebuilds the agent from the stored tokens. Expired ones are
// refreshed on the way, and the new ones are passed to OnRefresh to be stored:
//
//	agent, err := client.CreateAgent(ctx, tokens, &authpi.AgentOptions{OnRefresh: save})
//	if err == nil && agent.HasAccessIn("org_engines", "write", "projects") {
//		_, err = fmt.Fprintln(w, "New project")
//	}
//
// Whatever arrives is verified: signature, issuer, audience, expiry, nonce, state.
// Refresh tokens are single-use; concurrent requests share one refresh, see
// [AgentOptions]. Errors are [*OAuthError], [*RefreshError], [*SubjectMismatchError]
// and [*ConfigurationError]; [SessionEnded] reports whether to sign in again.
//
// # Coming from go-oidc and x/oauth2
//
//   - oidc.NewProvider and oauth2.Config become [NewIdpClient]; an issuer with other
//     paths than AuthPI's needs [DiscoverEndpoints], too. Scopes are for each login:
//     name offline_access where the issuer wants it for a refresh token.
//   - AuthCodeURL, state, nonce and verifier become [IdpClient.CreateAuthorizationURL].
//   - Exchange and Verify become [IdpClient.ExchangeCallback]; IDToken.Claims is
//     [Agent.Claims].
//   - Config.TokenSource becomes [IdpClient.TokenSource].
//   - An oauth2.Token that was stored as JSON has no ID token: give
//     [IdpClient.CreateAgent] a [TokenSet] with its SubjectHint set.
//
// # Other packages
//
//   - [authpihttp]: handlers and middleware for net/http.
//   - [authpitest]: an issuer for tests; its command, authpitest/issuer, serves it to a
//     browser.
//   - [authpiredis], a module of its own: refreshes and sign-ins that several processes
//     share over Redis.
//
// The repository's README and docs folder have a page for each task.
//
// [authpihttp]: https://pkg.go.dev/github.com/authpi/authpi-idp-go/authpihttp
// [authpitest]: https://pkg.go.dev/github.com/authpi/authpi-idp-go/authpitest
// [authpiredis]: https://pkg.go.dev/github.com/authpi/authpi-idp-go/authpiredis
package authpi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/authpi/authpi-idp-go/internal/awake"
	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/jwks"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/rotate"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// IdpClient is the relying party: one for each issuer and client ID, made once
// and shared. It is immutable and safe for concurrent use, and it makes no
// request before a call needs one.
type IdpClient struct {
	printed
	factSource
	cfg           *Config // with its defaults filled in; a pointer, so that fmt cannot print the secret inside
	endpoints     Endpoints
	authorization string // base of every authorization URL
	caller        *endpoint.Caller
	metadata      *fresh.Value[endpoint.Metadata]
	keys          *jwks.Set
	verified      *jwks.Memory[tokenClaims]
	identities    *identities
	sessions      *rotate.Engine
	machines      *cooldown    // of client credentials
	clock         *awake.Clock // of time in which the process ran
	log           *slog.Logger
	now           func() time.Time
}

// NewIdpClient checks the configuration and makes a client. It makes no request.
//
// What is wrong comes back as a [*ConfigurationError] that names the field.
func NewIdpClient(cfg Config) (*IdpClient, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &IdpClient{
		printed:       printed(fmt.Sprintf("authpi.IdpClient{IssuerURL:%q ClientID:%q}", cfg.IssuerURL, cfg.ClientID)),
		cfg:           &cfg,
		endpoints:     cfg.endpoints(),
		authorization: authorizationBase(cfg, cfg.endpoints(), cfg.RedirectURI),
		caller:        endpoint.NewCaller(cfg.HTTPClient, version, cfg.Now),
		clock:         &awake.Clock{},
		log:           cfg.Logger,
		now:           cfg.Now,
	}
	c.factSource = c.facts
	c.metadata = c.caller.KeepMetadata(cfg.IssuerURL, cfg.AllowInsecureHTTP, c.log)
	c.keys = jwks.New(c.fetchKeys, c.now, c.log)
	c.verified = jwks.NewMemory(c.keys, parseClaims)
	c.identities = newIdentities(cfg)
	c.machines = &cooldown{}
	c.sessions = c.newSessions()
	return c, nil
}

// Check reports whether the client can work, for start-up. It checks the discovery
// document and its issuer, the endpoints and the keys, as the client itself uses
// them: while it has good copies it makes no request.
//
// A [*ConfigurationError] names the field that is wrong: IssuerURL where there is no
// such host, no discovery document, another issuer's, or no key; Endpoints.Token and
// the like where the document has another address, Endpoints.JWKS where its key set
// cannot be used; SigningAlgorithms where no key is for any of them. An issuer that
// is unreachable for now is an [*OAuthError]: try again.
func (c *IdpClient) Check(ctx context.Context) error {
	field := "Endpoints.JWKS"
	if c.discovers() {
		field = "IssuerURL"
		m, err := c.metadata.Get(ctx)
		if err != nil {
			return addressError(field, opDiscovery, err)
		}
		if err := c.checkStated(m); err != nil {
			return err
		}
	} else if _, err := c.needEndpoint("JWKS", c.endpoints.JWKS); err != nil {
		return err
	}
	err := c.keys.Check(ctx, c.cfg.SigningAlgorithms)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwks.ErrNoFit):
		return &ConfigurationError{"SigningAlgorithms", "has no algorithm that one of the issuer's keys is for"}
	case errors.Is(err, jwks.ErrNoKeys):
		return &ConfigurationError{field, "leads to a key set without a key that can verify tokens"}
	case errors.Is(err, jwks.ErrDocument):
		return &ConfigurationError{field, "leads to a key set that cannot be read: " + redact.Text(err.Error())}
	}
	return addressError(field, "keys", err)
}

// checkStated refuses an endpoint that is not the one which the document states. One
// that the document leaves out may exist all the same.
func (c *IdpClient) checkStated(m endpoint.Metadata) error {
	for _, e := range []struct{ name, used, stated string }{
		{"Authorization", c.endpoints.Authorization, m.Authorization},
		{"Token", c.endpoints.Token, m.Token},
		{"UserInfo", c.endpoints.UserInfo, m.UserInfo},
		{"Revocation", c.endpoints.Revocation, m.Revocation},
		{"Introspection", c.endpoints.Introspection, m.Introspection},
		{"EndSession", c.endpoints.EndSession, m.EndSession},
	} {
		if e.stated != "" && e.stated != e.used {
			return &ConfigurationError{"Endpoints." + e.name, fmt.Sprintf(
				"is not set, and the issuer has another one than %q: %q; see DiscoverEndpoints", e.used, redact.Text(e.stated))}
		}
	}
	return nil
}

// addressError returns a *ConfigurationError where the address in the field is
// wrong, and a passing failure where the issuer is unreachable for now.
func addressError(field, op string, err error) error {
	var host *net.DNSError
	if errors.As(err, &host) && host.IsNotFound {
		return &ConfigurationError{field, fmt.Sprintf("names a host that does not exist: %q", redact.Text(host.Name))}
	}
	err = discoveryError(op, err)
	var failed *OAuthError
	if errors.As(err, &failed) && !failed.passing() {
		return &ConfigurationError{field, "does not lead to what is wanted: " + failed.Description}
	}
	return err
}

// KeySet returns the issuer's keys for [oidc.NewVerifier] and whatever else takes
// go-oidc's interface. They are those that this client verifies with: shared, kept
// up to date, fetched within a budget, for Config.SigningAlgorithms only. Only the
// signature is verified; go-oidc itself accepts RS256 alone, unless its
// SupportedSigningAlgs say more.
func (c *IdpClient) KeySet() oidc.KeySet { return keySet{c} }

type keySet struct{ client *IdpClient }

// VerifySignature returns the payload of a token that a key of the issuer has
// signed.
func (k keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	got, _, err := k.client.bearerClaims(ctx, "key set", jwt)
	if err != nil {
		return nil, err
	}
	return []byte(got.JSON), nil
}

// factSource is how the other packages of this module ask a client for its facts. It
// is an alias for the same reason as printed.
type factSource = endpoint.FactSource

func (c *IdpClient) facts() endpoint.Facts {
	facts := endpoint.Facts{
		Issuer: strings.TrimRight(c.endpoints.Issuer, "/"), ClientID: c.cfg.ClientID,
		ClockSkew: c.cfg.ClockSkew, Now: c.now,
	}
	if c.discovers() {
		facts.Issuer = strings.TrimRight(c.cfg.IssuerURL, "/")
	}
	if c.cfg.RedirectURI != "" {
		facts.RedirectURIs = append([]string{c.cfg.RedirectURI}, c.cfg.RedirectURIs...)
	}
	if c.cfg.ClientSecret != "" {
		digest := sha256.Sum256([]byte("authpi client secret v1\x00" + c.cfg.ClientSecret))
		facts.SecretDigest = digest[:]
	}
	return facts
}

const opClientCredentials = "client credentials"

// ClientCredentials signs a machine in with the client's own secret (RFC 6749
// section 4.4). Its token is short-lived and comes without a refresh token: ask
// again, or let [IdpClient.ClientCredentialsSource] do so.
//
// The Agent knows no more than its token's scope: its ID is the client ID, its Type
// that of a user, and it has no organizations. An API that verifies the token sees
// the organizations.
//
// scopes and resources may be empty; Config.Resources are not sent. It returns a
// [*ConfigurationError] without Config.ClientSecret, and otherwise an [*OAuthError]:
// token_error, or the issuer's own code.
func (c *IdpClient) ClientCredentials(ctx context.Context, scopes []string, resources ...string) (*Agent, error) {
	began := time.Now()
	agent, err := c.requestMachineToken(ctx, scopes, resources)
	entry := record.MachineToken{End: endOf(ctx, began, err), Source: record.Issuer}
	if err == nil {
		entry.Expires = agent.Tokens.ExpiresAt
	}
	entry.Log(ctx, c.log)
	return agent, err
}

func (c *IdpClient) requestMachineToken(ctx context.Context, scopes, resources []string) (*Agent, error) {
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
	answer, err := c.requestTokens(ctx, opClientCredentials, codeTokenError, url, &form)
	if err != nil {
		return nil, err
	}
	if fault := answer.Fault(); fault != "" {
		return nil, invalidResponse(opClientCredentials, fault, http.StatusOK, nil)
	}
	set := TokenSet(answer.Set)
	if set.IDToken != "" {
		// None is due here. CreateAgent would trust a stored one, so it stays only
		// if it can be verified.
		if _, err := c.verifyIDToken(ctx, set.IDToken, idTokenPolicy{op: opClientCredentials, tokens: set}); err != nil {
			record.MachineIDTokenLeftOut(ctx, c.log, err)
			set.IDToken = ""
		}
	}
	id := c.cfg.ClientID
	return &Agent{ID: id, Type: principalType(id), Tokens: set, now: c.now}, nil
}

// RevokeToken ends a token at the issuer (RFC 7009 section 2); a refresh token takes
// its session along. tokenTypeHint is "access_token", "refresh_token" or empty. A
// token that is not valid any more is no error.
//
// In this process the session is over from now on, whatever the issuer answers: no
// call with the token, or with one before or after it, gets tokens again, and the
// tokens that a refresh under way receives are revoked, too.
//
// It returns a [*ConfigurationError] where the issuer has no such endpoint, and an
// [*OAuthError]: revocation_error, or the issuer's own code.
func (c *IdpClient) RevokeToken(ctx context.Context, token, tokenTypeHint string) error {
	c.sessions.Revoke(token)
	return c.revokeAtIssuer(ctx, token, tokenTypeHint)
}

// Introspection is what the issuer says about a token (RFC 7662 section 2.2). If
// Active is false, nothing else counts.
type Introspection struct {
	// Active is whether the token works now.
	Active bool
	// Scope is a space-separated list.
	Subject, ClientID, Scope, TokenType string
	// ExpiresAt and IssuedAt are zero where the issuer does not say.
	ExpiresAt, IssuedAt time.Time

	claims string
}

// Claims decodes everything that the endpoint said into v, as
// [encoding/json.Unmarshal] does.
func (i *Introspection) Claims(v any) error { return decodeClaims(i.claims, v) }

// Introspect asks the issuer whether a token is active (RFC 7662 section 2). AuthPI
// shows a client only its own tokens: another's is not active. An API that is called
// with other clients' tokens uses [IdpClient.VerifyAccessToken] instead.
//
// tokenTypeHint is "access_token", "refresh_token" or empty. It returns an
// [*OAuthError]: introspection_error, the issuer's own code, or invalid_response for
// an answer that does not say whether the token is active.
func (c *IdpClient) Introspect(ctx context.Context, token, tokenTypeHint string) (*Introspection, error) {
	const op = "introspect token"
	url, err := c.needEndpoint("Introspection", c.endpoints.Introspection)
	if err != nil {
		return nil, err
	}
	var form endpoint.Params
	form.Add("token", token)
	form.AddSet("token_type_hint", tokenTypeHint)
	answer, err := c.post(ctx, op, url, &form, token)
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, c.refusal(op, codeIntrospectionError, answer, token)
	}
	result, ok := readIntrospection(answer.Body)
	if !ok {
		return nil, invalidResponse(op, "active must be true or false", answer.Status, nil)
	}
	return result, nil
}

// readIntrospection is not ok for an answer that does not say whether the token is
// active.
func readIntrospection(body string) (result *Introspection, ok bool) {
	result = &Introspection{claims: body}
	r := strictjson.NewReader(body)
	said := false
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "active":
			result.Active, said = r.Bool()
		case "sub":
			result.Subject, _ = r.Text()
		case "client_id":
			result.ClientID, _ = r.Text()
		case "scope":
			result.Scope, _ = r.Text()
		case "token_type":
			result.TokenType, _ = r.Text()
		case "exp":
			result.ExpiresAt = claims.ReadMoment(&r)
		case "iat":
			result.IssuedAt = claims.ReadMoment(&r)
		}
	}
	return result, r.End() == nil && said
}

// LogoutOptions are the parameters of a logout. Each may be empty.
type LogoutOptions struct {
	printed
	// IDTokenHint is the user's last ID token; AuthPI requires it.
	IDTokenHint string
	// PostLogoutRedirectURI is where the browser goes afterwards, as registered.
	PostLogoutRedirectURI string
	// State comes back there.
	State string
}

// CreateLogoutURL returns the URL that ends the session at the issuer (OpenID
// Connect RP-Initiated Logout 1.0 section 2). End your own session, then redirect
// there. The URL holds the ID token: do not log it. A nil opts is fine.
//
// It returns a [*ConfigurationError] where the issuer offers no such endpoint.
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
