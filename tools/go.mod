module github.com/authpi/authpi-idp-go/tools

go 1.25.0
