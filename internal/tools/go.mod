module github.com/authpi/authpi-idp-go/internal/tools

go 1.25.0
