package endpoint

import "time"

// Facts are how a client stands with its issuer: what package authpihttp needs of a
// client's configuration. The type is internal to keep other modules out.
type Facts struct {
	Issuer, ClientID string
	// RedirectURIs has Config.RedirectURI first. None: the client signs nobody in.
	RedirectURIs []string
	// SecretDigest is a digest of the client secret, nil for a public client.
	SecretDigest []byte
	ClockSkew    time.Duration
	Now          func() time.Time
}
