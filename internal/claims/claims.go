// Package claims reads what a token, or the user info endpoint, says of somebody,
// and checks it: whose token it is, for whom, when, and for which login. It knows no
// keys: a signature has been verified before.
package claims

import (
	"errors"
	"slices"
	"time"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// Claims are decoded in one pass. A member of the wrong kind reads as missing: one
// odd claim does not end a sign-in, and the checks of a token want what they need
// present.
type Claims struct {
	Issuer, Subject, SessionID, JTI         string
	AuthorizedParty, Nonce, AccessTokenHash Text
	Email, OrgID, Scope, ClientID           string
	EmailVerified                           Bool
	Audience                                Audience
	Expiry, IssuedAt, NotBefore, AuthTime   Date
	HasOrgID                                bool   // org_id is there, and a text
	Logout                                  bool   // has the back-channel logout event
	JSON                                    string // all of them

	hasOrganizations bool
}

// Text is a claim whose presence alone means something to the checks.
type Text struct {
	Value   string
	Present bool // the member is there, whatever it holds
}

// Bool is a claim that counts only as true or false.
type Bool struct{ Value, Present bool }

// Date is a claim in seconds since the Unix epoch (RFC 7519 section 2).
type Date struct {
	Seconds int64
	Present bool // the member is there, whatever it holds
	Valid   bool // and is a number that fits
}

// Time returns the date in UTC.
func (d Date) Time() time.Time { return unixTime(d.Seconds) }

func unixTime(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// Audience is one text or a list of them (RFC 7519 section 4.1.3). The first stands
// apart, since most have no other.
type Audience struct {
	first string
	rest  []string
	valid bool
}

// Contains reports whether want is one of the audience.
func (a Audience) Contains(want string) bool {
	return a.valid && (a.first == want || slices.Contains(a.rest, want))
}

// Several reports whether there is more than one.
func (a Audience) Several() bool { return len(a.rest) > 0 }

// List returns the audience, nil if it is missing or no list of texts.
func (a Audience) List() []string {
	if !a.valid {
		return nil
	}
	return append([]string{a.first}, a.rest...)
}

// logoutEvent is the member that makes a JWT a logout token (OpenID Connect
// Back-Channel Logout 1.0 section 2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

var errNoObject = errors.New("must be a JSON object")

// Parse decodes a JSON object of claims, and the memberships in them. Everything in
// the result is a part of text, so text stays in memory as long as the claims do.
func Parse[O Organization](text string) (Claims, []O, error) {
	c, orgs := Claims{JSON: text}, []O(nil)
	r := strictjson.NewReader(text)
	if r.Kind() != strictjson.Object {
		return Claims{}, nil, errNoObject
	}
	for m := r.Members(); m.Next(); {
		if m.Name == "organizations" {
			orgs = ReadOrganizations[O](&r, text)
		} else {
			c.read(m.Name, &r)
		}
	}
	if err := r.End(); err != nil {
		return Claims{}, nil, err
	}
	c.hasOrganizations = orgs != nil
	return c, orgs, nil
}

// read reads the claim of a name, if it is one of those that count here.
func (c *Claims) read(name string, r *strictjson.Reader) {
	if field := c.text(name); field != nil {
		*field, _ = r.Text()
		return
	}
	if field := c.date(name); field != nil {
		*field = ReadDate(r)
		return
	}
	switch name {
	case "aud":
		c.Audience = parseAudience(r)
	case "azp":
		c.AuthorizedParty = parseOptional(r)
	case "nonce":
		c.Nonce = parseOptional(r)
	case "at_hash":
		c.AccessTokenHash = parseOptional(r)
	case "email_verified":
		c.EmailVerified.Value, c.EmailVerified.Present = r.Bool()
	case "org_id":
		c.OrgID, c.HasOrgID = r.Text()
	case "events":
		c.Logout = parseEvents(r)
	}
}

// text returns the field of a claim that is a text, nil for any other.
func (c *Claims) text(name string) *string {
	switch name {
	case "iss":
		return &c.Issuer
	case "sub":
		return &c.Subject
	case "sid":
		return &c.SessionID
	case "jti":
		return &c.JTI
	case "email":
		return &c.Email
	case "scope":
		return &c.Scope
	case "client_id":
		return &c.ClientID
	}
	return nil
}

// date returns the field of a claim that is a date, nil for any other.
func (c *Claims) date(name string) *Date {
	switch name {
	case "exp":
		return &c.Expiry
	case "iat":
		return &c.IssuedAt
	case "nbf":
		return &c.NotBefore
	case "auth_time":
		return &c.AuthTime
	}
	return nil
}

func parseOptional(r *strictjson.Reader) Text {
	text, _ := r.Text()
	return Text{Value: text, Present: true}
}

// maxDate is the last second that a date may name: the year 9999. Adding a
// leeway to anything up to it cannot overflow.
const maxDate = 253402300799

// ReadDate reads a number of seconds; a fraction is cut off, as the standard
// allows one (RFC 7519 section 2).
func ReadDate(r *strictjson.Reader) Date {
	literal, _ := r.Number() // empty for what is no number
	seconds, ok := strictjson.Whole(literal)
	return Date{Seconds: seconds, Present: true, Valid: ok && 0 <= seconds && seconds <= maxDate}
}

func parseAudience(r *strictjson.Reader) Audience {
	if r.Kind() == strictjson.String {
		one, _ := r.Text()
		return Audience{first: one, valid: true}
	}
	var a Audience
	count, allTexts := 0, true
	for e := r.Elements(); e.Next(); {
		one, ok := r.Text()
		allTexts = allTexts && ok
		if count++; count == 1 {
			a.first = one
		} else {
			a.rest = append(a.rest, one)
		}
	}
	a.valid = count > 0 && allTexts
	return a
}

func parseEvents(r *strictjson.Reader) (logout bool) {
	for m := r.Members(); m.Next(); {
		if m.Name == logoutEvent {
			logout = r.Kind() == strictjson.Object
		}
	}
	return logout
}
