package bench

import (
	"fmt"

	authpi "github.com/authpi/authpi-idp-go"
)

// Identity is who a token names, as every contender must see it.
type Identity struct {
	Subject       string         `json:"sub"`
	Email         string         `json:"email"`
	EmailVerified bool           `json:"email_verified"`
	Organizations []Organization `json:"organizations"`
}

// Organization is one membership in the claim's form.
type Organization struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Scopes   []string `json:"scopes"`
	JoinedAt int64    `json:"joined_at"`
}

// Claims are what a contender without types of its own decodes an ID token into.
type Claims struct {
	Identity
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Expiry   int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	AuthTime int64  `json:"auth_time"`
	Nonce    string `json:"nonce"`
	Session  string `json:"sid"`
}

// A Reader makes an identity of a text: a signed token, or a stored set.
type Reader struct {
	Name string
	// New sets the reader up, with what may be prepared before the first text. What
	// the function returns is in the contender's own type; see IdentityOf.
	New func(*Issuer) func(text string) (any, error)
}

// IdentityOf reads a contender's answer. It is not part of what is timed.
func IdentityOf(answer any) (Identity, error) {
	switch a := answer.(type) {
	case *authpi.Agent:
		return identityOfAgent(a), nil
	case *Claims:
		return a.Identity, nil
	case *zitadelClaims:
		return a.identity(), nil
	case *registeredClaims:
		return a.identity(), nil
	case jwxToken:
		return a.identity()
	}
	return Identity{}, fmt.Errorf("no identity in a %T", answer)
}

func identityOfAgent(a *authpi.Agent) Identity {
	id := Identity{Subject: a.ID, Email: a.Email, EmailVerified: a.EmailVerified}
	for _, o := range a.Organizations {
		id.Organizations = append(id.Organizations, Organization{
			ID: o.ID, Title: o.Title, Scopes: o.Scopes, JoinedAt: o.JoinedAt.Unix(),
		})
	}
	return id
}
