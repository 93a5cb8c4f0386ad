module github.com/authpi/authpi-idp-go/internal/tools

go 1.26.0
