// Package bench measures authpi side by side with the libraries that do the same
// work, in one process and in one run. internal/bench/run.sh runs it in rounds and
// writes docs/review/performance.md.
//
// Every contender stands in one file with the others of its row: authurl.go,
// stored.go, guarded.go, verify.go, scopes.go, source.go, exchange.go, forged.go,
// refresh.go. The tests make sure that all of them give the same answers before any
// is timed.
package bench

// Sizes are the numbers of organizations that the rows are measured at.
var Sizes = []int{1, 10, 100, 1000}

// Names of the contenders, the same in every row.
const (
	Ours      = "authpi"
	Floor     = "encoding-json"
	Signature = "signature"
	OAuth2    = "x-oauth2"
	GoOIDC    = "go-oidc"
	Zitadel   = "zitadel"
	GolangJWT = "golang-jwt"
	JWX       = "jwx"
	GoJOSE    = "go-jose"
	Casbin    = "casbin"
	OPA       = "opa"
	OPAInput  = "opa-input"
	PlainLoop = "plain-loop"
	ByHand    = "by-hand"
)
