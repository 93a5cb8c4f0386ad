package docs

import (
	"context"
	"errors"
	"net/http"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// verify does by hand what Bearer does, for transports other than net/http.
func verify(ctx context.Context, client *authpi.IdpClient, token, org string) (status int) {
	agent, err := client.VerifyAccessToken(ctx, token, "https://api.example.com")
	switch {
	case errors.Is(err, authpi.ErrInvalidToken):
		return http.StatusUnauthorized
	case err != nil: // the issuer's keys are unavailable
		return http.StatusServiceUnavailable
	case !agent.HasAccessIn(org, "read", "projects"):
		return http.StatusForbidden
	}
	return http.StatusOK
}

// callAPI calls another service for the user of this request.
func callAPI(r *http.Request, client *authpi.IdpClient, app *authpihttp.App) (*http.Response, error) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	api := client.HTTPClient(agent, app.AgentOptions(r))
	out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "https://api.example.com/orgs/org_engines/projects", nil)
	if err != nil {
		return nil, err
	}
	return api.Do(out)
}
