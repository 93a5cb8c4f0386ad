package strictjson_test

import (
	"encoding/json"
	"io"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/authpi/authpi-idp-go/internal/strictjson"
)

// FuzzAgainstEncodingJSON checks that the Reader accepts what encoding/json accepts,
// except for the faults that only we look for, that both read the same values, and
// that all ways to read agree.
func FuzzAgainstEncodingJSON(f *testing.F) {
	for _, text := range []string{
		``, ` `, `null`, `true`, `false`, `0`, `-0`, `12.50e-3`, `1e999999999`, `9223372036854775808`, `01`, `1.`,
		`""`, `"a"`, `"Zürich 😀"`, `"\"\\\/\b\f\n\r\t\u00e9"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`,
		"\"\xff\"", "\"\t\"", "\"12345678\x1f\"", `"abc`, `"\u12`, "\ufeff1",
		`[]`, `[1,"a",null,[{}]]`, `["a","b" ,"\u0063","é",1,"d"]`, `[1,]`, `[1 2]`, `{}`, `{"a":1,"b":{"a":[true,false]}}`, `{"a":1,}`,
		`{"a":1,"a":2}`, `{"sub":1,"s\u0075b":2}`, `{"s\u0075b":1,"sub":2}`, `{"x":{"y":[{"a":1,"a":2}]}}`,
		`{"a":1} x`, `{} {}`, ` { "a" : [ 1 , 2 ] } `,
		strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 65) + strings.Repeat("]", 65),
		members(32, numbered), members(33, numbered), members(4097, numbered), wrap(`{"a":1,"a":1}`, 10, 31),
		organizations(2),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := strictjson.NewReader(text)
		got := walk(&r)
		err := r.End()
		want, stdErr := decode(text)
		switch {
		case stdErr != nil:
			if err == nil {
				t.Fatalf("accepted; encoding/json says %v", stdErr)
			}
		case err == nil:
			if reason := excuse(text); reason != "" {
				t.Fatalf("accepted despite: %s", reason)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %#v; want %#v", got, want)
			}
			checkReads(t, text, got)
		default:
			if excuse(text) == "" {
				t.Fatalf("refused without a reason: %v", err)
			}
		}

		for _, way := range ways {
			r := strictjson.NewReader(text)
			way.read(&r)
			if e := r.End(); message(e) != message(err) {
				t.Errorf("%s: got %v; the walk got %v", way.name, e, err)
			}
		}
	})
}

// checkReads checks the methods that walk does not call. text is valid, and value is
// what it holds.
func checkReads(t *testing.T, text string, value any) {
	r := strictjson.NewReader(text)
	if raw, ok := r.Raw(); !ok || raw != strings.Trim(text, " \t\r\n") {
		t.Errorf("Raw: got %q, %v", raw, ok)
	}
	r = strictjson.NewReader(text)
	if got, want := r.AppendTexts(nil), textsIn(value); !slices.Equal(got, want) {
		t.Errorf("AppendTexts: got %q; want %q", got, want)
	}
	r = strictjson.NewReader(text)
	n, ok := r.Int()
	if l, isNumber := value.(literal); !isNumber {
		if ok {
			t.Errorf("Int: got %d of no number", n)
		}
	} else if want, wantOK := wholeSlowly(string(l)); n != want || ok != wantOK {
		t.Errorf("Int of %s: got %d, %v; want %d, %v", l, n, ok, want, wantOK)
	}
}

// textsIn returns the strings in value, if it is an array.
func textsIn(value any) (texts []string) {
	elements, _ := value.([]any)
	for _, element := range elements {
		if text, ok := element.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// wholeSlowly reads a literal as Int does, but by way of a rational number.
func wholeSlowly(l string) (int64, bool) {
	if i := strings.IndexAny(l, "eE"); i >= 0 {
		if exp, err := strconv.Atoi(l[i+1:]); err != nil || exp > 1000 || exp < -1000 {
			// math/big would take for ever. A text of a fuzzer is so short that such
			// a number is zero, is out of range or has a fraction.
			return 0, !strings.ContainsAny(l[:i], "123456789")
		}
	}
	v, ok := new(big.Rat).SetString(l)
	if !ok || !v.IsInt() || !v.Num().IsInt64() {
		return 0, false
	}
	return v.Num().Int64(), true
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// decode reads text with encoding/json.
func decode(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, strconv.ErrSyntax // more text follows
	}
	return literals(v), nil
}

// literals replaces each json.Number in v by a literal.
func literals(v any) any {
	switch v := v.(type) {
	case json.Number:
		return literal(v)
	case []any:
		for i := range v {
			v[i] = literals(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = literals(v[k])
		}
	}
	return v
}

// excuse returns why the Reader must refuse a text that encoding/json accepts. It
// returns an empty string if it must not.
func excuse(text string) string {
	if !utf8.ValidString(text) {
		return "invalid UTF-8"
	}
	if loneSurrogate(text) {
		return "lone surrogate"
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil for an array
		value bool            // the next token is a value, not a name
	}
	var levels []level
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return ""
		}
		if err != nil {
			return "" // encoding/json refuses it as well
		}
		if tok == json.Delim('}') || tok == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if len(levels) > 0 {
			top := &levels[len(levels)-1]
			if top.names != nil && !top.value {
				name := tok.(string)
				if top.names[name] {
					return "repeated name"
				}
				top.names[name] = true
				if len(top.names) > 4096 {
					return "too many members"
				}
				top.value = true
				continue
			}
			top.value = false
		}
		switch tok {
		case json.Delim('{'):
			levels = append(levels, level{names: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		}
		if len(levels) > 64 {
			return "too deep"
		}
	}
}

// loneSurrogate reports whether a \u escape in text is half of a surrogate pair
// without the other half. The text is otherwise valid JSON.
func loneSurrogate(text string) bool {
	unit := func(i int) uint64 {
		if i+6 > len(text) || text[i:i+2] != `\u` {
			return 0
		}
		n, _ := strconv.ParseUint(text[i+2:i+6], 16, 16)
		return n
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		switch unit(i) >> 10 {
		case 0xd800 >> 10:
			if unit(i+6)>>10 != 0xdc00>>10 {
				return true
			}
			i += 11
		case 0xdc00 >> 10:
			return true
		default:
			i++ // the escaped character, which may be a backslash
		}
	}
	return false
}
