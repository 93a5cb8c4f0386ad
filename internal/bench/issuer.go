package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// What the clients of the issuer are registered with.
const (
	ClientID    = "c_bench"
	RedirectURI = "https://app.example/callback"
	Nonce       = "n-0S6_WzA2Mj"
	Subject     = "usr_01hq3x7k9m2p4r6t8v0w"
)

// Issuer answers on a loopback socket with as little work of its own as can be:
// documents and tokens are made beforehand. It counts what reaches it.
type Issuer struct {
	URL string

	server  *httptest.Server
	mux     *http.ServeMux
	keys    []*ecdsa.PrivateKey // six; the first one signs
	jwks    []byte
	started int64                  // the auth_time of every token
	answer  atomic.Pointer[string] // of the token endpoint

	// Delay is how long the token endpoint takes.
	Delay atomic.Int64

	KeyFetches, TokenRequests, Sockets, answers atomic.Int64
}

// NewIssuer starts an issuer with six keys, as AuthPI publishes.
func NewIssuer() *Issuer {
	is := &Issuer{started: time.Now().Unix()}
	var set jose.JSONWebKeySet
	for i := range 6 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		is.keys = append(is.keys, key)
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: keyID(i), Algorithm: "ES256", Use: "sig"})
	}
	is.jwks = mustJSON(set)
	mux := http.NewServeMux()
	is.mux = mux
	is.server = httptest.NewUnstartedServer(mux)
	is.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			is.Sockets.Add(1)
		}
	}
	is.server.Start()
	is.URL = is.server.URL
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, mustJSON(map[string]any{
			"issuer": is.URL, "authorization_endpoint": is.URL + "/authorize", "token_endpoint": is.URL + "/token",
			"jwks_uri": is.URL + "/jwks", "userinfo_endpoint": is.URL + "/userinfo",
			"id_token_signing_alg_values_supported": []string{"ES256"}, "response_types_supported": []string{"code"},
			"subject_types_supported": []string{"public"},
		}))
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		is.KeyFetches.Add(1)
		writeJSON(w, is.jwks)
	})
	mux.HandleFunc("/token", is.token)
	return is
}

func keyID(i int) string { return fmt.Sprintf("5f0c2e9a-7d41-4b5e-9f10-0000000000%02d", i) }

// Close stops the issuer.
func (is *Issuer) Close() { is.server.Close() }

// token returns the prepared answer: the ID token set by SetAnswer, and access and
// refresh tokens that no other answer has.
func (is *Issuer) token(w http.ResponseWriter, r *http.Request) {
	is.TokenRequests.Add(1)
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") == "" {
		http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
		return
	}
	if d := is.Delay.Load(); d > 0 {
		time.Sleep(time.Duration(d))
	}
	body := fmt.Sprintf(*is.answer.Load(), is.answers.Add(1))
	writeJSON(w, []byte(body))
}

// SetAnswer makes the token endpoint answer with this ID token.
func (is *Issuer) SetAnswer(idToken string) {
	text := `{"access_token":"` + accessToken + `-%[1]d","token_type":"Bearer","expires_in":1800,"scope":"openid email","refresh_token":"` +
		strings.Repeat("r", 600) + `-%[1]d","id_token":"` + idToken + `"}`
	is.answer.Store(&text)
}

// accessToken stands for a JWT of usual length that no client looks into.
var accessToken = strings.Repeat("eyJhbGciOiJFUzI1NiJ9", 40)

func writeJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write(body)
}

// IDToken signs the claims of a user of n organizations with five scopes each.
func (is *Issuer) IDToken(n int) string { return is.Sign(is.Payload(n, 5), "JWT") }

// Token is the same with at+jwt in its header, which the other contenders do not
// look at, so that our VerifyAccessToken takes the very token that they take.
func (is *Issuer) Token(n int) string { return is.Sign(is.Payload(n, 5), accessType) }

const accessType = "at+jwt"

// Payload is the JSON of the claims, in base64url.
func (is *Issuer) Payload(organizations, scopes int) string {
	now := time.Now().Unix()
	return base64.RawURLEncoding.EncodeToString(mustJSON(Claims{
		Identity: identity(organizations, scopes),
		Issuer:   is.URL, Audience: ClientID, Expiry: now + 24*3600, IssuedAt: now, AuthTime: is.started,
		Nonce: Nonce, Session: "ses_01hq3x7k9m2p4r6t8v0w",
	}))
}

// Sign signs an encoded payload.
func (is *Issuer) Sign(payload, typ string) string {
	signed := header(keyID(0), typ) + "." + payload
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, is.keys[0], digest[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Forged makes n tokens that name keys which the issuer never had.
func (is *Issuer) Forged(n int) []string {
	payload, signature := is.Payload(1, 5), make([]byte, 64)
	tokens := make([]string, n)
	for i := range tokens {
		_, _ = rand.Read(signature)
		tokens[i] = header(fmt.Sprintf("forged-%08d", i), accessType) + "." + payload + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	return tokens
}

func header(kid, typ string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"` + typ + `","kid":"` + kid + `"}`))
}

func identity(organizations, scopes int) Identity {
	id := Identity{Subject: Subject, Email: "ada@example.com", EmailVerified: true}
	for i := range organizations {
		id.Organizations = append(id.Organizations, Organization{
			ID: OrgID(i), Title: "Engineer", Scopes: scopeList(scopes), JoinedAt: 1700000000 + int64(i),
		})
	}
	return id
}

// OrgID is the ID of the organization at a place.
func OrgID(i int) string { return fmt.Sprintf("org_01hq3x7k9m%010d", i) }

// scopeList makes n scopes, of which the last grants write on projects.
func scopeList(n int) []string {
	list := []string{"member", "billing:read", "members.invites:read", "reports:*", "files:read"}
	for i := len(list); i < n; i++ {
		list = append(list, fmt.Sprintf("resource%02d:read", i))
	}
	list = list[:n]
	list[n-1] = "projects:write"
	return list
}

// StoredSet is the session's JSON of a user, for an ID token.
func StoredSet(idToken string) string {
	return string(mustJSON(storedSet{
		AccessToken: accessToken, TokenType: "Bearer", ExpiresAt: time.Now().Add(24 * time.Hour).Unix(),
		RefreshToken: strings.Repeat("r", 600), IDToken: idToken, Scope: "openid email",
	}))
}

// Pool signs the claims of a user again and again: ECDSA signatures are random, so
// every token is another one. It makes as many as it takes to push each out of our
// memory of verified tokens (16,384 tokens and 64 MiB, a token counted four times)
// before it comes round again, or most at the most.
func (is *Issuer) Pool(organizations, most int) []string {
	payload := is.Payload(organizations, 5)
	count := min(16384, (64<<20)/(4*len(payload)))
	tokens := make([]string, min(count+count/10+1, most))
	for i := range tokens {
		tokens[i] = is.Sign(payload, accessType)
	}
	return tokens
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
