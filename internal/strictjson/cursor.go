package strictjson

import (
	"math"
	"strconv"
	"strings"
)

const (
	// maxMembers bounds the members of one object, and so the map of their names.
	maxMembers = 4096
	// fewMembers is how many names an object may have before they go into a map.
	fewMembers = 32
	// openNames is how many names, of all open objects together, a Reader holds
	// without a map.
	openNames = 4 * fewMembers
)

// Members is a cursor over the members of an object:
//
//	for m := r.Members(); m.Next(); {
//		switch m.Name {
//		case "sub":
//			sub, ok = r.Text()
//		default:
//			r.Skip()
//		}
//	}
//
// The loop may be left early inside the value of another cursor, which then skips
// the rest. Do not use a cursor once an outer one has stepped on. The zero Members
// is empty.
type Members struct {
	// Name is the name of the member that Next stepped to, decoded.
	Name string

	r     *Reader // nil at the end
	value int     // offset after the colon of the member that Next stepped to
	depth int32   // of the reader between two members
	count int32   // members so far

	// The names so far: r.names[base:top], or many, if there are too many or one has
	// escapes. An array in here would be copied in each round of a loop, since a for
	// statement copies its variable. filter has a bit for the hash of each of them
	// in r.names: a name whose bit is not set is new, and needs no comparison.
	base, top int32
	filter    uint64
	many      map[string]struct{}
}

// Members reads the next value, whatever it is, and returns a cursor over its
// members. A value that is not an object is skipped, and the cursor is empty.
func (r *Reader) Members() Members {
	if c := r.begin(); c != '{' {
		r.skip(c)
		return Members{}
	}
	return r.members()
}

// members returns a cursor over the object at r's position. It returns the cursor and
// does not fill in the caller's: storing r through a pointer would make the Reader
// escape to the heap.
func (r *Reader) members() Members {
	if !r.enter() {
		return Members{}
	}
	return Members{r: r, depth: r.depth, base: r.open, top: r.open}
}

// Next steps to the next member, sets Name, and reports whether there is one. If the
// previous member's value was not read, it is skipped first.
func (m *Members) Next() bool {
	r := m.r
	if r == nil {
		return false
	}
	if (r.ready || r.depth != m.depth) && !r.settle(m.depth, m.top, m.value) {
		return m.stop()
	}
	c := r.peek()
	if c == '}' {
		r.leave(m.base)
		return m.stop()
	}
	if m.count > 0 {
		if c != ',' {
			return m.fault("neither a comma nor the end of the object")
		}
		r.pos++
		c = r.peek()
	}
	if c != '"' {
		return m.fault("no member name")
	}
	start := r.pos
	name, escaped := r.str()
	if r.what != "" {
		return m.stop()
	}
	if escaped {
		name = unescape(name)
	}
	if what := m.add(name, start+1, escaped); what != "" {
		r.fault(start, what)
		return m.stop()
	}
	if r.peek() != ':' {
		return m.fault("no colon after a member name")
	}
	r.pos++
	r.ready = true
	m.Name, m.value = name, r.pos
	return true
}

// add records a name whose text begins at offset, and returns what is wrong with it,
// if anything.
func (m *Members) add(name string, offset int, escaped bool) (what string) {
	if m.count == maxMembers {
		return "more than " + strconv.Itoa(maxMembers) + " members in one object"
	}
	if m.many == nil {
		if !escaped && m.count < fewMembers && m.top < openNames && uint64(offset) <= math.MaxUint32 {
			bit := uint64(1) << (nameHash(name) % 64)
			if m.filter&bit != 0 && m.hasFew(name) {
				return repeatedName
			}
			m.filter |= bit
			m.r.names[m.top] = uint32(offset)
			m.top++
			m.r.open = m.top
			m.count++
			return ""
		}
		m.manyFromFew()
	}
	if _, ok := m.many[name]; ok {
		return repeatedName
	}
	m.many[name] = struct{}{}
	m.count++
	return ""
}

const repeatedName = "repeated member name"

// nameHash returns a hash of a name. Names of one object mostly differ in length, at
// their ends or in the middle, so it looks there. It need not be good: a clash costs
// a comparison with at most 31 names.
func nameHash(name string) uint {
	n := uint(len(name))
	if n < 2 {
		if n == 0 {
			return 0
		}
		return uint(name[0])
	}
	return n + 5*uint(name[0]) + 23*uint(name[n/2]) + 7*uint(name[n-2]) + 11*uint(name[n-1])
}

// hasFew reports whether name, which has no escapes, is among the object's names in
// the reader.
func (m *Members) hasFew(name string) bool {
	for _, offset := range m.r.names[m.base:m.top] {
		// The earlier name contains no quote, so it is the same if the text there is
		// name and then a quote. The index is in range, since name itself and its
		// closing quote come later in the text.
		earlier := m.r.text[offset:]
		if earlier[len(name)] == '"' && earlier[:len(name)] == name {
			return true
		}
	}
	return false
}

// manyFromFew moves the names from the reader to many.
func (m *Members) manyFromFew() {
	m.many = make(map[string]struct{}, 2*m.count)
	for _, offset := range m.r.names[m.base:m.top] {
		name := m.r.text[offset:]
		m.many[name[:strings.IndexByte(name, '"')]] = struct{}{}
	}
	m.top = m.base
	m.r.open = m.base
}

// fault records what is wrong at the reader's position, ends the cursor and returns
// false.
func (m *Members) fault(what string) bool {
	m.r.fault(m.r.pos, what)
	return m.stop()
}

// stop ends the cursor and returns false.
func (m *Members) stop() bool {
	m.r, m.Name = nil, ""
	return false
}

// Elements is a cursor over the elements of an array:
//
//	for e := r.Elements(); e.Next(); {
//		if s, ok := r.Text(); ok {
//			scopes = append(scopes, s)
//		}
//	}
//
// As with [Members], the loop may be left early. The zero Elements is empty.
type Elements struct {
	r     *Reader // nil at the end
	value int     // offset of the element that Next stepped to, 0 before the first
	depth int32   // of the reader between two elements
	top   int32   // how many names the reader holds, of the objects around the array
}

// Elements reads the next value, whatever it is, and returns a cursor over its
// elements. A value that is not an array is skipped, and the cursor is empty.
func (r *Reader) Elements() Elements {
	if c := r.begin(); c != '[' {
		r.skip(c)
		return Elements{}
	}
	return r.elements()
}

// elements returns a cursor over the array at r's position.
func (r *Reader) elements() Elements {
	if !r.enter() {
		return Elements{}
	}
	return Elements{r: r, depth: r.depth, top: r.open}
}

// Next steps to the next element and reports whether there is one. If the previous
// element was not read, it is skipped first.
func (e *Elements) Next() bool {
	r := e.r
	if r == nil {
		return false
	}
	if (r.ready || r.depth != e.depth) && !r.settle(e.depth, e.top, e.value) {
		e.r = nil
		return false
	}
	c := r.peek()
	if c == ']' {
		r.leave(e.top)
		e.r = nil
		return false
	}
	// No comma comes before the first element. If none begins here, reading it will
	// be a fault.
	if e.value > 0 {
		if c != ',' {
			r.fault(r.pos, "neither a comma nor the end of the array")
			e.r = nil
			return false
		}
		r.pos++
	}
	r.ready = true
	e.value = r.pos
	return true
}
