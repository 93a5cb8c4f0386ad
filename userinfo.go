package authpi

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/claims"
	"github.com/authpi/authpi-idp-go/internal/endpoint"
	"github.com/authpi/authpi-idp-go/internal/fresh"
	"github.com/authpi/authpi-idp-go/internal/jws"
	"github.com/authpi/authpi-idp-go/internal/redact"
	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// UserInfo is what the user info endpoint says of a user (OpenID Connect Core
// section 5.3). A field is empty where the issuer does not say, or where the
// scope for it was not granted.
type UserInfo struct {
	// Subject is the user's ID, which is the agent's. Email comes with the scope
	// email.
	Subject, Email string
	EmailVerified  bool
	// Picture is a URL, Locale a BCP 47 tag such as "en-GB", PhoneNumber ideally in
	// E.164 form such as "+44 20 7946 0000" (section 5.1).
	Name, GivenName, FamilyName, Picture, Locale, PhoneNumber string
	PhoneNumberVerified                                       bool
	// OrgID is the organization that the access token is narrowed to.
	OrgID string
	// Organizations are all active memberships.
	Organizations []Organization
	// CreatedAt and UpdatedAt are zero where the issuer does not say.
	CreatedAt, UpdatedAt time.Time

	claims string
}

// Claims decodes everything that the endpoint said into v, the issuer's own claims
// included, as [encoding/json.Unmarshal] does.
func (u *UserInfo) Claims(v any) error { return decodeClaims(u.claims, v) }

const opUserInfo = "user info"

// UserInfo asks the user info endpoint about the agent. The subject of the answer
// must be the agent's (OpenID Connect Core section 5.3.2). An answer that is a
// signed JWT is verified as an ID token is; iss and aud are required.
//
// It returns a [*SubjectMismatchError], or an [*OAuthError]: userinfo_error where
// the endpoint refuses, invalid_response where its answer cannot be read, and
// invalid_token for a signed one that fails a check.
func (c *IdpClient) UserInfo(ctx context.Context, agent *Agent) (*UserInfo, error) {
	if agent == nil {
		return nil, invalidRequest(opUserInfo, "the agent is nil")
	}
	from, err := c.userInfoClaims(ctx, agent.Tokens.AccessToken, agent.ID)
	if err != nil {
		return nil, err
	}
	info := &UserInfo{
		Subject: from.Subject, Email: from.Email, EmailVerified: from.EmailVerified.Value,
		OrgID: from.OrgID, Organizations: from.organizations, claims: from.JSON,
	}
	info.readProfile(from.JSON)
	return info, nil
}

// hydrate asks the user info endpoint for the identity where no ID token holds it.
func (c *IdpClient) hydrate(ctx context.Context, agent *Agent) (*Agent, error) {
	if agent.Tokens.IDToken != "" || agent.Tokens.SubjectHint == "" {
		return agent, nil
	}
	from, err := c.identity(ctx, agent.Tokens, nil)
	if err != nil {
		return nil, err
	}
	return c.newAgent(&from, agent.Tokens), nil
}

// userInfoClaims is the identity behind an access token, which must be subject's.
func (c *IdpClient) userInfoClaims(ctx context.Context, accessToken, subject string) (tokenClaims, error) {
	answer, err := c.requestUserInfo(ctx, accessToken)
	if err != nil {
		return tokenClaims{}, err
	}
	from, err := c.readUserInfo(ctx, answer, accessToken, subject)
	if err != nil {
		return tokenClaims{}, err
	}
	if from.Subject == "" {
		return tokenClaims{}, invalidResponse(opUserInfo, "sub is missing", http.StatusOK, nil)
	}
	if from.Subject != subject {
		return tokenClaims{}, subjectMismatch(subject, from.Subject, accessToken)
	}
	return from, nil
}

// typeJWT is a signed answer (OpenID Connect Core section 5.3.2).
const typeJWT = "application/jwt"

func (c *IdpClient) requestUserInfo(ctx context.Context, accessToken string) (endpoint.Answer, error) {
	url, err := c.needEndpoint("UserInfo", c.endpoints.UserInfo)
	if err != nil {
		return endpoint.Answer{}, err
	}
	if !validBearer(accessToken) {
		return endpoint.Answer{}, invalidToken(opUserInfo, "access_token", "cannot be sent in a header", nil)
	}
	answer, err := c.caller.Do(ctx, endpoint.Request{URL: url, Bearer: accessToken, Accept: typeJWT})
	if err != nil {
		return endpoint.Answer{}, requestFailed(opUserInfo, err, accessToken)
	}
	if answer.Status != http.StatusOK {
		// The code is always ours: what an endpoint that is no token endpoint
		// calls its errors says nothing about the session.
		e := c.refusal(opUserInfo, "", answer, accessToken)
		e.Code = codeUserInfoError
		return endpoint.Answer{}, e
	}
	return answer, nil
}

// readUserInfo reads an answer: JSON, whatever type it is said to have, or a JWT.
func (c *IdpClient) readUserInfo(ctx context.Context, answer endpoint.Answer, accessToken, subject string) (tokenClaims, error) {
	typ := answer.MediaType()
	if typ == typeJWT {
		return c.signedUserInfo(ctx, answer, subject)
	}
	from, err := parseClaims(answer.Body)
	if err == nil {
		return from, nil
	}
	reason := err.Error()
	switch typ {
	case "application/json":
	case "":
		reason += "; the answer has no content type"
	default:
		reason += "; the answer has the content type " + redact.Text(typ, accessToken)
	}
	return tokenClaims{}, invalidResponse(opUserInfo, reason, http.StatusOK, err)
}

// signedUserInfo verifies an answer that is a JWT. It came straight from the issuer,
// so its key may lag as an ID token's may.
func (c *IdpClient) signedUserInfo(ctx context.Context, answer endpoint.Answer, subject string) (tokenClaims, error) {
	token, err := jws.Parse(strings.TrimSpace(answer.Body))
	if isNoJWT(err) {
		return tokenClaims{}, invalidResponse(opUserInfo, "the answer is no signed JWT: "+err.Error(), answer.Status, err)
	}
	if err != nil {
		return tokenClaims{}, refusedToken(opUserInfo, err)
	}
	got, err := c.issuersClaims(ctx, opUserInfo, &token, subject)
	if err != nil {
		return tokenClaims{}, err
	}
	policy, err := c.policy(ctx)
	if err != nil {
		return tokenClaims{}, err
	}
	if err := policy.UserInfo(&got.Claims); err != nil {
		return tokenClaims{}, refusedClaims(opUserInfo, err)
	}
	return got, nil
}

// readProfile fills in what only the user info endpoint says. The text has been
// checked already.
func (u *UserInfo) readProfile(body string) {
	texts := map[string]*string{
		"name": &u.Name, "given_name": &u.GivenName, "family_name": &u.FamilyName,
		"picture": &u.Picture, "locale": &u.Locale, "phone_number": &u.PhoneNumber,
	}
	r := strictjson.NewReader(body)
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "phone_number_verified":
			u.PhoneNumberVerified, _ = r.Bool()
		case "created_at":
			u.CreatedAt = claims.ReadMoment(&r)
		case "updated_at":
			u.UpdatedAt = claims.ReadMoment(&r)
		default:
			if field := texts[m.Name]; field != nil {
				*field, _ = r.Text()
			}
		}
	}
}

// identities remembers whom access tokens belong to where no ID token says so. It is
// keyed by the token's digest, so nothing in here can be used as a token.
type identities struct {
	known  *fresh.Map[[sha256.Size]byte, *identity]
	asking *fresh.Group[question, *identity]
}

// question is what one request to the user info endpoint answers: whether an access
// token is subject's.
type question struct {
	token   [sha256.Size]byte
	subject string
}

// identity is what is known of one access token's owner. It never changes.
type identity struct {
	claims tokenClaims
	until  time.Time // from then on only the facts of the login count
}

// loginMemory is how long the facts of a login are remembered once the access token
// has expired: as long as AuthPI's sessions may idle.
const loginMemory = 12 * time.Hour

func newIdentities(cfg Config) *identities {
	return &identities{
		known:  fresh.NewMap[[sha256.Size]byte, *identity](fresh.Limits{Entries: 16384, Bytes: 64 << 20}, cfg.Now),
		asking: fresh.NewGroup[question, *identity](cfg.RefreshTimeout),
	}
}

// identity returns whose a set without ID token is. The user info endpoint is asked
// once in an access token's life, by one request for all callers. before, if not
// nil, is the agent before the refresh: e-mail address and organization, where the
// endpoint leaves them out, stay as they were, and so do the facts of the login,
// which it does not know. Memberships never do.
func (c *IdpClient) identity(ctx context.Context, tokens TokenSet, before *Agent) (tokenClaims, error) {
	key, subject := jws.SHA256(tokens.AccessToken), tokens.SubjectHint
	known := c.identities.of(key, c.now())
	if known == nil {
		var err error
		known, err = c.identities.asking.Do(ctx, question{key, subject}, func(ctx context.Context) (*identity, error) {
			return c.askIdentity(ctx, key, tokens, subject)
		})
		if err != nil {
			return tokenClaims{}, asUserInfoError(err)
		}
	}
	if known.claims.Subject != subject {
		return tokenClaims{}, subjectMismatch(subject, known.claims.Subject, tokens.AccessToken)
	}
	from := known.claims
	if before != nil {
		c.carryOver(&from, before)
		c.identities.remember(key, from, known.until)
	}
	from.organizations = claims.CloneOrganizations(from.organizations)
	return from, nil
}

// of returns what is known of an access token's owner, nil if the endpoint has to be
// asked.
func (m *identities) of(key [sha256.Size]byte, now time.Time) *identity {
	known, ok := m.known.Get(key)
	if !ok || !now.Before(known.until) {
		return nil
	}
	return known
}

func (m *identities) remember(key [sha256.Size]byte, from tokenClaims, until time.Time) *identity {
	known := &identity{claims: from, until: until}
	m.known.Put(key, known, 4*len(from.JSON)+512, until.Add(loginMemory))
	return known
}

// askIdentity asks the user info endpoint and remembers what it says.
func (c *IdpClient) askIdentity(ctx context.Context, key [sha256.Size]byte, tokens TokenSet, subject string) (*identity, error) {
	if known := c.identities.of(key, c.now()); known != nil {
		return known, nil // another caller's whole request may have fitted in between
	}
	from, err := c.userInfoClaims(ctx, tokens.AccessToken, subject)
	if err != nil {
		return nil, err
	}
	if from.SessionID == "" {
		from.SessionID = c.sessionOf(tokens.AccessToken, subject)
	}
	return c.identities.remember(key, from, tokens.ExpiresAt), nil
}

// sessionOf returns the sid of an access token that the user info endpoint has just
// accepted, if it is a JWT. AuthPI's are.
func (c *IdpClient) sessionOf(accessToken, subject string) string {
	payload, err := jws.UnverifiedPayload(accessToken)
	if err != nil {
		return ""
	}
	got, err := parseClaims(payload)
	if err != nil || got.Subject != subject || !c.isIssuer(got.Issuer) {
		return ""
	}
	return strings.Clone(got.SessionID) // a part would keep the whole in memory
}

// carryOver fills in what the user info endpoint left out. Where that agent was
// itself made without ID token, more may be remembered about its access token than
// the agent shows.
func (c *IdpClient) carryOver(from *tokenClaims, before *Agent) {
	was := claimsOf(before)
	if known, ok := c.identities.known.Get(jws.SHA256(before.Tokens.AccessToken)); ok && known.claims.Subject == before.ID {
		was = known.claims
	}
	if from.Email == "" {
		from.Email = was.Email
	}
	if !from.EmailVerified.Present && from.Email == was.Email {
		from.EmailVerified = was.EmailVerified
	}
	if !from.HasOrgID && was.OrgID != "" {
		from.OrgID = was.OrgID
	}
	if was.SessionID != "" {
		from.SessionID = was.SessionID
	}
	if was.AuthTime.Valid {
		from.AuthTime = was.AuthTime
	}
}

// claimsOf is what an agent knows that the user info endpoint may leave out.
func claimsOf(agent *Agent) tokenClaims {
	was := tokenClaims{Claims: claims.Claims{
		Email: agent.Email, EmailVerified: claims.Bool{Value: agent.EmailVerified, Present: true},
		OrgID: agent.OrgID, SessionID: agent.SessionID,
	}}
	if !agent.AuthTime.IsZero() {
		was.AuthTime = claims.Date{Seconds: agent.AuthTime.Unix(), Present: true, Valid: true}
	}
	return was
}

// asUserInfoError makes an *OAuthError of what is no error of ours: the caller has
// left, or something panicked.
func asUserInfoError(err error) error {
	for _, ours := range []any{new(*OAuthError), new(*SubjectMismatchError), new(*ConfigurationError)} {
		if errors.As(err, ours) {
			return err
		}
	}
	return noAnswer(opUserInfo, err)
}

// validBearer is the syntax of RFC 6749 appendix A.12, printable ASCII: anything
// else could end the header.
func validBearer(token string) bool {
	for i := range len(token) {
		if token[i] < ' ' || token[i] > '~' {
			return false
		}
	}
	return token != ""
}
