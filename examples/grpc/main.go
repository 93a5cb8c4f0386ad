// Command grpc is a gRPC API whose callers, people's apps and machines, show access
// tokens, and two such callers: a user whose tokens are refreshed, and a machine.
//
//	go run ./examples/grpc
//
// It needs nothing: the issuer, the API and its certificate live as long as the program.
// The file to copy is guard/guard.go for a server, and guard/credentials.go for a client.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/signal"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/grpc/guard"
	pb "github.com/authpi/authpi-idp-go/examples/grpc/projectspb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	issuer := newIssuer()
	defer issuer.Close()
	client, err := authpi.NewIdpClient(authpi.Config{
		IssuerURL: issuer.URL, ClientID: issuer.ClientID(), ClientSecret: issuer.ClientSecret(),
		RedirectURI: "http://127.0.0.1/callback", Resources: []string{audience},
	})
	if err != nil {
		return err
	}
	certificate, roots, err := selfSigned()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := newServer(client, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
	go func() { _ = server.Serve(listener) }() // ends with Stop
	defer server.Stop()

	agent, err := signIn(ctx, client, issuer)
	if err != nil {
		return err
	}
	user := client.TokenSource(agent, &authpi.AgentOptions{
		OnRefresh: func(context.Context, authpi.TokenSet) error { return nil }, // to the session store
	})
	machine := client.ClientCredentialsSource([]string{"projects:read"}, audience)
	return errors.Join(
		tour(ctx, out, listener.Addr().String(), roots, "the user", user),
		tour(ctx, out, listener.Addr().String(), roots, "the machine", machine),
	)
}

// tour makes the same calls whoever the tokens are for.
func tour(ctx context.Context, out io.Writer, addr string, roots *x509.CertPool, who string, source oauth2.TokenSource) error {
	conn, err := grpc.NewClient(addr,
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "")),
		grpc.WithPerRPCCredentials(guard.Credentials{Source: source}))
	if err != nil {
		return err
	}
	defer conn.Close()
	api := pb.NewProjectsClient(conn)
	caller, err := api.WhoAmI(ctx, &pb.WhoAmIRequest{})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "%s is %s (%s)\n", who, caller.GetId(), caller.GetType())
	_, err = api.Create(ctx, &pb.Project{Organization: "org_engines", Name: "difference engine"})
	_, _ = fmt.Fprintln(out, "  create in org_engines:   ", status.Code(err))
	_, err = api.List(ctx, &pb.ListRequest{Organization: "org_engines"})
	_, _ = fmt.Fprintln(out, "  list in org_engines:     ", status.Code(err))
	_, err = api.List(ctx, &pb.ListRequest{Organization: "org_observatory"})
	_, _ = fmt.Fprintln(out, "  list in org_observatory: ", status.Code(err))
	return nil
}

// newIssuer knows a user who may write, and a machine that may read.
func newIssuer() *authpitest.Server {
	issuer := authpitest.NewServer(&authpitest.Options{ClientID: "c_worker", ClientSecret: "only for this run"})
	issuer.AddUser(authpitest.User{ID: "usr_ada", Name: "Ada Lovelace", Email: "ada@example.com", EmailVerified: true})
	issuer.SetOrganizations("usr_ada", authpitest.Organization{ID: "org_engines", Title: "Editor", Scopes: []string{"projects:**", "members:read"}})
	issuer.SetOrganizations("agt_worker", authpitest.Organization{ID: "org_engines", Title: "Reader", Scopes: []string{"projects:read"}})
	return issuer
}

// signIn is what a web app does with a browser in between.
func signIn(ctx context.Context, client *authpi.IdpClient, issuer *authpitest.Server) (*authpi.Agent, error) {
	auth, err := client.CreateAuthorizationURL([]string{"openid", "email"}, nil)
	if err != nil {
		return nil, err
	}
	answer, err := issuer.SignIn(auth.URL, "usr_ada")
	if err != nil {
		return nil, err
	}
	callback, err := authpi.ParseCallback(answer)
	if err != nil {
		return nil, err
	}
	return client.ExchangeCallback(ctx, callback, *auth)
}

// selfSigned makes a certificate for loopback, and what trusts it.
func selfSigned() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, nil
}
