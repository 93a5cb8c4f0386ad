module github.com/authpi/authpi-idp-go/authpiredis

go 1.26.0

require github.com/redis/go-redis/v9 v9.22.0

require (
	github.com/coreos/go-oidc/v3 v3.21.0 // indirect
	github.com/go-jose/go-jose/v4 v4.1.9 // indirect
	golang.org/x/oauth2 v0.38.0 // indirect
)

require (
	github.com/authpi/authpi-idp-go v0.1.0
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
)

replace github.com/authpi/authpi-idp-go => ../
