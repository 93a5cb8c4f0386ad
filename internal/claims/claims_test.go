package claims_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/authpi/authpi-idp-go/internal/claims"
)

// organization is a type of the reader's own.
type organization struct {
	ID, Title string
	Scopes    []string
	JoinedAt  time.Time
}

func TestParse(t *testing.T) {
	t.Parallel()
	const text = `{"iss":"i","sub":"s","aud":["a","b"],"azp":"z","nonce":"n","at_hash":"h","sid":"d","jti":"j","email":"e",
		"email_verified":true,"org_id":"o","scope":"x y","client_id":"c","exp":4,"iat":3.9,"nbf":2,"auth_time":1,
		"events":{"http://schemas.openid.net/event/backchannel-logout":{}},"Sub":"other","more":{"sub":"deep"},
		"organizations":[{"id":"o_1","title":"T","scopes":["r:w","owner"],"joined_at":5},{"title":"no id"},{"id":"o_2","scopes":[1,"r:x"],"joined_at":"5"}]}`
	c, orgs, err := claims.Parse[organization](text)
	if err != nil {
		t.Fatal(err)
	}
	yes := func(value string) claims.Text { return claims.Text{Value: value, Present: true} }
	at := func(seconds int64) claims.Date { return claims.Date{Seconds: seconds, Present: true, Valid: true} }
	if c.Issuer != "i" || c.Subject != "s" || c.AuthorizedParty != yes("z") || c.Nonce != yes("n") || c.AccessTokenHash != yes("h") ||
		c.SessionID != "d" || c.JTI != "j" || c.Email != "e" || c.EmailVerified != (claims.Bool{Value: true, Present: true}) || c.OrgID != "o" || !c.HasOrgID ||
		c.Scope != "x y" || c.ClientID != "c" || c.Expiry != at(4) || c.IssuedAt != at(3) || c.NotBefore != at(2) || c.AuthTime != at(1) || !c.Logout || c.JSON != text {
		t.Errorf("got %+v; want what the text says", c)
	}
	if !slices.Equal(c.Audience.List(), []string{"a", "b"}) || !c.Audience.Contains("b") || c.Audience.Contains("c") || !c.Audience.Several() {
		t.Errorf("got audience %v; want a and b", c.Audience)
	}
	if !c.Expiry.Time().Equal(time.Unix(4, 0)) || c.Expiry.Time().Location() != time.UTC {
		t.Errorf("got %v; want the fourth second, in UTC", c.Expiry.Time())
	}
	want := []organization{
		{ID: "o_1", Title: "T", Scopes: []string{"r:w", "owner"}, JoinedAt: time.Unix(5, 0).UTC()},
		{ID: "o_2", Scopes: []string{"r:x"}},
	}
	if got := fmt.Sprint(orgs); got != fmt.Sprint(want) {
		t.Errorf("got %v; want %v", got, want)
	}
}

// A member of the wrong kind reads as missing, and one that is there is known to be.
func TestParseOdd(t *testing.T) {
	t.Parallel()
	c, orgs, err := claims.Parse[organization](`{"iss":1,"sub":null,"aud":[],"azp":null,"email_verified":"true","org_id":7,"exp":"1","iat":-1,"nbf":253402300800,
		"auth_time":null,"events":[],"organizations":{"id":"o"}}`)
	if err != nil || orgs != nil {
		t.Fatalf("got %v, %v; want no memberships", orgs, err)
	}
	odd := claims.Date{Present: true}
	if c.Issuer != "" || c.Subject != "" || c.Audience.List() != nil || c.Audience.Contains("") || c.AuthorizedParty != (claims.Text{Present: true}) ||
		c.EmailVerified.Present || c.HasOrgID || c.Expiry != odd || c.IssuedAt.Valid || c.NotBefore.Valid || c.AuthTime != odd || c.Logout {
		t.Errorf("got %+v; want all of it missing", c)
	}
	for _, text := range []string{"", "[]", "null", `"x"`, `{"sub":"a","sub":"b"}`, `{"a":1}{}`, `{"a":`} {
		if c, orgs, err := claims.Parse[organization](text); err == nil || c.JSON != "" || orgs != nil {
			t.Errorf("%s: got %+v, %v, %v; want an error alone", text, c, orgs, err)
		}
	}
}

// The number of allocations does not grow with the number of organizations.
// The first and the last second that a date may name.
func TestDates(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]bool{"-1": false, "0": true, "253402300799": true, "253402300799.9": true, "253402300800": false} {
		c, _, err := claims.Parse[organization](`{"exp":` + literal + `}`)
		if err != nil || c.Expiry.Valid != want || !c.Expiry.Present {
			t.Errorf("%s: got %+v, %v; want a date: %v", literal, c.Expiry, err, want)
		}
	}
}

func TestParseAllocations(t *testing.T) {
	allocations := func(organizations int) float64 {
		const one = `{"id":"o","title":null,"scopes":["a:b","c:d"],"joined_at":1},`
		text := `{"organizations":[` + strings.TrimSuffix(strings.Repeat(one, organizations), ",") + `]}`
		return testing.AllocsPerRun(10, func() { _, _, _ = claims.Parse[organization](text) })
	}
	if one, many := allocations(1), allocations(100); many > one {
		t.Errorf("got %v allocations for 100 organizations; want %v, as for one", many, one)
	}
}

func TestCloneOrganizations(t *testing.T) {
	t.Parallel()
	orgs := []organization{{ID: "a", Scopes: []string{"1", "2"}}, {ID: "b"}, {ID: "c", Scopes: []string{"3"}}}
	own := claims.CloneOrganizations(orgs)
	if fmt.Sprint(own) != fmt.Sprint(orgs) {
		t.Fatalf("got %v; want %v", own, orgs)
	}
	own[0].ID = "changed"
	own[0].Scopes[0] = "changed"
	own[0].Scopes = append(own[0].Scopes, "more")
	if orgs[0].ID != "a" || orgs[0].Scopes[0] != "1" || own[2].Scopes[0] != "3" {
		t.Errorf("got %v and %v; want nobody else's changed", orgs, own)
	}
	if got := claims.CloneOrganizations([]organization(nil)); got != nil {
		t.Errorf("got %v; want none", got)
	}
}
