package authpi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
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
	// Picture is a URL, Locale a BCP 47 tag such as "en-GB", PhoneNumber best in
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
// must be the agent's (OpenID Connect Core section 5.3.2). An answer that is a signed
// JWT is verified as an ID token is; iss and aud are required.
//
// It returns a [*SubjectMismatchError], or an [*OAuthError]: userinfo_error where
// the endpoint refuses, invalid_response where its answer cannot be read, and
// invalid_token where a signed one does not hold.
func (c *IdpClient) UserInfo(ctx context.Context, agent *Agent) (*UserInfo, error) {
	if agent == nil {
		return nil, invalidRequest(opUserInfo, "the agent is nil")
	}
	from, err := c.userInfoClaims(ctx, agent.Tokens.AccessToken, agent.ID)
	if err != nil {
		return nil, err
	}
	info := &UserInfo{
		Subject: from.subject, Email: from.email, EmailVerified: from.emailVerified.value,
		OrgID: from.orgID, Organizations: from.organizations, claims: from.text,
	}
	info.readProfile(from.text)
	return info, nil
}

// userInfoClaims is the identity behind an access token, which must be subject's.
func (c *IdpClient) userInfoClaims(ctx context.Context, accessToken, subject string) (claims, error) {
	answer, err := c.requestUserInfo(ctx, accessToken)
	if err != nil {
		return claims{}, err
	}
	from, err := c.readUserInfo(ctx, answer, accessToken, subject)
	if err != nil {
		return claims{}, err
	}
	if from.subject == "" {
		return claims{}, invalidResponse(opUserInfo, "sub is missing", http.StatusOK, nil)
	}
	if from.subject != subject {
		return claims{}, subjectMismatch(subject, from.subject, accessToken)
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
func (c *IdpClient) readUserInfo(ctx context.Context, answer endpoint.Answer, accessToken, subject string) (claims, error) {
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
	return claims{}, invalidResponse(opUserInfo, reason, http.StatusOK, err)
}

// signedUserInfo verifies an answer that is a JWT. It came straight from the issuer, so
// its key may lag as an ID token's may.
func (c *IdpClient) signedUserInfo(ctx context.Context, answer endpoint.Answer, subject string) (claims, error) {
	token, err := jws.Parse(strings.TrimSpace(answer.Body))
	if isNoJWT(err) {
		return claims{}, invalidResponse(opUserInfo, "the answer is no signed JWT: "+err.Error(), answer.Status, err)
	}
	if err != nil {
		return claims{}, refusedToken(opUserInfo, err)
	}
	if err := checkNotTyped(token.Type, opUserInfo); err != nil {
		return claims{}, err
	}
	got, err := c.issuersClaims(ctx, &token, expectation{op: opUserInfo, subject: subject})
	if err != nil {
		return claims{}, err
	}
	if err := c.checkIssuer(ctx, &got, opUserInfo); err != nil {
		return claims{}, err
	}
	if !got.audience.contains(c.cfg.ClientID) {
		return claims{}, invalidToken(opUserInfo, "aud", "is missing, or another client's", nil)
	}
	return got, c.checkTimesSaid(&got, opUserInfo)
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
			u.CreatedAt = parseMoment(&r)
		case "updated_at":
			u.UpdatedAt = parseMoment(&r)
		default:
			if field := texts[m.Name]; field != nil {
				*field, _ = r.Text()
			}
		}
	}
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
