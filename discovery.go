package authpi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/discovery"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// DiscoverEndpoints reads the endpoints of an issuer that has other paths than
// AuthPI's, for [Config].Endpoints (OpenID Connect Discovery 1.0 section 4). The
// issuer that the document states must equal issuerURL, but for one trailing
// slash. A nil client means one with a timeout of 30 s.
//
// It returns a [*ConfigurationError] for a bad issuerURL, and otherwise an
// [*OAuthError]: invalid_issuer, invalid_response or transport_error.
func DiscoverEndpoints(ctx context.Context, issuerURL string, client *http.Client) (Endpoints, error) {
	if reason := weburl.Issuer(issuerURL, false); reason != "" {
		return Endpoints{}, &ConfigurationError{"IssuerURL", reason}
	}
	m, err := discovery.Fetch(ctx, endpoint.NewCaller(client, version, time.Now), issuerURL, false)
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

// issuerIdentity is what tokens and callbacks must come from.
type issuerIdentity struct {
	id         string
	inResponse bool // callbacks carry it (RFC 9207)
}

// issuer gives the exact issuer identifier: the configured one where endpoints
// were given, otherwise the one that discovery states.
func (c *IdpClient) issuer(ctx context.Context) (issuerIdentity, error) {
	if !c.discovers() {
		return issuerIdentity{id: c.endpoints.Issuer}, nil
	}
	m, err := c.metadata.Get(ctx)
	if err != nil {
		return issuerIdentity{}, discoveryError(opDiscovery, err)
	}
	return issuerIdentity{id: m.Issuer, inResponse: m.IssInResponse}, nil
}

// isIssuer reports whether id names the client's issuer, but for the one trailing slash
// that discovery may state. It makes no request.
func (c *IdpClient) isIssuer(id string) bool {
	if c.discovers() {
		return strings.TrimSuffix(id, "/") == strings.TrimRight(c.cfg.IssuerURL, "/")
	}
	return id == c.endpoints.Issuer
}

// readyToVerify tells whether it is known whose tokens to expect, and where their
// keys are.
func (c *IdpClient) readyToVerify(ctx context.Context) error {
	if !c.discovers() {
		_, err := c.needEndpoint("JWKS", c.endpoints.JWKS)
		return err
	}
	_, err := c.issuer(ctx)
	return err
}

// discovers tells whether issuer and keys are looked up: no endpoints were given.
func (c *IdpClient) discovers() bool { return c.cfg.Endpoints == (Endpoints{}) }

// How long the discovery document is used without asking again, and how long it
// serves while the issuer is away.
const (
	metadataFresh  = time.Hour
	metadataUsable = 24 * time.Hour
)

func (c *IdpClient) fetchMetadata(ctx context.Context) (discovery.Metadata, error) {
	return discovery.Fetch(ctx, c.caller, c.cfg.IssuerURL, c.cfg.AllowInsecureHTTP)
}

// reportMetadata logs a failure that no caller is told about.
func (c *IdpClient) reportMetadata(ctx context.Context, _, serving *fresh.Copy[discovery.Metadata], err error) {
	if serving != nil {
		c.log.WarnContext(ctx, "authpi: issuer's discovery document could not be fetched, the last copy serves",
			"age", serving.Age(c.now()), "error", err)
	}
}

// fetchKeys gets the key set from where the configuration or discovery says it is.
func (c *IdpClient) fetchKeys(ctx context.Context) ([]byte, error) {
	url := c.endpoints.JWKS
	if c.discovers() {
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
		return nil, &discovery.DocumentError{URL: url, Status: answer.Status, Reason: fmt.Sprintf("status %d", answer.Status)}
	}
	return []byte(answer.Body), nil
}

const opDiscovery = "discovery"

// discoveryError names what package discovery found.
func discoveryError(op string, err error) error {
	var document *discovery.DocumentError
	var issuer *discovery.IssuerError
	switch {
	case errors.As(err, &document):
		return invalidResponse(op, redact.Text(document.Error()), document.Status, err)
	case errors.As(err, &issuer):
		return &OAuthError{Code: codeInvalidIssuer, Description: redact.Text(err.Error()), op: op, cause: err}
	}
	return requestFailed(op, err)
}

// addressError is a *ConfigurationError about field where the address in it is wrong, and
// a passing failure where the issuer is unreachable for now.
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

// checkStated wants each endpoint that the document states to be the one that is used.
// One that it leaves out may be there all the same.
func (c *IdpClient) checkStated(m discovery.Metadata) error {
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
