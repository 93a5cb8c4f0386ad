package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	authpi "github.com/authpi/authpi-idp-go"
)

// newHandler makes the MCP server at resource, for example https://mcp.example/mcp, for
// tokens of the client's issuer. The client needs no secret.
func newHandler(client *authpi.IdpClient, issuerURL, resource string) (http.Handler, error) {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" || u.Path == "" {
		return nil, errors.New("the MCP server's URL must be like https://mcp.example/mcp")
	}
	metadataPath := "/.well-known/oauth-protected-resource" + u.Path // RFC 9728 section 3.1
	g := &guard{
		client: client, resource: resource, metadata: u.Scheme + "://" + u.Host + metadataPath,
		base: rule{"read", "projects"},
		tools: map[string]rule{
			"list_projects":  {"read", "projects"},
			"create_project": {"write", "projects"},
		},
	}
	server := newServer(g)
	mux := http.NewServeMux()
	mux.Handle(metadataPath, auth.ProtectedResourceMetadataHandler(&oauthex.ProtectedResourceMetadata{
		Resource: resource, ResourceName: "Projects", AuthorizationServers: []string{issuerURL},
		ScopesSupported: []string{"projects:read", "projects:write"}, BearerMethodsSupported: []string{"header"},
	}))
	sessions := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{SessionTimeout: time.Hour})
	mux.Handle(u.Path, http.NewCrossOriginProtection().Handler(g.require(sessions)))
	return mux, nil
}

type listInput struct {
	Organization string `json:"organization" jsonschema:"ID of the organization, for example org_engines"`
}

type createInput struct {
	Organization string `json:"organization" jsonschema:"ID of the organization, for example org_engines"`
	Name         string `json:"name" jsonschema:"name of the new project"`
}

func (in listInput) organization() string   { return in.Organization }
func (in createInput) organization() string { return in.Organization }

type projectList struct {
	Projects []string `json:"projects"`
}

type identity struct {
	ID            string       `json:"id"`
	Type          string       `json:"type"`
	Organizations []membership `json:"organizations"`
}

type membership struct {
	ID     string   `json:"id"`
	Scopes []string `json:"scopes"`
}

// newServer has three tools: who the caller is, and two for an organization's projects.
func newServer(g *guard) *mcp.Server {
	p := &projects{byOrg: map[string][]string{}}
	server := mcp.NewServer(&mcp.Implementation{Name: "projects", Version: "1.0.0"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "who_am_i", Description: "Who is calling, and what they may do in which organizations"}, whoAmI)
	mcp.AddTool(server, &mcp.Tool{Name: "list_projects", Description: "The projects of an organization"}, inOrganization(g, "list_projects", p.list))
	mcp.AddTool(server, &mcp.Tool{Name: "create_project", Description: "Adds a project to an organization"}, inOrganization(g, "create_project", p.create))
	return server
}

func whoAmI(_ context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, identity, error) {
	agent := caller(req)
	if agent == nil {
		return nil, identity{}, errors.New("nobody is calling")
	}
	is := identity{ID: agent.ID, Type: string(agent.Type), Organizations: []membership{}}
	for _, o := range agent.Organizations {
		is.Organizations = append(is.Organizations, membership{o.ID, append([]string{}, o.Scopes...)})
	}
	return nil, is, nil
}

// projects are kept in memory.
type projects struct {
	mu    sync.Mutex // guards byOrg
	byOrg map[string][]string
}

func (p *projects) list(_ context.Context, in listInput) (projectList, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return projectList{append([]string{}, p.byOrg[in.Organization]...)}, nil
}

func (p *projects) create(_ context.Context, in createInput) (projectList, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.byOrg[in.Organization]
	switch {
	case in.Name == "" || len(in.Name) > 100:
		return projectList{}, errors.New("a project's name has 1 to 100 bytes")
	case slices.Contains(list, in.Name):
		return projectList{}, errors.New("there is such a project already")
	case len(list) >= 1000:
		return projectList{}, errors.New("the organization has too many projects")
	}
	p.byOrg[in.Organization] = append(list, in.Name)
	return projectList{slices.Clone(p.byOrg[in.Organization])}, nil
}
