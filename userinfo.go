package authpi

import (
	"context"
	"net/http"
	"time"

	"github.com/authpi/authpi-idp-go/internal/endpoint"
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
// must be the agent's (OpenID Connect Core section 5.3.2).
//
// It returns a [*SubjectMismatchError], or an [*OAuthError]: userinfo_error where
// the endpoint refuses, invalid_response where its answer cannot be read.
func (c *IdpClient) UserInfo(ctx context.Context, agent *Agent) (*UserInfo, error) {
	if agent == nil {
		return nil, invalidRequest(opUserInfo, "the agent is nil")
	}
	body, err := c.requestUserInfo(ctx, agent.Tokens.AccessToken)
	if err != nil {
		return nil, err
	}
	from, err := c.readUserInfo(body, agent.Tokens.AccessToken, agent.ID)
	if err != nil {
		return nil, err
	}
	info := &UserInfo{
		Subject: from.subject, Email: from.email, EmailVerified: from.emailVerified.value,
		OrgID: from.orgID, Organizations: from.organizations, claims: body,
	}
	info.readProfile(body)
	return info, nil
}

// userInfoClaims is the identity behind an access token, which must be subject's.
func (c *IdpClient) userInfoClaims(ctx context.Context, accessToken, subject string) (claims, error) {
	body, err := c.requestUserInfo(ctx, accessToken)
	if err != nil {
		return claims{}, err
	}
	return c.readUserInfo(body, accessToken, subject)
}

func (c *IdpClient) requestUserInfo(ctx context.Context, accessToken string) (body string, err error) {
	url, err := c.needEndpoint("UserInfo", c.endpoints.UserInfo)
	if err != nil {
		return "", err
	}
	if !validBearer(accessToken) {
		return "", invalidToken(opUserInfo, "access_token", "cannot be sent in a header", nil)
	}
	answer, err := c.caller.Do(ctx, endpoint.Request{URL: url, Bearer: accessToken})
	if err != nil {
		return "", requestFailed(opUserInfo, err, accessToken)
	}
	if answer.Status != http.StatusOK {
		// The code is always ours: what an endpoint that is no token endpoint
		// calls its errors says nothing about the session.
		e := c.refusal(opUserInfo, "", answer, accessToken)
		e.Code = codeUserInfoError
		return "", e
	}
	return answer.Body, nil
}

func (c *IdpClient) readUserInfo(body, accessToken, subject string) (claims, error) {
	from, err := parseClaims(body)
	if err != nil {
		return claims{}, invalidResponse(opUserInfo, err.Error(), http.StatusOK, err)
	}
	if from.subject == "" {
		return claims{}, invalidResponse(opUserInfo, "sub is missing", http.StatusOK, nil)
	}
	if from.subject != subject {
		return claims{}, subjectMismatch(subject, from.subject, accessToken)
	}
	return from, nil
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
