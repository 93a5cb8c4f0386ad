package endpoint

import "time"

// FactSource returns the facts of a client that embeds it. It is a function, so that
// no print of the client shows them.
type FactSource func() Facts

// Facts stores the facts in to. Other modules can call it through a client, but
// cannot name the type of its argument.
func (s FactSource) Facts(to *Facts) {
	if to != nil {
		*to = s()
	}
}

// Facts are how a client stands with its issuer: what package authpihttp needs of a
// client's configuration.
type Facts struct {
	Issuer, ClientID string
	// RedirectURIs has Config.RedirectURI first. None: the client signs nobody in.
	RedirectURIs []string
	// SecretDigest is a digest of the client secret, nil for a public client.
	SecretDigest []byte
	ClockSkew    time.Duration
	Now          func() time.Time
}
