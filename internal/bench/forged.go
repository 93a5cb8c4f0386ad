package bench

import (
	"context"
	"net/http"
	"sync"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"
)

// KeyCaches verify tokens with keys that they fetch themselves, and again when they
// see fit. They are the contenders for forged tokens.
func KeyCaches() []Reader {
	verifiers := map[string]Reader{}
	for _, v := range Verifiers() {
		verifiers[v.Name] = v
	}
	return []Reader{
		verifiers[Ours],
		verifiers[GoOIDC],
		verifiers[Zitadel],
		{"keyfunc", func(is *Issuer) func(string) (any, error) {
			keys, err := keyfunc.NewDefault([]string{is.URL + "/jwks"})
			if err != nil {
				panic(err)
			}
			parser := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(is.URL), jwt.WithAudience(ClientID))
			return func(token string) (any, error) {
				claims := &registeredClaims{}
				_, err := parser.ParseWithClaims(token, claims, keys.Keyfunc)
				return claims, err
			}
		}},
		{"jwx-cache", func(is *Issuer) func(string) (any, error) {
			ctx := context.Background()
			cache, err := jwk.NewCache(ctx, httprc.NewClient(httprc.WithHTTPClient(http.DefaultClient)))
			if err != nil {
				panic(err)
			}
			if err := cache.Register(ctx, is.URL+"/jwks"); err != nil {
				panic(err)
			}
			set, err := cache.CachedSet(is.URL + "/jwks")
			if err != nil {
				panic(err)
			}
			return func(token string) (any, error) {
				verified, err := jwxjwt.Parse([]byte(token), jwxjwt.WithKeySet(set), jwxjwt.WithIssuer(is.URL), jwxjwt.WithAudience(ClientID))
				return jwxToken{verified}, err
			}
		}},
	}
}

// Flood has workers refuse the tokens, and tells how many were let in and how many
// key fetches it took.
func Flood(is *Issuer, verify func(string) (any, error), tokens []string, workers int) (letIn int, fetches int64) {
	before := is.KeyFetches.Load()
	var wg sync.WaitGroup
	in := make([]int, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(tokens); i += workers {
				if _, err := verify(tokens[i]); err == nil {
					in[w]++
				}
			}
		})
	}
	wg.Wait()
	for _, n := range in {
		letIn += n
	}
	return letIn, is.KeyFetches.Load() - before
}
