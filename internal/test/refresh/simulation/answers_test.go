package simulation_test

import (
	"fmt"
	"strings"
	"time"
)

// meaning is what an answer of the token endpoint has to tell a client.
type meaning uint8

const (
	usable    meaning = iota // a new set; the old token is spent
	unusable                 // the old token is spent for nothing that can be used
	denied                   // only what was asked for beside the tokens is refused
	dead                     // the session is over
	misdone                  // the client or its request is wrong; nothing was spent
	passing                  // the issuer said that it cannot for now; nothing was spent
	unread                   // a 200 that cannot be read: lost, and held back in any case
	lost                     // no answer; the token may be spent
	undialled                // the request certainly never left
)

func (m meaning) String() string {
	return [...]string{
		"usable", "unusable", "denied", "dead", "the client's mistake", "passing", "unreadable", "lost", "never left",
	}[m]
}

// effect is what the issuer does with the refresh token.
type effect uint8

const (
	nothing effect = iota
	rotates        // it is spent, and there is a new set
	ends           // the session is over
)

// delivery is how the answer travels.
type delivery uint8

const (
	whole    delivery = iota
	cut               // its body breaks off
	reset             // none comes
	dial              // the request does not even leave
	hang              // none comes until the caller's context ends
	deafHang          // none comes for a long time, whatever the context says
	deafLate          // it comes very late, whatever the context says
	late              // it comes some seconds late
)

// answer is one way in which the token endpoint answers a refresh.
type answer struct {
	name   string
	means  meaning
	effect effect
	travel delivery
	status int
	header string // Retry-After
	body   func(*set) string
	hostile,
	noID bool
}

// answers are all of them. The first is the usual one.
var answers = []answer{
	{name: "a new set", means: usable, effect: rotates},
	{name: "a new set without ID token", means: usable, effect: rotates, noID: true},
	{name: "scope as a list", means: usable, effect: rotates, body: with(`"scope":["openid","email"]`)},
	{name: "scope as a number", means: usable, effect: rotates, body: with(`"scope":7`)},
	{name: "token_type null", means: usable, effect: rotates, body: with(`"token_type":null`)},
	{name: "token_type as a number", means: usable, effect: rotates, body: with(`"token_type":1`)},
	{name: "id_token as a number", means: usable, effect: rotates, noID: true, body: with(`"id_token":1`)},
	{name: "id_token false", means: usable, effect: rotates, noID: true, body: with(`"id_token":false`)},
	{name: "expires_in as a text", means: usable, effect: rotates, body: textExpiry},
	{name: "a new set, slowly", means: usable, effect: rotates, travel: late},
	{name: "a new set, very late, to a deaf round tripper", means: usable, effect: rotates, travel: deafLate},

	{name: "no access token", means: unusable, effect: rotates, body: withoutAccess("")},
	{name: "access_token null", means: unusable, effect: rotates, body: withoutAccess(`,"access_token":null`)},
	{name: "access_token as a number", means: unusable, effect: rotates, body: withoutAccess(`,"access_token":17`)},
	{name: "an ID token with a bad signature", means: unusable, effect: rotates, hostile: true},
	{name: "another user's ID token", means: unusable, effect: rotates, hostile: true},

	{name: "an empty object with status 200", means: unusable, status: 200, body: text("{}")},
	{name: "another object with status 200", means: unusable, status: 200, body: text(`{"status":"ok"}`)},

	{name: "a page with status 200", means: unread, status: 200, body: text("<html>please wait</html>")},
	{name: "a page with status 200 in place of the set", means: unread, effect: rotates, status: 200, body: text("<html>please wait</html>")},
	{name: "a body that breaks off", means: unread, effect: rotates, travel: cut},
	{name: "an empty body with status 200", means: unread, status: 200, body: text("")},
	{name: "null with status 200", means: unread, effect: rotates, status: 200, body: text("null")},
	{name: "a list with status 200", means: unread, status: 200, body: text("[1]")},
	{name: "a set with more behind it", means: unread, effect: rotates, body: func(s *set) string { return s.body() + "<!-- -->" }},

	{name: "invalid_grant", means: dead, effect: ends, status: 400, body: says("invalid_grant")},
	{name: "invalid_grant with status 200", means: dead, effect: ends, status: 200, body: says("invalid_grant")},
	{name: "token_revoked with status 200", means: dead, effect: ends, status: 200, body: says("token_revoked")},
	{name: "access_denied to everybody", means: dead, effect: ends, status: 403, body: says("access_denied")},
	{name: "session_expired", means: dead, effect: ends, status: 401, body: says("session_expired")},
	{name: "refresh_token_expired", means: dead, effect: ends, status: 400, body: says("refresh_token_expired")},
	{name: "token_revoked", means: dead, effect: ends, status: 401, body: says("token_revoked")},

	{name: "access_denied", means: denied, status: 403, body: says("access_denied")},
	{name: "invalid_scope", means: denied, status: 400, body: says("invalid_scope")},
	{name: "invalid_target", means: denied, status: 400, body: says("invalid_target")},

	{name: "access_denied with status 200", means: denied, status: 200, body: says("access_denied")},

	{name: "invalid_client", means: misdone, status: 401, body: says("invalid_client")},
	{name: "unauthorized_client", means: misdone, status: 400, body: says("unauthorized_client")},

	{name: "a page with status 403", means: misdone, status: 403, body: text("<html>firewall</html>")},
	{name: "404", means: misdone, status: 404},
	{name: "a redirect", means: misdone, status: 302, body: text("")},

	{name: "429", means: passing, status: 429},
	{name: "429 with Retry-After", means: passing, status: 429, header: "30"},
	{name: "503", means: passing, status: 503},
	{name: "503 with Retry-After", means: passing, status: 503, header: "20", body: text("<html>soon</html>")},
	{name: "503 with a long Retry-After", means: passing, status: 503, header: "240"},
	{name: "502 with a page", means: passing, status: 502, body: text("<html>bad gateway</html>")},
	{name: "408", means: passing, status: 408},
	{name: "425", means: passing, status: 425},
	{name: "500", means: passing, status: 500, body: says("server_error")},

	{name: "500 after the rotation", means: lost, effect: rotates, status: 500},
	{name: "a reset before the rotation", means: lost, travel: reset},
	{name: "a reset after the rotation", means: lost, effect: rotates, travel: reset},
	{name: "a dial error", means: undialled, travel: dial},
	{name: "it hangs", means: lost, travel: hang},
	{name: "it hangs after the rotation", means: lost, effect: rotates, travel: hang},
	{name: "it hangs, whatever the context says", means: lost, travel: deafHang},
}

func text(s string) func(*set) string { return func(*set) string { return s } }

func says(code string) func(*set) string {
	return text(fmt.Sprintf(`{"error":%q,"error_description":"so says the issuer"}`, code))
}

// with replaces one member of the usual answer.
func with(member string) func(*set) string {
	name, _, _ := strings.Cut(member, ":")
	return func(s *set) string {
		var members []string
		for _, m := range s.members() {
			if !strings.HasPrefix(m, name+":") {
				members = append(members, m)
			}
		}
		return "{" + strings.Join(append(members, member), ",") + "}"
	}
}

func textExpiry(s *set) string {
	return with(fmt.Sprintf(`"expires_in":"%d"`, int(s.life()/time.Second)))(s)
}

func withoutAccess(more string) func(*set) string {
	return func(s *set) string {
		return fmt.Sprintf(`{"token_type":"Bearer","refresh_token":%q%s}`, s.refresh, more)
	}
}

// holdBack is how long no request for the same token may follow this answer, whether or
// not the access token is still good.
func (a *answer) holdBack() time.Duration {
	switch {
	case a.header != "":
		seconds, _ := time.ParseDuration(a.header + "s")
		return min(seconds, 5*time.Minute)
	case a.status == 429 || a.means == unread:
		return 5 * time.Second
	}
	return 0
}
