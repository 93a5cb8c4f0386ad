package authpitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// User is somebody who can sign in.
type User struct {
	// ID is the sub claim, for example "usr_ada".
	ID string

	// The claims of the scope email.
	Email         string
	EmailVerified bool

	// The claims of the scope profile. An empty one is left out.
	Name, GivenName, FamilyName, Picture, Locale string

	// The claims of the scope phone.
	PhoneNumber         string
	PhoneNumberVerified bool

	// Note is what the sign-in page says about the user, for example "Owner of
	// Engines". It is no claim.
	Note string

	// CreatedAt and UpdatedAt are shown by userinfo. Zero: the time of AddUser.
	CreatedAt, UpdatedAt time.Time

	// Claims join the ID token and userinfo, whatever the scopes. They replace the
	// claims above and organizations, but not those that the protocol needs, such as
	// sub and exp.
	Claims map[string]any
}

// Organization is one membership of a user, as the organizations claim shows it.
type Organization struct {
	// ID is for example "org_engines". Title may be empty: null in the claim.
	ID, Title string

	// Scopes are the user's in this organization, for example "owner" or
	// "projects:read".
	Scopes []string

	// JoinedAt, if zero, is the time of SetOrganizations.
	JoinedAt time.Time
}

// MarshalJSON writes the claim's form: id, title, scopes and joined_at, which is 0
// for a zero JoinedAt. So the claims of [Server.AccessToken] and [Server.Sign] may
// hold organizations:
//
//	srv.AccessToken(map[string]any{"organizations": []authpitest.Organization{{ID: "org_engines"}}})
func (o Organization) MarshalJSON() ([]byte, error) { return json.Marshal(o.claim()) }

func (o Organization) claim() map[string]any {
	claim := map[string]any{"id": o.ID, "title": nil, "scopes": append([]string{}, o.Scopes...), "joined_at": int64(0)}
	if o.Title != "" {
		claim["title"] = o.Title
	}
	if !o.JoinedAt.IsZero() {
		claim["joined_at"] = o.JoinedAt.Unix()
	}
	return claim
}

type account struct {
	User
	blocked bool
}

// AddUser adds a user, or replaces the one with its ID, and lifts a block.
// Organizations and sessions stay.
func (s *Server) AddUser(u User) {
	if u.ID == "" {
		panic("authpitest: a user needs an ID")
	}
	u.Claims = maps.Clone(u.Claims)
	now := s.now()
	setDefault(&u.CreatedAt, now)
	setDefault(&u.UpdatedAt, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[u.ID] == nil {
		s.userOrder = append(s.userOrder, u.ID)
	}
	s.users[u.ID] = &account{User: u}
}

// SetOrganizations replaces a user's memberships. Tokens show them from the next one
// on, as AuthPI computes them anew at every refresh; userinfo shows them at once. A
// userID of "agt_" and a client's ID without its "c_" sets those of the client's own
// tokens. Any userID is accepted, also before AddUser; a misspelt one has no effect.
func (s *Server) SetOrganizations(userID string, orgs ...Organization) {
	now := s.now()
	kept := slices.Clone(orgs)
	for i := range kept {
		kept[i].Scopes = slices.Clone(kept[i].Scopes)
		setDefault(&kept[i].JoinedAt, now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memberships[userID] = kept
}

// RemoveUser deletes a user with all sessions. A refresh then answers invalid_grant.
func (s *Server) RemoveUser(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, id)
	delete(s.memberships, id)
	s.userOrder = slices.DeleteFunc(s.userOrder, func(u string) bool { return u == id })
	s.endSessions(id)
}

// BlockUser suspends a user: sign-in and refresh answer user_blocked, and no refresh
// token is spent; userinfo refuses the access token. The sessions live on, and
// AddUser lifts the block. It panics for a user that there is not.
func (s *Server) BlockUser(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[id]
	if u == nil {
		panic(fmt.Sprintf("authpitest: BlockUser(%q): there is no such user", id))
	}
	u.blocked = true
}

// profile returns the claims about a user that scopes give, and the user's extra
// ones.
func (u *account) profile(scopes []string) map[string]any {
	claims := map[string]any{}
	text := func(name, value string) {
		if value != "" {
			claims[name] = value
		}
	}
	if slices.Contains(scopes, "email") && u.Email != "" {
		claims["email"], claims["email_verified"] = u.Email, u.EmailVerified
	}
	if slices.Contains(scopes, "profile") {
		text("name", u.Name)
		text("given_name", u.GivenName)
		text("family_name", u.FamilyName)
		text("picture", u.Picture)
		text("locale", u.Locale)
	}
	if slices.Contains(scopes, "phone") && u.PhoneNumber != "" {
		claims["phone_number"], claims["phone_number_verified"] = u.PhoneNumber, u.PhoneNumberVerified
	}
	return claims
}

// addOrganizations sets organizations, only the selected one if org is not empty,
// and org_id. Whoever left the selected organization has none and no org_id. The
// caller holds s.mu.
func (s *Server) addOrganizations(claims map[string]any, subject, org string) {
	list := []map[string]any{}
	for _, o := range s.memberships[subject] {
		if org != "" && o.ID != org {
			continue
		}
		list = append(list, o.claim())
	}
	if org != "" && len(list) > 0 {
		claims["org_id"] = org
	}
	if !s.opts.OmitOrganizations {
		claims["organizations"] = list
	}
}

func (s *Server) isMember(subject, org string) bool {
	return slices.ContainsFunc(s.memberships[subject], func(o Organization) bool { return o.ID == org })
}
