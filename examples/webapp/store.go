package main

import (
	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// store is where sign-ins are kept. Processes that share one let a single one of
// them spend a refresh token.
type store struct {
	signIns authpihttp.Store // nil: in memory
	refresh authpi.RefreshCoordinator
}
