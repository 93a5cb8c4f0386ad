package bench

import (
	"net/http"

	authpi "github.com/authpi/authpi-idp-go"
	"golang.org/x/oauth2"
)

// NewClient makes our client of an issuer. Its endpoints come from discovery and
// AuthPI's paths, as users have it.
func NewClient(is *Issuer) *authpi.IdpClient { return newClient(is.URL) }

func newClient(url string) *authpi.IdpClient {
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: url, ClientID: ClientID, RedirectURI: RedirectURI})
	if err != nil {
		panic(err)
	}
	return client
}

func oauth2Config(url string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: ClientID, RedirectURL: RedirectURI, Scopes: []string{"openid", "email", "profile"},
		Endpoint: oauth2.Endpoint{AuthURL: url + "/authorize", TokenURL: url + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
}

// newHTTPClient is what the peers and the exchange by hand get, so that no row
// measures the pool of two connections that net/http has by default.
func newHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	return &http.Client{Transport: transport}
}
