package authpi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/record"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// Config is what [NewIdpClient] needs to know. IssuerURL and ClientID are required,
// RedirectURI for signing people in; everything else may stay zero. Printed, logged
// or marshalled it does not show the secret, with one exception: fmt shows it if the
// Config is in an unexported field of another struct.
type Config struct {
	// IssuerURL is the issuer's base URL, for example https://idp.authpi.com/i_1.
	// Trailing slashes make no difference.
	IssuerURL string
	// ClientID is this app's, as registered.
	ClientID string
	// ClientSecret is empty for a public client (native app, CLI).
	ClientSecret string
	// RedirectURI is where the issuer sends the browser back to, exactly as
	// registered: https, http on loopback, or a private-use scheme such as
	// com.example.app:/callback (RFC 8252 section 7).
	RedirectURI string
	// RedirectURIs are further registered ones, for an app on several hosts. A login
	// names one of them; see AuthorizationOptions.RedirectURI.
	RedirectURIs []string
	// Resources are the RFC 8707 resource indicators for authorization, code
	// exchange and Refresh, unless the call has its own.
	Resources []string
	// AutoRefresh is whether CreateAgent refreshes; zero: on.
	AutoRefresh RefreshMode
	// RefreshBuffer is how long before expiry CreateAgent refreshes, but at most
	// half of a token's life. 0: 60 s; negative: not before expiry.
	RefreshBuffer time.Duration
	// RefreshMemory is how long the successor of a spent refresh token is remembered
	// for requests that still hold the old one. 0: 60 s; negative: not at all. A
	// successor that nobody has stored yet is kept for 24 hours in any case: its
	// session has no other token.
	RefreshMemory time.Duration
	// RefreshTimeout limits one refresh, and by itself each caller's Reload before it
	// and OnRefresh after it, whatever happens to the callers' contexts. It counts only
	// time in which the process runs: one that was stopped still reads the answer.
	// 0: 30 s; negative: a [*ConfigurationError].
	RefreshTimeout time.Duration
	// AuthMethod is how a confidential client authenticates. It is never guessed.
	AuthMethod AuthMethod
	// Endpoints are set for issuers with other paths than AuthPI's; see
	// [DiscoverEndpoints].
	Endpoints Endpoints
	// SigningAlgorithms are accepted for ID, access and logout tokens. Empty:
	// ES256, RS256 and EdDSA. It may also name ES384, ES512, RS384, RS512, PS256,
	// PS384 and PS512. Narrow it to what the client is registered for.
	SigningAlgorithms []string
	// ClockSkew is the leeway on exp, nbf, iat and auth_time. 0: 30 s; negative:
	// none.
	ClockSkew time.Duration
	// AllowInsecureHTTP accepts http:// URLs outside loopback: whoever is on the
	// network then reads every token. Only for closed test networks.
	AllowInsecureHTTP bool
	// VerifyStoredTokens is for stores that others can write to. CreateAgent then
	// verifies the signature, issuer and audience of the stored ID token, takes the
	// scope from the access token itself (none, where that is no JWT of this client
	// and user), and refuses a set that names nobody unless its access token holds.
	VerifyStoredTokens bool
	// HTTPClient makes the requests; redirects are never followed. Nil: one of its
	// own, with a timeout of 30 s and connections pooled for one host.
	HTTPClient *http.Client
	// Coordinator lets several processes share refreshes. Nil: within this process.
	Coordinator RefreshCoordinator
	// MachineTokens lets several processes share the tokens of
	// ClientCredentialsSource. Nil: within this process.
	MachineTokens MachineTokenStore
	// Logger is given one record for each refresh, verification, fetch of keys and
	// call of the coordinator, with the caller's context and never with a token; see
	// docs/observability.md. Nil: silent.
	Logger *slog.Logger
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// version is the module's, as CHANGELOG.md has it.
const version = "0.1.0"

// RefreshMode switches automatic refresh.
type RefreshMode int

// RefreshDefault leaves the choice to the client's configuration, where it means
// RefreshOn.
const (
	RefreshDefault RefreshMode = iota
	RefreshOn
	RefreshOff
)

// AuthMethod is how a confidential client proves itself at the issuer's endpoints
// (RFC 6749 section 2.3.1).
type AuthMethod int

const (
	// AuthMethodPost sends client_id and client_secret in the form.
	AuthMethodPost AuthMethod = iota
	// AuthMethodBasic sends them by HTTP Basic, both form-encoded.
	AuthMethodBasic
)

// Endpoints are an issuer's URLs. The zero value means AuthPI's paths under the
// issuer URL, with the key set's address from discovery. Where any field is set, an
// empty one is an endpoint that the issuer does not offer: calls that need it return
// a [*ConfigurationError]. A given JWKS is used as it is, without discovery.
type Endpoints struct {
	// Issuer is the exact iss of the tokens; empty: IssuerURL as given.
	Issuer string
	// The endpoints are absolute URLs, and may have a query.
	Authorization, Token, UserInfo, Revocation, Introspection, EndSession, JWKS string
}

// Defaults of Config.
const (
	defaultRefreshBuffer  = 60 * time.Second
	defaultRefreshMemory  = 60 * time.Second
	defaultRefreshTimeout = 30 * time.Second
	defaultClockSkew      = 30 * time.Second
)

// check goes from what is missing to what is malformed, as the Python package does.
func (cfg *Config) check() error {
	for _, check := range [...]func() error{cfg.checkNames, cfg.checkRedirects, cfg.checkChoices, cfg.checkEndpoints} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (cfg *Config) checkNames() error {
	refuse := func(field, reason string) error { return &ConfigurationError{field, reason} }
	if strings.TrimSpace(cfg.IssuerURL) == "" {
		return refuse("IssuerURL", "is required")
	}
	if strings.TrimSpace(cfg.ClientID) == "" {
		return refuse("ClientID", "is required")
	}
	if strings.TrimSpace(cfg.ClientID) != cfg.ClientID || strings.ContainsFunc(cfg.ClientID, unicode.IsControl) {
		return refuse("ClientID", "must hold no control character, and no space around it")
	}
	if reason := weburl.Issuer(cfg.IssuerURL, cfg.AllowInsecureHTTP); reason != "" {
		return refuse("IssuerURL", reason)
	}
	return nil
}

func (cfg *Config) checkChoices() error {
	refuse := func(field, reason string) error { return &ConfigurationError{field, reason} }
	for _, resource := range cfg.Resources {
		if reason := weburl.Resource(resource); reason != "" {
			return refuse("Resources", reason)
		}
	}
	for _, alg := range cfg.SigningAlgorithms {
		if !jws.Supported(alg) {
			return refuse("SigningAlgorithms", fmt.Sprintf("holds %q: only asymmetric algorithms such as ES256, RS256 and EdDSA", alg))
		}
	}
	if cfg.AuthMethod != AuthMethodPost && cfg.AuthMethod != AuthMethodBasic {
		return refuse("AuthMethod", "must be AuthMethodPost or AuthMethodBasic")
	}
	if cfg.RefreshTimeout < 0 {
		return refuse("RefreshTimeout", "must not be negative")
	}
	if cfg.AutoRefresh < RefreshDefault || cfg.AutoRefresh > RefreshOff {
		return refuse("AutoRefresh", "must be RefreshDefault, RefreshOn or RefreshOff")
	}
	return nil
}

func (cfg *Config) checkRedirects() error {
	if cfg.RedirectURI == "" && len(cfg.RedirectURIs) > 0 {
		return &ConfigurationError{"RedirectURIs", "needs RedirectURI as well: these are further ones"}
	}
	if cfg.RedirectURI != "" {
		if reason := weburl.Redirect(cfg.RedirectURI, cfg.AllowInsecureHTTP); reason != "" {
			return &ConfigurationError{"RedirectURI", reason}
		}
	}
	for _, uri := range cfg.RedirectURIs {
		if reason := weburl.Redirect(uri, cfg.AllowInsecureHTTP); reason != "" {
			return &ConfigurationError{"RedirectURIs", reason}
		}
	}
	return nil
}

func (cfg *Config) checkEndpoints() error {
	for _, e := range []struct{ name, url string }{
		{"Authorization", cfg.Endpoints.Authorization},
		{"Token", cfg.Endpoints.Token},
		{"UserInfo", cfg.Endpoints.UserInfo},
		{"Revocation", cfg.Endpoints.Revocation},
		{"Introspection", cfg.Endpoints.Introspection},
		{"EndSession", cfg.Endpoints.EndSession},
		{"JWKS", cfg.Endpoints.JWKS},
		{"Issuer", cfg.Endpoints.Issuer},
	} {
		if e.url == "" {
			continue
		}
		check := weburl.Endpoint
		if e.name == "Issuer" {
			check = weburl.Issuer
		}
		if reason := check(e.url, cfg.AllowInsecureHTTP); reason != "" {
			return &ConfigurationError{"Endpoints." + e.name, reason}
		}
	}
	return nil
}

// withDefaults returns a copy that shares nothing the caller could change.
func (cfg Config) withDefaults() Config {
	cfg.Resources = slices.Clone(cfg.Resources)
	cfg.RedirectURIs = slices.Clone(cfg.RedirectURIs)
	cfg.SigningAlgorithms = slices.Clone(cfg.SigningAlgorithms)
	if len(cfg.SigningAlgorithms) == 0 {
		cfg.SigningAlgorithms = []string{"ES256", "RS256", "EdDSA"}
	}
	cfg.RefreshBuffer = orDefault(cfg.RefreshBuffer, defaultRefreshBuffer)
	cfg.RefreshMemory = orDefault(cfg.RefreshMemory, defaultRefreshMemory)
	cfg.ClockSkew = orDefault(cfg.ClockSkew, defaultClockSkew)
	cfg.RefreshTimeout = orDefault(cfg.RefreshTimeout, defaultRefreshTimeout)
	cfg.Logger = record.Logger(cfg.Logger)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg
}

// orDefault reads a duration where zero means the default and negative none.
func orDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return max(d, 0)
}

// endpoints are the configured ones, or AuthPI's under the issuer URL.
func (cfg *Config) endpoints() Endpoints {
	e := cfg.Endpoints
	if e != (Endpoints{}) {
		if e.Issuer == "" {
			e.Issuer = cfg.IssuerURL
		}
		return e
	}
	base := strings.TrimRight(cfg.IssuerURL, "/")
	return Endpoints{
		Authorization: base + "/authorize",
		Token:         base + "/token",
		UserInfo:      base + "/userinfo",
		Revocation:    base + "/revoke",
		Introspection: base + "/introspect",
		EndSession:    base + "/logout",
	}
}

// DiscoverEndpoints reads the endpoints of an issuer that has other paths than
// AuthPI's, for [Config].Endpoints (OpenID Connect Discovery 1.0 section 4). The
// issuer that the document states must equal issuerURL, but for one trailing slash.
// A nil client means one with a timeout of 30 s.
//
// It returns a [*ConfigurationError] for a bad issuerURL, and otherwise an
// [*OAuthError]: invalid_issuer, invalid_response or transport_error.
func DiscoverEndpoints(ctx context.Context, issuerURL string, client *http.Client) (Endpoints, error) {
	if reason := weburl.Issuer(issuerURL, false); reason != "" {
		return Endpoints{}, &ConfigurationError{"IssuerURL", reason}
	}
	m, err := endpoint.NewCaller(client, version, time.Now).Discover(ctx, issuerURL, false)
	if err != nil {
		return Endpoints{}, discoveryError(opDiscovery, err)
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

const opDiscovery = "discovery"

// discoveryError names what is wrong with a discovery document.
func discoveryError(op string, err error) error {
	var document *endpoint.DocumentError
	var issuer *endpoint.IssuerError
	switch {
	case errors.As(err, &document):
		return invalidResponse(op, redact.Text(document.Error()), document.Status, err)
	case errors.As(err, &issuer):
		return &OAuthError{Code: codeInvalidIssuer, Description: redact.Text(err.Error()), op: op, cause: err}
	}
	return requestFailed(op, err)
}

// discovers reports whether issuer and keys are looked up: no endpoints were given.
func (c *IdpClient) discovers() bool { return c.cfg.Endpoints == (Endpoints{}) }

// isIssuer reports whether id names the client's issuer, but for the one trailing
// slash that discovery may state. It makes no request.
func (c *IdpClient) isIssuer(id string) bool {
	if c.discovers() {
		return strings.TrimSuffix(id, "/") == strings.TrimRight(c.cfg.IssuerURL, "/")
	}
	return id == c.endpoints.Issuer
}

func (c *IdpClient) needEndpoint(name, url string) (string, error) {
	if url == "" {
		return "", &ConfigurationError{"Endpoints." + name, "is empty: the issuer offers no such endpoint"}
	}
	return url, nil
}

func (c *IdpClient) autoRefresh(mode RefreshMode) bool {
	if mode == RefreshDefault {
		mode = c.cfg.AutoRefresh
	}
	return mode != RefreshOff
}

// printable is a Config as it may be shown.
type printable struct {
	IssuerURL, ClientID, ClientSecret, RedirectURI string
	RedirectURIs                                   []string
	Resources                                      []string
	SigningAlgorithms                              []string
	Endpoints                                      Endpoints
}

func (cfg Config) printable() printable {
	return printable{
		IssuerURL: cfg.IssuerURL, ClientID: cfg.ClientID, ClientSecret: redact.Secret(cfg.ClientSecret),
		RedirectURI: cfg.RedirectURI, RedirectURIs: cfg.RedirectURIs, Resources: cfg.Resources,
		SigningAlgorithms: cfg.SigningAlgorithms, Endpoints: cfg.Endpoints,
	}
}

// String describes the configuration without the secret.
func (cfg Config) String() string { return fmt.Sprintf("authpi.Config%+v", cfg.printable()) }

// Format prints String for every verb and flag.
func (cfg Config) Format(f fmt.State, _ rune) { redact.Print(f, cfg.String()) }

// LogValue describes the configuration without the secret, for log/slog.
func (cfg Config) LogValue() slog.Value { return slog.StringValue(cfg.String()) }

// MarshalJSON writes what may be shown; it is not meant to be read back.
func (cfg Config) MarshalJSON() ([]byte, error) { return json.Marshal(cfg.printable()) }

func (c *IdpClient) needRedirect() error {
	if c.cfg.RedirectURI == "" {
		return &ConfigurationError{"RedirectURI", "is required for the authorization code flow"}
	}
	return nil
}

// redirectOr checks a redirect URI of a login. It returns an empty one for
// Config.RedirectURI.
func (c *IdpClient) redirectOr(op, uri string) (string, error) {
	switch {
	case uri == "" || uri == c.cfg.RedirectURI:
		return "", nil
	case slices.Contains(c.cfg.RedirectURIs, uri):
		return uri, nil
	}
	return "", invalidRequest(op, "RedirectURI is none of the client's: add it to Config.RedirectURIs")
}

// resourcesOr returns a copy of the call's resources, or the client's for nil.
func (c *IdpClient) resourcesOr(resources []string) []string {
	if resources == nil {
		resources = c.cfg.Resources
	}
	return slices.Clone(resources)
}

// printed is all that fmt and log/slog show of a type that embeds it. It is an
// alias, so that its methods do not stand in the documentation of each such type.
type printed = redact.Printed
