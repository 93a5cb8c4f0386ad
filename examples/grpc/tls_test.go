package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/grpc/guard"
	pb "github.com/authpi/authpi-idp-go/examples/grpc/projectspb"
)

// secured is the API over TLS, with its issuer and a client.
type secured struct {
	t      *testing.T
	issuer *authpitest.Server
	client *authpi.IdpClient
	addr   string
	dial   grpc.DialOption
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	issuer := newIssuer()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: issuer.ClientID(), ClientSecret: issuer.ClientSecret(), Now: issuer.Now,
		RedirectURI: "http://127.0.0.1/callback", Resources: []string{audience},
	})
	if err != nil {
		t.Fatal(err)
	}
	certificate, roots, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(client, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		issuer.Close()
	})
	return &secured{t, issuer, client, listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, ""))}
}

// api calls with the tokens of a source.
func (s *secured) api(source oauth2.TokenSource) pb.ProjectsClient {
	s.t.Helper()
	conn, err := grpc.NewClient(s.addr, s.dial, grpc.WithPerRPCCredentials(guard.Credentials{Source: source}))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return pb.NewProjectsClient(conn)
}

func (s *secured) user(onRefresh func(authpi.TokenSet)) oauth2.TokenSource {
	s.t.Helper()
	agent, err := signIn(s.t.Context(), s.client, s.issuer)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.client.TokenSource(agent, &authpi.AgentOptions{OnRefresh: func(_ context.Context, tokens authpi.TokenSet) error {
		onRefresh(tokens)
		return nil
	}})
}

var list = &pb.ListRequest{Organization: "org_engines"}

// Calls go on when the token has expired: one refresh for all of them.
func TestCredentialsRefresh(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	var stored atomic.Int32
	api := s.api(s.user(func(authpi.TokenSet) { stored.Add(1) }))
	if _, err := api.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	s.issuer.Advance(time.Hour)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := api.List(t.Context(), list); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if requests := s.issuer.Grants("refresh_token"); requests != 1 || stored.Load() == 0 {
		t.Errorf("%d refreshes, stored %d times; want one, and stored", requests, stored.Load())
	}
}

func TestMachineOverTLS(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	api := s.api(s.client.ClientCredentialsSource([]string{"projects:read"}, audience))
	who, err := api.WhoAmI(t.Context(), &pb.WhoAmIRequest{})
	if err != nil || who.GetId() != "agt_worker" || who.GetType() != "agent" {
		t.Errorf("got %v, %v", who, err)
	}
	s.issuer.Advance(6 * time.Minute)
	if _, err := api.List(t.Context(), list); err != nil {
		t.Error(err)
	}
	if got := s.issuer.Grants("client_credentials"); got != 2 {
		t.Errorf("%d tokens were asked for; want one for each five minutes", got)
	}
}

// A call that has no token says whether another login helps, or another try.
func TestCredentialsFail(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		source func(*secured) oauth2.TokenSource
		before func(*secured)
		code   codes.Code
		reason string
	}{
		{"the session has ended", (*secured).aUser, func(s *secured) { s.issuer.EndSession("usr_ada") }, codes.Unauthenticated, "SESSION_ENDED"},
		{"the issuer is away", (*secured).aUser, func(s *secured) {
			s.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: http.StatusServiceUnavailable, Times: -1})
		}, codes.Unavailable, "RETRY"},
		{"the issuer is busy", (*secured).aUser, func(s *secured) {
			s.issuer.Inject(authpitest.Fault{Endpoint: "token", Status: http.StatusTooManyRequests, RetryAfter: "7", Times: -1})
		}, codes.Unavailable, "RETRY"},
		{"another secret", func(s *secured) oauth2.TokenSource {
			return s.client.ClientCredentialsSource(nil, audience)
		}, func(s *secured) { s.issuer.AddClient(authpitest.Client{ID: "c_worker", Secret: "other"}) }, codes.Internal, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSecured(t)
			api := s.api(tc.source(s))
			tc.before(s)
			s.issuer.Advance(time.Hour)
			_, err := api.List(t.Context(), list)
			want(t, err, tc.code, tc.reason)
		})
	}
}

func (s *secured) aUser() oauth2.TokenSource { return s.user(func(authpi.TokenSet) {}) }

// Tokens never leave over a connection that others can read.
func TestNoTokenInTheClear(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	_, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(guard.Credentials{Source: s.aUser()}))
	if err == nil {
		t.Error("a connection in the clear was taken")
	}
}
