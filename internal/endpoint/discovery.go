package endpoint

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
	"github.com/authpi/authpi-idp-go/internal/weburl"
)

// Metadata is what an issuer says of itself in its discovery document (OpenID
// Connect Discovery 1.0, RFC 8414), as far as a relying party needs it. An empty
// field is an endpoint that the issuer does not offer.
type Metadata struct {
	Issuer        string
	Authorization string
	Token         string
	UserInfo      string
	Revocation    string
	Introspection string
	EndSession    string
	JWKS          string
	// IssInResponse announces the iss parameter of RFC 9207 section 3.
	IssInResponse bool
}

// IssuerError says that the document is another issuer's (Discovery section 4.3).
type IssuerError struct{ Got, Want string }

func (e *IssuerError) Error() string {
	return fmt.Sprintf("the document states the issuer %q; want %q", e.Got, e.Want)
}

// DocumentError says that an answer came, but no usable document.
type DocumentError struct {
	URL    string // where it was asked for
	Status int
	Reason string
}

func (e *DocumentError) Error() string { return e.URL + ": " + e.Reason }

const wellKnown = "/.well-known/openid-configuration"

// Discover gets the document of issuerURL and checks that it is that issuer's, but
// for one trailing slash. Any error but a [*DocumentError] or an [*IssuerError]
// means that no answer came. Each names the address: a mistyped issuer shows in
// nothing else.
func (c *Caller) Discover(ctx context.Context, issuerURL string, insecure bool) (Metadata, error) {
	issuerURL = strings.TrimRight(issuerURL, "/")
	url := issuerURL + wellKnown
	answer, err := c.Do(ctx, Request{URL: url})
	if err != nil {
		return Metadata{}, fmt.Errorf("%s: %w", url, err)
	}
	if answer.Status != http.StatusOK {
		return Metadata{}, &DocumentError{url, answer.Status, fmt.Sprintf("status %d", answer.Status)}
	}
	m, reason := parseMetadata(answer.Body, insecure)
	if reason != "" {
		return Metadata{}, &DocumentError{url, answer.Status, reason}
	}
	if strings.TrimSuffix(m.Issuer, "/") != issuerURL {
		return Metadata{}, &IssuerError{Got: m.Issuer, Want: issuerURL}
	}
	return m, nil
}

// How long a document is used without asking again, and how long it serves while the
// issuer is unreachable.
const (
	freshFor  = time.Hour
	usableFor = 24 * time.Hour
)

// KeepMetadata returns the document of issuerURL as package fresh keeps it; nothing
// is fetched yet. The end of each fetch is logged.
func (c *Caller) KeepMetadata(issuerURL string, insecure bool, log *slog.Logger) *fresh.Value[Metadata] {
	return fresh.New(fresh.Options[Metadata]{
		Fetch: func(ctx context.Context) (Metadata, error) { return c.Discover(ctx, issuerURL, insecure) },
		Now:   c.now, Fresh: freshFor, Usable: usableFor,
		Report: func(ctx context.Context, end fresh.End[Metadata]) {
			end.Record(c.now).LogDiscovery(ctx, log)
		},
	})
}

// FetchKeys gets the key set that the issuer publishes at url. A status other than
// 200 is a [*DocumentError]; any other error means that no answer came.
func (c *Caller) FetchKeys(ctx context.Context, url string) ([]byte, error) {
	answer, err := c.Do(ctx, Request{URL: url})
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, &DocumentError{url, answer.Status, fmt.Sprintf("status %d", answer.Status)}
	}
	return []byte(answer.Body), nil
}

func parseMetadata(text string, insecure bool) (m Metadata, reason string) {
	r := strictjson.NewReader(text)
	if r.Kind() != strictjson.Object {
		return Metadata{}, "is no JSON object"
	}
	addresses := m.addresses()
	for member := r.Members(); member.Next(); {
		switch member.Name {
		case "issuer":
			m.Issuer, _ = r.Text()
		case "authorization_response_iss_parameter_supported":
			m.IssInResponse, _ = r.Bool()
		}
		for _, a := range addresses {
			if a.name == member.Name {
				*a.field, _ = r.Text()
			}
		}
	}
	if err := r.End(); err != nil {
		return Metadata{}, err.Error()
	}
	for _, a := range addresses {
		if reason := a.check(insecure); reason != "" {
			return Metadata{}, reason
		}
	}
	if m.Issuer == "" || m.JWKS == "" {
		return Metadata{}, "issuer and jwks_uri are required"
	}
	return m, ""
}

// address is a member of the document that holds a URL.
type address struct {
	name  string
	field *string
}

func (m *Metadata) addresses() []address {
	return []address{
		{"authorization_endpoint", &m.Authorization},
		{"token_endpoint", &m.Token},
		{"userinfo_endpoint", &m.UserInfo},
		{"revocation_endpoint", &m.Revocation},
		{"introspection_endpoint", &m.Introspection},
		{"end_session_endpoint", &m.EndSession},
		{"jwks_uri", &m.JWKS},
	}
}

func (a address) check(insecure bool) (reason string) {
	if *a.field == "" {
		return ""
	}
	if reason = weburl.Endpoint(*a.field, insecure); reason != "" {
		reason = a.name + " " + reason
	}
	return reason
}
