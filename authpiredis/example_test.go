package authpiredis_test

import (
	"log"
	"net/http"
	"os"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
	"github.com/authpi/authpi-idp-go/authpiredis"
)

// Processes that share sessions refresh each of them once.
func ExampleNewCoordinator() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:   "https://idp.authpi.com/i_1",
		ClientID:    "c_1",
		RedirectURI: "https://app.example/auth/callback",
		Coordinator: authpiredis.NewCoordinator(rdb, nil),
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client // CreateAgent, Refresh, TokenSource and HTTPClient use it by themselves
}

// A sign-in in one process is one in all of them, and so is a sign-out.
func ExampleNewStore() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL:    "https://idp.authpi.com/i_1",
		ClientID:     "c_1",
		ClientSecret: os.Getenv("CLIENT_SECRET"), // also seals what is stored
		RedirectURI:  "https://app.example/auth/callback",
		Coordinator:  authpiredis.NewCoordinator(rdb, nil),
	})
	if err != nil {
		log.Fatal(err)
	}
	app := authpihttp.New(client, authpiredis.NewStore(rdb, nil), nil)
	mux := http.NewServeMux()
	app.Register(mux)
}
