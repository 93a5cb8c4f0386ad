package strictjson_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// members returns an object of n members whose names are name(i).
func members(n int, name func(i int) string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%d", strictjson.AppendString(nil, name(i)), i)
	}
	b.WriteByte('}')
	return b.String()
}

func numbered(i int) string { return fmt.Sprintf("n%d", i) }

// wrap nests inner in n objects. Each has k members before the one that holds the
// next object.
func wrap(inner string, n, k int) string {
	before := strings.TrimSuffix(members(k, numbered), "}")
	return strings.Repeat(before+`,"in":`, n) + inner + strings.Repeat("}", n)
}

func TestGrammar(t *testing.T) {
	t.Parallel()
	const (
		due      = "the text ends where a value is due"
		begins   = "no value begins like this"
		number   = "invalid number"
		escape   = "invalid escape"
		utf8     = "invalid UTF-8"
		open     = "the text ends in a string"
		control  = "control character in a string"
		name     = "no member name"
		colon    = "no colon after a member name"
		repeated = "repeated member name"
		inObject = "neither a comma nor the end of the object"
		inArray  = "neither a comma nor the end of the array"
		deep     = "nested deeper than 64"
		many     = "more than 4096 members in one object"
		more     = "more than one value"
	)
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	nestObjects := func(n int) string {
		return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1)
	}
	for _, tc := range []struct {
		name string
		text string
		what string // empty if the text is good
		at   int
	}{
		{"null", `null`, "", 0},
		{"true", `true`, "", 0},
		{"false", `false`, "", 0},
		{"white space around", " \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { } } \t\r\n", "", 0},
		{"empty text", ``, due, 0},
		{"white space only", " \n", due, 2},
		{"byte order mark", "\ufeff1", begins, 0},
		{"vertical tab", "\v1", begins, 0},
		{"form feed", "1\f", number, 0},
		{"no-break space", "null\u00a0", begins, 0},
		{"NUL", "\x00", begins, 0},
		{"NUL after the value", "{}\x00", more, 2},
		{"comment", `/**/1`, begins, 0},
		{"literal cut short", `tru`, begins, 0},
		{"literal too long", `truex`, begins, 0},
		{"literal in capitals", `True`, begins, 0},
		{"NaN", `NaN`, begins, 0},
		{"single quotes", `'a'`, begins, 0},

		{"text after the value", `{} x`, more, 3},
		{"second value", `1 2`, more, 2},
		{"second value at once", `{}{}`, more, 2},
		{"comma after the value", `{},`, more, 2},
		{"closing bracket too many", `[]]`, more, 2},

		{"zero", `0`, "", 0},
		{"negative zero", `-0`, "", 0},
		{"fraction", `0.50`, "", 0},
		{"exponent", `1e5`, "", 0},
		{"exponent with sign and zeros", `-12.3E-007`, "", 0},
		{"huge exponent", `1e999999999`, "", 0},
		{"leading zero", `01`, number, 0},
		{"negative leading zero", `-01`, number, 0},
		{"plus", `+1`, begins, 0},
		{"minus alone", `-`, number, 0},
		{"minus before a letter", `-a`, number, 0},
		{"point first", `.5`, begins, 0},
		{"point last", `1.`, number, 0},
		{"point before exponent", `1.e5`, number, 0},
		{"two points", `1.2.3`, number, 0},
		{"exponent without digits", `1e`, number, 0},
		{"exponent with sign only", `1e+`, number, 0},
		{"hexadecimal", `0x10`, number, 0},
		{"underscore", `1_000`, number, 0},

		{"empty string", `""`, "", 0},
		{"delete character", "\"\x7f\"", "", 0},
		{"every short escape", `"\"\\\/\b\f\n\r\t"`, "", 0},
		{"unicode escape", `"\u00e9\u00E9\u0000"`, "", 0},
		{"surrogate pair", `"\ud83d\ude00"`, "", 0},
		{"surrogate pair in capitals", `"\uD83D\uDE00"`, "", 0},
		{"escaped replacement character", `"\ufffd"`, "", 0},
		{"raw characters", `"é€😀` + "\u2028\ufffd\"", "", 0},
		{"noncharacter", "\"\uffff\"", "", 0},
		{"string not closed", `"abc`, open, 4},
		{"string not closed after a backslash", `"abc\`, escape, 4},
		{"string not closed after an escaped quote", `"abc\"`, open, 6},
		{"quote alone", `"`, open, 1},
		{"unknown escape", `"\a"`, escape, 1},
		{"escape in capitals", `"\N"`, escape, 1},
		{"escaped single quote", `"\'"`, escape, 1},
		{"unicode escape cut short", `"\u12"`, escape, 1},
		{"unicode escape at the end", `"\u123`, escape, 1},
		{"unicode escape not hexadecimal", `"\u12g4"`, escape, 1},
		{"unicode escape with a sign", `"\u+123"`, escape, 1},
		{"high surrogate alone", `"x\ud83d"`, escape, 2},
		{"high surrogate before text", `"\ud83dabcdef"`, escape, 1},
		{"high surrogate before an escape", `"\ud83d\n12345"`, escape, 1},
		{"high surrogate before a character", `"\ud83d\u0041"`, escape, 1},
		{"two high surrogates", `"\ud83d\ud83d"`, escape, 1},
		{"low surrogate alone", `"\ude00"`, escape, 1},
		{"pair the wrong way round", `"\ude00\ud83d"`, escape, 1},
		{"surrogate escape cut short", `"\ud83d\ude0`, escape, 1},
		{"line feed", "\"ab\n\"", control, 3},
		{"tab", "\"\t\"", control, 1},
		{"unit separator", "\"1234567\x1f\"", control, 8},
		{"NUL in a string", "\"12345678\x00\"", control, 9},
		{"control character after an escape", "\"\\n\n\"", control, 3},
		{"lone continuation byte", "\"a\x80\"", utf8, 2},
		{"byte that is never UTF-8", "\"a\xff\"", utf8, 2},
		{"sequence cut short", "\"\xe2\x82\"", utf8, 1},
		{"overlong sequence", "\"\xc0\xaf\"", utf8, 1},
		{"encoded surrogate", "\"\xed\xa0\x80\"", utf8, 1},
		{"above the last character", "\"\xf4\x90\x80\x80\"", utf8, 1},
		{"sequence split by an escape", "\"\xc3\\n\xa9\"", utf8, 1},
		{"invalid UTF-8 after long plain text", "\"" + strings.Repeat("é", 20) + "\xff\"", utf8, 41},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", utf8, 2},
		{"invalid UTF-8 outside strings", "[\xff]", begins, 1},

		{"empty array", `[]`, "", 0},
		{"array of all kinds", `[null,true,false,0,"",[],{}]`, "", 0},
		{"array not closed", `[1`, inArray, 2},
		{"array not closed after a string", `["a"`, inArray, 4},
		{"array ends after the bracket", `[`, due, 1},
		{"array ends after the comma", `["a",`, due, 5},
		{"trailing comma in array", `[1,]`, begins, 3},
		{"leading comma in array", `[,1]`, begins, 1},
		{"no comma in array", `[1 2]`, inArray, 3},
		{"colon in array", `["a":1]`, inArray, 4},
		{"array closed as object", `["a"}`, inArray, 4},

		{"empty object", `{}`, "", 0},
		{"object not closed", `{"a":"b"`, inObject, 8},
		{"object ends after the brace", `{`, name, 1},
		{"object ends after the name", `{"a"`, colon, 4},
		{"object ends after the colon", `{"a":`, due, 5},
		{"trailing comma in object", `{"a":1,}`, name, 7},
		{"leading comma in object", `{,"a":1}`, name, 1},
		{"no comma in object", `{"a":1 "b":2}`, inObject, 7},
		{"no colon", `{"a" 1}`, colon, 5},
		{"name without quotes", `{a:1}`, name, 1},
		{"number as name", `{1:1}`, name, 1},
		{"object closed as array", `{"a":"b"]`, inObject, 8},

		{"names that differ in case", `{"sub":1,"Sub":2,"SUB":3}`, "", 0},
		{"names that begin alike", `{"a":1,"ab":2,"":3,"abc":4}`, "", 0},
		{"names that share length and ends", `{"axb":1,"ayb":2,"azb":3}`, "", 0},
		{"composed and decomposed", "{\"\u00e9\":1,\"e\u0301\":2}", "", 0},
		{"same name in sibling objects", `[{"a":1},{"a":1}]`, "", 0},
		{"same name in nested objects", `{"a":{"a":{"a":1}},"b":{"a":1}}`, "", 0},
		{"repeated name", `{"a":1,"a":2}`, repeated, 7},
		{"repeated name, same value", `{"a":1,"b":1,"a":1}`, repeated, 13},
		{"repeated empty name", `{"":1,"":1}`, repeated, 6},
		{"repeated after a nested object", `{"a":{"b":1,"c":2},"b":1,"a":1}`, repeated, 25},
		{"repeated in a nested object", `{"x":{"y":[{"a":1,"a":2}]}}`, repeated, 18},
		{"repeated, second escaped", `{"sub":1,"s\u0075b":2}`, repeated, 9},
		{"repeated, first escaped", `{"s\u0075b":1,"sub":2}`, repeated, 14},
		{"repeated, both escaped", `{"s\u0075b":1,"\u0073ub":2}`, repeated, 14},
		{"escaped name that does not repeat", `{"s\u0075b":1,"sub2":2,"\u0073":3}`, "", 0},
		{"escaped quote in a name", `{"a":1,"a\"":2,"a\\":3}`, "", 0},
		{"32 members", members(32, numbered), "", 0},
		{"33 members", members(33, numbered), "", 0},
		{"31 members and a repeat", strings.TrimSuffix(members(31, numbered), "}") + `,"n0":1}`, repeated, len(members(31, numbered))},
		{"32 members and a repeat of the first", strings.TrimSuffix(members(32, numbered), "}") + `,"n0":1}`, repeated, len(members(32, numbered))},
		{"32 members and a repeat of the last", strings.TrimSuffix(members(32, numbered), "}") + `,"n31":1}`, repeated, len(members(32, numbered))},
		{"33 members and a repeat", strings.TrimSuffix(members(33, numbered), "}") + `,"n32":1}`, repeated, len(members(33, numbered))},
		{"32 members on 10 levels", wrap("1", 10, 31), "", 0},
		{"32 members on 10 levels and a repeat inside", wrap(`{"a":1,"a":1}`, 10, 31), repeated, len(wrap("", 10, 31)) - len("}}}}}}}}}}") + len(`{"a":1,`)},
		{"32 members on 10 levels and a repeat outside", `{"a":` + wrap("1", 10, 31) + `,"a":1}`, repeated, len(`{"a":`) + len(wrap("1", 10, 31)) + len(",")},
		{"4096 members", members(4096, numbered), "", 0},
		{"4097 members", members(4097, numbered), many, len(members(4097, numbered)) - len(`"n4096":4096}`)},

		{"64 arrays", nest(64), "", 0},
		{"65 arrays", nest(65), deep, 64},
		{"64 objects", nestObjects(64), "", 0},
		{"65 objects", nestObjects(65), deep, 320},
		{"64 arrays with a value", strings.Repeat("[", 64) + "1" + strings.Repeat("]", 64), "", 0},
		{"64 arrays twice", "[" + nest(63) + "," + nest(63) + "]", "", 0},
		{"a million arrays", strings.Repeat("[", 1e6), deep, 64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			want := ""
			if tc.what != "" {
				want = fmt.Sprintf("invalid JSON at byte %d: %s", tc.at, tc.what)
			}
			for _, way := range ways {
				r := strictjson.NewReader(tc.text)
				way.read(&r)
				got := ""
				if err := r.End(); err != nil {
					got = err.Error()
				}
				if got != want {
					t.Errorf("%s: got %q; want %q", way.name, got, want)
				}
				checkStuck(t, &r, got)
			}
		})
	}
}

// ways are all ways to read a value to its end. They must all find the same fault.
var ways = []struct {
	name string
	read func(r *strictjson.Reader)
}{
	{"Skip", (*strictjson.Reader).Skip},
	{"Raw", func(r *strictjson.Reader) { r.Raw() }},
	{"Text", func(r *strictjson.Reader) { r.Text() }},
	{"Bool", func(r *strictjson.Reader) { r.Bool() }},
	{"Number", func(r *strictjson.Reader) { r.Number() }},
	{"Int", func(r *strictjson.Reader) { r.Int() }},
	{"AppendTexts", func(r *strictjson.Reader) { r.AppendTexts(nil) }},
	{"walk", func(r *strictjson.Reader) { walk(r) }},
	{"Members, values skipped", func(r *strictjson.Reader) {
		for m := r.Members(); m.Next(); {
		}
	}},
	{"Elements, values skipped", func(r *strictjson.Reader) {
		for e := r.Elements(); e.Next(); {
		}
	}},
	{"inner cursors left early", func(r *strictjson.Reader) {
		for m := r.Members(); m.Next(); {
			leaveEarly(r)
		}
	}},
}

// leaveEarly steps into the value, into the first value inside it and so on, and
// leaves every cursor early.
func leaveEarly(r *strictjson.Reader) {
	switch r.Kind() {
	case strictjson.Object:
		for m := r.Members(); m.Next(); {
			leaveEarly(r)
			return
		}
	case strictjson.Array:
		for e := r.Elements(); e.Next(); {
			leaveEarly(r)
			return
		}
	}
}

// walk reads any value, as encoding/json with UseNumber does, but reads a number as
// a literal and not as a json.Number.
func walk(r *strictjson.Reader) any {
	switch r.Kind() {
	case strictjson.Bool:
		v, _ := r.Bool()
		return v
	case strictjson.Number:
		v, _ := r.Number()
		return literal(v)
	case strictjson.String:
		v, _ := r.Text()
		return v
	case strictjson.Array:
		v := []any{}
		for e := r.Elements(); e.Next(); {
			v = append(v, walk(r))
		}
		return v
	case strictjson.Object:
		v := map[string]any{}
		for m := r.Members(); m.Next(); {
			name := m.Name
			v[name] = walk(r)
		}
		return v
	default:
		r.Skip()
		return nil
	}
}

type literal string

// checkStuck checks that a reader at its end returns nothing more. want is the text
// of its error, empty if it has none.
func checkStuck(t *testing.T, r *strictjson.Reader, want string) {
	t.Helper()
	if want == "" {
		if err := r.Err(); err != nil {
			t.Errorf("Err after the end: got %v; want nil", err)
		}
		if k := r.Kind(); k != strictjson.Invalid {
			t.Errorf("Kind after the end: got %v; want Invalid", k)
		}
		return
	}
	k := r.Kind()
	s, ok1 := r.Text()
	b, ok2 := r.Bool()
	l, ok3 := r.Number()
	n, ok4 := r.Int()
	raw, ok5 := r.Raw()
	r.Skip()
	m, e := r.Members(), r.Elements()
	if k != strictjson.Invalid || s != "" || b || l != "" || n != 0 || raw != "" ||
		ok1 || ok2 || ok3 || ok4 || ok5 || m.Next() || m.Name != "" || e.Next() {
		t.Error("a read after the fault returned something")
	}
	if got := r.Err(); got == nil || got.Error() != want {
		t.Errorf("Err after the fault: got %v; want %s", got, want)
	}
	if got := r.End(); got == nil || got.Error() != want {
		t.Errorf("End after the fault: got %v; want %s", got, want)
	}
}

func TestKind(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       strictjson.Kind
	}{
		{"null", " null", strictjson.Null},
		{"true", "true", strictjson.Bool},
		{"false", "\nfalse", strictjson.Bool},
		{"number", "12", strictjson.Number},
		{"negative number", "-1", strictjson.Number},
		{"string", `"a"`, strictjson.String},
		{"array", "[]", strictjson.Array},
		{"object", "{}", strictjson.Object},
		{"empty", "", strictjson.Invalid},
		{"no value", "}", strictjson.Invalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := strictjson.NewReader(tc.text)
			for range 2 {
				if got := r.Kind(); got != tc.want {
					t.Errorf("got %v; want %v", got, tc.want)
				}
			}
			if err := r.Err(); err != nil {
				t.Errorf("Kind made a fault: %v", err)
			}
			r.Skip()
			if got := r.Kind(); got != strictjson.Invalid {
				t.Errorf("after the value: got %v; want Invalid", got)
			}
		})
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text, want string
		ok               bool
	}{
		{"empty", `""`, "", true},
		{"plain", `"org_1"`, "org_1", true},
		{"seven bytes", `"1234567"`, "1234567", true},
		{"eight bytes", `"12345678"`, "12345678", true},
		{"nine bytes", `"123456789"`, "123456789", true},
		{"not ASCII", `"Zürich 😀"`, "Zürich 😀", true},
		{"short escapes", `"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t", true},
		{"escapes amid text", `"a\tb\u00e9cé\u20acd"`, "a\tbécé€d", true},
		{"surrogate pair", `"<\uD83D\ude00>"`, "<😀>", true},
		{"last character", `"\udbff\udfff"`, "\U0010ffff", true},
		{"escaped NUL", `"\u0000"`, "\x00", true},
		{"replacement character", `"\ufffd"`, "\ufffd", true},
		{"null", `null`, "", false},
		{"number", `12`, "", false},
		{"array of strings", `["a"]`, "", false},
		{"object", `{"a":"b"}`, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inList(t, tc.text, func(r *strictjson.Reader) {
				if got, ok := r.Text(); got != tc.want || ok != tc.ok {
					t.Errorf("got %q, %v; want %q, %v", got, ok, tc.want, tc.ok)
				}
			})
		})
	}
}

func TestTextOrNull(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text, want string
		ok               bool
	}{
		{"text", `"org_1"`, "org_1", true},
		{"null", `null`, "", true},
		{"false", `false`, "", false},
		{"array", `[null]`, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inList(t, tc.text, func(r *strictjson.Reader) {
				if got, ok := r.TextOrNull(); got != tc.want || ok != tc.ok {
					t.Errorf("got %q, %v; want %q, %v", got, ok, tc.want, tc.ok)
				}
			})
		})
	}
	for _, text := range []string{"", "nul", `"a`} {
		r := strictjson.NewReader(text)
		if _, ok := r.TextOrNull(); ok || r.End() == nil {
			t.Errorf("%q: got it read; want a fault", text)
		}
	}
}

func TestTextsOrNull(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
		ok         bool
	}{
		{"none", `[]`, []string{}, true},
		{"two, order and repeats kept", `["b","a","b"]`, []string{"b", "a", "b"}, true},
		{"null", `null`, nil, true},
		{"a number among them", `["a",1]`, []string{"a", ""}, false},
		{"null among them", `[null]`, []string{""}, false},
		{"text", `"a"`, nil, false},
		{"object", `{"a":"b"}`, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inList(t, tc.text, func(r *strictjson.Reader) {
				if got, ok := r.TextsOrNull(); !slices.Equal(got, tc.want) || (got == nil) != (tc.want == nil) || ok != tc.ok {
					t.Errorf("got %q, %v; want %q, %v", got, ok, tc.want, tc.ok)
				}
			})
		})
	}
	for _, text := range []string{"", "nul", `["a"`, `["a",]`} {
		r := strictjson.NewReader(text)
		if _, ok := r.TextsOrNull(); ok || r.End() == nil {
			t.Errorf("%q: got it read; want a fault", text)
		}
	}
}

func TestAppendTexts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"none", `[]`, []string{"before"}},
		{"some, order and repeats kept", `["b","a","b"]`, []string{"before", "b", "a", "b"}},
		{"white space between them", `["a" , "b",` + "\n" + `"c","d"]`, []string{"before", "a", "b", "c", "d"}},
		{"escapes and more than ASCII", `["a","\u0062","c","Zürich","e"]`, []string{"before", "a", "b", "c", "Zürich", "e"}},
		{"other values among them", `[1,"a",null,"b",["x"],{"y":"z"},"c",true,"d"]`, []string{"before", "a", "b", "c", "d"}},
		{"null", `null`, []string{"before"}},
		{"text", `"a"`, []string{"before"}},
		{"object", `{"a":["b"]}`, []string{"before"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inList(t, tc.text, func(r *strictjson.Reader) {
				if got := r.AppendTexts([]string{"before"}); !slices.Equal(got, tc.want) {
					t.Errorf("got %q; want %q", got, tc.want)
				}
			})
		})
	}
	for _, text := range []string{
		"", "nul", `["a"`, `["a",`, `["a",]`, `["a","b`, `["a","b"`, `["a","b",]`, `["a","b" "c"]`, "[\"a\",\"b\t\"]", "[\"a\",\"\xff\"]", `["a","b"}`, `[1x,"a"]`,
	} {
		r := strictjson.NewReader(text)
		if r.AppendTexts(nil); r.End() == nil {
			t.Errorf("%q: got it read; want a fault", text)
		}
	}
}

func TestBool(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want, ok   bool
	}{
		{"true", `true`, true, true},
		{"false", `false`, false, true},
		{"null", `null`, false, false},
		{"string", `"true"`, false, false},
		{"number", `1`, false, false},
		{"array", `[true]`, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inList(t, tc.text, func(r *strictjson.Reader) {
				if got, ok := r.Bool(); got != tc.want || ok != tc.ok {
					t.Errorf("got %v, %v; want %v, %v", got, ok, tc.want, tc.ok)
				}
			})
		})
	}
}

// inList lets read consume one element of a list, and checks that the next element
// and the end of the text can be read after it.
func inList(t *testing.T, element string, read func(*strictjson.Reader)) {
	t.Helper()
	r := strictjson.NewReader(" [" + element + " ,7]")
	e := r.Elements()
	e.Next()
	read(&r)
	if !e.Next() {
		t.Fatalf("the element after it is missing: %v", r.Err())
	}
	if n, ok := r.Int(); n != 7 || !ok {
		t.Errorf("the element after it: got %d, %v; want 7", n, ok)
	}
	if e.Next() {
		t.Error("an element too many")
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

func TestRaw(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text, want string
		ok               bool
	}{
		{"object", " { \"a\" : 1 } ", `{ "a" : 1 }`, true},
		{"string with escapes", `"a\n"`, `"a\n"`, true},
		{"number", "\t1.50 ", "1.50", true},
		{"null", "null", "null", true},
		{"repeated name", `{"a":1,"a":1}`, "", false},
		{"nothing", ``, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := strictjson.NewReader(tc.text)
			if got, ok := r.Raw(); got != tc.want || ok != tc.ok {
				t.Errorf("got %q, %v; want %q, %v", got, ok, tc.want, tc.ok)
			}
			if err := r.End(); (err == nil) != tc.ok {
				t.Errorf("End: got %v", err)
			}
		})
	}
}

func TestEndBeforeTheEnd(t *testing.T) {
	t.Parallel()
	const want = "the value was not read to its end"
	for _, tc := range []struct {
		name string
		read func(r *strictjson.Reader)
	}{
		{"nothing read", func(*strictjson.Reader) {}},
		{"only the kind asked", func(r *strictjson.Reader) { r.Kind() }},
		{"cursor not used", func(r *strictjson.Reader) { r.Elements() }},
		{"cursor left early", func(r *strictjson.Reader) {
			e := r.Elements()
			e.Next()
			r.Skip()
		}},
		{"cursor left on its last element", func(r *strictjson.Reader) {
			e := r.Elements()
			e.Next()
			e.Next()
			r.Skip()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := strictjson.NewReader(`[1,2]`)
			tc.read(&r)
			if err := r.End(); err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("got %v; want %s", err, want)
			}
		})
	}
}

func TestReadTwice(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		read       func(r *strictjson.Reader)
	}{
		{"the text", `1 2`, func(r *strictjson.Reader) { r.Int(); r.Int() }},
		{"an element", `[1 2]`, func(r *strictjson.Reader) {
			for e := r.Elements(); e.Next(); {
				r.Int()
				r.Int()
			}
		}},
		{"a member", `{"a":1 2}`, func(r *strictjson.Reader) {
			for m := r.Members(); m.Next(); {
				r.Int()
				r.Int()
			}
		}},
		{"before the first step", `[1]`, func(r *strictjson.Reader) { r.Elements(); r.Int() }},
		{"the zero Reader", ``, func(r *strictjson.Reader) { *r = strictjson.Reader{}; r.Int() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := strictjson.NewReader(tc.text)
			tc.read(&r)
			if err := r.End(); err == nil || !strings.HasSuffix(err.Error(), "no value is due here") {
				t.Errorf("got %v; want a fault", err)
			}
		})
	}
}

func TestErrorQuotesNothing(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for _, text := range []string{
		secret, `"` + secret, `"` + secret + "\n", `{"` + secret + `":1,"` + secret + `":2}`,
		`{"a":` + secret, `1` + secret, `"\` + secret + `"`, `{} ` + secret, `[1 ` + secret,
	} {
		r := strictjson.NewReader(text)
		r.Skip()
		if err := r.End(); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: got %v; want an error without the text", text, err)
		}
	}
}
