package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/authpi/authpi-idp-go/authpitest"
)

// directory holds the people, and keeps the server to them.
type directory struct {
	srv   *authpitest.Server
	path  string // of the file; empty: the built-in people
	appID string

	mu     sync.Mutex // guards what follows
	text   []byte     // of the file, as it was read last
	people people
	err    error                   // why the file's text was not taken; people are the last good ones
	joined map[[2]string]time.Time // by member and organization
}

func newDirectory(srv *authpitest.Server, path, appID string) (*directory, error) {
	d := &directory{srv: srv, path: path, appID: appID, joined: map[[2]string]time.Time{}}
	return d, d.refresh()
}

// refresh reads the file again, and takes it if it has changed. What buttons changed
// meanwhile is then gone.
func (d *directory) refresh() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := readPeople(d.path)
	switch {
	case err != nil:
		d.text = nil
		d.err = err
		return err
	case d.text != nil && bytes.Equal(text, d.text):
		return d.err
	}
	d.text = text
	fresh, err := parsePeople(text, d.appID)
	if err != nil {
		d.err = fmt.Errorf("%s: %w", cmp.Or(d.path, "the built-in people"), err)
		return d.err
	}
	d.err = nil
	d.apply(fresh)
	return nil
}

// apply tells the server what has changed, and nothing else: whoever stays as they
// are keeps their times. The caller holds d.mu.
func (d *directory) apply(fresh people) {
	old := d.people
	d.people = fresh
	for _, p := range old.People {
		if _, stays := find(fresh.People, p.ID); !stays {
			d.srv.RemoveUser(p.ID)
		}
	}
	for _, c := range old.Clients {
		if !slices.ContainsFunc(fresh.Clients, func(f client) bool { return f.ID == c.ID }) {
			d.srv.RemoveClient(c.ID)
			d.srv.SetOrganizations(machineID(c.ID))
		}
	}
	for _, p := range fresh.People {
		before, was := find(old.People, p.ID)
		if !was || !reflect.DeepEqual(before, p) || !reflect.DeepEqual(old.Roles, fresh.Roles) || !reflect.DeepEqual(old.Organizations, fresh.Organizations) {
			d.publish(p)
		}
	}
	for _, c := range fresh.Clients {
		d.srv.AddClient(authpitest.Client{ID: c.ID, Name: c.Name, Secret: c.Secret, RedirectURIs: c.redirects()})
		d.srv.SetOrganizations(machineID(c.ID), d.organizations(machineID(c.ID), c.Memberships)...)
	}
}

func find(list []person, id string) (person, bool) {
	i := slices.IndexFunc(list, func(p person) bool { return p.ID == id })
	if i < 0 {
		return person{}, false
	}
	return list[i], true
}

// machineID is the subject of a client's own tokens.
func machineID(clientID string) string { return "agt_" + strings.TrimPrefix(clientID, "c_") }

// redirects are for authpitest, to which none means any.
func (c client) redirects() []string {
	switch {
	case len(c.RedirectURIs) == 0:
		return []string{""}
	case slices.Contains(c.RedirectURIs, "*"):
		return nil
	}
	return c.RedirectURIs
}

// publish makes the server know a person. The caller holds d.mu.
func (d *directory) publish(p person) {
	given, family := splitName(p.Name)
	d.srv.AddUser(authpitest.User{
		ID: p.ID, Email: p.Email, EmailVerified: p.Email != "",
		Name: p.Name, GivenName: given, FamilyName: family,
		Note: d.note(p), Claims: p.Claims,
	})
	if p.Blocked {
		d.srv.BlockUser(p.ID)
	}
	d.srv.SetOrganizations(p.ID, d.organizations(p.ID, p.Memberships)...)
}

func splitName(name string) (given, family string) {
	words := strings.Fields(name)
	if len(words) < 2 {
		return "", ""
	}
	last := len(words) - 1
	return strings.Join(words[:last], " "), words[last]
}

// note says who somebody is, on the sign-in page: "Editor at Analytical Engines".
func (d *directory) note(p person) string {
	var parts []string
	for _, o := range d.people.Organizations {
		if m, ok := p.Memberships[o.ID]; ok {
			parts = append(parts, cmp.Or(m.Role, "Member")+" at "+d.people.organizationName(o.ID))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "In no organization")
}

// organizations is the claim, in the order of the file. The caller holds d.mu.
func (d *directory) organizations(member string, memberships map[string]membership) []authpitest.Organization {
	var claim []authpitest.Organization
	for _, o := range d.people.Organizations {
		m, ok := memberships[o.ID]
		if !ok {
			continue
		}
		at := [2]string{member, o.ID}
		if d.joined[at].IsZero() {
			d.joined[at] = d.srv.Now()
		}
		claim = append(claim, authpitest.Organization{ID: o.ID, Title: m.Role, Scopes: d.people.scopes(m), JoinedAt: d.joined[at]})
	}
	return claim
}

// noRole is the choice of those who shall not be in an organization.
const noRole = ""

// setRoles changes what a person is in some organizations, and reports whether there
// are such a person, organizations and roles. Apps see it with the next refresh.
func (d *directory) setRoles(id string, roles map[string]string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.people.People, func(p person) bool { return p.ID == id })
	if i < 0 {
		return false
	}
	changed := d.people.People[i]
	changed.Memberships = maps.Clone(changed.Memberships)
	if changed.Memberships == nil {
		changed.Memberships = map[string]membership{}
	}
	for org, name := range roles {
		if d.people.organizationName(org) == "" || (name != noRole && !d.people.hasRole(name)) {
			return false
		}
		if name == noRole {
			delete(changed.Memberships, org)
			delete(d.joined, [2]string{id, org})
			continue
		}
		changed.Memberships[org] = membership{Role: name}
	}
	d.people.People[i] = changed
	d.publish(changed)
	return true
}

// snapshot is the people as they are now, and what is wrong with the file.
func (d *directory) snapshot() (people, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copied := d.people
	copied.People = slices.Clone(copied.People)
	return copied, d.err
}
