package refusals_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// scene is where an input of the refusal table comes about. Its fields hold what a
// row wants changed, in the order in which things happen.
type scene struct {
	t       *testing.T
	clock   *testkit.Clock
	options authpitest.Options
	config  []func(*authpi.Config)
	login   authpi.AuthorizationOptions

	callback []func(*login)
	before   []testkit.Change                 // the ID token of the login, in a refresh
	token    []testkit.Change                 // claims and header, before the issuer signs
	key      *testkit.RawKey                  // of the test's own, which signs in the issuer's stead
	raw      []func(*rawToken)                // what key signs, and how
	jwk      []func(jwk map[string]any)       // key as it is published
	beside   []any                            // JWKs that are published with it
	bodies   map[string][]func(string) string // answers by endpoint, once they are made
	request  []func(*http.Request)            // to an API

	issuer  *authpitest.Server
	client  *authpi.IdpClient
	signed  string       // the last token by key, before anybody changed its text
	api     http.Handler // that the app serves
	ended   int          // sessions that a logout has ended
	secrets []string     // that no error may show
}

// login is a login on its way back from the issuer.
type login struct {
	*scene
	callback url.Values
	auth     *authpi.AuthorizationURL
}

// rawToken is a token as the test's own key signs it.
type rawToken struct {
	key             testkit.RawKey
	header, payload string
	access          string // the access token beside it, if any
	signed          []func(string) string
}

func newScene(t *testing.T) *scene {
	return &scene{t: t, clock: testkit.NewClock(), bodies: map[string][]func(string) string{}}
}

func inConfig(f func(*authpi.Config)) edit { return func(s *scene) { s.config = append(s.config, f) } }

func inIssuer(f func(*authpitest.Options)) edit { return func(s *scene) { f(&s.options) } }

func inToken(changes ...testkit.Change) edit {
	return func(s *scene) { s.token = append(s.token, changes...) }
}

func inBody(endpoint string, f func(string) string) edit {
	return func(s *scene) { s.bodies[endpoint] = append(s.bodies[endpoint], f) }
}

// inJSON changes a JSON object that an endpoint answers.
func inJSON(endpoint string, f func(map[string]any)) edit { return inBody(endpoint, asJSON(f)) }

func asJSON(f func(map[string]any)) func(string) string {
	return func(body string) string {
		var members map[string]any
		if err := json.Unmarshal([]byte(body), &members); err != nil {
			panic(err)
		}
		f(members)
		return testkit.JSON(members)
	}
}

// setting is for inJSON: one member, or with nil one less.
func setting(name string, value any) func(map[string]any) {
	return func(members map[string]any) {
		members[name] = value
		if value == nil {
			delete(members, name)
		}
	}
}

// ownKey lets a key of the test's own sign for alg. The issuer publishes it.
func ownKey(alg string) edit {
	return func(s *scene) {
		key := testkit.NewRawKeyFor(s.t, alg)
		s.key = &key
		s.config = append(s.config, func(cfg *authpi.Config) { cfg.SigningAlgorithms = []string{"ES256", alg} })
	}
}

// hide notes what no error may show.
func (s *scene) hide(secrets ...string) {
	for _, secret := range secrets {
		if len(secret) > 12 {
			s.secrets = append(s.secrets, secret)
		}
	}
}

func (s *scene) start() {
	s.options.Now = s.clock.Now
	s.issuer = testkit.NewIssuer(s.t, &s.options)
	s.client = testkit.NewClient(s.t, s.issuer, func(cfg *authpi.Config) {
		cfg.Now = s.clock.Now
		for _, change := range s.config {
			change(cfg)
		}
	})
	if s.key != nil { // before what the row does to the set
		s.bodies["jwks"] = append([]func(string) string{asJSON(s.publish)}, s.bodies["jwks"]...)
	}
	for _, endpoint := range []string{"discovery", "jwks", "userinfo"} {
		if edits := s.bodies[endpoint]; edits != nil {
			s.issuer.Inject(authpitest.Fault{Endpoint: endpoint, Times: -1, Malform: chained(edits)})
		}
	}
}

// publish puts the test's own key into the issuer's set.
func (s *scene) publish(set map[string]any) {
	jwk := s.key.JWK()
	for _, change := range s.jwk {
		change(jwk)
	}
	set["keys"] = append(append(set["keys"].([]any), jwk), s.beside...)
}

func chained(edits []func(string) string) func([]byte) []byte {
	return func(body []byte) []byte {
		text := string(body)
		for _, edit := range edits {
			text = edit(text)
		}
		return []byte(text)
	}
}

// spoil lets the next token answer be what the scene wants.
func (s *scene) spoil(grant string) {
	fault := authpitest.Fault{Endpoint: "token", Grant: grant}
	edits := s.bodies["token"]
	if s.key == nil {
		fault.IDToken = testkit.Both(s.token...)
	} else {
		edits = append([]func(string) string{asJSON(s.forgeAnswer)}, edits...)
	}
	fault.Malform = chained(edits)
	s.issuer.Inject(fault)
}

func (s *scene) forgeAnswer(answer map[string]any) {
	answer["id_token"] = s.forge(answer["id_token"].(string), nil, answer["access_token"].(string))
}

// forge returns a token once more with what the scene wants changed. A nil typ is
// left out.
func (s *scene) forge(token string, typ any, access string) string {
	claims, header := testkit.PayloadOf(s.t, token), map[string]any{}
	if typ != nil {
		header["typ"] = typ
	}
	if s.key == nil {
		testkit.Both(s.token...)(header, claims)
		return s.issuer.Sign(claims, header)
	}
	delete(claims, "at_hash") // which goes by the issuer's algorithm
	maps.Copy(header, map[string]any{"alg": s.key.Alg, "kid": "raw"})
	testkit.Both(s.token...)(header, claims)
	raw := &rawToken{key: *s.key, header: testkit.JSON(header), payload: testkit.JSON(claims), access: access}
	for _, change := range s.raw {
		change(raw)
	}
	signed := raw.key.Sign(raw.header, raw.payload)
	s.signed = signed
	for _, change := range raw.signed {
		signed = change(signed)
	}
	return signed
}

// The ways that a token can take into the library.
var (
	byExchange = way{"exchange", tryExchange}
	byRefresh  = way{"refresh", tryRefresh}
	byAPI      = way{"access token", tryAccessToken}
	byLogout   = way{"logout token", tryLogoutToken}
	fromStore  = way{"stored ID token", tryStoredToken}
)

// tryExchange is a whole login.
func tryExchange(s *scene) error {
	s.start()
	callback, auth := testkit.StartLogin(s.t, s.client, s.issuer, &s.login)
	s.hide(auth.Nonce, auth.State, auth.CodeVerifier, callback.Get("code"))
	for _, change := range s.callback {
		change(&login{s, callback, &auth})
	}
	s.issuer.ResetCounters()
	s.spoil("authorization_code")
	agent, err := s.client.ExchangeCallback(s.t.Context(), callback, auth)
	if err == nil && agent.ID != testkit.Subject {
		s.t.Errorf("got %q signed in; want %q", agent.ID, testkit.Subject)
	}
	if err != nil && agent != nil {
		s.t.Errorf("got %v beside the error; want nobody", agent)
	}
	return err
}

// tryRefresh is a session whose tokens expire. What is refused is stored nowhere,
// nobody gets it later, the spent token is not spent again, and the error has the
// set, so that it can be revoked.
func tryRefresh(s *scene) error {
	s.start()
	s.issuer.Inject(authpitest.Fault{IDToken: testkit.Both(s.before...)})
	old := testkit.SignIn(s.t, s.client, s.issuer, nil).Tokens
	s.clock.Advance(31 * time.Minute)
	s.spoil("refresh_token")
	saved, failed := 0, 0
	opts := &authpi.AgentOptions{
		OnRefresh:      func(context.Context, authpi.TokenSet) error { saved++; return nil },
		OnRefreshError: func(context.Context, error) { failed++ },
	}
	agent, err := s.client.CreateAgent(s.t.Context(), old, opts)
	if err == nil {
		if agent.ID != testkit.Subject || agent.Tokens.IDToken == "" || saved != 1 || failed != 0 {
			s.t.Errorf("got %v, stored %d times, %d failures; want %s with a new ID token, stored once", agent, saved, failed, testkit.Subject)
		}
		return nil
	}
	var refreshErr *authpi.RefreshError
	if !errors.As(err, &refreshErr) || !authpi.SessionEnded(err) || agent != nil {
		s.t.Fatalf("got %v, %v; want a *RefreshError that ends the session", agent, err)
	}
	refused, ok := refreshErr.Tokens()
	if !ok || refused.RefreshToken == old.RefreshToken {
		s.t.Error("the error does not carry the new set")
	}
	s.hide(refused.AccessToken, refused.RefreshToken, refused.IDToken, old.RefreshToken)
	spent := s.issuer.Grants("refresh_token")
	_, again := s.client.CreateAgent(s.t.Context(), old, opts)
	if again == nil || again.Error() != err.Error() || s.issuer.Grants("refresh_token") != spent {
		s.t.Errorf("the second time: got %v; want %v, and the token not spent again", again, err)
	}
	if saved != 0 || failed != 2 {
		s.t.Errorf("stored %d times, %d failures; want nothing stored and 2", saved, failed)
	}
	return err
}

func tryAccessToken(s *scene) error {
	s.start()
	token := s.forge(s.issuer.AccessToken(nil), "at+jwt", "")
	s.hide(token)
	return s.twice("access token", token, func(token string) error {
		_, err := s.client.VerifyAccessToken(s.t.Context(), token, "")
		return err
	})
}

func tryLogoutToken(s *scene) error {
	s.start()
	token := s.forge(s.issuer.LogoutToken(nil), "logout+jwt", "")
	s.hide(token)
	return s.twice("logout token", token, func(token string) error {
		_, err := s.client.VerifyLogoutToken(s.t.Context(), token)
		return err
	})
}

func tryStoredToken(s *scene) error {
	inConfig(func(cfg *authpi.Config) { cfg.VerifyStoredTokens = true })(s)
	s.start()
	tokens := testkit.SignIn(s.t, s.client, s.issuer, nil).Tokens
	tokens.IDToken = s.forge(tokens.IDToken, nil, tokens.AccessToken)
	s.hide(tokens.IDToken, tokens.AccessToken, tokens.RefreshToken)
	return s.twice("stored ID token", tokens.IDToken, func(token string) error {
		tokens.IDToken = token
		_, err := s.client.CreateAgent(s.t.Context(), tokens, nil)
		return err
	})
}

// twice wants the same answer again, when it may come from the memory of verified
// tokens. Where the text of a signed token was changed, the memory has seen the one
// before. op is what an error begins with.
func (s *scene) twice(op, token string, try func(token string) error) error {
	if s.key != nil && s.signed != token {
		for range 2 {
			if err := try(s.signed); err != nil {
				s.t.Errorf("before its text was changed: got %v; want it accepted", err)
			}
		}
	}
	first, second := try(token), try(token)
	if first != nil && !strings.HasPrefix(first.Error(), "authpi: "+op) {
		s.t.Errorf("got %v; want it to begin with %q", first, op)
	}
	if (first == nil) != (second == nil) || first != nil && first.Error() != second.Error() {
		s.t.Errorf("got %v at first, then %v; want the same", first, second)
	}
	return first
}

// withFirst puts a member in front of those that a JSON object has.
func withFirst(object, member string) string { return strings.Replace(object, "{", "{"+member+",", 1) }
