package claims

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/jws"
)

// Error says which claim or header of a token does not hold, and why. The reason may
// quote the token.
type Error struct{ Part, Reason string }

func (e *Error) Error() string { return e.Part + ": " + e.Reason }

func refuse(part, reason string) error { return &Error{part, reason} }

// ErrNonce is for an ID token of another login.
var ErrNonce = errors.New("nonce: the ID token does not belong to this login")

// SubjectError is for an ID token of a user who is not the session's.
type SubjectError struct{ Expected, Actual string }

func (e *SubjectError) Error() string { return "sub: is another user's" }

// Policy is what every token is held against.
type Policy struct {
	Issuer   string // the very issuer
	ClientID string
	Now      time.Time
	Skew     time.Duration // leeway on dates
	// SentAt is when the token was asked for; zero: it was not. A token that was
	// asked for need only have held between then and now: a machine may have slept,
	// or had its clock set, while it was on its way.
	SentAt time.Time
}

// issuer accepts the very issuer alone (RFC 8725 section 3.8): issuers may share
// signing keys, so nothing else keeps the tokens of one tenant out of another.
func (p *Policy) issuer(c *Claims) error {
	if c.Issuer != p.Issuer {
		return refuse("iss", fmt.Sprintf("is %q; want %q", c.Issuer, p.Issuer))
	}
	return nil
}

// party checks the issuer, and that this client is in the audience.
func (p *Policy) party(c *Claims) error {
	if err := p.issuer(c); err != nil {
		return err
	}
	if !c.Audience.Contains(p.ClientID) {
		return refuse("aud", "is missing, or another client's")
	}
	return nil
}

// times requires exp and iat of every kind of token, and checks nbf where there (RFC
// 7519 sections 4.1.4 to 4.1.6; RFC 9068 section 2.2 and both OpenID specifications
// require the first two).
func (p *Policy) times(c *Claims) error {
	switch {
	case !c.Expiry.Present:
		return refuse("exp", "is missing")
	case !c.IssuedAt.Present:
		return refuse("iat", "is missing")
	}
	return p.timesSaid(c)
}

// timesSaid checks the dates that a token has.
func (p *Policy) timesSaid(c *Claims) error {
	first, last := p.Now, p.Now
	if !p.SentAt.IsZero() {
		first, last = earlier(p.SentAt, p.Now), later(p.SentAt, p.Now)
	}
	if c.Expiry.Present && !c.Expiry.Valid {
		return refuse("exp", "is no date")
	}
	if c.Expiry.Present && !first.Before(c.Expiry.Time().Add(p.Skew)) {
		return p.refuseDate("exp", "has passed, at ", c.Expiry)
	}
	for _, d := range []struct {
		name string
		date Date
	}{{"iat", c.IssuedAt}, {"nbf", c.NotBefore}} {
		if d.date.Present && !d.date.Valid {
			return refuse(d.name, "is no date")
		}
		if last.Before(d.date.Time().Add(-p.Skew)) {
			return p.refuseDate(d.name, "lies ahead, at ", d.date)
		}
	}
	return nil
}

// refuseDate says what time it is here, too: of two clocks either may be wrong.
func (p *Policy) refuseDate(part, reason string, date Date) error {
	return refuse(part, reason+date.Time().Format(time.RFC3339)+"; here it is "+p.Now.UTC().Format(time.RFC3339))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Plausible reports whether claims that nobody has verified are at least the
// expected ones: the issuer's, for this client, about a subject. An empty subject is
// any.
func (p *Policy) Plausible(c *Claims, subject string) bool {
	return p.party(c) == nil && c.Subject != "" && (subject == "" || c.Subject == subject)
}

// IDTokenPolicy is what an ID token from the token endpoint is held against,
// besides. A zero field is not checked.
type IDTokenPolicy struct {
	Policy
	Nonce    string        // of the login
	MaxAge   time.Duration // of the login; negative: it asked for a fresh one
	Subject  string        // whose session it is, on refresh
	Previous *Claims       // of the ID token that it follows, on refresh

	AccessToken string // that came with it
	Algorithm   string // of its signature
}

// Check goes through the claims: whose token it is, for whom, when, and for which
// login (OpenID Connect Core section 3.1.3.7, points 2 to 13) or session (section
// 12.2). The error is an [*Error], a [*SubjectError] or [ErrNonce].
func (p *IDTokenPolicy) Check(c *Claims) error {
	if err := p.party(c); err != nil {
		return err
	}
	if err := p.authorizedParty(c); err != nil {
		return err
	}
	if err := p.times(c); err != nil {
		return err
	}
	if err := p.login(c); err != nil {
		return err
	}
	if err := p.subject(c); err != nil {
		return err
	}
	if err := p.continuity(c); err != nil {
		return err
	}
	return p.accessTokenHash(c)
}

func (p *IDTokenPolicy) authorizedParty(c *Claims) error {
	if c.AuthorizedParty.Present && c.AuthorizedParty.Value != p.ClientID {
		return refuse("azp", "is another client's")
	}
	if c.Audience.Several() && !c.AuthorizedParty.Present {
		return refuse("azp", "is missing beside several audiences")
	}
	return nil
}

// login holds the token to the nonce, and the issuer to the max_age, of the login
// (section 3.1.3.7, points 11 and 13).
func (p *IDTokenPolicy) login(c *Claims) error {
	if p.Nonce != "" && !same(c.Nonce.Value, p.Nonce) {
		return ErrNonce
	}
	if p.MaxAge == 0 {
		return nil
	}
	if !c.AuthTime.Valid {
		return refuse("auth_time", "is missing or no date, although max_age was asked for")
	}
	if p.Now.After(c.AuthTime.Time().Add(max(p.MaxAge, 0) + p.Skew)) {
		return p.refuseDate("auth_time", "is longer ago than max_age, at ", c.AuthTime)
	}
	return nil
}

func (p *IDTokenPolicy) subject(c *Claims) error {
	if c.Subject == "" {
		return refuse("sub", "is missing")
	}
	if p.Subject != "" && c.Subject != p.Subject {
		return &SubjectError{Expected: p.Subject, Actual: c.Subject}
	}
	return nil
}

// continuity is OpenID Connect Core section 12.2: what both tokens say must be the
// same, and the audience must still hold what it held.
func (p *IDTokenPolicy) continuity(c *Claims) error {
	before := p.Previous
	if before == nil {
		return nil
	}
	const differs = "differs from the ID token before the refresh"
	if before.Issuer != "" && c.Issuer != before.Issuer {
		return refuse("iss", differs)
	}
	for _, audience := range before.Audience.List() {
		if !c.Audience.Contains(audience) {
			return refuse("aud", differs)
		}
	}
	if c.AuthTime.Present && before.AuthTime.Present && c.AuthTime != before.AuthTime {
		return refuse("auth_time", differs)
	}
	if contradict(c.AuthorizedParty, before.AuthorizedParty) {
		return refuse("azp", differs)
	}
	if contradict(c.Nonce, before.Nonce) {
		return refuse("nonce", differs)
	}
	return nil
}

// contradict reports whether both say something, and not the same.
func contradict(a, b Text) bool { return a.Present && b.Present && !same(a.Value, b.Value) }

// accessTokenHash is OpenID Connect Core section 3.1.3.6: the left half of the
// access token's digest, by the digest of the signature's algorithm.
func (p *IDTokenPolicy) accessTokenHash(c *Claims) error {
	if !c.AccessTokenHash.Present {
		return nil
	}
	algorithm, ok := jws.Hash(p.Algorithm)
	if ok && same(c.AccessTokenHash.Value, leftHalf(algorithm.New(), p.AccessToken)) {
		return nil
	}
	// No standard names a digest for EdDSA; issuers use the curve's own or SHA-256.
	if p.Algorithm == "EdDSA" && same(c.AccessTokenHash.Value, leftHalf(sha256.New(), p.AccessToken)) {
		return nil
	}
	return refuse("at_hash", "is not the access token's")
}

func leftHalf(h hash.Hash, token string) string {
	_, _ = h.Write([]byte(token))
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func same(got, want string) bool {
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// StoredIDToken checks what does not change in an ID token, however long ago it
// expired.
func (p *Policy) StoredIDToken(c *Claims, typ string) error {
	if err := Untyped(typ); err != nil {
		return err
	}
	return p.party(c)
}

// StoredAccessToken does the same for an access token of this client. An empty
// subject is not compared.
func (p *Policy) StoredAccessToken(c *Claims, typ, subject string) error {
	if !isAccessToken(typ) {
		return refuse("typ", "is not at+jwt")
	}
	if err := p.issuer(c); err != nil {
		return err
	}
	if c.ClientID != p.ClientID {
		return refuse("client_id", "is another client's")
	}
	if subject != "" && c.Subject != subject {
		return refuse("sub", "is not the ID token's")
	}
	return nil
}

// UserInfo checks a user info answer that was signed. It needs no dates; those that
// it has count (OpenID Connect Core section 5.3.2).
func (p *Policy) UserInfo(c *Claims) error {
	if err := p.party(c); err != nil {
		return err
	}
	return p.timesSaid(c)
}

// AccessToken checks an access token that somebody sent to an API (RFC 9068 section
// 4).
func (p *Policy) AccessToken(c *Claims, typ, audience string) error {
	if !isAccessToken(typ) {
		return refuse("typ", "is not at+jwt (RFC 9068 section 4): this is "+kindOf(c, typ))
	}
	if err := p.issuer(c); err != nil {
		return err
	}
	if !c.Audience.Contains(audience) {
		return refuse("aud", fmt.Sprintf("is another API's; want %q", audience))
	}
	if err := p.times(c); err != nil {
		return err
	}
	if c.Subject == "" {
		return refuse("sub", "is missing")
	}
	return nil
}

// LogoutToken checks a logout token that the issuer posted (OpenID Connect
// Back-Channel Logout 1.0 section 2.6).
func (p *Policy) LogoutToken(c *Claims, typ string) error {
	if isTyped(typ) && !slices.Contains([]string{"logout+jwt", "application/logout+jwt"}, strings.ToLower(typ)) {
		return refuse("typ", fmt.Sprintf("is %q; want logout+jwt", typ))
	}
	if err := p.party(c); err != nil {
		return err
	}
	if err := p.times(c); err != nil {
		return err
	}
	switch {
	case c.Subject == "" && c.SessionID == "":
		return refuse("sub", "and sid are both missing")
	case !c.Logout:
		return refuse("events", "holds no back-channel logout")
	case c.Nonce.Present:
		return refuse("nonce", "is present, as in an ID token")
	case c.JTI == "":
		return refuse("jti", "is missing")
	}
	return nil
}

// Untyped refuses, where an ID token is wanted, every other kind of JWT: the issuer
// signs them all with the same keys (RFC 8725 section 3.11).
func Untyped(typ string) error {
	if isTyped(typ) {
		return refuse("typ", fmt.Sprintf("is %q, which no ID token has", typ))
	}
	return nil
}

// isAccessToken is RFC 9068 section 4: the type sets access tokens apart from all
// else that the issuer signs.
func isAccessToken(typ string) bool {
	return slices.Contains([]string{"at+jwt", "application/at+jwt"}, strings.ToLower(typ))
}

// isTyped reports whether typ names a kind of JWT (RFC 8725 section 3.11), whatever
// stands behind it: a media type may have parameters. ID tokens have none, or plain
// JWT.
func isTyped(typ string) bool { return strings.Contains(strings.ToLower(typ), "+jwt") }

// kindOf guesses what else than an access token it was, for the error's reader.
func kindOf(c *Claims, typ string) string {
	switch {
	case isTyped(typ):
		return fmt.Sprintf("a token of type %q", typ)
	case c.Nonce.Present || c.AccessTokenHash.Present || c.Email != "" || c.hasOrganizations:
		return "an ID token"
	}
	return "an ID token or a refresh token"
}
