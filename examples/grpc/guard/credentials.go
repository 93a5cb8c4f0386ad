package guard

import (
	"context"
	"errors"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	authpi "github.com/authpi/authpi-idp-go"
)

// Credentials attach the token of a source to each call: those of a user
// ([authpi.IdpClient.TokenSource]) or of a machine
// ([authpi.IdpClient.ClientCredentialsSource]). They are for
// [google.golang.org/grpc.WithPerRPCCredentials], and for encrypted connections
// only.
//
// A failed call says whether to sign in again (Unauthenticated) or to try again
// (Unavailable); grpc's own credentials/oauth says Unauthenticated for both.
type Credentials struct{ Source oauth2.TokenSource }

// GetRequestMetadata returns the header of a call.
func (c Credentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := c.Source.Token()
	var said *authpi.OAuthError
	switch {
	case authpi.SessionEnded(err):
		return nil, refuse(codes.Unauthenticated, err.Error(), &errdetails.ErrorInfo{Reason: "SESSION_ENDED"})
	case errors.As(err, &said) && (said.StatusCode == 0 || said.StatusCode == 429 || said.StatusCode >= 500):
		return nil, refuse(codes.Unavailable, err.Error(), &errdetails.RetryInfo{RetryDelay: durationpb.New(max(said.RetryAfter, time.Second))})
	case err != nil: // the client's secret, or what it may ask for
		return nil, status.Error(codes.Internal, err.Error())
	}
	return map[string]string{"authorization": token.Type() + " " + token.AccessToken}, nil
}

// RequireTransportSecurity keeps tokens off connections that others can read.
func (c Credentials) RequireTransportSecurity() bool { return true }
