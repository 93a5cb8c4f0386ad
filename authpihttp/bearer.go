package authpihttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/bearer"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/intent"
)

// Bearer guards an API: requests must carry an access token of the issuer's, in the
// header Authorization: Bearer (RFC 6750). It is safe for concurrent use.
type Bearer struct {
	client   *authpi.IdpClient
	opts     BearerOptions
	metadata string // URL of the metadata document; empty: none
	skew     time.Duration
	now      func() time.Time
}

// BearerOptions configure a [Bearer]. A nil *BearerOptions takes tokens that were
// made for the client itself.
type BearerOptions struct {
	// Resource is this API's identifier, which clients name when they ask for a
	// token (RFC 8707): an https URL, for example https://api.example.com, or http
	// on loopback. Refusals then name the API's metadata (RFC 9728); see
	// [Bearer.Metadata].
	Resource string
	// Audience, or any of Audiences, must be among the token's. Both empty:
	// Resource, or the client ID where that is empty, too.
	Audience  string
	Audiences []string
	// AccessTokensCarryLoginTime says that auth_time of the issuer's access tokens
	// is when the user signed in; at AuthPI it is when the token was made. See
	// [Bearer.RequireRecent].
	AccessTokensCarryLoginTime bool
	// Realm is what refusals call the API. Empty: "api".
	Realm string
	// Scopes must all be in the token's own scope.
	Scopes []string
	// ScopesSupported and AuthorizationServers, the issuer URLs, are for the
	// metadata. Without ScopesSupported it lists Scopes. AuthorizationServers has no
	// default: set it with Resource, to the client's IssuerURL, or the metadata does
	// not say where to get a token.
	ScopesSupported, AuthorizationServers []string
	// Error writes the body of a refusal. Nil: JSON with error and
	// error_description, and a line in [slog.Default] for each 5xx.
	Error ErrorFunc
}

// NewBearer makes a guard that verifies tokens by client, which needs neither secret
// nor RedirectURI for that. It makes no request. It returns an
// [*authpi.ConfigurationError] for a Resource that is no such URL and for an empty
// text in Audiences, and an error without a client. A nil opts is fine.
func NewBearer(client *authpi.IdpClient, opts *BearerOptions) (*Bearer, error) {
	if client == nil {
		return nil, errNoClient
	}
	var facts endpoint.Facts
	client.Facts(&facts)
	b := &Bearer{client: client, skew: facts.ClockSkew, now: facts.Now}
	if opts != nil {
		b.opts = *opts
	}
	o := &b.opts
	o.Scopes = slices.Clone(o.Scopes)
	o.ScopesSupported = slices.Clone(o.ScopesSupported)
	o.AuthorizationServers = slices.Clone(o.AuthorizationServers)
	if o.ScopesSupported == nil {
		o.ScopesSupported = o.Scopes
	}
	o.Audiences = slices.Clone(o.Audiences)
	if slices.Contains(o.Audiences, "") { // the client would take it for its own ID
		return nil, &authpi.ConfigurationError{Field: "Audiences", Reason: "must hold no empty text"}
	}
	if o.Audience != "" || len(o.Audiences) == 0 {
		o.Audiences = append(o.Audiences, cmp.Or(o.Audience, o.Resource))
	}
	if o.Realm == "" {
		o.Realm = "api"
	}
	if o.Resource == "" {
		return b, nil
	}
	var ok bool
	if b.metadata, ok = bearer.MetadataURL(o.Resource); !ok {
		return nil, &authpi.ConfigurationError{Field: "Resource", Reason: "must be an absolute https URL without fragment (RFC 9728 section 1.2), or http on loopback"}
	}
	return b, nil
}

// Require lets requests with a good token through, and puts its Agent into the
// context; see [AgentFrom] and [RequireAccess].
//
// Others are refused by RFC 6750 section 3: 401 for no token or a bad one, 400 for a
// request that shows its token in another way, 403 for a token without the scopes.
// If the issuer's keys are unavailable it is 503 with Retry-After. A CORS preflight,
// which carries no token, passes; its answer has no body.
func (b *Bearer) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if intent.PassPreflight(next, w, r) {
			return
		}
		token, malformed := bearer.Token(r)
		switch {
		case malformed != "":
			b.refuse(w, r, malformedRequest(malformed))
			return
		case token == "": // asked for one, without an error code (RFC 6750 section 3.1)
			b.refuse(w, r, refusal{status: http.StatusUnauthorized, cause: ErrNotSignedIn})
			return
		}
		agent, err := b.verify(r.Context(), token)
		switch {
		case err != nil && !bearer.IsToken(token):
			b.refuse(w, r, malformedRequest(bearer.NoToken))
			return
		case err != nil:
			b.refuse(w, r, refusalFor(err))
			return
		}
		for _, scope := range b.opts.Scopes {
			if !agent.HasScope(scope) {
				if slog.Default().Enabled(r.Context(), slog.LevelDebug) {
					logForbidden(r.Context(), agent, strings.Fields(agent.Tokens.Scope), "wanted", strings.Join(b.opts.Scopes, " "))
				}
				b.forbid(w, r, strings.Join(b.opts.Scopes, " "))
				return
			}
		}
		caller{agent: agent, forbid: b.forbid}.serve(next, w, r)
	})
}

// verify goes on to the next audience where nothing else was wrong with the token.
func (b *Bearer) verify(ctx context.Context, token string) (agent *authpi.Agent, err error) {
	for _, audience := range b.opts.Audiences {
		agent, err = b.client.VerifyAccessToken(ctx, token, audience)
		var oauth *authpi.OAuthError
		if !errors.As(err, &oauth) || !strings.HasPrefix(oauth.Description, "aud: ") {
			break
		}
	}
	return agent, err
}

func (b *Bearer) forbid(w http.ResponseWriter, r *http.Request, scope string) {
	description := "the token does not allow this here"
	if scope == "" {
		description = "the token names no membership in this organization"
	}
	b.refuse(w, r, refusal{
		status: http.StatusForbidden, code: "insufficient_scope",
		description: description, scope: scope, cause: ErrForbidden,
	})
}

// refusal is an answer of RFC 6750 section 3.1. Without a code it only asks for a
// token.
type refusal struct {
	status                   int
	code, description, scope string
	acr, maxAge              string // of RFC 9470
	cause                    error
}

func malformedRequest(why string) refusal {
	return refusal{status: http.StatusBadRequest, code: "invalid_request", description: why,
		cause: fmt.Errorf("authpihttp: bearer token: %s", why)}
}

func refusalFor(err error) refusal {
	var oauth *authpi.OAuthError
	if errors.Is(err, authpi.ErrInvalidToken) && errors.As(err, &oauth) {
		return refusal{status: http.StatusUnauthorized, code: "invalid_token", description: oauth.Description, cause: err}
	}
	if errors.As(err, &oauth) {
		return refusal{status: http.StatusServiceUnavailable, cause: err} // no keys to verify by
	}
	return refusal{status: http.StatusInternalServerError, cause: err}
}

func (b *Bearer) refuse(w http.ResponseWriter, r *http.Request, why refusal) {
	noStore(w)
	switch why.status {
	case http.StatusServiceUnavailable:
		setRetryAfter(w, why.cause)
	case http.StatusInternalServerError:
	default:
		w.Header().Set("WWW-Authenticate", b.challenge(why))
	}
	if b.opts.Error != nil {
		b.opts.Error(w, r, why.status, why.cause)
		return
	}
	if why.status >= http.StatusInternalServerError {
		logFailure(r, why.status, why.cause)
	}
	text := messageOf(why.status, why.cause)
	if why.code != "" {
		text.code, text.message = why.code, bearer.Quotable(why.description)
	}
	writeJSON(w, why.status, errorBody{text.code, text.message})
}

func (b *Bearer) challenge(why refusal) string {
	return bearer.Challenge(b.opts.Realm, [2]string{"error", why.code}, [2]string{"error_description", why.description},
		[2]string{"scope", why.scope}, [2]string{"acr_values", why.acr}, [2]string{"max_age", why.maxAge},
		[2]string{"resource_metadata", b.metadata})
}
