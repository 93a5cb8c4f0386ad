package parity_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go"
)

type parityWire struct {
	Client parityClient
	Now    json.Number
	Call   struct {
		Op   string
		Args parityArgs
	}
	Responses []parityReply
	Callbacks struct {
		OnRefresh      string `json:"on_refresh"`
		OnRefreshError string `json:"on_refresh_error"`
	}
}

type parityArgs struct {
	Code         string
	CodeVerifier string `json:"code_verifier"`
	Scopes       []string
	Resources    []string
	Callback     json.RawMessage
	Auth         json.RawMessage
	Tokens       json.RawMessage
	AutoRefresh  *bool `json:"auto_refresh"`
	Token        string
	Hint         string `json:"token_type_hint"`
}

type parityReply struct {
	Status  int
	Headers map[string]string
	Body    string
	BodyHex string `json:"body_hex"`
	Fault   string
}

var errPersistFailed = errors.New("storage is down")

func runParityWire(t *testing.T, c parityCase) any {
	var in parityWire
	parityInput(t, c.Input, &in)
	return runParityScript(t, in)
}

// runParityScript makes the call against the scripted answers and returns what was
// sent, what the callbacks heard and what came out.
func runParityScript(t *testing.T, in parityWire) map[string]any {
	t.Helper()
	script := newParityScript(t, in)
	cfg := in.Client.config()
	cfg.Now, cfg.HTTPClient = parityClock(t, in.Now), &http.Client{Transport: script}
	client, err := authpi.NewIdpClient(cfg)
	var result any
	if err == nil {
		result, err = script.call(t.Context(), client)
	}
	return script.finish(result, err)
}

func (s *parityScript) call(ctx context.Context, client *authpi.IdpClient) (any, error) {
	a := s.in.Call.Args
	switch op := s.in.Call.Op; op {
	case "exchange_code":
		return agentOrError(client.ExchangeCode(ctx, a.Code, a.CodeVerifier, &authpi.ExchangeOptions{Resources: a.Resources}))
	case "exchange_callback":
		var auth authpi.AuthorizationURL
		if err := json.Unmarshal(a.Auth, &auth); err != nil {
			return nil, err
		}
		callback, err := s.callback(a.Callback)
		if err != nil {
			return nil, err
		}
		return agentOrError(client.ExchangeCallback(ctx, callback, auth))
	case "client_credentials":
		return agentOrError(client.ClientCredentials(ctx, a.Scopes, a.Resources...))
	case "create_agent":
		opts := &authpi.AgentOptions{AutoRefresh: parityMode(a.AutoRefresh), Resources: a.Resources, OnRefresh: s.onRefresh()}
		if s.in.Callbacks.OnRefreshError != "" {
			opts.OnRefreshError = s.onRefreshError
		}
		return agentOrError(s.createAgent(ctx, client, opts))
	case "refresh", "get_user_info":
		agent, err := s.createAgent(ctx, client, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
		if err != nil {
			return nil, err
		}
		if op == "get_user_info" {
			info, err := client.UserInfo(ctx, agent)
			if err != nil {
				return nil, err
			}
			return parityUserInfo(info)
		}
		return agentOrError(client.Refresh(ctx, agent, &authpi.RefreshOptions{Resources: a.Resources, OnRefresh: s.onRefresh()}))
	case "revoke_token":
		return nil, client.RevokeToken(ctx, a.Token, a.Hint)
	}
	return nil, fmt.Errorf("unknown call %s", s.in.Call.Op)
}

func (s *parityScript) createAgent(ctx context.Context, client *authpi.IdpClient, opts *authpi.AgentOptions) (*authpi.Agent, error) {
	tokens, err := authpi.ParseTokenSet(s.in.Call.Args.Tokens)
	if err != nil {
		return nil, err
	}
	return client.CreateAgent(ctx, tokens, opts)
}

// callback reads a text, or an object of texts, lists and nulls.
func (s *parityScript) callback(raw json.RawMessage) (url.Values, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return authpi.ParseCallback(text)
	}
	var members map[string]any
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	values := url.Values{}
	for name, member := range members {
		switch member := member.(type) {
		case string:
			values.Add(name, member)
		case []any:
			for _, one := range member {
				values.Add(name, one.(string))
			}
		}
	}
	return values, nil
}

func agentOrError(agent *authpi.Agent, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return parityAgent(agent), nil
}

// parityUserInfo has the issuer's own claims among the others, as Python does.
func parityUserInfo(u *authpi.UserInfo) (any, error) {
	own := map[string]any{}
	var raw json.RawMessage
	if err := u.Claims(&raw); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&own); err != nil {
		return nil, err
	}
	maps.Copy(own, map[string]any{
		"sub": u.Subject, "email": u.Email, "email_verified": u.EmailVerified, "name": u.Name,
		"given_name": u.GivenName, "family_name": u.FamilyName, "picture": u.Picture, "locale": u.Locale,
		"phone_number": u.PhoneNumber, "phone_number_verified": u.PhoneNumberVerified, "org_id": u.OrgID,
		"organizations": parityOrganizations(u.Organizations),
		"created_at":    parityTime(u.CreatedAt), "updated_at": parityTime(u.UpdatedAt),
	})
	return own, nil
}

// parityRequestURL has scheme and host in lower case, as some HTTP clients write
// them.
func parityRequestURL(raw string) any {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return parityURL(u.String())
}

// wantParityWire brings a recorded want into the form in which outcomes are
// compared.
func wantParityWire(want any) any {
	w := want.(map[string]any)
	for _, one := range w["requests"].([]any) {
		request := one.(map[string]any)
		request["url"] = parityRequestURL(request["url"].(string))
		form := map[string]any{}
		pairs, _ := request["form"].([]any)
		for _, pair := range pairs {
			name, value := pair.([]any)[0].(string), pair.([]any)[1]
			list, _ := form[name].([]any)
			form[name] = append(list, value)
		}
		request["form"] = form
		delete(request, "path")
		delete(request, "body")
	}
	for _, one := range w["events"].([]any) {
		delete(one.(map[string]any), "what")
	}
	return want
}

// runParityCallbacks returns what ExchangeCallback sends for a callback.
func runParityCallbacks(t *testing.T, c parityCase) any {
	var in struct {
		Client   parityClient
		Auth     json.RawMessage
		Callback json.RawMessage
	}
	parityInput(t, c.Input, &in)
	var auth struct{ Nonce string }
	parityInput(t, in.Auth, &auth)
	payload, err := json.Marshal(map[string]string{"sub": "usr_cb", "nonce": auth.Nonce})
	if err != nil {
		t.Fatal(err)
	}
	token := "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"
	wire := parityWire{Client: in.Client, Now: "1760000000", Responses: []parityReply{
		{Status: 200, Body: `{"access_token":"at","expires_in":60,"id_token":"` + token + `"}`},
	}}
	wire.Call.Op, wire.Call.Args.Callback, wire.Call.Args.Auth = "exchange_callback", in.Callback, in.Auth
	got := runParityScript(t, wire)
	requests := got["requests"].([]any)
	if err, failed := got["error"].(error); failed {
		if len(requests) > 0 {
			t.Error("a request was sent for a callback that does not hold")
		}
		return parityFailed(err)
	}
	form := requests[0].(map[string]any)["form"].(map[string]any)
	first := func(name string) any { return form[name].([]any)[0] }
	return map[string]any{"sent": map[string]any{
		"code": first("code"), "code_verifier": first("code_verifier"), "redirect_uri": first("redirect_uri"),
		"resources": form["resource"],
	}}
}

// parityRefusedRefresh is a refresh that the issuer refuses in the recorded words.
func parityRefusedRefresh(t *testing.T, c parityCase) any {
	t.Helper()
	var want map[string]any
	parityInput(t, c.Want, &want)
	if want["status_code"] == nil {
		want["status_code"] = json.Number("400") // every answer has one
	}
	status, err := want["status_code"].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"error": want["code"], "error_description": want["description"]})
	if err != nil {
		t.Fatal(err)
	}
	wire := parityWire{
		Client: parityClient{IssuerURL: "https://login.parity.test/i_parity", ClientID: "c_parity"}, Now: "1760000000",
		Responses: []parityReply{{Status: int(status), Body: string(body)}},
	}
	wire.Call.Op = "refresh"
	wire.Call.Args.Tokens = json.RawMessage(`{"access_token":"at-1","expires_at":1760003600,"refresh_token":"rt-1","id_token":"e30.eyJzdWIiOiJ1c3JfMSJ9.c2ln"}`)
	refused, _ := runParityScript(t, wire)["error"].(error)
	if refused == nil {
		t.Fatal("got no error")
	}
	said, _ := want["description"].(string)
	if found := (parityDiff{said: []string{said}}).errors("error", refused, want); len(found) > 0 {
		t.Errorf("got %v", found)
		return parityFailed(refused)
	}
	return parityTree(t, c.Want)
}
