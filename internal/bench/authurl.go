package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/url"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"golang.org/x/oauth2"
)

// Login is a started login as every contender must make it: S256, state, nonce
// and verifier of 32 random bytes each.
type Login struct{ URL, Verifier, State, Nonce string }

// A LoginMaker starts logins.
type LoginMaker struct {
	Name string
	New  func(*Issuer) func() (Login, error)
}

// LoginMakers are the contenders for the authorization URL.
func LoginMakers() []LoginMaker {
	return []LoginMaker{
		{Ours, func(is *Issuer) func() (Login, error) {
			client, scopes := NewClient(is), []string{"openid", "email", "profile"}
			return func() (Login, error) {
				auth, err := client.CreateAuthorizationURL(scopes, nil)
				if err != nil {
					return Login{}, err
				}
				return Login{auth.URL, auth.CodeVerifier, auth.State, auth.Nonce}, nil
			}
		}},
		{OAuth2, func(is *Issuer) func() (Login, error) {
			config := oauth2Config(is.URL)
			return func() (Login, error) {
				l := Login{Verifier: oauth2.GenerateVerifier(), State: random32(), Nonce: random32()}
				l.URL = config.AuthCodeURL(l.State, oauth2.S256ChallengeOption(l.Verifier), oidc.Nonce(l.Nonce))
				return l, nil
			}
		}},
		{Zitadel, func(is *Issuer) func() (Login, error) {
			party := zitadelParty(is)
			return func() (Login, error) {
				l := Login{Verifier: oauth2.GenerateVerifier(), State: random32(), Nonce: random32()}
				l.URL = rp.AuthURL(l.State, party,
					rp.WithCodeChallenge(challengeOf(l.Verifier)),
					rp.AuthURLOpt(rp.WithURLParam("nonce", l.Nonce)))
				return l, nil
			}
		}},
		{"net-url", func(is *Issuer) func() (Login, error) {
			return func() (Login, error) {
				l := Login{Verifier: random32(), State: random32(), Nonce: random32()}
				l.URL = is.URL + "/authorize?" + url.Values{
					"client_id": {ClientID}, "redirect_uri": {RedirectURI}, "response_type": {"code"},
					"scope": {"openid email profile"}, "state": {l.State}, "nonce": {l.Nonce},
					"code_challenge":        {challengeOf(l.Verifier)},
					"code_challenge_method": {"S256"},
				}.Encode()
				return l, nil
			}
		}},
	}
}

func random32() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func zitadelParty(is *Issuer) rp.RelyingParty {
	party, err := rp.NewRelyingPartyOIDC(context.Background(), is.URL, ClientID, "", RedirectURI,
		[]string{"openid", "email", "profile"}, rp.WithHTTPClient(newHTTPClient()), rp.WithVerifierOpts(
			rp.WithSupportedSigningAlgorithms("ES256"),
			rp.WithNonce(func(context.Context) string { return Nonce })))
	if err != nil {
		panic(err)
	}
	return party
}

func challengeOf(verifier string) string {
	digest := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}
