package fuzz_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
	"github.com/authpi/authpi-idp-go/internal/testkit"
)

// What the fuzz targets share: one cheap key, an issuer that is a function, and what
// encoding/json reads, to hold our own reading against.

const (
	fuzzNow    = 1760000000
	fuzzIssuer = "https://idp.example/i_1"
	fuzzClient = "c_1"
)

// fuzzKey is the same in every process of a run: one makes the inputs, another tries
// them.
var fuzzKey = testkit.RawKey{Alg: "EdDSA", Private: ed25519.NewKeyFromSeed([]byte("a seed of thirty-two bytes, fix."))}

func unb64(t testing.TB, text string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return string(raw)
}

// answering is an issuer that publishes fuzzKey, whose kid is "raw", and gives the
// same answer to every other request.
type answering struct {
	status  int
	header  http.Header
	body    string
	request *http.Request // the last one but for keys, its form parsed; nil: none
}

// client makes one whose clock stands at fuzzNow; mutate may be nil.
func (a *answering) client(t testing.TB, mutate func(*authpi.Config)) *authpi.IdpClient {
	t.Helper()
	keys := fuzzKey.JWKS()
	return testkit.Scripted(t, func(cfg *authpi.Config) {
		cfg.Now = func() time.Time { return time.Unix(fuzzNow, 0) }
		cfg.ClockSkew = -1
		if mutate != nil {
			mutate(cfg)
		}
	}, func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/jwks.json") {
			return testkit.Reply(r, http.StatusOK, nil, keys), nil
		}
		a.request = r
		return testkit.Reply(r, a.status, a.header, a.body), nil
	})
}

// fuzzStatus makes a status that net/http can give out of any number.
func fuzzStatus(n uint16) int { return 200 + int(n)%400 }

// object is a JSON object with its exact names, as encoding/json reads it.
type object map[string]any

// readObject reads a text that is one object and has none of the faults that package
// strictjson looks for; whether it finds them all is asked by that package's own
// targets.
func readObject(t testing.TB, text string) (object, bool) {
	t.Helper()
	r := strictjson.NewReader(text)
	if r.Kind() != strictjson.Object {
		return nil, false
	}
	r.Skip()
	if r.End() != nil {
		return nil, false
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var o object
	if err := d.Decode(&o); err != nil {
		t.Errorf("encoding/json refuses %q: %v", text, err)
		return nil, false
	}
	return o, true
}

func (o object) has(name string) bool {
	_, ok := o[name]
	return ok
}

func (o object) text(name string) string {
	text, _ := o[name].(string)
	return text
}

// textOrNull is a member that may be text, null or missing.
func (o object) textOrNull(name string) (text string, ok bool) {
	if o[name] == nil {
		return "", true
	}
	text, ok = o[name].(string)
	return text, ok
}

// texts is a list, but for what is no text in it.
func (o object) texts(name string) (texts []string, all bool) {
	list, all := o[name].([]any)
	for _, one := range list {
		text, ok := one.(string)
		if all = all && ok; ok {
			texts = append(texts, text)
		}
	}
	return texts, all
}

// audience is one text or a list of texts alone (RFC 7519 section 4.1.3).
func (o object) audience() []string {
	if one, ok := o["aud"].(string); ok {
		return []string{one}
	}
	if list, all := o.texts("aud"); all {
		return list
	}
	return nil
}

// whole is a number without a fraction, however it is written.
func whole(v any) (n int64, ok bool) {
	literal, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	r := strictjson.NewReader(string(literal)) // held against math/big by a target of its own
	return r.Int()
}

// withoutFraction is a number whose fraction, written plainly, does not count.
func withoutFraction(v any) (n int64, ok bool) {
	literal, _ := v.(json.Number)
	text := string(literal)
	if !strings.ContainsAny(text, "eE") {
		text, _, _ = strings.Cut(text, ".")
	}
	return whole(json.Number(text))
}

// date is a number of seconds up to the year 9999, whose fraction does not count.
func (o object) date(name string) (seconds int64, ok bool) {
	seconds, ok = withoutFraction(o[name])
	return seconds, ok && seconds >= 0 && seconds <= 253402300799
}

// moment is a date where 0 means none.
func (o object) moment(name string) time.Time {
	seconds, ok := whole(o[name])
	if !ok || seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// organizations are those with a text as id.
func (o object) organizations() (orgs []authpi.Organization) {
	list, _ := o["organizations"].([]any)
	for _, one := range list {
		members, _ := one.(map[string]any)
		org := object(members)
		if _, ok := org["id"].(string); !ok {
			continue
		}
		scopes, _ := org.texts("scopes")
		orgs = append(orgs, authpi.Organization{
			ID: org.text("id"), Title: org.text("title"), Scopes: scopes, JoinedAt: org.moment("joined_at"),
		})
	}
	return orgs
}

// wantOrganizations compares memberships.
func wantOrganizations(t testing.TB, got, want []authpi.Organization) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b authpi.Organization) bool {
		return a.ID == b.ID && a.Title == b.Title && a.JoinedAt.Equal(b.JoinedAt) && slices.Equal(a.Scopes, b.Scopes)
	}) {
		t.Errorf("got the organizations %+v; want %+v", got, want)
	}
	for i := range got {
		if cap(got[i].Scopes) != len(got[i].Scopes) {
			t.Errorf("a scope that is appended to %q would write into the next one's", got[i].ID)
		}
	}
}

// wantIdentity compares an agent with the claims that it was made of.
func wantIdentity(t testing.TB, agent *authpi.Agent, of object) {
	t.Helper()
	if agent.ID == "" || agent.ID != of.text("sub") || agent.Email != of.text("email") ||
		agent.EmailVerified != (of["email_verified"] == true) || agent.OrgID != of.text("org_id") || agent.SessionID != of.text("sid") {
		t.Errorf("got %s with %q, %t, %q, %q; encoding/json says %v", agent.ID, agent.Email, agent.EmailVerified, agent.OrgID, agent.SessionID, of)
	}
	wantOrganizations(t, agent.Organizations, of.organizations())
}

// createOffline rebuilds an agent without any request.
func createOffline(client *authpi.IdpClient, tokens authpi.TokenSet) (*authpi.Agent, error) {
	return client.CreateAgent(context.Background(), tokens, &authpi.AgentOptions{AutoRefresh: authpi.RefreshOff})
}
