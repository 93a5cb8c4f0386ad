package tokens

import (
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// Answer is what the token endpoint's answer to a request for tokens says (RFC 6749
// section 5.1).
type Answer struct {
	Set    Set
	Object bool     // it is a JSON object, and whole
	Odd    []string // members of the wrong kind, which count as not said
	fault  string   // what else is wrong with it
}

// Fault says what is wrong with the answer; empty: nothing.
func (a Answer) Fault() string {
	switch {
	case a.fault != "":
		return a.fault
	case len(a.Odd) > 0:
		return strings.Join(a.Odd, ", ") + ": no text"
	case !a.Usable():
		return "access_token is missing"
	}
	return ""
}

// Usable reports whether there is an access token, whatever else may be wrong.
func (a Answer) Usable() bool { return a.Set.AccessToken != "" }

// ReadAnswer reads a token answer. Where something is wrong it says what, and
// returns what it could read all the same: these may be the only tokens of a
// session. Their life is counted from sentAt: a machine may have slept, or had its
// clock set, while the answer was on its way.
func ReadAnswer(body string, sentAt time.Time) Answer {
	a := Answer{Set: Set{TokenType: Bearer}}
	lifetime := int64(defaultLifetime)
	r := strictjson.NewReader(body)
	if r.Kind() != strictjson.Object {
		return Answer{fault: "the answer is no JSON object"}
	}
	for m := r.Members(); m.Next(); {
		ok := true
		switch m.Name {
		case keyAccessToken:
			a.Set.AccessToken, ok = r.Text()
		case keyTokenType:
			a.Set.TokenType, ok = r.Text()
			if !ok {
				a.Set.TokenType = Bearer
			}
		case keyScope:
			a.Set.Scope, ok = readScope(&r)
		case "expires_in":
			lifetime = readLifetime(&r)
		default:
			if field := a.Set.optional(m.Name); field != nil {
				*field, ok = r.TextOrNull()
			}
		}
		if !ok {
			a.Odd = append(a.Odd, m.Name)
		}
	}
	if err := r.End(); err != nil {
		return Answer{fault: "the answer cannot be read: " + err.Error()}
	}
	a.Object = true
	a.Set.ExpiresAt = time.Unix(sentAt.Unix()+lifetime, 0).UTC()
	return a
}

// readScope reads a space-separated list. Some issuers send a JSON list of texts:
// that is joined, and still not what the standard has.
func readScope(r *strictjson.Reader) (scope string, ok bool) {
	if r.Kind() != strictjson.Array {
		return r.TextOrNull()
	}
	return strings.Join(r.AppendTexts(nil), " "), false
}

// defaultLifetime is assumed where the answer does not say, in seconds.
const defaultLifetime = 3600

// maxLifetime keeps a lifetime, in seconds, from overflowing a date: ten years.
const maxLifetime = 10 * 366 * 24 * 3600

// readLifetime reads expires_in: a number, or digits in a text. Anything else counts
// as the default, since the tokens are too dear to be thrown away for it.
func readLifetime(r *strictjson.Reader) int64 {
	var literal string
	var ok bool
	if r.Kind() == strictjson.String {
		text, _ := r.Text()
		inner := strictjson.NewReader(text)
		literal, _ = inner.Number()
		ok = inner.End() == nil
	} else {
		literal, ok = r.Number()
	}
	seconds, isNumber := strictjson.Whole(literal)
	if !ok || !isNumber {
		return defaultLifetime
	}
	return min(max(seconds, -maxLifetime), maxLifetime)
}
