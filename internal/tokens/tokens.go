// Package tokens reads and writes a set of tokens: in the form in which a session
// stores it, and as the token endpoint answers it.
package tokens

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// Set is the tokens of one user or machine. It prints its tokens: hand it to nothing
// that prints.
type Set struct {
	AccessToken, TokenType string
	ExpiresAt              time.Time // of the access token, to the second
	RefreshToken, IDToken  string
	SubjectHint, Scope     string
}

// Bearer is the token type where none is named (RFC 6750).
const Bearer = "Bearer"

// Names of the storage form, which the token endpoint shares (RFC 6749 section 5.1).
const (
	keyAccessToken  = "access_token"
	keyTokenType    = "token_type"
	keyExpiresAt    = "expires_at"
	keyRefreshToken = "refresh_token"
	keyIDToken      = "id_token"
	keySubjectHint  = "subject_hint"
	keyScope        = "scope"
)

// optional returns the field of a text that may be null or missing, and nil for
// every other name.
func (s *Set) optional(name string) *string {
	switch name {
	case keyRefreshToken:
		return &s.RefreshToken
	case keyIDToken:
		return &s.IDToken
	case keyScope:
		return &s.Scope
	}
	return nil
}

// Parse reads the storage form: an object with access_token and expires_at, and
// whatever else there is. Unknown members are ignored, names match exactly. The
// fields are parts of one copy of data.
func Parse(data []byte) (Set, error) {
	s := Set{TokenType: Bearer}
	r := strictjson.NewReader(string(data))
	if r.Kind() != strictjson.Object {
		return Set{}, errors.New("must be a JSON object")
	}
	var haveAccess, haveExpiry bool
	for m := r.Members(); m.Next(); {
		ok := true
		switch m.Name {
		case keyAccessToken:
			s.AccessToken, haveAccess = r.Text()
		case keyExpiresAt:
			var seconds int64
			seconds, haveExpiry = r.Int()
			s.ExpiresAt = time.Unix(seconds, 0).UTC()
		case keyTokenType:
			s.TokenType, ok = r.Text()
		case keySubjectHint:
			s.SubjectHint, ok = r.TextOrNull()
		default:
			if field := s.optional(m.Name); field != nil {
				*field, ok = r.TextOrNull()
			}
		}
		if !ok {
			return Set{}, errors.New(m.Name + " must be text")
		}
	}
	switch err := r.End(); {
	case err != nil:
		return Set{}, err
	case !haveAccess:
		return Set{}, errors.New("access_token must be text")
	case !haveExpiry:
		return Set{}, errors.New("expires_at must be whole seconds since the Unix epoch")
	}
	return s, nil
}

// JSON returns the storage form, with every token in the clear.
func (s Set) JSON() []byte {
	const frame = 160 // names, punctuation and the number
	dst := make([]byte, 0, frame+len(s.AccessToken)+len(s.RefreshToken)+len(s.IDToken)+len(s.Scope)+len(s.SubjectHint))
	dst = append(dst, `{"`+keyAccessToken+`":`...)
	dst = strictjson.AppendString(dst, s.AccessToken)
	dst = append(dst, `,"`+keyTokenType+`":`...)
	dst = strictjson.AppendString(dst, s.TokenType)
	dst = append(dst, `,"`+keyExpiresAt+`":`...)
	dst = strconv.AppendInt(dst, s.ExpiresAt.Unix(), 10)
	for _, optional := range [...]struct{ name, value string }{
		{`,"` + keyRefreshToken + `":`, s.RefreshToken},
		{`,"` + keyIDToken + `":`, s.IDToken},
		{`,"` + keySubjectHint + `":`, s.SubjectHint},
		{`,"` + keyScope + `":`, s.Scope},
	} {
		dst = append(dst, optional.name...)
		dst = strictjson.AppendStringOrNull(dst, optional.value)
	}
	return append(dst, '}')
}

// Clone returns a copy with texts of its own. Those of a set that was read are parts
// of the whole text, which they keep in memory.
func (s Set) Clone() Set {
	for _, text := range []*string{&s.AccessToken, &s.TokenType, &s.RefreshToken, &s.IDToken, &s.SubjectHint, &s.Scope} {
		*text = strings.Clone(*text)
	}
	return s
}

// IsZero reports whether there is no token at all, as in the session of somebody who
// has signed out.
func (s Set) IsZero() bool { return s.AccessToken == "" && s.RefreshToken == "" && s.IDToken == "" }

// Remaining returns the access token's life in whole seconds, as the Python package
// counts it: negative once it has expired.
func (s Set) Remaining(now time.Time) time.Duration {
	const limit = int64(1<<63-1) / int64(time.Second)
	expiry, current := s.ExpiresAt.Unix(), now.Unix()
	seconds := expiry - current
	// Two's complement: the difference overflowed where the signs say so.
	if (expiry < current) != (seconds < 0) {
		seconds = limit
		if expiry < current {
			seconds = -limit
		}
	}
	return time.Duration(min(max(seconds, -limit), limit)) * time.Second
}
