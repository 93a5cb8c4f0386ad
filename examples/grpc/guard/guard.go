// Package guard checks the access tokens of gRPC calls: who is calling, and what they
// may do in the organization that a request names. Copy it into your server.
package guard

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	authpi "github.com/authpi/authpi-idp-go"
)

// Guard accepts tokens for Audience. A method without a rule is refused.
type Guard struct {
	Client   *authpi.IdpClient
	Audience string
	Rules    map[string]Rule // by full method name, for example /pkg.Projects/List
}

// Rule is the access that a request's GetOrganization needs; empty: any good token.
type Rule struct{ Action, Resource string }

type callerKey struct{}

// Caller returns who is calling.
func Caller(ctx context.Context) *authpi.Agent {
	agent, _ := ctx.Value(callerKey{}).(*authpi.Agent)
	return agent
}

// Unary is a [grpc.UnaryServerInterceptor].
func (g *Guard) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	agent, err := g.check(ctx, info.FullMethod, req)
	if err != nil {
		return nil, err
	}
	return handler(context.WithValue(ctx, callerKey{}, agent), req)
}

// Stream is a [grpc.StreamServerInterceptor] that checks the token for each message.
func (g *Guard) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	agent, err := g.check(ss.Context(), info.FullMethod, nil)
	if err != nil {
		return err
	}
	life := agent.ExpiresIn() + 30*time.Second // as authpi.Config.ClockSkew has it
	ctx, cancel := context.WithTimeout(context.WithValue(ss.Context(), callerKey{}, agent), life)
	defer cancel()
	err = handler(srv, &stream{ss, ctx, func(m any) error { _, err := g.check(ctx, info.FullMethod, m); return err }})
	if ctx.Err() != nil && ss.Context().Err() == nil {
		return refuse(codes.Unauthenticated, "the token has expired", &errdetails.ErrorInfo{Reason: "TOKEN_EXPIRED"})
	}
	return err
}

type stream struct {
	grpc.ServerStream
	ctx   context.Context
	check func(message any) error
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.check(m)
}

func (s *stream) SendMsg(m any) error {
	if err := s.check(nil); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// check verifies the token, and holds a request, where there is one, to the rule.
func (g *Guard) check(ctx context.Context, method string, req any) (*authpi.Agent, error) {
	rule, known := g.Rules[method]
	agent, err := g.Client.VerifyAccessToken(ctx, token(ctx), g.Audience)
	switch named, _ := req.(interface{ GetOrganization() string }); {
	case err != nil && ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, authpi.ErrInvalidToken):
		return nil, refuse(codes.Unauthenticated, err.Error(), &errdetails.ErrorInfo{Reason: "INVALID_TOKEN"})
	case err != nil: // the issuer's keys cannot be had
		return nil, refuse(codes.Unavailable, "try again", &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	case !known, rule.Action != "" && req != nil && (named == nil || !agent.HasAccessIn(named.GetOrganization(), rule.Action, rule.Resource)):
		return nil, refuse(codes.PermissionDenied, "the token does not allow this here", &errdetails.ErrorInfo{Reason: "INSUFFICIENT_SCOPE"})
	}
	return agent, nil
}

// token reads the metadata. Where there is no single one it is empty, and refused.
func token(ctx context.Context) string {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if scheme, token, _ := strings.Cut(strings.Join(values, ","), " "); len(values) == 1 && strings.EqualFold(scheme, "Bearer") {
		return token
	}
	return ""
}

// refuse never returns nil.
func refuse(code codes.Code, text string, detail protoadapt.MessageV1) error {
	if s, err := status.New(code, text).WithDetails(detail); err == nil {
		return s.Err()
	}
	return status.Error(code, text)
}
