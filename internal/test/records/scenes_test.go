package records_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/authpitest"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// scene is something that happens to a client. Between them, the scenes lead to
// every record.
type scene struct {
	name string
	edit func(*authpi.Config)
	run  func(t *testing.T, e *testkit.Env)
}

func scenes() []scene {
	stored := func(cfg *authpi.Config) { cfg.VerifyStoredTokens = true }
	return []scene{
		{"refreshes that are shared", nil, shareRefreshes},
		{"a coordinator", nil, coordinate},
		{"refreshes that fail", nil, failRefreshes},
		{"good tokens in an outage", nil, keepGoodTokens},
		{"a caller that leaves", nil, leave},
		{"odd answers", nil, answerOddly},
		{"logins", nil, failLogins},
		{"machines", nil, machines},
		{"tokens that others send", nil, verify},
		{"stored tokens", stored, verifyStored},
		{"keys and discovery", nil, fetch},
	}
}

// everyRecord returns the lines that the scenes leave in the log.
func everyRecord(t *testing.T) (lines []string) {
	t.Helper()
	for _, s := range scenes() {
		t.Run(s.name, func(t *testing.T) {
			testkit.Bubble(t, nil, s.edit, func(t *testing.T, e *testkit.Env) {
				s.run(t, e)
				lines = append(lines, e.Log.With("")...)
			})
		})
	}
	return lines
}

func shareRefreshes(t *testing.T, e *testkit.Env) {
	tokens := e.Expired()
	e.Fault(authpitest.Fault{DelayAnswer: time.Second})
	var wg sync.WaitGroup
	wg.Go(func() { e.MustCreate(tokens, nil) })
	synctest.Wait()
	wg.Go(func() { e.MustCreate(tokens, nil) })
	wg.Wait()
	newer := e.MustCreate(tokens, nil)
	store := &testkit.Store{Current: newer.Tokens}
	if _, err := e.CreateBy(t.Context(), e.NewClient(nil), tokens, store.Reloading()); err != nil {
		t.Fatal(err)
	}
}

func coordinate(t *testing.T, e *testkit.Env) {
	tokens := e.Expired()
	for _, c := range testkit.Processes(e, testkit.NewCoordinator(), 2) {
		if _, err := e.CreateBy(t.Context(), c, tokens, nil); err != nil {
			t.Fatal(err)
		}
	}
	with := func(do testkit.CoordinatorFunc) *authpi.IdpClient {
		return e.NewClient(func(cfg *authpi.Config) { cfg.Coordinator = do })
	}
	away := with(func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error) {
		return nil, errors.New("redis is away")
	})
	if _, err := e.CreateBy(t.Context(), away, tokens, nil); err == nil {
		t.Error("got no error without the coordinator")
	}
	mute := with(func(ctx context.Context, _ string, spend func(context.Context) ([]byte, error)) ([]byte, error) {
		_, err := spend(ctx)
		return nil, errors.Join(err, errors.New("redis has left"))
	})
	if _, err := e.CreateBy(t.Context(), mute, e.Expired(), nil); err != nil {
		t.Errorf("spent, but not shared: got %v; want the new set", err)
	}
}

func failRefreshes(t *testing.T, e *testkit.Env) {
	for _, fault := range []authpitest.Fault{
		{Status: 503}, {Status: 400, Body: `{"error":"invalid_grant"}`}, {Status: 401, Body: `{"error":"invalid_client"}`},
		{Status: 401, Body: `{"error":"invalid_token","error_description":"who knows: what"}`},
		{Malform: testkit.ReplaceIDToken(func(string) string { return e.Issuer.AccessToken(nil) })},
	} {
		tokens := e.Expired()
		e.Fault(fault)
		if _, err := e.Create(tokens, nil); err == nil {
			t.Errorf("%+v: got no error", fault)
		}
	}
	expired := e.Expired()
	expired.RefreshToken = ""
	if _, err := e.Create(expired, nil); err == nil {
		t.Error("no refresh token: got no error")
	}
}

func keepGoodTokens(_ *testing.T, e *testkit.Env) {
	tokens := e.InBuffer(30 * time.Second)
	e.Fault(authpitest.Fault{Status: 503})
	e.MustCreate(tokens, nil)
	e.MustCreate(tokens, nil)
	e.Fault(authpitest.Fault{Refuse: true})
	e.MustCreate(e.InBuffer(30*time.Second), nil)
}

func leave(t *testing.T, e *testkit.Env) {
	tokens := e.Expired()
	e.Fault(authpitest.Fault{DelayAnswer: time.Minute / 4})
	var wg sync.WaitGroup
	wg.Go(func() { e.MustCreate(tokens, nil) })
	synctest.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := e.CreateBy(ctx, e.Client, tokens, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v; want its own deadline", err)
	}
	wg.Wait()
	if lines := e.Log.With(`"op":"refresh","outcome":"canceled"`); len(lines) != 1 {
		t.Errorf("got %q; want one record of the caller that left", lines)
	}
}

func answerOddly(_ *testing.T, e *testkit.Env) {
	e.Fault(authpitest.Fault{Malform: func(body []byte) []byte {
		return bytes.Replace(body, []byte(`"token_type":"Bearer"`), []byte(`"token_type":7`), 1)
	}})
	e.MustCreate(e.Expired(), nil)
	e.Fault(authpitest.Fault{Malform: testkit.ReplaceIDToken(func(string) string { return "opaque" })})
	e.MustCreate(e.Expired(), nil)
}

func failLogins(t *testing.T, e *testkit.Env) {
	e.SignIn()
	for _, fault := range []authpitest.Fault{
		{Status: 503}, {Refuse: true}, {Status: 400, Body: `{"error":"invalid_grant"}`},
		{Malform: testkit.ReplaceIDToken(func(string) string { return e.Issuer.AccessToken(nil) })},
		{Malform: func(body []byte) []byte {
			return bytes.Replace(body, []byte(`"id_token":"`), []byte(`"id_token":0,"x":"`), 1)
		}},
	} {
		fault.Endpoint, fault.Times = "token", 2 // what was refused is tried once more
		callback, auth := e.Login()
		e.Issuer.Inject(fault)
		e.Issuer.Inject(authpitest.Fault{Endpoint: "revoke", Status: 503})
		if _, err := e.Client.ExchangeCallback(t.Context(), callback, auth); err == nil {
			t.Errorf("%+v: got no error", fault)
		}
		e.Issuer.ClearFaults()
	}
}

func machines(t *testing.T, e *testkit.Env) {
	idToken := e.SignIn().IDToken
	source := e.Client.ClientCredentialsSource(nil)
	if _, err := source.Token(); err != nil {
		t.Error(err)
	}
	e.Issuer.Inject(authpitest.Fault{Endpoint: "token", Malform: func(body []byte) []byte {
		return bytes.Replace(body, []byte(`{`), []byte(`{"id_token":"`+idToken+`x",`), 1)
	}})
	if _, err := e.Client.ClientCredentials(t.Context(), nil); err != nil {
		t.Error(err)
	}
	for _, fault := range []authpitest.Fault{{Status: 503}, {Drop: true}, {Status: 401, Body: `{"error":"invalid_client"}`}} {
		fault.Endpoint = "token"
		e.Issuer.Inject(fault)
		if _, err := e.Client.ClientCredentials(t.Context(), nil); err == nil {
			t.Errorf("%+v: got no error", fault)
		}
	}
	for _, shared := range []*oneStore{{}, {err: errors.New("redis is away")}} {
		for range 2 {
			c := e.NewClient(func(cfg *authpi.Config) { cfg.MachineTokens = shared })
			if _, err := c.ClientCredentialsSource(nil).Token(); err != nil {
				t.Error(err)
			}
		}
	}
	public := e.NewClient(func(cfg *authpi.Config) { cfg.ClientSecret = "" })
	if _, err := public.ClientCredentials(t.Context(), nil); err == nil {
		t.Error("without a secret: got no error")
	}
}

// oneStore is a store of machines' tokens.
type oneStore struct {
	entries map[string][]byte
	err     error
}

func (s *oneStore) Load(_ context.Context, id string) ([]byte, error) { return s.entries[id], s.err }

func (s *oneStore) Save(_ context.Context, id string, sealed []byte, _ time.Time) error {
	if s.entries == nil {
		s.entries = map[string][]byte{}
	}
	s.entries[id] = sealed
	return s.err
}

func verify(t *testing.T, e *testkit.Env) {
	ctx := t.Context()
	for raw, holds := range map[string]bool{
		e.Issuer.AccessToken(nil): true, e.Issuer.AccessToken(map[string]any{"aud": "another"}): false, "key_1:secret": false,
	} {
		if _, err := e.Client.VerifyAccessToken(ctx, raw, ""); (err == nil) != holds {
			t.Errorf("access token: got %v", err)
		}
	}
	for raw, holds := range map[string]bool{
		e.Issuer.LogoutToken(nil): true, e.Issuer.LogoutToken(map[string]any{"events": nil}): false,
	} {
		if _, err := e.Client.VerifyLogoutToken(ctx, raw); (err == nil) != holds {
			t.Errorf("logout token: got %v", err)
		}
	}
	if lines := e.Log.With(`"part":"aud"`); len(lines) != 1 {
		t.Errorf("got %q; want one record that names aud", lines)
	}
}

func verifyStored(t *testing.T, e *testkit.Env) {
	tokens := e.SignIn()
	e.MustCreate(tokens, nil)
	tokens.IDToken += "x"
	if _, err := e.Create(tokens, nil); err == nil {
		t.Error("a changed ID token: got no error")
	}
}

func fetch(t *testing.T, e *testkit.Env) {
	check := func(holds bool) {
		t.Helper()
		if err := e.Client.Check(t.Context()); (err == nil) != holds {
			t.Errorf("Check: got %v", err)
		}
		synctest.Wait()
	}
	for _, endpoint := range []string{"discovery", "jwks"} {
		e.Issuer.Inject(authpitest.Fault{Endpoint: endpoint, Status: 503})
		check(false)
	}
	time.Sleep(time.Minute)
	check(true)
	for _, endpoint := range []string{"discovery", "jwks"} {
		e.Issuer.Inject(authpitest.Fault{Endpoint: endpoint, Status: 503})
	}
	time.Sleep(2 * time.Hour)
	check(true)
	e.Wire.Set(func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "jwks.json") {
			return nil, nil
		}
		return testkit.Reply(r, http.StatusOK, nil, `{"keys":[]}`), nil
	})
	time.Sleep(2 * time.Hour)
	check(false)
	if lines := e.Log.With(`"age":`); !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, `"op":"keys"`) }) ||
		!slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, `"op":"discovery"`) }) {
		t.Errorf("got %q; want the age of both copies that serve", lines)
	}
}
