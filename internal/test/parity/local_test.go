package parity_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go"
)

// parityClient is a client as the cases write it: the Python constructor's
// arguments.
type parityClient struct {
	IssuerURL     string   `json:"issuer_url"`
	ClientID      string   `json:"client_id"`
	ClientSecret  string   `json:"client_secret"`
	RedirectURI   string   `json:"redirect_uri"`
	Resources     []string `json:"resources"`
	AutoRefresh   *bool    `json:"auto_refresh"`
	RefreshBuffer *int     `json:"refresh_buffer_seconds"`
}

func (c parityClient) config() authpi.Config {
	cfg := authpi.Config{
		IssuerURL: c.IssuerURL, ClientID: c.ClientID, ClientSecret: c.ClientSecret,
		RedirectURI: c.RedirectURI, Resources: c.Resources, AutoRefresh: parityMode(c.AutoRefresh),
	}
	if c.RefreshBuffer != nil {
		cfg.RefreshBuffer = time.Duration(*c.RefreshBuffer) * time.Second
		if *c.RefreshBuffer == 0 {
			cfg.RefreshBuffer = -1 // zero is the default here
		}
	}
	return cfg
}

func parityMode(on *bool) authpi.RefreshMode {
	switch {
	case on == nil:
		return authpi.RefreshDefault
	case *on:
		return authpi.RefreshOn
	}
	return authpi.RefreshOff
}

// parityClock is the patched clock; its seconds may have a fraction.
func parityClock(t *testing.T, now json.Number) func() time.Time {
	t.Helper()
	seconds, fraction, _ := strings.Cut(now.String(), ".")
	d, err := time.ParseDuration(seconds + "." + fraction + "s")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(0, 0).Add(d)
	return func() time.Time { return at }
}

func parityFailed(err error) map[string]any { return map[string]any{"error": err} }

func runParityScopes(t *testing.T, c parityCase) any {
	var in struct {
		Op, Scope, Action, Resource string
		Scopes                      []string
	}
	parityInput(t, c.Input, &in)
	if in.Op == "has_access" {
		return authpi.HasAccess(in.Scopes, in.Action, in.Resource)
	}
	scope, ok := authpi.ParseScope(in.Scope)
	if !ok {
		return nil
	}
	return map[string]any{"resource": scope.Resource, "action": scope.Action}
}

// storedAgent makes the agent of a case's stored tokens, without refreshing.
func storedAgent(t *testing.T, c parityCase) (*authpi.Agent, error) {
	t.Helper()
	var in struct {
		Client parityClient
		Now    json.Number
		Tokens json.RawMessage
	}
	parityInput(t, c.Input, &in)
	cfg := in.Client.config()
	cfg.Now, cfg.AutoRefresh = parityClock(t, in.Now), authpi.RefreshOff
	client, err := authpi.NewIdpClient(cfg)
	if err != nil {
		return nil, err
	}
	tokens, err := authpi.ParseTokenSet(in.Tokens)
	if err != nil {
		return nil, err
	}
	return client.CreateAgent(t.Context(), tokens, nil)
}

func runParityIDTokens(t *testing.T, c parityCase) any {
	agent, err := storedAgent(t, c)
	if err != nil {
		return parityFailed(err)
	}
	got := parityAgent(agent)
	delete(got, "tokens")
	return got
}

func runParityAgentAccess(t *testing.T, c parityCase) any {
	agent, err := storedAgent(t, c)
	if err != nil {
		return parityFailed(err)
	}
	var in struct {
		Checks []struct {
			Op   string
			Args []any
		}
	}
	parityInput(t, c.Input, &in)
	answers := []any{}
	for _, check := range in.Checks {
		answers = append(answers, parityAnswer(t, agent, check.Op, check.Args))
	}
	return map[string]any{"id": agent.ID, "type": string(agent.Type), "answers": answers}
}

func parityAnswer(t *testing.T, agent *authpi.Agent, op string, args []any) any {
	t.Helper()
	text := func(i int) string { return args[i].(string) }
	switch op {
	case "expires_at":
		return parityNumber(agent.ExpiresAt().Unix())
	case "expires_in":
		return parityNumber(int64(agent.ExpiresIn() / time.Second))
	case "is_expired":
		if len(args) == 0 {
			return agent.IsExpired()
		}
		seconds, err := args[0].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		return agent.ExpiresWithin(time.Duration(seconds) * time.Second)
	case "has_access":
		return agent.HasAccess(text(0), text(1))
	case "has_access_in":
		return agent.HasAccessIn(text(0), text(1), text(2))
	case "is_owner_of":
		return agent.IsOwnerOf(text(0))
	case "is_admin_of":
		return agent.IsAdminOf(text(0))
	case "is_member_of":
		return agent.IsMemberOf(text(0))
	case "get_scopes_for":
		return parityTexts(agent.ScopesFor(text(0)))
	}
	t.Fatalf("unknown check %s", op)
	return nil
}

func runParityTokenSets(t *testing.T, c parityCase) any {
	var in struct {
		Model  string
		Stored json.RawMessage
	}
	parityInput(t, c.Input, &in)
	var want struct {
		Compact string `json:"compact_json"`
		Dumps   string `json:"dumps_json"`
	}
	parityInput(t, c.Want, &want)
	if in.Model == "authorization_url" {
		return parityStoredLogin(t, in.Stored, want.Compact, want.Dumps)
	}
	set, err := authpi.ParseTokenSet(in.Stored)
	if err != nil {
		var into authpi.TokenSet
		if unmarshalErr := json.Unmarshal(in.Stored, &into); unmarshalErr == nil {
			t.Error("ParseTokenSet refuses what UnmarshalJSON takes")
		}
		return parityFailed(err)
	}
	text, err := set.MarshalJSON()
	if err != nil {
		return parityFailed(err)
	}
	got := map[string]any{"dump": parityTokens(set), "compact_json": string(text)}
	// An optional field that is empty is null here.
	compact := want.Compact
	for _, name := range []string{"refresh_token", "id_token", "subject_hint", "scope"} {
		compact = strings.Replace(compact, `"`+name+`":""`, `"`+name+`":null`, 1)
	}
	if string(text) == compact {
		got["compact_json"] = want.Compact
	}
	// Both of Python's texts must read back as the same set.
	for _, stored := range []string{want.Compact, want.Dumps} {
		if again, err := authpi.ParseTokenSet([]byte(stored)); err == nil && again == set {
			got["dumps_json"] = want.Dumps
			continue
		}
		got["dumps_json"] = "cannot be read back: " + stored
		break
	}
	return got
}

func parityStoredLogin(t *testing.T, stored []byte, compact, dumps string) any {
	t.Helper()
	var auth authpi.AuthorizationURL
	if err := json.Unmarshal(stored, &auth); err != nil {
		return parityFailed(err)
	}
	text, err := auth.MarshalJSON()
	if err != nil {
		return parityFailed(err)
	}
	got := map[string]any{"dump": parityLogin(auth), "compact_json": string(text), "dumps_json": dumps}
	for _, stored := range []string{compact, dumps} {
		var again authpi.AuthorizationURL
		err := json.Unmarshal([]byte(stored), &again)
		if err != nil || fmt.Sprint(parityLogin(again)) != fmt.Sprint(parityLogin(auth)) {
			got["dumps_json"] = "cannot be read back: " + stored
		}
	}
	return got
}

func parityLogin(auth authpi.AuthorizationURL) map[string]any {
	return map[string]any{
		"url": auth.URL, "code_verifier": auth.CodeVerifier, "state": auth.State, "nonce": auth.Nonce,
		"resources": parityTexts(auth.Resources),
	}
}

// runParityAuthorizationURLs compares everything but the random texts: those must
// be as long as 32 bytes are in base64url, the challenge the verifier's, and each
// must stand in the URL as it came out.
func runParityAuthorizationURLs(t *testing.T, c parityCase) any {
	var in struct {
		Client parityClient
		Args   struct {
			Scopes            []string
			State, Nonce, Org string
			Resources         []string
		}
	}
	parityInput(t, c.Input, &in)
	var want map[string]any
	parityInput(t, c.Want, &want)
	client, err := authpi.NewIdpClient(in.Client.config())
	if err != nil {
		return parityFailed(err)
	}
	auth, err := client.CreateAuthorizationURL(in.Args.Scopes, &authpi.AuthorizationOptions{
		State: in.Args.State, Nonce: in.Args.Nonce, Org: in.Args.Org, Resources: in.Args.Resources,
	})
	if err != nil {
		return parityFailed(err)
	}
	got := parityLogin(*auth)
	digest := sha256.Sum256([]byte(auth.CodeVerifier))
	got["code_challenge"] = base64.RawURLEncoding.EncodeToString(digest[:])
	drawn := map[string]bool{"code_verifier": true, "code_challenge": true, "state": in.Args.State == "", "nonce": in.Args.Nonce == ""}
	link := auth.URL
	for name, isDrawn := range drawn {
		recorded, ok := want[name].(string)
		if !isDrawn || !ok {
			continue
		}
		text := got[name].(string)
		if raw, err := base64.RawURLEncoding.DecodeString(text); err != nil || len(raw) != 32 {
			t.Errorf("%s is %q; want 32 bytes in base64url", name, text)
		}
		if name != "code_verifier" && strings.Count(link, name+"="+text) != 1 {
			t.Errorf("the URL does not have the %s that came out", name)
		}
		link = strings.Replace(link, text, recorded, 1)
		got[name] = recorded
	}
	if raw, ok := want["url"].(string); ok && fmt.Sprint(parityURL(link)) == fmt.Sprint(parityURL(raw)) {
		link = raw
	}
	got["url"] = link
	return got
}

func runParityConfig(t *testing.T, c parityCase) any {
	var in struct{ Client parityClient }
	parityInput(t, c.Input, &in)
	client, err := authpi.NewIdpClient(in.Client.config())
	if err != nil {
		return parityFailed(err)
	}
	link, err := client.CreateLogoutURL(nil)
	if err != nil {
		return parityFailed(err)
	}
	return map[string]any{"accepted": true, "logout_url": link}
}

func runParityLogoutURLs(t *testing.T, c parityCase) any {
	var in struct {
		Client  parityClient
		Options *struct {
			IDTokenHint           string `json:"id_token_hint"`
			PostLogoutRedirectURI string `json:"post_logout_redirect_uri"`
			State                 string
		}
	}
	parityInput(t, c.Input, &in)
	client, err := authpi.NewIdpClient(in.Client.config())
	if err != nil {
		return err
	}
	var opts *authpi.LogoutOptions
	if in.Options != nil {
		opts = &authpi.LogoutOptions{
			IDTokenHint: in.Options.IDTokenHint, PostLogoutRedirectURI: in.Options.PostLogoutRedirectURI, State: in.Options.State,
		}
	}
	link, err := client.CreateLogoutURL(opts)
	if err != nil {
		return err
	}
	var want string
	parityInput(t, c.Want, &want)
	if fmt.Sprint(parityURL(link)) == fmt.Sprint(parityURL(want)) {
		return want
	}
	return link
}

// runParityErrors returns what each Python class is here: a sentinel that matches
// by code, one of the error types, or what a refresh makes of such an answer.
func runParityErrors(t *testing.T, c parityCase) any {
	var in struct {
		Class string
		Args  []any
	}
	parityInput(t, c.Input, &in)
	var want struct {
		Code        string
		Description string
		Ancestors   []string
		Status      *int `json:"status_code"`
	}
	parityInput(t, c.Want, &want)
	sentinel := paritySentinels[in.Class]
	var err error
	switch {
	case in.Class == "ConfigurationError":
		err = &authpi.ConfigurationError{Field: "Field", Reason: in.Args[0].(string)}
		if !strings.Contains(err.Error(), in.Args[0].(string)) {
			t.Errorf("got %q; want the reason in it", err)
		}
	case in.Class == "SubjectMismatchError":
		err = &authpi.SubjectMismatchError{Expected: in.Args[0].(string), Actual: in.Args[1].(string)}
	case in.Class == "RefreshError":
		return parityRefusedRefresh(t, c)
	default:
		err = &authpi.OAuthError{Code: want.Code, Description: want.Description}
		if !strings.Contains(err.Error(), want.Description) {
			t.Errorf("got %q; want the description in it", err)
		}
	}
	if sentinel != nil && !errors.Is(err, sentinel) {
		t.Errorf("%v does not match its sentinel", err)
	}
	for class, other := range paritySentinels {
		if other != nil && other != sentinel && errors.Is(err, other) {
			t.Errorf("%v matches the sentinel of %s", err, class)
		}
	}
	var e *authpi.OAuthError
	if isOAuth := errors.As(err, &e); isOAuth != (in.Class == "OAuthError" || slices.Contains(want.Ancestors, "OAuthError")) {
		t.Errorf("as *OAuthError: got %t", isOAuth)
	}
	return parityCompareClass(t, c, err)
}

// parityCompareClass compares err with the recorded error itself, which in
// errors.json is the whole want.
func parityCompareClass(t *testing.T, c parityCase, err error) any {
	t.Helper()
	want := parityTree(t, c.Want)
	if found := (parityDiff{}).errors("error", err, want); len(found) > 0 {
		return parityFailed(err)
	}
	return want
}
