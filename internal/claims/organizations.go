package claims

import (
	"slices"
	"strings"
	"time"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// membership is one of an organization's members, as a token has it.
type membership = struct {
	ID, Title string
	Scopes    []string
	JoinedAt  time.Time
}

// Organization is a membership in the type of whoever reads it, which is public
// there: a list of one type cannot become one of another without a copy.
type Organization interface{ ~membership }

// ReadOrganizations reads a list of memberships. A member without a text id is
// skipped, other odd fields read as empty, scopes that are no text grant
// nothing. text is what is being read: its counts give the sizes, so that the
// number of allocations does not grow with the number of organizations.
func ReadOrganizations[O Organization](r *strictjson.Reader, text string) []O {
	var orgs []O        // none where it is no list
	var scopes []string // of all organizations, in one piece
	for e := r.Elements(); e.Next(); {
		if orgs == nil {
			// Each is an object, and none is shorter than {"id":""} with its comma.
			count := min(strings.Count(text, "{"), len(text)/10)
			orgs = make([]O, 0, count)
			// Two quotes make a text; three names and the id are no scopes.
			scopes = make([]string, 0, max(strings.Count(text, `"`)/2-4*count, 0))
		}
		var org membership
		var ok bool
		start := len(scopes)
		for m := r.Members(); m.Next(); {
			switch m.Name {
			case "id":
				org.ID, ok = r.Text()
			case "title":
				org.Title, _ = r.Text()
			case "joined_at":
				org.JoinedAt = ReadMoment(r)
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
		orgs = append(orgs, O(org))
	}
	return orgs
}

// ReadMoment reads a moment that may be missing: null, zero and whatever is no
// number of seconds give the zero time.
func ReadMoment(r *strictjson.Reader) time.Time {
	seconds, _ := r.Int()
	if seconds == 0 {
		return time.Time{}
	}
	return unixTime(seconds)
}

// CloneOrganizations returns organizations that the receiver may change, their
// scopes in one piece.
func CloneOrganizations[O Organization](orgs []O) []O {
	total := 0
	for i := range orgs {
		total += len(membership(orgs[i]).Scopes)
	}
	scopes := make([]string, 0, total)
	orgs = slices.Clone(orgs)
	for i := range orgs {
		org, start := membership(orgs[i]), len(scopes)
		scopes = append(scopes, org.Scopes...)
		org.Scopes = scopes[start:len(scopes):len(scopes)]
		orgs[i] = O(org)
	}
	return orgs
}
