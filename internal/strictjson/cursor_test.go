package strictjson_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"none", `{}`, nil},
		{"some", `{"a":1, "" : {"x":[]} ,"B":[1,2]}`, []string{"a", "", "B"}},
		{"escaped", `{"\u0061\n":1,"b":2}`, []string{"a\n", "b"}},
		{"not an object", `["a"]`, nil},
		{"null", `null`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, read := range []bool{false, true} {
				var got []string
				r := strictjson.NewReader(tc.text)
				for m := r.Members(); m.Next(); {
					got = append(got, m.Name)
					if read {
						r.Raw()
					}
				}
				if err := r.End(); err != nil || !reflect.DeepEqual(got, tc.want) {
					t.Errorf("got %q, %v; want %q", got, err, tc.want)
				}
			}
		})
	}
}

func TestElements(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"none", `[ ]`, nil},
		{"some", `[1, "a" ,{"x":[]}, [2,3]]`, []string{`1`, `"a"`, `{"x":[]}`, `[2,3]`}},
		{"not an array", `{"a":1}`, nil},
		{"string", `"a"`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			r := strictjson.NewReader(tc.text)
			for e := r.Elements(); e.Next(); {
				s, _ := r.Raw()
				got = append(got, s)
			}
			if err := r.End(); err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
			n := 0
			r = strictjson.NewReader(tc.text)
			for e := r.Elements(); e.Next(); {
				n++
			}
			if err := r.End(); err != nil || n != len(tc.want) {
				t.Errorf("skipped: got %d, %v; want %d", n, err, len(tc.want))
			}
		})
	}
}

func TestCursorLeftEarly(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text, want string
	}{
		{"good", `{"a":[1,[2,{"b":3,"c":4}],5],"d":{"e":{"f":1},"g":2},"h":7}`, ""},
		{"repeat in the part left out", `{"a":{"b":{"c":1},"d":2,"d":3},"h":7}`, "repeated member name"},
		{"repeat across the step out", `{"a":{"b":{"c":1},"b":2},"h":7}`, "repeated member name"},
		{"repeat after it", `{"a":{"b":{"c":1}},"h":7,"a":1}`, "repeated member name"},
		{"garbage in the part left out", `{"a":[1,[2,x]],"h":7}`, "no value begins like this"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := strictjson.NewReader(tc.text)
			var seven int64
			for m := r.Members(); m.Next(); {
				if m.Name == "h" {
					seven, _ = r.Int()
				} else {
					leaveEarly(&r)
				}
			}
			err := r.End()
			switch {
			case tc.want == "" && (err != nil || seven != 7):
				t.Errorf("got %d, %v; want 7", seven, err)
			case tc.want != "" && (err == nil || !strings.HasSuffix(err.Error(), tc.want)):
				t.Errorf("got %v; want %s", err, tc.want)
			}
		})
	}
}

func TestCursorOfNoUse(t *testing.T) {
	t.Parallel()
	var m strictjson.Members
	var e strictjson.Elements
	if m.Next() || e.Next() {
		t.Error("a zero cursor stepped")
	}

	r := strictjson.NewReader(`{"a":[1,2],"b":{"c":3},"d":4}`)
	outer := r.Members()
	outer.Next()
	inner := r.Elements()
	inner.Next()
	outer.Next()
	if inner.Next() {
		t.Error("a cursor stepped after the outer one had")
	}
	for outer.Next() {
	}
	if outer.Next() || outer.Name != "" {
		t.Error("a cursor stepped beyond its end")
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

func TestAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun must run alone.
	orgs := organizations(1000)
	scratch := make([]string, 0, 8)
	// Each row makes its own reader: one that is passed to a function value would
	// escape to the heap.
	for _, tc := range []struct {
		name string
		text string
		want float64
		read func(text string) error
	}{
		{"skip", orgs, 0, skipAll},
		{"raw", orgs, 0, func(text string) error {
			r := strictjson.NewReader(text)
			r.Raw()
			return r.End()
		}},
		{"text as substring", `"Zürich and elsewhere"`, 0, textAll},
		{"text with escapes", `"Zürich \u0026 else\twhere"`, 1, textAll},
		{"text with escapes skipped", `["Zürich \u0026 else\twhere"]`, 0, textAll},
		{"int", `-12.50e6`, 0, func(text string) error {
			r := strictjson.NewReader(text)
			r.Int()
			return r.End()
		}},
		{"32 members", members(32, numbered), 0, skipAll},
		{"32 members on 4 levels", wrap("1", 4, 31), 0, skipAll},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := testing.AllocsPerRun(20, func() {
				if err := tc.read(tc.text); err != nil {
					t.Error(err)
				}
			})
			if got != tc.want {
				t.Errorf("got %v allocations; want %v", got, tc.want)
			}
		})
	}
	t.Run("1000 organizations", func(t *testing.T) {
		scopes := 0
		got := testing.AllocsPerRun(20, func() {
			scopes = 0
			if err := readOrganizations(orgs, scratch, func(o organization) { scopes += len(o.Scopes) }); err != nil {
				t.Error(err)
			}
		})
		if got != 0 || scopes != 2000 {
			t.Errorf("got %v allocations, %d scopes; want 0, 2000", got, scopes)
		}
	})
}

func skipAll(text string) error {
	r := strictjson.NewReader(text)
	r.Skip()
	return r.End()
}

func textAll(text string) error {
	r := strictjson.NewReader(text)
	r.Text()
	return r.End()
}
