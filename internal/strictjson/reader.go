// Package strictjson reads JSON in a single pass and writes JSON strings.
//
// It reads what decides over access: claims, headers, answers of the token endpoint,
// stored token sets, discovery and key documents. Two parsers that disagree about
// such a text are an attack waiting to happen, so the [Reader] takes only what every
// parser reads the same way. Beyond RFC 8259 it refuses, at every depth and in
// skipped values too:
//
//   - a member name that repeats within one object, compared by its decoded value
//   - invalid UTF-8, and an escaped surrogate without its other half
//   - more than 64 nested arrays and objects, or more than 4,096 members in one object
//
// Names match exactly, numbers are never rounded, and no error quotes the text,
// which may hold secrets. How long a text may be is for the caller to bound.
package strictjson

import (
	"strconv"
	"strings"
)

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds of JSON values. Invalid is the kind where no value stands.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// maxDepth bounds how deep arrays and objects nest, and with it the recursion of
// Skip.
const maxDepth = 64

// faulted is the depth after a fault: smaller than any cursor's, so that every
// cursor stops.
const faulted = -1

// Reader reads one JSON text from front to back.
//
// The first fault sticks: later reads do nothing and return zero values, so a caller
// may read everything it wants and ask [Reader.End] once. What was read before a
// fault belongs to a text that is no good; use nothing of it until End has returned
// nil.
//
// Each method that reads consumes the value that is due: the text's only value at
// first, and then the value of each member or element that a cursor steps to.
// Reading where none is due, for example the same member twice, is a fault.
//
// The zero Reader reads nothing. A Reader is not safe for concurrent use.
type Reader struct {
	text  string
	pos   int    // of the next byte to read, or of the fault
	what  string // the fault, empty if there is none
	depth int32  // arrays and objects open around pos, or faulted
	open  int32  // names in use
	ready bool   // a value is due; white space may stand before it

	// names are the names read so far in the objects open around pos, outermost
	// first, each as the offset of the byte after its opening quote; the closing
	// quote is where it ends.
	names [openNames]uint32
}

// NewReader returns a Reader of text. It does no work: a fault shows when the text
// is read.
func NewReader(text string) Reader {
	return Reader{text: text, ready: true}
}

// Kind returns the kind of the next value, judged by its first byte, without
// consuming it. It is Invalid after a fault and where no value is due or none can
// begin.
func (r *Reader) Kind() Kind {
	if !r.ready {
		return Invalid
	}
	switch c := r.peek(); c {
	case 'n':
		return Null
	case 't', 'f':
		return Bool
	case '"':
		return String
	case '[':
		return Array
	case '{':
		return Object
	default:
		if c == '-' || isDigit(c) {
			return Number
		}
		return Invalid
	}
}

// Text reads the next value, whatever it is. ok reports whether it was a string; any
// other value is skipped. s is a substring of the text unless the string has
// escapes.
func (r *Reader) Text() (s string, ok bool) {
	c := r.begin()
	if c != '"' {
		r.skip(c)
		return "", false
	}
	s, escaped := r.str()
	if escaped {
		s = unescape(s)
	}
	return s, r.what == ""
}

// TextOrNull is Text for a string that null may stand in for, as the empty one.
func (r *Reader) TextOrNull() (s string, ok bool) {
	if r.Kind() == Null {
		r.Skip()
		return "", r.what == ""
	}
	return r.Text()
}

// TextsOrNull reads the next value, whatever it is. ok reports whether it was an
// array of strings alone, or null, for which texts is nil; for an empty array it is
// not.
func (r *Reader) TextsOrNull() (texts []string, ok bool) {
	switch r.Kind() {
	case Null:
		r.Skip()
		return nil, r.what == ""
	case Array:
		texts = []string{}
	default:
		r.Skip()
		return nil, false
	}
	ok = true
	for e := r.Elements(); e.Next(); {
		text, isText := r.Text()
		texts, ok = append(texts, text), ok && isText
	}
	return texts, ok && r.what == ""
}

// AppendTexts reads the next value, whatever it is, and appends the strings in it,
// if it is an array, to texts. Other elements are skipped.
func (r *Reader) AppendTexts(texts []string) []string {
	for e := r.Elements(); e.Next(); {
		if text, ok := r.Text(); ok {
			texts = append(texts, text)
		}
		// Strings that follow in the usual form are taken without the cursor, which
		// goes on from whatever comes after them.
		for r.what == "" && strings.HasPrefix(r.text[r.pos:], `,"`) {
			start := r.pos + len(`,"`)
			end, high := plain(r.text, start)
			if high || end == len(r.text) || r.text[end] != '"' {
				break
			}
			texts = append(texts, r.text[start:end])
			r.pos = end + 1
		}
	}
	return texts
}

// Bool reads the next value, whatever it is. ok reports whether it was true or
// false; any other value is skipped.
func (r *Reader) Bool() (v, ok bool) {
	c := r.begin()
	r.skip(c)
	ok = r.what == "" && (c == 't' || c == 'f')
	return ok && c == 't', ok
}

// Number reads the next value, whatever it is. ok reports whether it was a number,
// and literal is that number as written; any other value is skipped.
func (r *Reader) Number() (literal string, ok bool) {
	c := r.begin()
	if c != '-' && !isDigit(c) {
		r.skip(c)
		return "", false
	}
	literal = r.number()
	return literal, r.what == ""
}

// Int reads the next value, whatever it is. ok reports whether it was a number whose
// value is a whole int64: 12, -0, 12.0 and 1.2e1 are, 1.5 and 1e19 are not. The
// value is exact, with no detour through float64. Any other value is skipped.
func (r *Reader) Int() (n int64, ok bool) {
	if n, ok := r.short(); ok {
		return n, true
	}
	literal, ok := r.Number()
	if !ok {
		return 0, false
	}
	return whole(literal)
}

// Whole cuts the fraction off a plain number such as 1760000000.25. It is false for
// a literal that is no number, or larger than an int64.
func Whole(literal string) (n int64, ok bool) {
	if !strings.ContainsAny(literal, "eE") {
		literal, _, _ = strings.Cut(literal, ".")
	}
	r := NewReader(literal)
	return r.Int()
}

// Raw reads the next value and returns its text as written, without the white space
// around it. The value is validated like any other. ok is false only at a fault.
func (r *Reader) Raw() (text string, ok bool) {
	c := r.begin()
	start := r.pos
	r.skip(c)
	if r.what != "" {
		return "", false
	}
	return r.text[start:r.pos], true
}

// Skip reads over the next value and validates it.
func (r *Reader) Skip() {
	r.skip(r.begin())
}

// Err returns the first fault, nil if there is none. It names a byte offset and what
// was wrong there, and quotes nothing of the text.
func (r *Reader) Err() error {
	if r.what == "" {
		return nil
	}
	return &syntaxError{r.pos, r.what}
}

// End returns the first fault, nil if there is none. It is a fault if the value has
// not been read to its end, or if anything but white space follows it.
func (r *Reader) End() error {
	switch {
	case r.ready || r.depth != 0: // after a fault too, which then stays
		r.fault(r.pos, "the value was not read to its end")
	case r.peek() != 0 || r.pos < len(r.text):
		r.fault(r.pos, "more than one value")
	}
	return r.Err()
}

// begin starts reading the value that is due and returns its first byte; 0 if there
// is none.
func (r *Reader) begin() byte {
	if !r.ready {
		r.fault(r.pos, "no value is due here")
		return 0
	}
	r.ready = false
	return r.peek()
}

// peek steps over white space and returns the byte after it; 0 at the end of the
// text.
func (r *Reader) peek() byte {
	for ; r.pos < len(r.text); r.pos++ {
		if c := r.text[r.pos]; c > ' ' || !isSpace(c) {
			return c
		}
	}
	return 0
}

// skip reads over the value at pos, which begins with c.
func (r *Reader) skip(c byte) {
	switch c {
	case '"':
		r.str()
	case '{':
		m := r.members()
		for m.Next() {
		}
	case '[':
		e := r.elements()
		for e.Next() {
		}
	case 't':
		r.word("true")
	case 'f':
		r.word("false")
	case 'n':
		r.word("null")
	default:
		switch {
		case c == '-' || isDigit(c):
			r.number()
		case r.pos == len(r.text):
			r.fault(r.pos, "the text ends where a value is due")
		default:
			r.fault(r.pos, "no value begins like this")
		}
	}
}

// enter steps into the array or object at pos and reports whether it may be that
// deep.
func (r *Reader) enter() bool {
	if r.depth == maxDepth {
		r.fault(r.pos, "nested deeper than "+strconv.Itoa(maxDepth))
		return false
	}
	r.depth++
	r.pos++
	return true
}

// leave steps out of the array or object whose closing bracket stands at pos, and
// forgets all names but the first open.
func (r *Reader) leave(open int32) {
	r.open = open
	r.depth--
	r.pos++
}

// settle makes sure that the value at offset value, which a cursor at depth has
// stepped to with open names in use, is read to its end. It reports false if the
// reader has moved out of that cursor's reach.
func (r *Reader) settle(depth, open int32, value int) bool {
	if r.depth < depth {
		return false
	}
	if r.depth > depth {
		// A cursor inside the value was left early, and the names it had seen are
		// gone with it: only a second reading can tell whether one repeats.
		r.pos, r.depth, r.open, r.ready = value, depth, open, true
	}
	r.Skip()
	return r.what == ""
}

// fault records what is wrong at offset, unless something was wrong before.
func (r *Reader) fault(offset int, what string) {
	if r.what == "" {
		r.pos, r.depth, r.ready, r.what = offset, faulted, false, what
	}
}

// syntaxError is what [Reader.Err] returns.
type syntaxError struct {
	offset int
	what   string
}

func (e *syntaxError) Error() string {
	return "invalid JSON at byte " + strconv.Itoa(e.offset) + ": " + e.what
}
