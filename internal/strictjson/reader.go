// Package strictjson reads JSON in a single pass and writes JSON strings.
//
// It is for texts that decide about access: claims, headers, answers of the token
// endpoint, stored token sets, discovery documents and key sets. Where two parsers
// read such a text differently, an attacker can use the difference, so the [Reader]
// accepts only what every parser reads the same way. Beyond RFC 8259 it refuses, at
// every depth and in skipped values too:
//
//   - a member name that repeats within one object, compared by its decoded value
//   - invalid UTF-8, and an escaped surrogate without its other half
//   - more than 64 nested arrays and objects, or more than 4,096 members in one object
//
// Names match exactly, numbers are never rounded, and no error quotes the text,
// which may hold secrets. The caller bounds the length of the text.
package strictjson

import (
	"strconv"
	"strings"
)

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds of JSON values. Invalid means that there is no value.
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
// After the first fault every read does nothing and returns zero values, so a caller
// may read everything it wants and then call [Reader.End] once. Use nothing of what
// was read before End has returned nil.
//
// Each method that reads consumes the value that is due: at first the text's only
// value, then the value of each member or element that a cursor steps to. Reading
// when no value is due, for example the same member twice, is a fault.
//
// The zero Reader reads nothing. A Reader is not safe for concurrent use.
type Reader struct {
	text  string
	pos   int    // of the next byte to read, or of the fault
	what  string // the fault, empty if there is none
	depth int32  // arrays and objects open around pos, or faulted
	open  int32  // how many of names are in use
	ready bool   // a value is due; white space may come before it

	// names holds the names read so far in the objects open around pos, outermost
	// first. Each is the offset of the byte after its opening quote; the name ends
	// at the closing quote.
	names [openNames]uint32
}

// NewReader returns a Reader of text. It reads nothing yet, so it finds no fault.
func NewReader(text string) Reader {
	return Reader{text: text, ready: true}
}

// Kind returns the kind of the next value, judged by its first byte, without
// consuming it. It returns Invalid after a fault, when no value is due, and when no
// value begins with that byte.
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

// TextOrNull is Text, but also reads null, as the empty string.
func (r *Reader) TextOrNull() (s string, ok bool) {
	if r.Kind() == Null {
		r.Skip()
		return "", r.what == ""
	}
	return r.Text()
}

// TextsOrNull reads the next value, whatever it is. ok reports whether it was null
// or an array of nothing but strings. texts is nil for null, and not nil for an
// empty array.
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

// AppendTexts reads the next value, whatever it is. If it is an array, its strings
// are appended to texts, and its other elements are skipped.
func (r *Reader) AppendTexts(texts []string) []string {
	for e := r.Elements(); e.Next(); {
		if text, ok := r.Text(); ok {
			texts = append(texts, text)
		}
		// Most lists are plain ASCII strings with no white space between them: these
		// are read faster without the cursor, which continues after them.
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

// Int reads the next value, whatever it is. ok reports whether it was a whole number
// that fits into an int64: 12, -0, 12.0 and 1.2e1 are, 1.5 and 1e19 are not. The
// result is exact: it never was a float64. Any other value is skipped.
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

// Whole drops the fraction of a number literal such as 1760000000.25 and reads the
// rest as [Reader.Int] does. A literal with an exponent must be whole as it is.
func Whole(literal string) (n int64, ok bool) {
	if !strings.ContainsAny(literal, "eE") {
		literal, _, _ = strings.Cut(literal, ".")
	}
	r := NewReader(literal)
	return r.Int()
}

// Raw reads the next value and returns its text as written, without the white space
// around it. The value is validated like any other. ok is false only after a fault.
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

// Err returns the first fault, or nil if there is none. The error says at which byte
// offset it is and what is wrong there, and quotes nothing of the text.
func (r *Reader) Err() error {
	if r.what == "" {
		return nil
	}
	return &syntaxError{r.pos, r.what}
}

// End returns the first fault, or nil if there is none. It is a fault if the value
// has not been read to its end, or if anything but white space follows it.
func (r *Reader) End() error {
	switch {
	case r.ready || r.depth != 0: // true after a fault too, and then the first fault stays
		r.fault(r.pos, "the value was not read to its end")
	case r.peek() != 0 || r.pos < len(r.text):
		r.fault(r.pos, "more than one value")
	}
	return r.Err()
}

// begin starts reading the value that is due and returns its first byte, or 0 if
// there is none.
func (r *Reader) begin() byte {
	if !r.ready {
		r.fault(r.pos, "no value is due here")
		return 0
	}
	r.ready = false
	return r.peek()
}

// peek steps over white space and returns the byte after it, or 0 at the end of the
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

// enter steps into the array or object at pos. It records a fault and reports false
// if that is nested too deep.
func (r *Reader) enter() bool {
	if r.depth == maxDepth {
		r.fault(r.pos, "nested deeper than "+strconv.Itoa(maxDepth))
		return false
	}
	r.depth++
	r.pos++
	return true
}

// leave steps out of the array or object whose closing bracket is at pos. Of the
// names it keeps only the first open.
func (r *Reader) leave(open int32) {
	r.open = open
	r.depth--
	r.pos++
}

// settle reads the value at offset value to its end, for a cursor that has stepped
// to it. depth and open are the reader's as they were before that value. It reports
// false at a fault, and if the reader has left the cursor's own array or object.
func (r *Reader) settle(depth, open int32, value int) bool {
	if r.depth < depth {
		return false
	}
	if r.depth > depth {
		// A cursor inside the value was left early, and the names that it had seen
		// are lost. Only reading the whole value again shows whether one repeats.
		r.pos, r.depth, r.open, r.ready = value, depth, open, true
	}
	r.Skip()
	return r.what == ""
}

// fault records what is wrong at offset, unless there was a fault before.
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
