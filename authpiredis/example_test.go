package authpiredis_test

import (
	"log"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpiredis"
)

func Example() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:   "https://idp.authpi.com/i_1",
		ClientID:    "c_1",
		RedirectURI: "https://app.example/callback",
		Coordinator: authpiredis.NewCoordinator(rdb, nil),
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client // CreateAgent, Refresh, TokenSource and HTTPClient use it by themselves
}
