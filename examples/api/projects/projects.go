// Package projects is the API of examples/api: the projects of organizations, as
// JSON. examples/worker calls it.
package projects

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpihttp"
)

// Bounds of what the API keeps, in memory.
const (
	maxBody     = 4 << 10
	maxName     = 100
	maxProjects = 1000 // of one organization
)

type store struct {
	mu    sync.Mutex // guards byOrg
	byOrg map[string][]string
}

// NewHandler makes the API. Access tokens are the issuer's, made for resource: the
// API's own URL, which clients name when they ask for a token.
func NewHandler(issuerURL, clientID, resource string) (http.Handler, error) {
	client, err := authpi.NewIdpClient(authpi.Config{IssuerURL: issuerURL, ClientID: clientID})
	if err != nil {
		return nil, err
	}
	bearer, err := authpihttp.NewBearer(client, &authpihttp.BearerOptions{
		Resource:             resource,
		AuthorizationServers: []string{issuerURL},
		ScopesSupported:      []string{"projects:read", "projects:write"},
	})
	if err != nil {
		return nil, err
	}
	s := &store{byOrg: map[string][]string{}}
	org := func(r *http.Request) string { return r.PathValue("org") }
	mayRead := authpihttp.RequireAccess("read", "projects", org)
	mayWrite := authpihttp.RequireAccess("write", "projects", org)

	mux := http.NewServeMux()
	mux.Handle(bearer.Metadata())
	mux.Handle("GET /me", bearer.Require(http.HandlerFunc(me)))
	mux.Handle("GET /orgs/{org}/projects", bearer.Require(mayRead(http.HandlerFunc(s.list))))
	mux.Handle("POST /orgs/{org}/projects", bearer.Require(mayWrite(http.HandlerFunc(s.create))))
	return mux, nil
}

// me tells callers how the API sees them.
func me(w http.ResponseWriter, r *http.Request) {
	agent, _ := authpihttp.AgentFrom(r.Context())
	answer(w, http.StatusOK, map[string]any{"id": agent.ID, "type": agent.Type, "organizations": agent.Organizations})
}

func (s *store) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	projects := slices.Clone(s.byOrg[r.PathValue("org")])
	s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"projects": append([]string{}, projects...)})
}

func (s *store) create(w http.ResponseWriter, r *http.Request) {
	var project struct {
		Name string `json:"name"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&project)
	if err != nil || project.Name == "" || len(project.Name) > maxName {
		answer(w, http.StatusBadRequest, map[string]any{"error": "a project is like {\"name\": \"engines\"}"})
		return
	}
	org := r.PathValue("org") // RequireAccess has seen to it that the caller may write there
	s.mu.Lock()
	full := len(s.byOrg[org]) >= maxProjects
	if !full {
		s.byOrg[org] = append(s.byOrg[org], project.Name)
	}
	s.mu.Unlock()
	if full {
		answer(w, http.StatusConflict, map[string]any{"error": "the organization has too many projects"})
		return
	}
	answer(w, http.StatusCreated, project)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error here is the caller's hanging up
}
