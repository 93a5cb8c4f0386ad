package bench

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	zitadeloidc "github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/MicahParks/keyfunc/v3"
)

// Verifiers verify an ID token and decode it into types: signature by kid from the
// issuer's six keys, issuer, audience, expiry. Ours is VerifyAccessToken, which
// does more: it looks in the memory of verified tokens first, for the digest of
// the whole token, and puts a copy of the claims there afterwards.
func Verifiers() []Reader {
	return []Reader{
		{Signature, func(is *Issuer) func(string) (any, error) {
			key := is.keys[0].Public().(*ecdsa.PublicKey)
			return func(token string) (any, error) {
				return nil, verifySignature(key, token)
			}
		}},
		{Ours, func(is *Issuer) func(string) (any, error) {
			client := NewClient(is)
			return func(token string) (any, error) {
				return client.VerifyAccessToken(context.Background(), token, "")
			}
		}},
		{Floor, func(is *Issuer) func(string) (any, error) {
			f := newFloor(is)
			return func(token string) (any, error) { return f.verify(token) }
		}},
		{GolangJWT, func(is *Issuer) func(string) (any, error) {
			keys, err := keyfunc.NewDefault([]string{is.URL + "/jwks"})
			if err != nil {
				panic(err)
			}
			parser := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(is.URL),
				jwt.WithAudience(ClientID), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
			return func(token string) (any, error) {
				claims := &registeredClaims{}
				_, err := parser.ParseWithClaims(token, claims, keys.Keyfunc)
				return claims, err
			}
		}},
		{GoOIDC, func(is *Issuer) func(string) (any, error) {
			verifier := goOIDCVerifier(is)
			return func(token string) (any, error) {
				verified, err := verifier.Verify(context.Background(), token)
				if err != nil {
					return nil, err
				}
				claims := &Claims{}
				return claims, verified.Claims(claims)
			}
		}},
		{Zitadel, func(is *Issuer) func(string) (any, error) {
			verifier := zitadelVerifier(is)
			return func(token string) (any, error) {
				return rp.VerifyIDToken[*zitadelClaims](context.Background(), token, verifier)
			}
		}},
		{JWX, func(is *Issuer) func(string) (any, error) {
			set, err := jwk.Parse(is.jwks)
			if err != nil {
				panic(err)
			}
			// The type of organizations cannot be named for one call alone without
			// its being parsed twice, so it is registered, as jwx's own guide has
			// it.
			jwxjwt.RegisterCustomField("organizations", []Organization{})
			return func(token string) (any, error) {
				verified, err := jwxjwt.Parse([]byte(token), jwxjwt.WithKeySet(set), jwxjwt.WithIssuer(is.URL),
					jwxjwt.WithAudience(ClientID), jwxjwt.WithRequiredClaim("exp"))
				return jwxToken{verified}, err
			}
		}},
	}
}

func goOIDCVerifier(is *Issuer) *oidc.IDTokenVerifier {
	ctx := oidc.ClientContext(context.Background(), newHTTPClient())
	return oidc.NewVerifier(is.URL, oidc.NewRemoteKeySet(ctx, is.URL+"/jwks"),
		&oidc.Config{ClientID: ClientID, SupportedSigningAlgs: []string{"ES256"}})
}

func zitadelVerifier(is *Issuer) *rp.IDTokenVerifier {
	return rp.NewIDTokenVerifier(is.URL, ClientID, rp.NewRemoteKeySet(newHTTPClient(), is.URL+"/jwks"),
		rp.WithSupportedSigningAlgorithms("ES256"), rp.WithNonce(func(context.Context) string { return Nonce }))
}

// verifySignature is the bare cryptography: the digest of what is signed, and the
// check of the signature. Nothing is read of header and payload. The ASN.1 that
// crypto/ecdsa wants is put together by hand, since its Verify takes longer to.
func verifySignature(key *ecdsa.PublicKey, token string) error {
	dot := strings.LastIndexByte(token, '.')
	raw, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || len(raw) != 64 {
		return errors.New("no signature")
	}
	der := append(make([]byte, 0, 72), 0x30, 0)
	for _, number := range [][]byte{raw[:32], raw[32:]} {
		number = bytes.TrimLeft(number, "\x00")
		if len(number) > 0 && number[0] < 0x80 {
			der = append(der, 0x02, byte(len(number)))
		} else {
			der = append(der, 0x02, byte(len(number)+1), 0)
		}
		der = append(der, number...)
	}
	der[1] = byte(len(der) - 2)
	digest := sha256.Sum256([]byte(token[:dot]))
	if !ecdsa.VerifyASN1(key, digest[:], der) {
		return errors.New("bad signature")
	}
	return nil
}

// floor is the shortest way that the standard library offers.
type floor struct {
	issuer string
	keys   map[string]*ecdsa.PublicKey
}

func newFloor(is *Issuer) *floor {
	f := &floor{issuer: is.URL, keys: map[string]*ecdsa.PublicKey{}}
	for i, key := range is.keys {
		f.keys[keyID(i)] = &key.PublicKey
	}
	return f
}

func (f *floor) verify(token string) (*Claims, error) {
	header, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return nil, err
	}
	var head struct{ Alg, Kid string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, err
	}
	key := f.keys[head.Kid]
	if key == nil || head.Alg != "ES256" {
		return nil, errors.New("unknown key")
	}
	if err := verifySignature(key, token); err != nil {
		return nil, err
	}
	if raw, err = base64.RawURLEncoding.DecodeString(payload); err != nil {
		return nil, err
	}
	claims := &Claims{}
	if err := json.Unmarshal(raw, claims); err != nil {
		return nil, err
	}
	if claims.Issuer != f.issuer || claims.Audience != ClientID || time.Now().Unix() >= claims.Expiry {
		return nil, errors.New("wrong claims")
	}
	return claims, nil
}

// registeredClaims is how golang-jwt wants claims of one's own.
type registeredClaims struct {
	jwt.RegisteredClaims
	Email         string         `json:"email"`
	EmailVerified bool           `json:"email_verified"`
	Organizations []Organization `json:"organizations"`
	Nonce         string         `json:"nonce"`
	Session       string         `json:"sid"`
}

func (c *registeredClaims) identity() Identity {
	return Identity{Subject: c.Subject, Email: c.Email, EmailVerified: c.EmailVerified, Organizations: c.Organizations}
}

// zitadelClaims is how zitadel wants claims of one's own.
type zitadelClaims struct {
	zitadeloidc.TokenClaims
	Email           string         `json:"email"`
	EmailVerified   bool           `json:"email_verified"`
	Organizations   []Organization `json:"organizations"`
	AccessTokenHash string         `json:"at_hash"`
}

// GetAccessTokenHash makes it an oidc.IDClaims.
func (c *zitadelClaims) GetAccessTokenHash() string { return c.AccessTokenHash }

func (c *zitadelClaims) identity() Identity {
	return Identity{Subject: c.Subject, Email: c.Email, EmailVerified: c.EmailVerified, Organizations: c.Organizations}
}

type jwxToken struct{ jwxjwt.Token }

func (t jwxToken) identity() (Identity, error) {
	id := Identity{}
	id.Subject, _ = t.Subject()
	for name, into := range map[string]any{
		"email": &id.Email, "email_verified": &id.EmailVerified, "organizations": &id.Organizations,
	} {
		if err := t.Get(name, into); err != nil {
			return id, fmt.Errorf("%s: %w", name, err)
		}
	}
	return id, nil
}
