package strictjson_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// organization is what a caller on the hot path reads into.
type organization struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Scopes   []string `json:"scopes"`
	JoinedAt int64    `json:"joined_at"`
}

// organizations returns the JSON of n organizations, about 120 bytes each.
func organizations(n int) string {
	var b strings.Builder
	b.WriteString(`{"sub":"user_01","orgs":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"org_%06d","title":"Organization %d","scopes":["projects:read","a:b"],"joined_at":%d}`, i, i, 1700000000+i)
	}
	b.WriteString(`]}`)
	return b.String()
}

// readOrganizations reads what organizations returns and passes each one to use. Its
// Scopes are valid only until use returns.
func readOrganizations(text string, scratch []string, use func(organization)) error {
	r := strictjson.NewReader(text)
	for m := r.Members(); m.Next(); {
		if m.Name != "orgs" {
			continue
		}
		for e := r.Elements(); e.Next(); {
			org := organization{Scopes: scratch[:0]}
			for m := r.Members(); m.Next(); {
				switch m.Name {
				case "id":
					org.ID, _ = r.Text()
				case "title":
					org.Title, _ = r.Text()
				case "scopes":
					for e := r.Elements(); e.Next(); {
						if s, ok := r.Text(); ok {
							org.Scopes = append(org.Scopes, s)
						}
					}
				case "joined_at":
					org.JoinedAt, _ = r.Int()
				}
			}
			use(org)
		}
	}
	return r.End()
}

func BenchmarkOrganizations(b *testing.B) {
	text := organizations(1000)
	scratch := make([]string, 0, 8)
	n := 0
	use := func(o organization) { n += len(o.Scopes) }
	b.Run("strictjson/read", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if err := readOrganizations(text, scratch, use); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("strictjson/skip", func(b *testing.B) { skip(b, text) })
	b.Run("encoding/json", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			var v struct{ Orgs []organization }
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// skip measures how long it takes to skip a whole text.
func skip(b *testing.B, text string) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		r := strictjson.NewReader(text)
		r.Skip()
		if err := r.End(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkManyMembers(b *testing.B) {
	for _, n := range []int{8, 32, 33, 4096} {
		var t strings.Builder
		t.WriteByte('{')
		for i := range n {
			if i > 0 {
				t.WriteByte(',')
			}
			fmt.Fprintf(&t, `"name%04d":%d`, i, i)
		}
		t.WriteByte('}')
		text := t.String()
		b.Run(fmt.Sprint(n), func(b *testing.B) { skip(b, text) })
	}
}
