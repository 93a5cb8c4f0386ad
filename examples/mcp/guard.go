package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	authpi "github.com/authpi/authpi-idp-go"
)

// rule is what a tool asks of its caller: in the token's own scope, which the client
// asked for and the user agreed to, and in the organization that a call names.
type rule struct{ action, resource string }

func (r rule) scope() string { return r.resource + ":" + r.action }

// inScope reports whether the token was issued for this. A client can ask for more.
func (r rule) inScope(agent *authpi.Agent) bool {
	return authpi.HasAccess(strings.Fields(agent.Tokens.Scope), r.action, r.resource)
}

// guard checks the access tokens of an MCP server's callers.
type guard struct {
	client   *authpi.IdpClient
	resource string // the server's URL, which tokens must be made for
	metadata string // URL of the RFC 9728 document
	base     rule   // of every request
	tools    map[string]rule
}

const agentKey = "agent" // in auth.TokenInfo.Extra

// verify is an [auth.TokenVerifier]. The SDK holds a session to one UserID.
func (g *guard) verify(ctx context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	agent, err := g.client.VerifyAccessToken(ctx, token, g.resource)
	switch {
	case errors.Is(err, authpi.ErrInvalidToken):
		return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
	case err != nil:
		return nil, errors.New("the token cannot be verified now; try again")
	}
	return &auth.TokenInfo{
		Scopes: strings.Fields(agent.Tokens.Scope), Expiration: agent.ExpiresAt(),
		UserID: agent.ID, Extra: map[string]any{agentKey: agent},
	}, nil
}

// require lets requests with a good token through to next.
func (g *guard) require(next http.Handler) http.Handler {
	// The SDK's middleware writes the refusals, which refusal completes, and no more.
	verified := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if mine, ok := w.(*refusal); ok {
			w = mine.ResponseWriter
		}
		g.stepUp(next).ServeHTTP(w, r)
	})
	sdk := auth.RequireBearerToken(g.verify, &auth.RequireBearerTokenOptions{
		ResourceMetadataURL: g.metadata, Scopes: []string{g.base.scope()}, ClockSkew: 30 * time.Second,
	})(verified)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sdk.ServeHTTP(&refusal{w, g}, r) })
}

// refusal adds what clients rely on: the error code of a 403, and 503 in place of
// 500 if the issuer's keys are unavailable, which is no reason to end the session.
type refusal struct {
	http.ResponseWriter
	guard *guard
}

func (w *refusal) WriteHeader(status int) {
	switch status {
	case http.StatusForbidden:
		w.Header().Set("WWW-Authenticate", w.guard.challenge(w.guard.base))
	case http.StatusInternalServerError:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	w.ResponseWriter.WriteHeader(status)
}

// challenge is that of RFC 6750 section 3.1: an MCP client then asks for the scope, and
// tries again.
func (g *guard) challenge(r rule) string {
	return fmt.Sprintf(`Bearer error="insufficient_scope", scope=%q, resource_metadata=%q`, r.scope(), g.metadata)
}

const maxBody = 1 << 20

// stepUp answers calls of tools that the token has no scope for with 403, before they
// become an answer of the protocol. inOrganization decides once more.
func (g *guard) stepUp(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, "the request cannot be read", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var call struct {
			Method string `json:"method"`
			Params struct {
				Name string `json:"name"`
			} `json:"params"`
		}
		_ = json.Unmarshal(body, &call) // what is no JSON, the SDK refuses
		agent, _ := auth.TokenInfoFromContext(r.Context()).Extra[agentKey].(*authpi.Agent)
		if needed, ok := g.tools[call.Params.Name]; ok && call.Method == "tools/call" && !needed.inScope(agent) {
			w.Header().Set("WWW-Authenticate", g.challenge(needed))
			http.Error(w, "insufficient scope", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// organized are arguments that name an organization.
type organized interface{ organization() string }

// inOrganization is a tool for callers who may use it in the organization that the
// arguments name. Others get an error of the tool, which a model can read: asking for
// more scope would not make them members.
func inOrganization[In organized, Out any](g *guard, name string, tool func(context.Context, In) (Out, error)) mcp.ToolHandlerFor[In, Out] {
	needed, known := g.tools[name]
	return func(ctx context.Context, req *mcp.CallToolRequest, in In) (*mcp.CallToolResult, Out, error) {
		agent := caller(req)
		if !known || agent == nil || !needed.inScope(agent) || !agent.HasAccessIn(in.organization(), needed.action, needed.resource) {
			var none Out
			return nil, none, fmt.Errorf("insufficient_scope: the caller needs %s in organization %q", needed.scope(), in.organization())
		}
		out, err := tool(ctx, in)
		return nil, out, err
	}
}

// caller is whose token came with a call.
func caller(req *mcp.CallToolRequest) *authpi.Agent {
	if req.Extra == nil || req.Extra.TokenInfo == nil {
		return nil
	}
	agent, _ := req.Extra.TokenInfo.Extra[agentKey].(*authpi.Agent)
	return agent
}
