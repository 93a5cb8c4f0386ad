// Package sibling is what the packages of this module may know of each other and
// nobody else: a type of it in a signature keeps other modules out.
package sibling

import "time"

// Facts are what package authpihttp needs of a client's configuration.
type Facts struct {
	Issuer, ClientID string
	// RedirectURIs has Config.RedirectURI first. None: the client signs nobody in.
	RedirectURIs []string
	// SecretDigest is a digest of the client secret, nil for a public client.
	SecretDigest []byte
	ClockSkew    time.Duration
	Now          func() time.Time
}
