package module_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/authpi/authpi-idp-go"
)

// The public surface that users were promised. Whoever breaks a line of this file
// breaks their code: say so in CHANGELOG.md.
var (
	_ func(authpi.Config) (*authpi.IdpClient, error)                                                       = authpi.NewIdpClient
	_ func(context.Context, string, *http.Client) (authpi.Endpoints, error)                                = authpi.DiscoverEndpoints
	_ func(string) (url.Values, error)                                                                     = authpi.ParseCallback
	_ func([]byte) (authpi.TokenSet, error)                                                                = authpi.ParseTokenSet
	_ func(string) (authpi.Scope, bool)                                                                    = authpi.ParseScope
	_ func([]string, string, string) bool                                                                  = authpi.HasAccess
	_ func(error) bool                                                                                     = authpi.SessionEnded
	_ func(*authpi.RefreshError) (authpi.TokenSet, bool)                                                   = (*authpi.RefreshError).Tokens
	_ func(authpi.TokenSet) *oauth2.Token                                                                  = authpi.TokenSet.OAuth2
	_ func(*authpi.Agent) time.Time                                                                        = (*authpi.Agent).ExpiresAt
	_ func(*authpi.Agent) time.Duration                                                                    = (*authpi.Agent).ExpiresIn
	_ func(*authpi.Agent) bool                                                                             = (*authpi.Agent).IsExpired
	_ func(*authpi.Agent, time.Duration) bool                                                              = (*authpi.Agent).ExpiresWithin
	_ func(*authpi.Agent, string, string) bool                                                             = (*authpi.Agent).HasAccess
	_ func(*authpi.Agent, string, string, string) bool                                                     = (*authpi.Agent).HasAccessIn
	_ func(*authpi.Agent, string) bool                                                                     = (*authpi.Agent).HasScope
	_ func(*authpi.Agent, string) []string                                                                 = (*authpi.Agent).ScopesFor
	_ func(*authpi.Agent, string) bool                                                                     = (*authpi.Agent).IsOwnerOf
	_ func(*authpi.Agent, string) bool                                                                     = (*authpi.Agent).IsAdminOf
	_ func(*authpi.Agent, string) bool                                                                     = (*authpi.Agent).IsMemberOf
	_ func(*authpi.Agent, any) error                                                                       = (*authpi.Agent).Claims
	_ func(*authpi.UserInfo, any) error                                                                    = (*authpi.UserInfo).Claims
	_ func(*authpi.Introspection, any) error                                                               = (*authpi.Introspection).Claims
	_ func(*authpi.IdpClient, *authpi.LogoutOptions) (string, error)                                       = (*authpi.IdpClient).CreateLogoutURL
	_ func(*authpi.IdpClient, context.Context, string, string) error                                       = (*authpi.IdpClient).RevokeToken
	_ func(*authpi.IdpClient, context.Context, string, string) (*authpi.Introspection, error)              = (*authpi.IdpClient).Introspect
	_ func(*authpi.IdpClient, context.Context, *authpi.Agent) (*authpi.UserInfo, error)                    = (*authpi.IdpClient).UserInfo
	_ func(*authpi.IdpClient, context.Context, string, string) (*authpi.Agent, error)                      = (*authpi.IdpClient).VerifyAccessToken
	_ func(*authpi.IdpClient, context.Context, string) (*authpi.LogoutToken, error)                        = (*authpi.IdpClient).VerifyLogoutToken
	_ func(*authpi.IdpClient, context.Context, []string, ...string) (*authpi.Agent, error)                 = (*authpi.IdpClient).ClientCredentials
	_ func(*authpi.IdpClient, []string, ...string) oauth2.TokenSource                                      = (*authpi.IdpClient).ClientCredentialsSource
	_ func(*authpi.IdpClient, *authpi.Agent, *authpi.AgentOptions) oauth2.TokenSource                      = (*authpi.IdpClient).TokenSource
	_ func(*authpi.IdpClient, *authpi.Agent, *authpi.AgentOptions) *http.Client                            = (*authpi.IdpClient).HTTPClient
	_ func(*authpi.IdpClient, context.Context, url.Values, authpi.AuthorizationURL) (*authpi.Agent, error) = (*authpi.IdpClient).ExchangeCallback

	_ func(*authpi.IdpClient, []string, *authpi.AuthorizationOptions) (*authpi.AuthorizationURL, error)        = (*authpi.IdpClient).CreateAuthorizationURL
	_ func(*authpi.IdpClient, context.Context, string, string, *authpi.ExchangeOptions) (*authpi.Agent, error) = (*authpi.IdpClient).ExchangeCode
	_ func(*authpi.IdpClient, context.Context, authpi.TokenSet, *authpi.AgentOptions) (*authpi.Agent, error)   = (*authpi.IdpClient).CreateAgent
	_ func(*authpi.IdpClient, context.Context, *authpi.Agent, *authpi.RefreshOptions) (*authpi.Agent, error)   = (*authpi.IdpClient).Refresh
)

var _ = authpi.Config{
	IssuerURL: "", ClientID: "", ClientSecret: "", RedirectURI: "", RedirectURIs: []string(nil), Resources: []string(nil),
	AutoRefresh: authpi.RefreshDefault, RefreshBuffer: time.Duration(0), RefreshMemory: time.Duration(0),
	RefreshTimeout: time.Duration(0), AuthMethod: authpi.AuthMethodPost, Endpoints: authpi.Endpoints{},
	SigningAlgorithms: []string(nil), ClockSkew: time.Duration(0), AllowInsecureHTTP: false,
	VerifyStoredTokens: false, HTTPClient: (*http.Client)(nil), Coordinator: authpi.RefreshCoordinator(nil),
	MachineTokens: authpi.MachineTokenStore(nil), Logger: (*slog.Logger)(nil), Now: (func() time.Time)(nil),
}

var (
	_ = [...]authpi.RefreshMode{authpi.RefreshDefault, authpi.RefreshOn, authpi.RefreshOff}
	_ = [...]authpi.AuthMethod{authpi.AuthMethodPost, authpi.AuthMethodBasic}
	_ = authpi.Endpoints{Issuer: "", Authorization: "", Token: "", UserInfo: "", Revocation: "", Introspection: "", EndSession: "", JWKS: ""}
	_ = authpi.AuthorizationURL{URL: "", CodeVerifier: "", State: "", Nonce: "", RedirectURI: "", Resources: []string(nil)}
	_ = authpi.AuthorizationOptions{
		State: "", Nonce: "", RedirectURI: "", Org: "", Resources: []string(nil), Prompt: []string(nil), MaxAge: time.Duration(0),
		ACRValues: []string(nil), LoginHint: "", Extra: url.Values(nil),
	}
	_ = authpi.ExchangeOptions{Nonce: "", MaxAge: time.Duration(0), RedirectURI: "", Resources: []string(nil)}
	_ = authpi.TokenSet{AccessToken: "", TokenType: "", ExpiresAt: time.Time{}, RefreshToken: "", IDToken: "", SubjectHint: "", Scope: ""}
	_ = authpi.Agent{
		ID: "", Type: authpi.PrincipalUser, Email: "", EmailVerified: false, OrgID: "", SessionID: "",
		AuthTime: time.Time{}, Tokens: authpi.TokenSet{}, Organizations: []authpi.Organization(nil),
	}
	_ = [...]authpi.PrincipalType{authpi.PrincipalUser, authpi.PrincipalPersonalToken, authpi.PrincipalAPIKey, authpi.PrincipalAgent}
	_ = authpi.Organization{ID: "", Title: "", Scopes: []string(nil), JoinedAt: time.Time{}}
	_ = authpi.Scope{Resource: "", Action: ""}
	_ = authpi.AgentOptions{
		OnRefresh:      (func(context.Context, authpi.TokenSet) error)(nil),
		OnRefreshError: (func(context.Context, error))(nil),
		Reload:         (func(context.Context) (authpi.TokenSet, error))(nil),
		AutoRefresh:    authpi.RefreshDefault, Resources: []string(nil),
	}
	_ = authpi.RefreshOptions{
		OnRefresh: (func(context.Context, authpi.TokenSet) error)(nil),
		Reload:    (func(context.Context) (authpi.TokenSet, error))(nil),
		Resources: []string(nil), Scopes: []string(nil),
	}
	_ = authpi.UserInfo{
		Subject: "", Email: "", EmailVerified: false, Name: "", GivenName: "", FamilyName: "", Picture: "", Locale: "",
		PhoneNumber: "", PhoneNumberVerified: false, OrgID: "", Organizations: []authpi.Organization(nil),
		CreatedAt: time.Time{}, UpdatedAt: time.Time{},
	}
	_ = authpi.Introspection{Active: false, Subject: "", ClientID: "", Scope: "", TokenType: "", ExpiresAt: time.Time{}, IssuedAt: time.Time{}}
	_ = authpi.LogoutToken{Issuer: "", Subject: "", SessionID: "", JTI: "", Audience: []string(nil), IssuedAt: time.Time{}, ExpiresAt: time.Time{}}
	_ = authpi.LogoutOptions{IDTokenHint: "", PostLogoutRedirectURI: "", State: ""}
	_ = authpi.OAuthError{Code: "", Description: "", URI: "", StatusCode: 0, RetryAfter: time.Duration(0)}
	_ = authpi.SubjectMismatchError{Expected: "", Actual: ""}
	_ = authpi.ConfigurationError{Field: "", Reason: ""}
	_ = [...]error{
		authpi.ErrTokenExpired, authpi.ErrInvalidToken, authpi.ErrInvalidState, authpi.ErrInvalidNonce, authpi.ErrInvalidOrganization,
		authpi.ErrInvalidGrant, authpi.ErrInsufficientScope, authpi.ErrSessionExpired, authpi.ErrUserBlocked,
		authpi.ErrAccountLinkingRequired, authpi.ErrInteractionRequired, authpi.ErrLoginRequired, authpi.ErrConsentRequired,
		(*authpi.OAuthError)(nil), (*authpi.RefreshError)(nil), (*authpi.SubjectMismatchError)(nil), (*authpi.ConfigurationError)(nil),
	}
	_ = [...]json.Marshaler{authpi.TokenSet{}, authpi.AuthorizationURL{}, authpi.Organization{}}
	_ = [...]json.Unmarshaler{(*authpi.TokenSet)(nil), (*authpi.AuthorizationURL)(nil), (*authpi.Organization)(nil)}
	_ = [...]fmt.Stringer{authpi.TokenSet{}, authpi.AuthorizationURL{}, authpi.Config{}}
	_ = [...]slog.LogValuer{authpi.TokenSet{}, authpi.AuthorizationURL{}, authpi.Config{}}
)
