package authpitest

import (
	"slices"
	"time"
)

// Options configure a [Server]. A nil *Options and every zero field take the
// default.
type Options struct {
	// ClientID and ClientSecret are the first client's. The default is "c_test"
	// without a secret: a public client. More clients come with [Server.AddClient].
	ClientID, ClientSecret string

	// RedirectURIs are the ones the first client may use, compared exactly. Empty:
	// any absolute URI without a fragment.
	RedirectURIs []string

	// PostLogoutRedirectURIs are the ones /logout redirects to, compared exactly.
	// Empty: any.
	PostLogoutRedirectURIs []string

	// Algorithm signs new tokens: "ES256" (the default), "RS256" or "EdDSA". All
	// servers of a process share a few RSA keys, since those are slow to make; their
	// other keys are their own.
	Algorithm string

	// AccessTokenLifetime and IDTokenLifetime default to 30 minutes,
	// RefreshTokenLifetime to 7 days. A negative lifetime makes tokens that have
	// expired already.
	AccessTokenLifetime, IDTokenLifetime, RefreshTokenLifetime time.Duration

	// AgentTokenLifetime is for access tokens by client_credentials; it defaults to
	// 5 minutes.
	AgentTokenLifetime time.Duration

	// Path is the issuer URL's path, "/i_test" by default; "/" puts the issuer at
	// the root.
	Path string

	// TrailingSlash ends the issuer identifier (iss, and issuer in discovery) in a
	// slash. The endpoints stay where they are.
	TrailingSlash bool

	// BaseURL is the scheme and host that an in-memory server answers at, for a
	// second tenant on another host, or for a server that mounts [Server.Handler].
	// The default is "https://idp.authpi.test". NewServer panics when it is set.
	BaseURL string

	// Now is the issuer's clock, time.Now by default, so that testing/synctest
	// drives it. It may be called from several goroutines.
	Now func() time.Time

	// OmitIDTokenOnRefresh leaves the ID token out of refresh answers.
	OmitIDTokenOnRefresh bool

	// OmitOrganizations leaves the organizations claim out of tokens and of
	// userinfo.
	OmitOrganizations bool

	// NoRotation lets refresh tokens work until they expire. Refresh answers then
	// carry no refresh_token.
	NoRotation bool

	// AnnounceIss sends iss with every redirect (RFC 9207) and says so in discovery.
	AnnounceIss bool

	// ReuseGrace is how long a spent refresh token is answered with another new set
	// instead of the end of its session. The default is zero.
	ReuseGrace time.Duration
}

const (
	defaultClientID = "c_test"
	defaultSubject  = "usr_test" // of AccessToken and LogoutToken
	defaultPath     = "/i_test"
	codeLifetime    = time.Minute
	maxBody         = 1 << 20
)

// withDefaults returns a copy of o, which may be nil, with every default filled in.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.RedirectURIs = slices.Clone(c.RedirectURIs)
	c.PostLogoutRedirectURIs = slices.Clone(c.PostLogoutRedirectURIs)
	setDefault(&c.ClientID, defaultClientID)
	setDefault(&c.Algorithm, algES256)
	setDefault(&c.Path, defaultPath)
	setDefault(&c.AccessTokenLifetime, 30*time.Minute)
	setDefault(&c.IDTokenLifetime, 30*time.Minute)
	setDefault(&c.RefreshTokenLifetime, 7*24*time.Hour)
	setDefault(&c.AgentTokenLifetime, 5*time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	mustAlgorithm(c.Algorithm)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func mustAlgorithm(alg string) {
	if !slices.Contains(algorithms, alg) {
		panic("authpitest: unknown algorithm " + alg + ": want ES256, RS256 or EdDSA")
	}
}
