module github.com/authpi/authpi-idp-go/examples

go 1.25.0

require github.com/authpi/authpi-idp-go v0.0.0

require (
	github.com/go-jose/go-jose/v4 v4.1.8 // indirect
	golang.org/x/oauth2 v0.36.0 // indirect
)

replace github.com/authpi/authpi-idp-go => ../
