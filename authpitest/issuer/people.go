package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// defaultPeople are there when no file is named.
//
//go:embed people.json
var defaultPeople []byte

// maxPeople bounds the file.
const maxPeople = 1 << 20

// people is the file of -people.
type people struct {
	Organizations []organization `json:"organizations"`
	Roles         []role         `json:"roles"`
	People        []person       `json:"people"`
	Clients       []client       `json:"clients"`
}

type organization struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// role is a set of scopes with a name, which becomes the title in the organization.
type role struct {
	Name   string   `json:"name"`
	Scopes []string `json:"scopes"`
}

type person struct {
	ID          string                `json:"id"`
	Name        string                `json:"name"`
	Email       string                `json:"email"`
	Memberships map[string]membership `json:"memberships"` // by organization
	Blocked     bool                  `json:"blocked"`
	Claims      map[string]any        `json:"claims"` // further ones of the ID token
}

// client is another app than the one of the flags, or a machine. The memberships are
// those of its own tokens (client credentials).
type client struct {
	ID           string                `json:"id"`
	Name         string                `json:"name"`
	Secret       string                `json:"secret"`        // none: a public client
	RedirectURIs []string              `json:"redirect_uris"` // none: no sign-in; "*": any
	Memberships  map[string]membership `json:"memberships"`
}

// membership is a role's name, or a list of scopes.
type membership struct {
	Role   string
	Scopes []string
}

func (m *membership) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &m.Role) == nil && m.Role != "" {
		return nil
	}
	if json.Unmarshal(data, &m.Scopes) == nil && m.Scopes != nil {
		return nil
	}
	return errors.New(`a membership is a role such as "Owner" or a list of scopes such as ["projects:read"]`)
}

// readPeople reads the file, or the built-in one where none is named.
func readPeople(path string) ([]byte, error) {
	if path == "" {
		return defaultPeople, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxPeople+1))
	if err == nil && len(data) > maxPeople {
		err = fmt.Errorf("%s: longer than %d bytes", path, maxPeople)
	}
	return data, err
}

// parsePeople reads the file's text. appID is the client of the flags, which the
// file cannot have, too.
func parsePeople(data []byte, appID string) (people, error) {
	var p people
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return people{}, fmt.Errorf("%w%s", err, lineOf(data, err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return people{}, errors.New("something follows the closing brace")
	}
	return p, p.check(appID)
}

// lineOf names the line of a fault, where the decoder says where it was.
func lineOf(data []byte, err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	offset := int64(-1)
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	if offset < 0 || offset > int64(len(data)) {
		return ""
	}
	return fmt.Sprintf(", line %d", 1+bytes.Count(data[:offset], []byte("\n")))
}

func (p people) check(appID string) error {
	seen := map[[2]string]bool{{"client", appID}: true}
	known := func(id, kind string) error {
		if id == "" || seen[[2]string{kind, id}] {
			return fmt.Errorf("a %s needs an ID, or name, of its own: %q", kind, id)
		}
		seen[[2]string{kind, id}] = true
		return nil
	}
	var errs []error
	for _, r := range p.Roles {
		errs = append(errs, known(r.Name, "role"))
	}
	for _, o := range p.Organizations {
		errs = append(errs, known(o.ID, "organization"))
	}
	for _, u := range p.People {
		errs = append(errs, known(u.ID, "person"), p.checkMemberships(u.ID, u.Memberships))
	}
	for _, c := range p.Clients {
		errs = append(errs, known(c.ID, "client"), p.checkMemberships(c.ID, c.Memberships))
	}
	return errors.Join(errs...)
}

func (p people) checkMemberships(of string, memberships map[string]membership) error {
	var errs []error
	for id, m := range memberships {
		if p.organizationName(id) == "" {
			errs = append(errs, fmt.Errorf("%s is in an organization that is not listed: %q", of, id))
		}
		if m.Role != "" && !p.hasRole(m.Role) {
			errs = append(errs, fmt.Errorf("%s has a role that is not listed: %q", of, m.Role))
		}
	}
	return errors.Join(errs...)
}

// organizationName is empty for an organization that is not listed.
func (p people) organizationName(id string) string {
	for _, o := range p.Organizations {
		if o.ID == id && o.Name != "" {
			return o.Name
		}
		if o.ID == id {
			return id
		}
	}
	return ""
}

func (p people) hasRole(name string) bool {
	return slices.ContainsFunc(p.Roles, func(r role) bool { return r.Name == name })
}

// scopes are the role's, or those that stand in the file.
func (p people) scopes(m membership) []string {
	for _, r := range p.Roles {
		if r.Name == m.Role {
			return r.Scopes
		}
	}
	return m.Scopes
}

// describe is a membership in words: the role, or the scopes.
func (m membership) describe() string {
	if m.Role != "" {
		return m.Role
	}
	return strings.Join(m.Scopes, " ")
}
