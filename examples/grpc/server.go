package main

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/examples/grpc/guard"
	pb "github.com/authpi/authpi-idp-go/examples/grpc/projectspb"
)

// audience is the API's identifier, which clients name when they ask for a token.
const audience = "https://projects.example"

// rules say what each method asks of its caller, in the organization that the request
// names. A method that is left out is refused.
var rules = map[string]guard.Rule{
	pb.Projects_WhoAmI_FullMethodName: {},
	pb.Projects_Create_FullMethodName: {Action: "write", Resource: "projects"},
	pb.Projects_List_FullMethodName:   {Action: "read", Resource: "projects"},
	pb.Projects_Watch_FullMethodName:  {Action: "read", Resource: "projects"},
	pb.Projects_Import_FullMethodName: {Action: "write", Resource: "projects"},
}

// newServer makes the API. client needs no secret: tokens are verified by the issuer's
// published keys.
func newServer(client *authpi.IdpClient, opts ...grpc.ServerOption) *grpc.Server {
	g := &guard.Guard{Client: client, Audience: audience, Rules: rules}
	server := grpc.NewServer(append(opts, grpc.ChainUnaryInterceptor(g.Unary), grpc.ChainStreamInterceptor(g.Stream))...)
	pb.RegisterProjectsServer(server, &projects{byOrg: map[string][]*pb.Project{}, changed: make(chan struct{})})
	return server
}

// projects are kept in memory.
type projects struct {
	pb.UnimplementedProjectsServer

	mu      sync.Mutex // guards what follows
	byOrg   map[string][]*pb.Project
	changed chan struct{} // closed at the next change
}

func (p *projects) WhoAmI(ctx context.Context, _ *pb.WhoAmIRequest) (*pb.Caller, error) {
	caller := guard.Caller(ctx)
	return &pb.Caller{Id: caller.ID, Type: string(caller.Type)}, nil
}

func (p *projects) Create(_ context.Context, project *pb.Project) (*pb.Project, error) {
	if project.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "a project needs a name")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	org := project.GetOrganization() // the guard has seen to it that the caller may write there
	if len(p.byOrg[org]) >= 1000 {
		return nil, status.Error(codes.ResourceExhausted, "the organization has too many projects")
	}
	p.byOrg[org] = append(p.byOrg[org], project)
	close(p.changed)
	p.changed = make(chan struct{})
	return project, nil
}

func (p *projects) List(_ context.Context, r *pb.ListRequest) (*pb.ListResponse, error) {
	list, _ := p.since(r.GetOrganization(), 0)
	return &pb.ListResponse{Projects: list}, nil
}

// Watch ends with the caller's token. The client then opens another one.
func (p *projects) Watch(r *pb.ListRequest, out grpc.ServerStreamingServer[pb.Project]) error {
	for sent := 0; ; {
		fresh, changed := p.since(r.GetOrganization(), sent)
		for _, project := range fresh {
			if err := out.Send(project); err != nil {
				return err
			}
		}
		sent += len(fresh)
		select {
		case <-changed:
		case <-out.Context().Done():
			return status.FromContextError(out.Context().Err()).Err()
		}
	}
}

func (p *projects) Import(in grpc.ClientStreamingServer[pb.Project, pb.ImportResponse]) error {
	for count := int32(0); ; count++ {
		project, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&pb.ImportResponse{Count: count})
		}
		if err == nil {
			_, err = p.Create(in.Context(), project)
		}
		if err != nil {
			return err
		}
	}
}

// since returns an organization's projects from the nth on, and what is closed at the
// next change.
func (p *projects) since(org string, n int) ([]*pb.Project, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*pb.Project(nil), p.byOrg[org][n:]...), p.changed
}
