package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/examples/grpc/guard"
	pb "github.com/authpi/authpi-idp-go/examples/grpc/projectspb"
)

// world is the API without a socket, and an issuer without one.
type world struct {
	t      *testing.T
	issuer *authpitest.Server
	api    pb.ProjectsClient
	client *authpi.IdpClient // the API's
}

func newWorld(t *testing.T) *world {
	t.Helper()
	issuer := authpitest.NewInMemory(nil)
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuer.URL, ClientID: issuer.ClientID(), HTTPClient: issuer.Client()})
	if err != nil {
		t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 16)
	server := newServer(client)
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:api",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		issuer.Close()
	})
	return &world{t, issuer, pb.NewProjectsClient(conn), client}
}

// token is one for the API, with scopes in org_1.
func (w *world) token(scopes ...string) string {
	return w.issuer.AccessToken(map[string]any{
		"aud": audience, "organizations": []authpitest.Organization{{ID: "org_1", Scopes: scopes}},
	})
}

// with is a context whose calls carry these values of authorization.
func with(ctx context.Context, values ...string) context.Context {
	md := metadata.MD{}
	md.Set("authorization", values...)
	return metadata.NewOutgoingContext(ctx, md)
}

// want checks a status, and that its detail has the reason.
func want(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("got %v; want %s", err, code)
	}
	if err != nil && strings.Contains(err.Error(), "eyJ") {
		t.Error("the error shows a token")
	}
	if reason == "" {
		return
	}
	for _, detail := range status.Convert(err).Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetReason() == reason {
				return
			}
		case *errdetails.RetryInfo:
			if reason == "RETRY" && d.GetRetryDelay().AsDuration() >= time.Second {
				return
			}
		}
	}
	t.Errorf("got the details %v; want %s", status.Convert(err).Details(), reason)
}

func TestUnary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	reader, writer := w.token("projects:read"), w.token("projects:**")
	list := func(ctx context.Context, org string) error {
		_, err := w.api.List(ctx, &pb.ListRequest{Organization: org})
		return err
	}
	create := func(ctx context.Context, org string) error {
		_, err := w.api.Create(ctx, &pb.Project{Organization: org, Name: "engine"})
		return err
	}
	whoAmI := func(ctx context.Context, _ string) error {
		_, err := w.api.WhoAmI(ctx, &pb.WhoAmIRequest{})
		return err
	}
	for _, tc := range []struct {
		name          string
		call          func(context.Context, string) error
		authorization []string
		org           string
		code          codes.Code
		reason        string
	}{
		{"no token", list, nil, "org_1", codes.Unauthenticated, "INVALID_TOKEN"},
		{"an empty one", list, []string{""}, "org_1", codes.Unauthenticated, "INVALID_TOKEN"},
		{"two tokens", list, []string{"Bearer " + reader, "Bearer " + reader}, "org_1", codes.Unauthenticated, "INVALID_TOKEN"},
		{"another scheme", list, []string{"Basic " + reader}, "org_1", codes.Unauthenticated, "INVALID_TOKEN"},
		{"another API's", list, []string{"Bearer " + w.issuer.AccessToken(map[string]any{"aud": "https://other.example"})}, "org_1", codes.Unauthenticated, "INVALID_TOKEN"},
		{"expired", list, []string{"Bearer " + w.issuer.AccessToken(map[string]any{"aud": audience, "exp": 1})}, "org_1", codes.Unauthenticated, "INVALID_TOKEN"},
		{"no access token", list, []string{"Bearer " + w.issuer.Sign(map[string]any{"iss": w.issuer.URL, "aud": audience, "sub": "x"}, nil)}, "org_1", codes.Unauthenticated, "INVALID_TOKEN"},
		{"reads", list, []string{"Bearer " + reader}, "org_1", codes.OK, ""},
		{"by another case", list, []string{"bearer " + reader}, "org_1", codes.OK, ""},
		{"elsewhere", list, []string{"Bearer " + reader}, "org_2", codes.PermissionDenied, "INSUFFICIENT_SCOPE"},
		{"nowhere", list, []string{"Bearer " + reader}, "", codes.PermissionDenied, "INSUFFICIENT_SCOPE"},
		{"may not write", create, []string{"Bearer " + reader}, "org_1", codes.PermissionDenied, "INSUFFICIENT_SCOPE"},
		{"writes", create, []string{"Bearer " + writer}, "org_1", codes.OK, ""},
		{"anybody", whoAmI, []string{"Bearer " + w.token()}, "", codes.OK, ""},
		{"nobody", whoAmI, nil, "", codes.Unauthenticated, "INVALID_TOKEN"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			want(t, tc.call(with(t.Context(), tc.authorization...), tc.org), tc.code, tc.reason)
		})
	}
}

// A method that was added to the service and not to the rules is closed.
func TestNoRule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := &guard.Guard{Client: w.client, Audience: audience, Rules: map[string]guard.Rule{"/p.S/Known": {}}}
	incoming := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+w.token("projects:**")))
	for method, code := range map[string]codes.Code{"/p.S/Known": codes.OK, "/p.S/Added": codes.PermissionDenied} {
		_, err := g.Unary(incoming, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
			if guard.Caller(ctx).ID != "usr_test" {
				t.Errorf("called as %v", guard.Caller(ctx))
			}
			return nil, nil
		})
		want(t, err, code, map[codes.Code]string{codes.PermissionDenied: "INSUFFICIENT_SCOPE"}[code])
	}
	for _, method := range pb.Projects_ServiceDesc.Methods {
		if _, ok := rules["/"+pb.Projects_ServiceDesc.ServiceName+"/"+method.MethodName]; !ok {
			t.Errorf("%s has no rule", method.MethodName)
		}
	}
	for _, s := range pb.Projects_ServiceDesc.Streams {
		if _, ok := rules["/"+pb.Projects_ServiceDesc.ServiceName+"/"+s.StreamName]; !ok {
			t.Errorf("%s has no rule", s.StreamName)
		}
	}
}

// Without keys nobody is refused for good: the call may be tried again.
func TestKeysCannotBeHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := with(t.Context(), "Bearer "+w.token("projects:read"))
	w.issuer.Inject(authpitest.Fault{Endpoint: "jwks", Status: http.StatusServiceUnavailable, Times: -1})
	_, err := w.api.List(ctx, &pb.ListRequest{Organization: "org_1"})
	want(t, err, codes.Unavailable, "RETRY")
	stream, err := w.api.Watch(ctx, &pb.ListRequest{Organization: "org_1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	want(t, err, codes.Unavailable, "RETRY")
}

// Each message of a stream is held to the rule.
func TestImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tc := range []struct {
		name, scope string
		orgs        []string
		code        codes.Code
	}{
		{"its own", "projects:write", []string{"org_1", "org_1"}, codes.OK},
		{"then another's", "projects:write", []string{"org_1", "org_2"}, codes.PermissionDenied},
		{"may not write", "projects:read", []string{"org_1"}, codes.PermissionDenied},
		{"nothing", "projects:read", nil, codes.OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			stream, err := w.api.Import(with(t.Context(), "Bearer "+w.token(tc.scope)))
			if err != nil {
				t.Fatal(err)
			}
			for _, org := range tc.orgs {
				_ = stream.Send(&pb.Project{Organization: org, Name: tc.name}) // what became of it, Recv says
			}
			got, err := stream.CloseAndRecv()
			want(t, err, tc.code, map[codes.Code]string{codes.PermissionDenied: "INSUFFICIENT_SCOPE"}[tc.code])
			if err == nil && int(got.GetCount()) != len(tc.orgs) {
				t.Errorf("%d taken; want %d", got.GetCount(), len(tc.orgs))
			}
		})
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(with(t.Context(), "Bearer "+w.token("projects:**")))
	defer cancel()
	create := func(name string) {
		t.Helper()
		if _, err := w.api.Create(ctx, &pb.Project{Organization: "org_1", Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	create("first")
	stream, err := w.api.Watch(ctx, &pb.ListRequest{Organization: "org_1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		if name == "second" {
			create(name)
		}
		if got, err := stream.Recv(); err != nil || got.GetName() != name {
			t.Errorf("got %v, %v; want %s", got, err, name)
		}
	}
	cancel()
	_, err = stream.Recv()
	want(t, err, codes.Canceled, "")

	elsewhere, err := w.api.Watch(with(t.Context(), "Bearer "+w.token("projects:**")), &pb.ListRequest{Organization: "org_2"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = elsewhere.Recv()
	want(t, err, codes.PermissionDenied, "INSUFFICIENT_SCOPE")
}

// A stream ends with its token, when clocks may differ no more: the idle one by
// itself, the busy one at its next message. A fresh token opens the next.
func TestStreamsOutliveTheirToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start := time.Now()
		ctx := with(t.Context(), "Bearer "+w.token("projects:**"))
		idle, err := w.api.Watch(ctx, &pb.ListRequest{Organization: "org_1"})
		if err != nil {
			t.Fatal(err)
		}
		busy, err := w.api.Import(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = idle.Recv()
		want(t, err, codes.Unauthenticated, "TOKEN_EXPIRED")
		if lived := time.Since(start); lived < 30*time.Minute || lived > 31*time.Minute {
			t.Errorf("the stream lived %s; want the token's 30m, and 30s", lived)
		}
		_ = busy.Send(&pb.Project{Organization: "org_1", Name: "late"})
		_, err = busy.CloseAndRecv()
		want(t, err, codes.Unauthenticated, "TOKEN_EXPIRED")

		next, err := w.api.Watch(with(t.Context(), "Bearer "+w.token("projects:**")), &pb.ListRequest{Organization: "org_1"})
		if err != nil {
			t.Fatal(err)
		}
		fresh := with(t.Context(), "Bearer "+w.token("projects:**"))
		if _, err := w.api.Create(fresh, &pb.Project{Organization: "org_1", Name: "engine"}); err != nil {
			t.Fatal(err)
		}
		if got, err := next.Recv(); err != nil || got.GetName() != "engine" {
			t.Errorf("with a fresh token: %v, %v", got, err)
		}
	})
}

// A withdrawn key ends the streams that were opened by it, too.
func TestStreamOutlivesItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.issuer.AccessToken(map[string]any{
			"aud": audience, "exp": time.Now().Add(24 * time.Hour).Unix(),
			"organizations": []authpitest.Organization{{ID: "org_1", Scopes: []string{"projects:**"}}},
		})
		stream, err := w.api.Import(with(t.Context(), "Bearer "+token))
		if err != nil {
			t.Fatal(err)
		}
		w.issuer.RotateKeys()
		w.issuer.WithdrawKeys()
		time.Sleep(2 * time.Hour)
		_ = stream.Send(&pb.Project{Organization: "org_1", Name: "engine"})
		_, err = stream.CloseAndRecv()
		want(t, err, codes.Unauthenticated, "INVALID_TOKEN")
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for _, line := range []string{
		"the user is usr_ada (user)", "the machine is agt_worker (agent)",
		"  create in org_engines:    OK", "  create in org_engines:    PermissionDenied",
		"  list in org_observatory:  PermissionDenied",
	} {
		if !slices.Contains(lines, line) {
			t.Errorf("the output lacks %q:\n%s", line, &out)
		}
	}
}

// guard.go is short, and needs no other file of this repository but the SDK.
func TestFileToCopy(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("guard/guard.go")
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines >= 120 {
		t.Errorf("%d lines; want less than 120", lines)
	}
	if bytes.Contains(text, []byte("examples/")) {
		t.Error("it imports a package of the example")
	}
	if said, err := exec.CommandContext(t.Context(), "go", "vet", "guard/guard.go").CombinedOutput(); err != nil {
		t.Errorf("by itself: %v\n%s", err, said)
	}
}
