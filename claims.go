package authpi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// claims are what a token, or the user info endpoint, says of somebody, decoded
// in one pass. A member of the wrong kind reads as missing: one odd claim does
// not end a sign-in, and the checks of a token want what they need present.
type claims struct {
	issuer, subject, sessionID, jti       string
	authorizedParty, nonce, atHash        optionalText
	email, orgID, scope, clientID         string
	emailVerified                         optionalBool
	audience                              audience
	expiry, issuedAt, notBefore, authTime numericDate
	organizations                         []Organization
	saysOrgID                             bool   // org_id is there, and a text
	logout                                bool   // has the back-channel logout event
	text                                  string // all of them, as JSON
}

// optionalText is a claim whose presence alone means something to the checks.
type optionalText struct {
	text    string
	present bool // the member is there, whatever it holds
}

// optionalBool is a claim that counts only as true or false.
type optionalBool struct{ value, present bool }

// numericDate is a claim in seconds since the Unix epoch (RFC 7519 section 2).
type numericDate struct {
	seconds int64
	present bool // the member is there, whatever it holds
	valid   bool // and is a number that fits
}

func (d numericDate) time() time.Time { return unixTime(d.seconds) }

// audience is one text or a list of them (RFC 7519 section 4.1.3). The first stands
// apart, since most have no other.
type audience struct {
	first string
	rest  []string
	valid bool
}

func (a audience) contains(want string) bool {
	return a.valid && (a.first == want || slices.Contains(a.rest, want))
}

func (a audience) list() []string {
	if !a.valid {
		return nil
	}
	return append([]string{a.first}, a.rest...)
}

// logoutEvent is the member that makes a JWT a logout token (OpenID Connect
// Back-Channel Logout 1.0 section 2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

var errNoObject = errors.New("must be a JSON object")

// parseClaims decodes a JSON object of claims. Everything in the result is a
// part of text, so text stays in memory as long as the claims do.
func parseClaims(text string) (claims, error) {
	c := claims{text: text}
	r := strictjson.NewReader(text)
	if r.Kind() != strictjson.Object {
		return claims{}, errNoObject
	}
	for m := r.Members(); m.Next(); {
		switch m.Name {
		case "iss":
			c.issuer, _ = r.Text()
		case "sub":
			c.subject, _ = r.Text()
		case "aud":
			c.audience = parseAudience(&r)
		case "azp":
			c.authorizedParty = parseOptional(&r)
		case "nonce":
			c.nonce = parseOptional(&r)
		case "at_hash":
			c.atHash = parseOptional(&r)
		case "sid":
			c.sessionID, _ = r.Text()
		case "jti":
			c.jti, _ = r.Text()
		case "email":
			c.email, _ = r.Text()
		case "email_verified":
			c.emailVerified.value, c.emailVerified.present = r.Bool()
		case "org_id":
			c.orgID, c.saysOrgID = r.Text()
		case "scope":
			c.scope, _ = r.Text()
		case "client_id":
			c.clientID, _ = r.Text()
		case "exp":
			c.expiry = parseDate(&r)
		case "iat":
			c.issuedAt = parseDate(&r)
		case "nbf":
			c.notBefore = parseDate(&r)
		case "auth_time":
			c.authTime = parseDate(&r)
		case "organizations":
			c.organizations = parseOrganizations(&r, text)
		case "events":
			c.logout = parseEvents(&r)
		default:
			r.Skip()
		}
	}
	if err := r.End(); err != nil {
		return claims{}, err
	}
	return c, nil
}

func parseOptional(r *strictjson.Reader) optionalText {
	text, _ := r.Text()
	return optionalText{text: text, present: true}
}

// maxDate is the last second that a date may name: the year 9999. Adding a
// leeway to anything up to it cannot overflow.
const maxDate = 253402300799

// parseDate reads a number of seconds; a fraction is cut off, as the standard
// allows one (RFC 7519 section 2).
func parseDate(r *strictjson.Reader) numericDate {
	literal, _ := r.Number() // empty for what is no number
	seconds, ok := strictjson.Whole(literal)
	return numericDate{seconds: seconds, present: true, valid: ok && 0 <= seconds && seconds <= maxDate}
}

func parseAudience(r *strictjson.Reader) audience {
	if r.Kind() == strictjson.String {
		one, _ := r.Text()
		return audience{first: one, valid: true}
	}
	var a audience
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

// parseOrganizations reads the memberships. A member without a text id is
// skipped, other odd fields read as empty, scopes that are no text grant
// nothing. text is what is being read: its counts give the sizes, so that the
// number of allocations does not grow with the number of organizations.
func parseOrganizations(r *strictjson.Reader, text string) []Organization {
	var orgs []Organization // none where it is no list
	var scopes []string     // of all organizations, in one piece
	for e := r.Elements(); e.Next(); {
		if orgs == nil {
			// Each is an object, and none is shorter than {"id":""} with its comma.
			count := min(strings.Count(text, "{"), len(text)/10)
			orgs = make([]Organization, 0, count)
			// Two quotes make a text; three names and the id are no scopes.
			scopes = make([]string, 0, max(strings.Count(text, `"`)/2-4*count, 0))
		}
		var org Organization
		var ok bool
		start := len(scopes)
		for m := r.Members(); m.Next(); {
			switch m.Name {
			case "id":
				org.ID, ok = r.Text()
			case "title":
				org.Title, _ = r.Text()
			case "joined_at":
				org.JoinedAt = parseMoment(r)
			case "scopes":
				scopes = r.AppendTexts(scopes)
			}
		}
		if !ok {
			scopes = scopes[:start]
			continue
		}
		// The capacity is cut too: appending to one organization's scopes must
		// not write into the next one's.
		org.Scopes = scopes[start:len(scopes):len(scopes)]
		orgs = append(orgs, org)
	}
	return orgs
}

// parseMoment reads a moment that may be missing: null, zero and whatever is no
// number of seconds give the zero time.
func parseMoment(r *strictjson.Reader) time.Time {
	seconds, _ := r.Int()
	if seconds == 0 {
		return time.Time{}
	}
	return unixTime(seconds)
}

// cloneOrganizations gives organizations that the receiver may change, their scopes in
// one piece.
func cloneOrganizations(orgs []Organization) []Organization {
	total := 0
	for i := range orgs {
		total += len(orgs[i].Scopes)
	}
	scopes := make([]string, 0, total)
	orgs = slices.Clone(orgs)
	for i := range orgs {
		start := len(scopes)
		scopes = append(scopes, orgs[i].Scopes...)
		orgs[i].Scopes = scopes[start:len(scopes):len(scopes)]
	}
	return orgs
}

func decodeClaims(text string, v any) error {
	if text == "" {
		text = "{}"
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("authpi: claims: %w", err)
	}
	return nil
}
