package authpiredis_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpiredis"
)

func ExampleNewCoordinator() {
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

func ExampleNewStore() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	store := authpiredis.NewStore(rdb, nil)

	ctx := context.Background()
	read, found, err := store.FindCtx(ctx, "key")
	if err != nil || !found {
		log.Fatal("nothing there: ", err)
	}
	written, err := store.CommitIf(ctx, "key", read, []byte("next"), time.Now().Add(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	if !written {
		fmt.Println("another process has changed or deleted it meanwhile")
	}
}
