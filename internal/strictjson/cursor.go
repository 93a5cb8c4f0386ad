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
	// openNames is how many names of all objects open at a time a Reader holds
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
// Leaving the loop early is allowed inside another cursor's value: the outer cursor
// reads over the rest. A cursor is of no use once an outer one has stepped on. The
// zero Members is empty.
type Members struct {
	// Name is the name of the member that Next stepped to, decoded.
	Name string

	r     *Reader // nil at the end
	value int     // offset after the colon of the member that Next stepped to
	depth int32   // of the reader between two members
	count int32   // members so far

	// The names so far: reader.names[base:top], or many if there are too many or one
	// has escapes. They are not in an array here, because a for loop copies its
	// variable in each round. filter has a bit for each name in the reader, so that
	// most new names show as new without a comparison.
	base, top int32
	filter    uint64
	many      map[string]struct{}
}

// Members reads the next value, whatever it is, and returns a cursor over its
// members. If it is no object, it is skipped and the cursor is empty.
func (r *Reader) Members() Members {
	if c := r.begin(); c != '{' {
		r.skip(c)
		return Members{}
	}
	return r.members()
}

// members returns a cursor over the object at r's position. It returns one instead
// of filling one in, since a pointer stored through another makes the Reader escape
// to the heap.
func (r *Reader) members() Members {
	if !r.enter() {
		return Members{}
	}
	return Members{r: r, depth: r.depth, base: r.open, top: r.open}
}

// Next steps to the next member, sets Name, and reports whether there is one. If the
// value of the member before was not read, it is skipped first.
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

// add notes a name that stands at offset, and returns what is wrong with it.
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

// nameHash spreads the names of one object, which mostly differ in length, at their
// ends or in the middle. It need not be good: a clash costs a comparison with at
// most 31 names.
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

// hasFew reports whether name, which has no escapes, is among the names in the
// reader.
func (m *Members) hasFew(name string) bool {
	for _, offset := range m.r.names[m.base:m.top] {
		// An earlier name contains no quote, so it is name if it begins like it and
		// a quote follows. The text goes on at least to the end of the later name.
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

// fault records what is wrong at the reader's position and ends the cursor.
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
// What [Members] says about leaving the loop early holds here too. The zero Elements
// is empty.
type Elements struct {
	r     *Reader // nil at the end
	value int     // offset of the element that Next stepped to, 0 before the first
	depth int32   // of the reader between two elements
	top   int32   // names that the reader holds for the objects around
}

// Elements reads the next value, whatever it is, and returns a cursor over its
// elements. If it is no array, it is skipped and the cursor is empty.
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

// Next steps to the next element and reports whether there is one. If the element
// before was not read, it is skipped first.
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
	// Before the first element nothing stands; if none begins there, reading it is a
	// fault.
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
