package endpoint

import "strings"

// Params writes application/x-www-form-urlencoded parameters, for a form or a
// URL's query, into one buffer. They keep their order and may repeat, as RFC
// 8707's resource does. The zero Params is an empty form; do not copy one in use.
type Params struct {
	text      strings.Builder
	separator byte // before the next parameter; zero: none
}

// StartQuery begins the query of a URL, which may have one already.
func (p *Params) StartQuery(base string) {
	const usual = 320 // bytes of an authorization request's parameters
	p.text.Grow(len(base) + usual)
	p.text.WriteString(base)
	p.separator = '?'
	if strings.Contains(base, "?") {
		p.separator = '&'
	}
}

// Add appends one parameter.
func (p *Params) Add(name, value string) {
	p.next(name)
	p.escape(value)
}

// AddPlain appends one parameter whose value needs no escape, as base64url does not.
func (p *Params) AddPlain(name, value string) {
	p.next(name)
	p.text.WriteString(value)
}

// AddSet appends one parameter unless its value is empty.
func (p *Params) AddSet(name, value string) {
	if value != "" {
		p.Add(name, value)
	}
}

// AddAll appends one parameter for each value.
func (p *Params) AddAll(name string, values []string) {
	for _, v := range values {
		p.Add(name, v)
	}
}

// AddList appends one parameter that holds the values with spaces between them,
// unless there are none.
func (p *Params) AddList(name string, values []string) {
	for i, v := range values {
		if i == 0 {
			p.next(name)
		} else {
			p.text.WriteByte('+')
		}
		p.escape(v)
	}
}

// AddEncoded appends parameters that are encoded already.
func (p *Params) AddEncoded(text string) {
	if text == "" {
		return
	}
	if p.separator != 0 {
		p.text.WriteByte(p.separator)
	}
	p.text.WriteString(text)
	p.separator = '&'
}

// String returns what was written.
func (p *Params) String() string { return p.text.String() }

// next begins a parameter, up to its value.
func (p *Params) next(name string) {
	if p.separator != 0 {
		p.text.WriteByte(p.separator)
	}
	p.separator = '&'
	p.text.WriteString(name) // ours, and plain
	p.text.WriteByte('=')
}

// escape writes what url.QueryEscape returns, without a string for each value.
func (p *Params) escape(s string) {
	const hex = "0123456789ABCDEF"
	plain := 0 // where the part begins that needs no escape
	for i := range len(s) {
		c := s[i]
		if unreserved(c) {
			continue
		}
		p.text.WriteString(s[plain:i])
		plain = i + 1
		if c == ' ' {
			p.text.WriteByte('+')
			continue
		}
		p.text.WriteByte('%')
		p.text.WriteByte(hex[c>>4])
		p.text.WriteByte(hex[c&15])
	}
	p.text.WriteString(s[plain:])
}

// unreserved looks c up in a set of bits: letters, digits and -_.~ as RFC 3986
// section 2.3 has them.
func unreserved(c byte) bool {
	const low, high uint64 = 0x03FF600000000000, 0x47FFFFFE87FFFFFE // below 64, and from there on
	if c < 64 {
		return low>>c&1 != 0
	}
	return c < 128 && high>>(c-64)&1 != 0
}
