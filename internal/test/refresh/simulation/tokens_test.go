package simulation_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	authpi "github.com/authpi/authpi-idp-go"
)

const (
	issuerURL = "https://issuer.sim.example"
	clientID  = "c_sim"
)

// set is one token set that the issuer has made. Its name stands for it in the log.
type set struct {
	name    string
	session *session
	index   int // in its session's chain
	grant   int
	parent  *set // nil: from the login

	sentAt              time.Duration // when the request for it left
	refresh, access, id string

	spentBy *send // the issuer has taken its refresh token; nil: it has not

	// What became of it; see the invariant "nothing is lost".
	receivedBy *process // has its answer, whole
	receivedAt time.Duration
	means      meaning
	began      bool // an OnRefresh has begun with it
	returned   bool // in an agent
	inError    bool
	revoked    bool // a revocation was sent
}

// session is one sign-in at the issuer.
type session struct {
	name, subject, id string

	sets  []*set
	homes []*home
	ended string // why; empty: it goes on

	troubledUntil time.Duration // until when a failure has a cause
	revocationAt  time.Duration // when somebody first asked for its end; negative: nobody
	unusable      bool          // a set of it arrived that cannot be used
	mixed         bool          // a store gave another user's set in its place
}

// tokens are a set as an app stores it.
func (s *set) tokens(expires time.Time) authpi.TokenSet {
	tokens := authpi.TokenSet{
		AccessToken: s.access, TokenType: "Bearer", ExpiresAt: expires,
		RefreshToken: s.refresh, IDToken: s.id, Scope: "openid email",
	}
	if s.id == "" {
		tokens.SubjectHint = s.session.subject
	}
	return tokens
}

// expiresAt is when a process takes the access token for expired: it counts from its
// request, which the issuer may have answered later.
func (s *set) expiresAt() time.Duration { return s.sentAt + s.life() }

func (s *set) life() time.Duration { return s.session.homes[0].w.h.setup.life }

// members are those of the usual answer.
func (s *set) members() []string {
	members := []string{
		fmt.Sprintf(`"access_token":%q`, s.access),
		`"token_type":"Bearer"`,
		fmt.Sprintf(`"expires_in":%d`, int(s.life()/time.Second)),
		fmt.Sprintf(`"refresh_token":%q`, s.refresh),
		`"scope":"openid email"`,
	}
	if s.id != "" {
		members = append(members, fmt.Sprintf(`"id_token":%q`, s.id))
	}
	return members
}

func (s *set) body() string { return "{" + strings.Join(s.members(), ",") + "}" }

// The issuer's keys. They are made once, from fixed seeds.
var signers = map[string]ed25519.PrivateKey{
	"k1": ed25519.NewKeyFromSeed([]byte("a seed for the simulation's key1")),
	"k2": ed25519.NewKeyFromSeed([]byte("a seed for the simulation's key2")),
}

func keySet(ids ...string) string {
	var keys []string
	for _, id := range ids {
		public := signers[id].Public().(ed25519.PublicKey)
		keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":%q,"x":%q}`,
			id, base64.RawURLEncoding.EncodeToString(public)))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

var keySets = map[bool]string{false: keySet("k1"), true: keySet("k1", "k2")}

// signed are the ID tokens of all histories: they have the same times in each of them,
// since a bubble's clock always begins on the same day.
var signed sync.Map

func idToken(key, subject, sid string) string {
	name := key + " " + subject + " " + sid
	if token, ok := signed.Load(name); ok {
		return token.(string)
	}
	day := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, key)
	payload := fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":%q,"sid":%q,"email":"a@b.example","auth_time":%d,"iat":%d,"exp":%d}`,
		issuerURL, clientID, subject, sid, day-7200, day-7200, day+7*86400)
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	token := text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(signers[key], []byte(text)))
	signed.Store(name, token)
	return token
}

// forged is an ID token whose signature does not hold.
func forged(token string) string {
	dot := strings.LastIndexByte(token, '.')
	return token[:dot+1] + base64.RawURLEncoding.EncodeToString(make([]byte, ed25519.SignatureSize))
}
